// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Where the cycles of software go: what each of its activities is called, and their sums.
#pragma once

#include <array>

#include "nestwalk/models/base/sums.hpp"
#include "nestwalk/models/time/process.hpp"
#include "nestwalk/models/translation/walk.hpp"
#include "nestwalk/models/translation/witness.hpp"
#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

using models::StepKind;

/// What the hypervisor and the guest's kernel do.
enum class Part : u8 {
  Exit,
  Lock,
  Handler,
  Tables,
  Frames,
  Zeroing,
  Fences,
  Emulation,
  Entry,
  Translation,  ///< of what the guest's kernel touches
  Exits,        ///< of the guest's kernel
};
inline constexpr std::size_t kParts = static_cast<std::size_t>(Part::Exits) + 1;
inline constexpr StepKind kPartSteps[kParts] = {
    {"exit", "left the guest"},
    {"lock", "waited for other vCPUs in the same software"},
    {"handler", "found out what to do"},
    {"table", "read or wrote an entry"},
    {"frames", "took or gave back frames"},
    {"zeroing", "zeroed frames"},
    {"fence", "invalidated translations"},
    {"emulation", "asked a model of a device"},
    {"entry", "went back into the guest"},
    {"translation", "translated an address of the guest's kernel"},
    {"exits", "left the guest's kernel for the hypervisor"}};

/// Entries that software read and wrote, by who had them.
using EntryCells = std::array<models::WalkTotals::Cell, models::WalkTotals::kSources>;

class PartCycles {
 public:
  Cycle& operator[](Part part) { return cycles_[static_cast<std::size_t>(part)]; }
  Cycle operator[](Part part) const { return cycles_[static_cast<std::size_t>(part)]; }
  Cycle sum() const {
    Cycle all = 0;
    for (const Cycle each : cycles_) all += each;
    return all;
  }

 private:
  std::array<Cycle, kParts> cycles_{};
};

/// Charges what software does, one part after the other, and tells the witness of the access that
/// it is done for, if there is one.
class Meter {
 public:
  Meter(models::Wheel& wheel, PartCycles& cycles, const char* whose, models::Witness* witness)
      : wheel_(wheel), cycles_(cycles), whose_(whose), witness_(witness), mark_(wheel.now()) {}

  models::Witness* witness() const { return witness_; }
  /// The time since the last charge.
  void charge(Part part) {
    const Cycle now = wheel_.now();
    if (now == mark_) return;
    cycles_[part] += now - mark_;
    mark_ = now;
    if (witness_ == nullptr) [[likely]]
      return;
    models::WitnessStep told;
    told.kind = &kPartSteps[static_cast<std::size_t>(part)];
    told.note = whose_;
    witness_->tell_rest(now, told);
  }
  /// What somebody else has measured of it.
  void add(const PartCycles& cycles) {
    models::add(cycles_, cycles);
    mark_ = wheel_.now();
  }

  /// Spends cycles on a part.
  template <class Wait>
  class Spending final : public Wait {
   public:
    Spending(Meter& meter, Part part, Cycle at)
        : Wait(meter.wheel_, at), meter_(&meter), part_(part) {}
    void await_resume() const { meter_->charge(part_); }

   private:
    Meter* meter_;
    Part part_;
  };
  Spending<models::Until> spend(Part part, Cycle cycles) {
    return {*this, part, wheel_.now() + cycles};
  }
  /// The same as an event on the wheel (EventAt).
  Spending<models::EventAt> spend_as_event(Part part, Cycle cycles) {
    return {*this, part, wheel_.now() + cycles};
  }

 private:
  models::Wheel& wheel_;
  PartCycles& cycles_;
  const char* whose_;
  models::Witness* witness_;
  Cycle mark_;
};

}  // namespace nestwalk::software
