// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Writes what a hypervisor does to its nested tables as lines of text, for `nestwalk check` to find
// the fences that are missing. Needs no C library: lines go to a function, such as a serial port's.
//
//   FenceLog log([](const char* line) { uart_puts(line); });
//   log.vm(1, "ept", root, vpid, eptp);
//   RecordedHal<MyHal, decltype(log)> hal(log, ...);   // the engine's stores and frames
//   log.fence(Fence{...}, 1);                          // beside each instruction that is executed
#pragma once

#include "nestwalk/addrspace/fence.hpp"
#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::addrspace {

/// When, and on which processor.
struct FenceLogTime {
  u64 cycle = 0;
  u32 processor = 0;
};
struct NoFenceLogClock {
  FenceLogTime operator()() const { return {}; }
};

/// Sink: called with zero-terminated text, which is to be appended. Clock: called before each line.
template <class Sink, class Clock = NoFenceLogClock>
class FenceLog {
 public:
  using Line = Text<192>;

  explicit FenceLog(Sink sink, Clock clock = {}) : sink_(sink), clock_(clock) {
    sink_("nestwalk-fence-log 1\n");
  }

  /// `format` is "ept", "npt", "stage2-4k", "sv39x4", ...; `more` further properties: "levels=5
  /// dirty". `root_register` is the EPTP, nCR3, VTTBR_EL2 or hgatp.
  void vm(u32 id, const char* format, Hpa root, u16 vmid, u64 root_register,
          const char* more = "") {
    Line line = begun("vm");
    line.add_decimal(id).add(' ').add(format).add(" root=").add_hex(root.value());
    line.add(" vmid=").add_decimal(vmid).add(" register=").add_hex(root_register);
    write(line.add(' ').add(more));
  }
  void destroy(u32 vm) { write(begun("destroy").add_decimal(vm)); }
  void enter(u32 vm) { write(begun("enter").add_decimal(vm)); }
  void exit(u32 vm) { write(begun("exit").add_decimal(vm)); }
  void fault(u32 vm, Gpa gpa, Access access) {
    Line line = begun("fault").add_decimal(vm).add(' ').add_hex(gpa.value());
    write(line.add(access.has(kWrite) ? " write" : access.has(kExecute) ? " execute" : " read"));
  }
  void begin(const char* operation) { write(begun("begin").add(operation)); }
  void end() { write(begun("end")); }
  void store(Hpa slot, u64 before, u64 after) {
    Line line = begun("store").add_hex(slot.value());
    write(line.add(' ').add_hex(before).add(' ').add_hex(after));
  }
  /// `vm` is the one that VTTBR_EL2 or hgatp holds.
  void fence(const Fence& fence, u32 vm) {
    write(begun("fence").add_decimal(vm).add(' ').add(to_text(fence).c_str()));
  }
  void free(Hpa first, u64 bytes) { frames("free", first, bytes); }
  void alloc(Hpa first, u64 bytes) { frames("alloc", first, bytes); }

 private:
  Line begun(const char* event) const {
    const FenceLogTime now = clock_();
    Line line;
    return line.add_decimal(now.cycle)
        .add(' ')
        .add_decimal(now.processor)
        .add(' ')
        .add(event)
        .add(' ');
  }
  void frames(const char* event, Hpa first, u64 bytes) {
    write(begun(event).add_hex(first.value()).add(' ').add_hex(bytes));
  }
  // What a line cannot hold is cut off: the reader says so.
  void write(const Line& line) {
    sink_(line.c_str());
    sink_("\n");
  }

  Sink sink_;
  Clock clock_;
};

/// A Hal whose entry stores and frames are logged. Its `invalidate` stays its own: the instructions
/// are logged where they are executed.
template <class Base, class Log>
class RecordedHal : public Base {
 public:
  template <class... Arguments>
  explicit RecordedHal(Log& log, Arguments&&... arguments)
      : Base(static_cast<Arguments&&>(arguments)...), log_(&log) {}

  Result<Hpa> alloc_frame(FrameUse use) { return alloc_run(0, use); }
  void free_frame(Hpa frame) { free_run(frame, 0); }
  Result<Hpa> alloc_run(unsigned order, FrameUse use) {
    const Result<Hpa> run = Base::alloc_run(order, use);
    if (run) log_->alloc(*run, kFrameBytes << order);
    return run;
  }
  void free_run(Hpa first, unsigned order) {
    log_->free(first, kFrameBytes << order);
    Base::free_run(first, order);
  }
  void write_entry(Hpa slot, u64 entry) {
    const u64 before = Base::read_entry(slot);
    Base::write_entry(slot, entry);
    log_->store(slot, before, entry);
  }
  bool compare_exchange_entry(Hpa slot, u64 expected, u64 desired) {
    if (!Base::compare_exchange_entry(slot, expected, desired)) return false;
    log_->store(slot, expected, desired);
    return true;
  }

 private:
  Log* log_;
};

}  // namespace nestwalk::addrspace
