// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The wheel of the models under SystemC's kernel.
//
// One method runs the wheel, ahead of the kernel's time as far as nobody can notice: up to the
// cycle before the kernel has anything else to do, and not beyond a cycle in which something
// happens that the outside sees. So the order of time is one, to the cycle, for the models and for
// whoever is bound to them; and a simulation without outsiders enters the kernel once.
//
// In which order the kernel runs the processes that are due in one delta cycle is its own choice.
// So what comes from outside has its turn after all that the models do in its cycle; and what comes
// in one delta cycle, in the order of the ports.
#pragma once

#include <systemc>

#include <map>
#include <vector>

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

  /// A number for somebody through whom the outside comes.
  virtual u32 add_port() = 0;
  /// What comes from outside, by that port: `actor` runs with `what` in that cycle, or as soon as
  /// it can, after all that the models do in it.
  virtual void enter(u32 port, Cycle at, models::Actor& actor, u32 what) = 0;
  /// Tells the kernel that something new is on the wheel.
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

class Timekeeper final : public sc_core::sc_module, public TimeInterface, private models::Actor {
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
  u32 add_port() override { return ports_++; }
  void enter(u32 port, Cycle at, models::Actor& actor, u32 what) override;
  void wake() override;
  void wait_for_outside() override { wheel_.stop_after(wheel_.now()); }
  void run_ahead() override;
  bool is_ahead() const override { return ahead_; }

 private:
  SC_HAS_PROCESS(Timekeeper);
  struct Arrival {
    u32 port;
    Cycle at;
    models::Actor* actor;
    u32 what;
    u64 delta;  ///< in which it came
  };

  void run();
  Cycle before_others() const;
  void admit(u64 before_delta);
  void on_cycle(u32) override;

  models::Wheel wheel_;
  sc_core::sc_time cycle_;
  Cycle lookahead_;
  bool ahead_ = false;
  u32 ports_ = 0;
  std::vector<Arrival> arrived_;                    ///< in the order in which it came
  std::map<Cycle, std::vector<Arrival>> admitted_;  ///< each cycle is an event on the wheel
  sc_core::sc_event due_;
};

}  // namespace nestwalk::systemc
