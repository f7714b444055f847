// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/measurement.hpp"

#include <algorithm>
#include <cctype>

#include "program/command_line.hpp"

namespace nestwalk::sim {

using addrspace::u32;
using addrspace::u64;

namespace {

Measurement::Snapshot difference(Measurement::Snapshot later,
                                 const Measurement::Snapshot& earlier) {
  for (std::size_t n = 0; n < later.size(); ++n) later[n].take_away(earlier[n]);
  return later;
}

// As a part of the names of statistics.
std::string label_of(const software::GuestPhase& phase) {
  std::string label = phase.name;
  for (char& each : label) {
    const bool plain = std::isalnum(static_cast<unsigned char>(each)) != 0;
    if (!plain && each != '-' && each != '_') each = '_';
  }
  if (!label.empty()) label += '-';
  return label + std::to_string(phase.number);
}

/// Each has some hundred statistics, and what is written has to be read again: stats.json has at
/// most models::kMostResultBytes.
constexpr std::size_t kMostPhases = 1000;
constexpr std::size_t kMostNamedPhases = 20;

bool is_called(const software::GuestPhase& phase, const std::string& wanted) {
  return !wanted.empty() && (phase.name == wanted || std::to_string(phase.number) == wanted ||
                             label_of(phase) == wanted);
}

}  // namespace

Measurement::Measurement(const MeasuredPart& part, u32 vcpus, std::function<Snapshot()> look)
    : part_(part), look_(std::move(look)), cold_(part.warmup == 0 ? 0 : vcpus), markers_(vcpus, 0) {
  // What nobody counted yet is 0, but guests count from one to several.
  if (cold_ == 0 && part_.from.empty()) begin(look_());
}

void Measurement::begin(Snapshot now) {
  phase_begin_ = now[0];
  begin_ = std::move(now);
}

void Measurement::on_warm(u32) {
  if (--cold_ == 0) begin(look_());
}

// The vCPUs have the same markers: a phase begins with the first of them.
void Measurement::on_phase(u32 vcpu, const software::GuestPhase& phase) {
  if (!uses_phases()) return;
  const u64 number = markers_[vcpu]++;
  const std::string label = label_of(phase);
  if (number < markers_seen_) {
    const std::string& seen = *seen_[number - passed_by_all_];
    if (seen != label && refusal_.empty()) {
      refusal_ = "run.from, run.to and run.phases need the same phases on all vCPUs, but of vCPU " +
                 std::to_string(vcpu) + ", phase " + std::to_string(number) + " is " + label +
                 ", of another one " + seen;
    }
    return forget_passed(number);
  }
  if (over()) return;
  remember(label);
  forget_passed(number);
  const bool ends = begin_ && is_called(phase, part_.to);
  const bool begins = !begin_ && is_called(phase, part_.from);
  if (begin_ || begins) {
    Snapshot now = look_();
    if (begins) {
      begin(std::move(now));
    } else {
      end_phase(now[0]);
      if (ends) whole_ = difference(std::move(now), *begin_);
    }
  }
  label_ = label;
}

bool Measurement::uses_phases() const {
  return part_.phases || !part_.from.empty() || !part_.to.empty();
}

void Measurement::remember(const std::string& label) {
  const auto [known, is_new] = labels_.insert(label);
  if (is_new && part_.phases && labels_.size() > kMostPhases) {
    refusal_ = "run.phases: expected at most " + std::to_string(kMostPhases) +
               " phases that differ, found more";
  }
  if (is_new && first_labels_.size() < kMostNamedPhases) first_labels_.push_back(label);
  seen_.push_back(&*known);
  ++markers_seen_;
}

// Of markers that all vCPUs came to, none can contradict what was seen any more.
void Measurement::forget_passed(u64 number) {
  if (number != passed_by_all_) return;
  const u64 passed = *std::min_element(markers_.begin(), markers_.end());
  for (; passed_by_all_ < passed; ++passed_by_all_) seen_.pop_front();
}

void Measurement::end_phase(const Measured& now) {
  if (!part_.phases) return;
  Measured measured = now;
  measured.take_away(*phase_begin_);
  phase_begin_ = now;
  const auto [known, is_new] = places_.try_emplace(label_, phases_.size());
  if (is_new) {
    phases_.push_back({label_, std::move(measured)});
  } else {
    phases_[known->second].measured.add(measured);
  }
}

Measurement::Snapshot Measurement::whole(bool cut) {
  if (!refusal_.empty()) throw UsageError(refusal_);
  std::string there_are =
      labels_.empty() ? "the trace has no phases" : "there are only the phases ";
  for (std::size_t n = 0; n < first_labels_.size(); ++n) {
    there_are.append(n == 0 ? "" : ", ").append(first_labels_[n]);
  }
  if (labels_.size() > first_labels_.size()) {
    there_are += " and " + std::to_string(labels_.size() - first_labels_.size()) + " more";
  }
  if (over()) return *whole_;
  if (!cut && !begin_ && !part_.from.empty()) {
    throw UsageError("run.from is " + part_.from + ", but " + there_are);
  }
  if (!cut && !part_.to.empty()) {
    throw UsageError("run.to is " + part_.to + ", but " + there_are +
                     (part_.from.empty() ? "" : ", and none after run.from"));
  }
  Snapshot now = look_();
  if (!begin_) begin(now);
  if (!labels_.empty()) end_phase(now[0]);
  // Those that are left out were played as well. Each vCPU has played the warm-up, or some have
  // not.
  const software::VcpuCounts& vcpus = now[0].totals.vcpus;
  const u64 each = (vcpus.total() + vcpus.untranslatable + markers_.size() - 1) / markers_.size();
  if (!cut && part_.warmup != 0 && (cold_ != 0 || each <= part_.warmup)) {
    throw UsageError("run.warmup is " + std::to_string(part_.warmup) +
                     ", and no vCPU plays more accesses than that");
  }
  return difference(std::move(now), *begin_);
}

}  // namespace nestwalk::sim
