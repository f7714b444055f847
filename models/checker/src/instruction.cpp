// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Assembler text of fences.

#include <charconv>
#include <optional>

#include "nestwalk/checker/log.hpp"
#include "nestwalk/models/fence_table.hpp"

namespace nestwalk::checker {
namespace {

using addrspace::Architecture;
using addrspace::low_mask;
using models::By;
using models::FenceKind;
using models::FenceRequest;
using Words = std::vector<std::string>;

Words words_of(const std::string& text) {
  Words words;
  std::string word;
  for (const char letter : text + " ") {
    const bool between =
        letter == ' ' || letter == ',' || letter == '\t' || letter == '[' || letter == ']';
    if (!between) {
      word += letter;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

std::optional<u64> number_of(const std::string& text) {
  const bool hex = text.rfind("0x", 0) == 0;
  const char* const first = text.data() + (hex ? 2 : 0);
  const char* const last = text.data() + text.size();
  u64 value = 0;
  const auto [end, error] = std::from_chars(first, last, value, hex ? 16 : 10);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

std::optional<Words> without(const Words& words, const std::string& name) {
  const Words prefix = words_of(name);
  if (words.size() < prefix.size()) return std::nullopt;
  for (std::size_t n = 0; n < prefix.size(); ++n) {
    if (words[n] != prefix[n]) return std::nullopt;
  }
  return Words(words.begin() + static_cast<std::ptrdiff_t>(prefix.size()), words.end());
}

// x86-64 ----------------------------------------------------------------------------------------

enum class Takes : u8 { Nothing, Root, Vpid, VpidAndAddress, Address };
struct X86Row {
  const char* text;
  FenceKind kind;
  Takes takes;
};
constexpr X86Row kX86[] = {
    {"invept single-context", FenceKind::InveptSingle, Takes::Root},
    {"invept all-context", FenceKind::InveptAll, Takes::Nothing},
    {"invvpid individual-address", FenceKind::InvvpidAddress, Takes::VpidAndAddress},
    {"invvpid single-context", FenceKind::InvvpidSingle, Takes::Vpid},
    {"invvpid all-context", FenceKind::InvvpidAll, Takes::Nothing},
    {"invvpid retaining-globals", FenceKind::InvvpidSingleKeepGlobals, Takes::Vpid},
    {"invlpg", FenceKind::InvlpgHost, Takes::Address},
    {"mov cr3", FenceKind::MovCr3Host, Takes::Nothing},
};

bool parse_x86(const Words& words, FenceRequest& request) {
  for (const X86Row& row : kX86) {
    const auto operands = without(words, row.text);
    if (!operands) continue;
    constexpr std::size_t kCounts[] = {0, 1, 1, 2, 1};
    if (operands->size() != kCounts[static_cast<unsigned>(row.takes)]) return false;
    std::vector<u64> values;
    for (const std::string& each : *operands) {
      const auto value = number_of(each);
      if (!value) return false;
      values.push_back(*value);
    }
    request.kind = row.kind;
    request.vmid = 0;
    if (row.takes == Takes::Root) request.root = values[0];
    if (row.takes == Takes::Vpid || row.takes == Takes::VpidAndAddress) {
      if (values[0] > 0xffff) return false;
      request.vmid = static_cast<u16>(values[0]);
    }
    if (row.takes == Takes::VpidAndAddress) request.address = values[1];
    if (row.takes == Takes::Address) request.address = values[0];
    return true;
  }
  return false;
}

// AArch64 ---------------------------------------------------------------------------------------

struct BarrierRow {
  const char* text;
  Barrier barrier;
};
constexpr BarrierRow kBarriers[] = {
    {"dsb ishst", Barrier::DsbIshst}, {"dsb st", Barrier::DsbIshst}, {"dsb ish", Barrier::DsbIsh},
    {"dsb sy", Barrier::DsbIsh},      {"isb", Barrier::Isb},
};

// TG in bits 47:46, SCALE in 45:44, NUM in 43:39, BaseADDR in 36:0 (Arm ARM C5.5).
bool decode_range(u64 operand, FenceRequest& request) {
  const u64 granule = operand >> 46 & 3;
  if (granule == 0) return false;
  const unsigned shift = static_cast<unsigned>(10 + 2 * granule);
  const unsigned scale = static_cast<unsigned>(operand >> 44 & 3);
  request.address = (operand & low_mask(37)) << shift;
  request.bytes = ((operand >> 39 & 31) + 1) << (5 * scale + 1) << shift;
  return true;
}

bool parse_tlbi(const Words& words, FenceRequest& request) {
  for (unsigned kind = 0; kind < models::kFenceKindCount; ++kind) {
    const models::FenceRow& row = models::kFenceRows[kind];
    const auto operands = without(words, row.name);
    if (!operands || words[0] != "tlbi") continue;
    request.kind = static_cast<FenceKind>(kind);
    const bool el2 = words[1].rfind("vae2", 0) == 0;
    const bool aside = words[1].rfind("aside1", 0) == 0;
    const bool takes = row.address != By::Nothing || el2 || aside;
    if (operands->size() != (takes ? 1u : 0u)) return false;
    if (!takes) return true;
    const auto operand = number_of((*operands)[0]);
    if (!operand) return false;
    request.instruction.operand = *operand;
    if (row.address != By::GuestPhysical) request.asid = static_cast<u16>(*operand >> 48);
    // The address field; bits above hold a hint, and for IPAs NS in bit 63.
    const unsigned bits = row.address == By::GuestPhysical ? 40 : 44;
    request.address = (*operand & low_mask(bits)) << 12;
    if (words[1][0] == 'r' && !decode_range(*operand, request)) return false;
    if (row.address == By::GuestPhysical) request.address |= *operand & u64{1} << 63;
    return true;
  }
  return false;
}

// RISC-V ----------------------------------------------------------------------------------------

struct RiscVRow {
  const char* text;
  FenceKind all;
  FenceKind address;
  FenceKind tag;
  FenceKind both;
  bool by_gpa;
};
constexpr RiscVRow kRiscV[] = {
    {"hfence.vvma", FenceKind::VvmaAll, FenceKind::VvmaAddress, FenceKind::VvmaAsid,
     FenceKind::VvmaAddressAsid, false},
    {"hfence.gvma", FenceKind::GvmaAll, FenceKind::GvmaAddress, FenceKind::GvmaVmid,
     FenceKind::GvmaAddressVmid, true},
    {"hinval.vvma", FenceKind::HinvalVvmaAll, FenceKind::HinvalVvmaAddress,
     FenceKind::HinvalVvmaAsid, FenceKind::HinvalVvmaAddressAsid, false},
    {"hinval.gvma", FenceKind::HinvalGvmaAll, FenceKind::HinvalGvmaAddress,
     FenceKind::HinvalGvmaVmid, FenceKind::HinvalGvmaAddressVmid, true},
};

bool parse_riscv(const Words& words, FenceRequest& request) {
  if (words.size() == 1 && words[0] == "sfence.w.inval") {
    request.kind = FenceKind::SfenceWInval;
    return true;
  }
  if (words.size() == 1 && words[0] == "sfence.inval.ir") {
    request.kind = FenceKind::SfenceInvalIr;
    return true;
  }
  for (const RiscVRow& row : kRiscV) {
    if (words[0] != row.text || words.size() > 3) continue;
    const auto given = [&](std::size_t n) { return words.size() > n && words[n] != "zero"; };
    const bool address = given(1);
    const bool tag = given(2);
    request.kind = address ? (tag ? row.both : row.address) : (tag ? row.tag : row.all);
    if (address) {
      const auto value = number_of(words[1]);
      if (!value) return false;
      request.address = row.by_gpa ? *value << 2 : *value;
    }
    if (tag) {
      constexpr unsigned kVmidBits = 14, kAsidBits = 16;
      const auto value = number_of(words[2]);
      if (!value || *value >> (row.by_gpa ? kVmidBits : kAsidBits) != 0) return false;
      (row.by_gpa ? request.vmid : request.asid) = static_cast<u16>(*value);
    }
    return true;
  }
  return false;
}

}  // namespace

bool parse_instruction(const std::string& text, Architecture architecture, const Vm* vm,
                       Instruction& instruction) {
  const Words words = words_of(text);
  if (words.empty()) return false;
  for (const BarrierRow& row : kBarriers) {
    const auto rest = without(words, row.text);
    if (architecture != Architecture::AArch64 || !rest || !rest->empty()) continue;
    instruction.is_barrier = true;
    instruction.barrier = row.barrier;
    return true;
  }
  if (vm != nullptr) instruction.request.vmid = vm->vmid;
  switch (architecture) {
    case Architecture::X86_64:
      return parse_x86(words, instruction.request);
    case Architecture::AArch64:
      return parse_tlbi(words, instruction.request);
    case Architecture::RiscV64:
      return parse_riscv(words, instruction.request);
  }
  return false;
}

}  // namespace nestwalk::checker
