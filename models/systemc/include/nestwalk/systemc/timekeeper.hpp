// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The wheel of the models under SystemC's kernel.
//
// One method runs the wheel, ahead of the kernel's time as far as nobody can notice: up to the
// cycle before the kernel has anything else to do, and not beyond a cycle in which something
// happens that the outside sees. So the order of time is one, to the cycle, for the models and for
// whoever is bound to them; and a simulation without outsiders enters the kernel once.
#pragma once

#include <systemc>

#include "nestwalk/models/time/wheel.hpp"

namespace nestwalk::systemc {

using models::Cycle;
using models::u32;
using models::u64;
using models::u8;

/// What the modules need of time.
class TimeInterface : public virtual sc_core::sc_interface {
 public:
  virtual models::Wheel& wheel() = 0;
  /// How long a cycle is.
  virtual const sc_core::sc_time& cycle() const = 0;
  sc_core::sc_time time_of(Cycle at) const {
    return sc_core::sc_time::from_value(at * cycle().value());
  }
  /// The kernel's time ends a little later: nothing is due after this one.
  Cycle last_cycle() const { return kMostTime / cycle().value(); }
  /// The first cycle that does not begin before then.
  virtual Cycle cycle_from(const sc_core::sc_time& time) const = 0;

  /// Tells the kernel that something new is on the wheel. For whoever comes from outside.
  virtual void wake() = 0;
  /// Tells the wheel that the outside has to hear of this cycle before it may go on.
  virtual void wait_for_outside() = 0;
  /// Runs ahead of the kernel's time until somebody calls wait_for_outside.
  virtual void run_ahead() = 0;
  /// Within run_ahead: nobody outside can be waited for.
  virtual bool is_ahead() const = 0;

 private:
  static constexpr u64 kMostTime = u64{1} << 62;  ///< of 2^64 that sc_time counts
};

class Timekeeper final : public sc_core::sc_module, public TimeInterface {
 public:
  /// Runs at most `lookahead` cycles at a time. No result depends on it.
  explicit Timekeeper(const sc_core::sc_module_name& name,
                      const sc_core::sc_time& cycle = sc_core::sc_time(1, sc_core::SC_NS),
                      Cycle lookahead = models::kNever);

  /// From now on. For whoever wants to look at the models in between.
  void run_at_most(Cycle lookahead) { lookahead_ = lookahead; }

  models::Wheel& wheel() override { return wheel_; }
  const sc_core::sc_time& cycle() const override { return cycle_; }
  Cycle cycle_from(const sc_core::sc_time& time) const override;
  void wake() override;
  void wait_for_outside() override { wheel_.stop_after(wheel_.now()); }
  void run_ahead() override;
  bool is_ahead() const override { return ahead_; }

 private:
  SC_HAS_PROCESS(Timekeeper);
  void run();
  Cycle before_others() const;

  models::Wheel wheel_;
  sc_core::sc_time cycle_;
  Cycle lookahead_;
  bool ahead_ = false;
  sc_core::sc_event due_;
};

}  // namespace nestwalk::systemc
