// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which part of a run its statistics tell of, and its phases. Nothing that is simulated knows of
// it: what the parts of the run counted is looked at when a vCPU comes to a milestone, and of two
// such times the difference is taken. So phases add up to the whole.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>

#include "results/report.hpp"

namespace nestwalk::sim {

class Measurement final : public software::Milestones {
 public:
  /// First all guests together, then, if there are several, each of them.
  using Snapshot = std::vector<Measured>;

  /// `vcpus` of all guests; `look` at what they counted so far.
  Measurement(const MeasuredPart& part, addrspace::u32 vcpus, std::function<Snapshot()> look);

  void on_phase(addrspace::u32 vcpu, const software::GuestPhase& phase) override;
  void on_warm(addrspace::u32 vcpu) override;

  /// The phase came that does not count any more, or one that cannot be measured.
  bool over() const { return whole_.has_value() || !refusal_.empty(); }
  bool is_measuring() const { return begin_.has_value() && !over(); }
  /// Of the part that is measured, when the run is over. Throws UsageError if it never began, or
  /// should have ended with a phase that did not come, unless the run was `cut` short.
  Snapshot whole(bool cut);

  struct Phase {
    std::string label;  ///< "boot-2", or only the number
    Measured measured;
  };
  /// In the order in which they began first. None if there are no markers, or nobody asked.
  const std::vector<Phase>& phases() const { return phases_; }

 private:
  bool uses_phases() const;
  void remember(const std::string& label);
  void forget_passed(addrspace::u64 number);
  void begin(Snapshot now);
  void end_phase(const Measured& now);

  MeasuredPart part_;
  std::function<Snapshot()> look_;
  addrspace::u32 cold_;                    ///< vCPUs that have to warm up
  std::vector<addrspace::u64> markers_;    ///< that each vCPU came to
  std::set<std::string> labels_;           ///< of all markers
  std::vector<std::string> first_labels_;  ///< some of them, for messages
  std::deque<const std::string*> seen_;    ///< of the markers that not all vCPUs came to
  addrspace::u64 passed_by_all_ = 0, markers_seen_ = 0;
  std::string refusal_;            ///< why phases cannot be measured
  std::optional<Snapshot> begin_;  ///< what had been counted when the measurement began
  std::optional<Snapshot> whole_;
  std::optional<Measured> phase_begin_;
  std::string label_ = "start";  ///< of the phase that goes on
  std::vector<Phase> phases_;
  std::map<std::string, std::size_t> places_;  ///< in these, by the label
};

}  // namespace nestwalk::sim
