// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <cstdio>
#include <optional>

#include "commands/commands.hpp"
#include "nestwalk/models/base/hex.hpp"
#include "nestwalk/models/base/json.hpp"
#include "nestwalk/traces/verifier.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "replay/trace_input.hpp"

namespace nestwalk::sim {

using models::hex;

namespace {

using addrspace::u32;
using addrspace::u64;
using traces::AddressMismatch;
using traces::EntryMismatch;
using traces::RootMismatch;
using traces::UnknownStretch;
using traces::Verification;

constexpr const char* kText =
    "Walks the page tables that a recording has, as they were at each moment, for every access\n"
    "whose guest-physical or host address was recorded, and compares; then the tables at the end\n"
    "with those that were found there, and their roots with the registers. Exit code 3 says that "
    "something differs. Of accesses:\n"
    "  match            the walk gives the recorded addresses\n"
    "  device           so it does, outside the machine's memory\n"
    "  untranslated     the guest, or RISC-V's machine mode, did not translate: they are equal\n"
    "  no-address       no physical address was recorded\n"
    "  unknown-tables   what the recording does not have says where: lines with \"not judged\"\n"
    "  mismatch         something else came out, or nothing";

std::string name_of(traces::Stage stage) {
  return std::string(traces::kStageNames[static_cast<std::size_t>(stage)]);
}

std::string kind_of(const AddressMismatch& mismatch) {
  return std::string(traces::kAccessKindNames[static_cast<std::size_t>(mismatch.kind)]);
}

// ---- as text ----

std::string text_of(const Verification::Counts& counts) {
  std::string text;
  for (std::size_t verdict = 0; verdict < counts.size(); ++verdict) {
    if (counts[verdict] == 0) continue;
    text += text.empty() ? " " : ", ";
    text += std::to_string(counts[verdict]) + " " + std::string(traces::kVerdictNames[verdict]);
  }
  return text.empty() ? " none" : text;
}

std::string text_of(const AddressMismatch& mismatch) {
  const std::string walked = mismatch.walked.address
                                 ? "walked " + hex(*mismatch.walked.address) + ", a leaf"
                                 : "walked to nothing, ended";
  return "vcpu " + std::to_string(mismatch.vcpu) + " record " + std::to_string(mismatch.record) +
         " " + kind_of(mismatch) + " gva=" + hex(mismatch.gva.value()) + " " +
         name_of(mismatch.stage) + " stage: recorded " + hex(mismatch.recorded) + ", " + walked +
         " at level " + std::to_string(mismatch.walked.level);
}

std::string text_of(const UnknownStretch& stretch) {
  return "vcpu " + std::to_string(stretch.vcpu) + " records " +
         std::to_string(stretch.first_record) + " to " + std::to_string(stretch.last_record) +
         ": not judged, " + counted(stretch.accesses, "access", "es") + ": " + stretch.reason;
}

std::string text_of(const EntryMismatch& mismatch) {
  return name_of(mismatch.stage) + " entry at " + hex(mismatch.address) + ": followed to " +
         hex(mismatch.followed) + ", recorded at the end " + hex(mismatch.recorded);
}

std::string text_of(const std::optional<traces::TableRoot>& root) {
  return root ? traces::format_name(root) + " at " + hex(root->address) : "no translation";
}

std::string text_of(const RootMismatch& mismatch) {
  return "vcpu " + std::to_string(mismatch.vcpu) + " " + name_of(mismatch.stage) +
         " root: followed to " + text_of(mismatch.followed) + ", registers at the end say " +
         text_of(mismatch.recorded);
}

std::string text_of(const std::string& file, const Verification& found) {
  std::string text;
  const auto line = [&](const std::string& rest) { text += printable(file) + ": " + rest + "\n"; };
  for (std::size_t vcpu = 0; vcpu < found.accesses.size(); ++vcpu) {
    for (std::size_t kind = 0; kind < std::size(traces::kAccessKindNames); ++kind) {
      line("vcpu " + std::to_string(vcpu) + " " + std::string(traces::kAccessKindNames[kind]) +
           ":" + text_of(found.accesses[vcpu][kind]));
    }
  }
  for (const traces::Stage stage : {traces::Stage::Guest, traces::Stage::Host}) {
    const Verification::Entries& entries = found.entries[static_cast<std::size_t>(stage)];
    if (entries.match + entries.differ == 0) continue;
    line(name_of(stage) + " entries at the end: " + std::to_string(entries.match) + " match, " +
         std::to_string(entries.differ) + " differ");
  }
  if (found.roots.match + found.roots.differ != 0) {
    line("roots at the end: " + std::to_string(found.roots.match) + " match, " +
         std::to_string(found.roots.differ) + " differ");
  }
  for (const UnknownStretch& stretch : found.unknown) line(text_of(stretch));
  for (const AddressMismatch& mismatch : found.addresses) line(text_of(mismatch));
  for (const EntryMismatch& mismatch : found.tables) line(text_of(mismatch));
  for (const RootMismatch& mismatch : found.root_mismatches) line(text_of(mismatch));
  return text;
}

// ---- as JSON ----

Json json_of(const AddressMismatch& mismatch) {
  const auto& walked = mismatch.walked.address;
  return {{"vcpu", mismatch.vcpu},
          {"record", mismatch.record},
          {"kind", kind_of(mismatch)},
          {"gva", hex(mismatch.gva.value())},
          {"stage", name_of(mismatch.stage)},
          {"recorded", hex(mismatch.recorded)},
          {"walked", walked ? Json(hex(*walked)) : Json()},
          {"level", mismatch.walked.level}};
}

Json json_of(const UnknownStretch& stretch) {
  return {{"vcpu", stretch.vcpu},
          {"first_record", stretch.first_record},
          {"last_record", stretch.last_record},
          {"accesses", stretch.accesses},
          {"reason", stretch.reason}};
}

Json json_of(const EntryMismatch& mismatch) {
  return {{"stage", name_of(mismatch.stage)},
          {"address", hex(mismatch.address)},
          {"followed", hex(mismatch.followed)},
          {"recorded", hex(mismatch.recorded)}};
}

Json json_of(const RootMismatch& mismatch) {
  return {{"vcpu", mismatch.vcpu},
          {"stage", name_of(mismatch.stage)},
          {"followed", text_of(mismatch.followed)},
          {"recorded", text_of(mismatch.recorded)}};
}

Json json_of(const std::array<Verification::Counts, 3>& kinds) {
  Json json;
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    for (std::size_t verdict = 0; verdict < traces::kVerdicts; ++verdict) {
      json[std::string(traces::kAccessKindNames[kind])]
          [std::string(traces::kVerdictNames[verdict])] = kinds[kind][verdict];
    }
  }
  return json;
}

Json json_of(const std::string& file, const Verification& found) {
  Json json = {{"file", file}, {"good", found.good()}};
  json["vcpus"] = Json::array();
  for (const auto& kinds : found.accesses) json["vcpus"].push_back(json_of(kinds));
  for (const traces::Stage stage : {traces::Stage::Guest, traces::Stage::Host}) {
    const Verification::Entries& entries = found.entries[static_cast<std::size_t>(stage)];
    json["entries_at_the_end"][name_of(stage)] = {{"match", entries.match},
                                                  {"differ", entries.differ}};
  }
  json["roots_at_the_end"] = {{"match", found.roots.match}, {"differ", found.roots.differ}};
  json["not_judged"] = Json::array();
  for (const UnknownStretch& row : found.unknown) json["not_judged"].push_back(json_of(row));
  json["address_mismatches"] = Json::array();
  for (const AddressMismatch& row : found.addresses) {
    json["address_mismatches"].push_back(json_of(row));
  }
  json["entry_mismatches"] = Json::array();
  for (const EntryMismatch& row : found.tables) json["entry_mismatches"].push_back(json_of(row));
  json["root_mismatches"] = Json::array();
  for (const RootMismatch& row : found.root_mismatches) {
    json["root_mismatches"].push_back(json_of(row));
  }
  return json;
}

// ---- the command ----

Verification verify(const std::string& file, u32 most_mismatches, const traces::OnLoss& on_loss) {
  Progress progress;
  return traces::verify_trace(
      [&] { return traces::open_source(file); }, most_mismatches,
      [&](u64 done, u64 total, u64 records) { progress.update(done, total, records); }, on_loss);
}

void declare(CommandLine& line) {
  line.about(kText)
      .flag("json", "print an array with an object for each file")
      .flag("salvage", "pass over damage, and say what is lost: tables may differ behind it")
      .option("show", po::value<u32>()->default_value(10)->value_name("N"),
              "describe the first N mismatches of each kind, and what was not judged")
      .operand("files", "FILE...", po::value<Words>()->required(), -1);
}

int run(const CommandLine& line) {
  bool good = true;
  Json documents = Json::array();
  TextOutput output;
  for (const std::string& file : line.get<Words>("files")) {
    const Verification found =
        verify(file, line.get<u32>("show"), on_loss_when(line.has("salvage")));
    good &= found.good();
    if (line.has("json")) documents.push_back(json_of(file, found));
    if (!line.has("json")) output.write(text_of(file, found));
  }
  if (line.has("json")) {
    output.write(json_document(documents));
  }
  return good ? kDone : kFailed;
}

}  // namespace

constexpr Command kTraceVerify = {
    "verify", "checks recorded addresses against recorded page tables", declare, run};

}  // namespace nestwalk::sim
