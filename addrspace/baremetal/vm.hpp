// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A guest with one processor and stage-1 tables of its own, which the engine builds in the guest's
// memory.
#pragma once

#include "nestwalk/addrspace/guest_memory.hpp"
#include "print.hpp"

namespace nestwalk::baremetal {

/// Frames of the guest's own, for its tables: handed out upwards, and reached through its space.
template <class Space>
class GuestFrames : public HalBase<GuestFrames<Space>, Gpa> {
 public:
  GuestFrames(Space& space, Gpa first) : space_(space), next_(first) {}

  Result<Gpa> alloc_run(unsigned order, FrameUse) {
    if (order != 0 || count_ == kMost) return Error::NoMemory;
    const Result<Window> window = space_.open_window(next_, kWrite);
    if (!window) return window.error();
    frames_[count_++] = {next_, space_.page_table().hal().phys_to_virt(window->address)};
    next_ += kFrameBytes;
    return frames_[count_ - 1].gpa;
  }
  void free_run(Gpa, unsigned) {}
  Hva phys_to_virt(Gpa at) const {
    return space_.page_table().hal().phys_to_virt(*space_.translate(at));
  }
  Gpa virt_to_phys(Hva at) const {
    for (const Frame& frame : frames_) {
      if (at - frame.hva < kFrameBytes) return frame.gpa + (at - frame.hva);
    }
    __builtin_trap();
  }
  void invalidate(const Invalidation<Gva>&) {}  // made before the guest runs
  Capabilities capabilities() const { return space_.page_table().hal().capabilities(); }

 private:
  static constexpr unsigned kMost = 16;
  struct Frame {
    Gpa gpa;
    Hva hva;
  };
  Space& space_;
  Gpa next_;
  Frame frames_[kMost] = {};
  unsigned count_ = 0;
};

/// `Handler`: bool(Gpa, Access), which says whether the guest may go on.
template <class Space, class Handler>
class Vm {
 public:
  using Tables = PageTable<GuestFormat, GuestFrames<Space>>;
  // The guest's virtual addresses are not its physical ones, so that it matters whether its own
  // tables are used.
  static constexpr u64 kVirtual = 4 * kGiB;
  static Gva gva(Gpa at) { return Gva(at.value() + kVirtual); }

  /// The guest's code lies at `code`; its tables will lie from `for_tables` on.
  Vm(Space& space, Gpa code, Gpa for_tables, Handler handler)
      : space_(space),
        code_(code),
        frames_(space, for_tables),
        kept_(made(frames_)),
        handler_(handler) {
    const GvaRange low_memory = *GvaRange::make(gva(Gpa(0)), 4 * kGiB);
    check(tables().map_region(low_memory, Gpa(0), {kRwx}).ok(), "the guest's tables are built");
    use();
  }

  /// Makes this the guest that runs.
  void use() { select_vm(space_.tag(), root_register()); }
  u64 root_register() { return guest_root_register(tables().root()); }
  u64 pc_of(const u8* routine) const {
    return gva(code_).value() + static_cast<u64>(routine - guest_begin);
  }
  Tables& tables() { return kept_.tables; }

  /// Runs the routine to its hypercall. False when the guest cannot go on.
  bool call(const u8* routine, GuestRegisters& registers) {
    faults = 0;
    u64 pc = pc_of(routine);
    for (;;) {
      last = run_guest_from(pc, registers);
      if (last.why == Exit::Why::Hypercall) return true;
      if (last.why == Exit::Why::Unexpected) {
        print_line("the guest stopped: syndrome ", last.syndrome, ", at ", pc);
        return false;
      }
      ++faults;
      if (!handler_(last.fault.gpa, last.fault.access)) return false;
      // Repeated faults at one place are an engine that does not help.
      if (faults > kMostFaults) return check(false, "faults come to an end");
    }
  }

  // Values that no guest stores.
  static constexpr u64 kStuck = 0xdead'0000'0000'0001;

  u64 load(Gva at) {
    GuestRegisters registers{at.value(), kStuck, 0};
    return call(guest_load, registers) ? registers.value : kStuck;
  }
  u64 load(Gpa at) { return load(gva(at)); }
  bool store(Gpa at, u64 value) {
    GuestRegisters registers{gva(at).value(), value, 0};
    return call(guest_store, registers);
  }
  /// Executes what lies there: guest_landing, if all is well.
  bool jump(Gpa to) {
    GuestRegisters registers{gva(to).value(), kStuck, 0};
    return call(guest_jump, registers) && registers.value == kLandingValue;
  }

  u64 faults = 0;  ///< of the last call
  Exit last;

 private:
  static constexpr u64 kMostFaults = 8;

  // They are in the guest's memory and go with it: nobody takes them apart.
  union Kept {
    explicit Kept(Tables&& made) : tables(static_cast<Tables&&>(made)) {}
    ~Kept() {}
    Tables tables;
  };

  static Tables made(GuestFrames<Space>& frames) {
    Result<Tables> tables = Tables::create(frames, kGuestShape);
    if (!check(tables.ok(), "a root for the guest's tables")) finish();
    return static_cast<Tables&&>(*tables);
  }

  Space& space_;
  Gpa code_;
  GuestFrames<Space> frames_;
  Kept kept_;
  Handler handler_;
};

}  // namespace nestwalk::baremetal
