// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The whole engine as a kernel would have it: every format, every operation, over a Hal that has
// nothing but a static array of frames and the fences of the machine. It is compiled and linked,
// not run: see check_symbols.sh. Optimised, it has the formats of the machine that it is for, which
// is what a kernel compiles (of Arm's granules, the smallest and the largest): all take minutes.

#include "nestwalk/addrspace/device.hpp"
#include "nestwalk/addrspace/fence_execute.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/addrspace/guest_memory.hpp"
#include "nestwalk/addrspace/nested_fault.hpp"
#include "nestwalk/addrspace/phys_frame.hpp"
#include "nestwalk/addrspace/this_machine.hpp"
#include "nestwalk/addrspace/vmrun.hpp"

#if defined(__x86_64__) || !defined(__OPTIMIZE__)
#define NESTWALK_X86 1
#endif
#if defined(__aarch64__) || !defined(__OPTIMIZE__)
#define NESTWALK_ARM 1
#endif
#if defined(__riscv) || !defined(__OPTIMIZE__)
#define NESTWALK_RISCV 1
#endif

namespace nestwalk::addrspace {
namespace {

/// Takes the first free run, from the lowest frame on.
class FramePool {
 public:
  Result<u64> alloc(unsigned order) {
    const u64 count = u64{1} << order;
    for (u64 first = 0; first + count <= kFrames; first += count) {
      if (!is_free(first, count)) continue;
      set_used(first, count, true);
      return reinterpret_cast<std::uintptr_t>(memory_) + first * kFrameBytes;
    }
    return Error::NoMemory;
  }
  void free(u64 start, unsigned order) {
    const u64 first = (start - reinterpret_cast<std::uintptr_t>(memory_)) / kFrameBytes;
    set_used(first, u64{1} << order, false);
  }

 private:
  static constexpr u64 kFrames = 512;
  static constexpr u64 kBytes = kFrames * kFrameBytes;

  bool is_free(u64 first, u64 count) const {
    for (u64 n = 0; n < count; ++n) {
      if (used_[first + n]) return false;
    }
    return true;
  }
  void set_used(u64 first, u64 count, bool used) {
    for (u64 n = 0; n < count; ++n) used_[first + n] = used;
  }

  alignas(kBytes) u8 memory_[kBytes];
  bool used_[kFrames];
};

FramePool pool;  // zeros, no constructor to run

/// Of a kernel that maps physical memory one to one.
template <class Input, class PhysicalAddress, bool kZeroed>
class KernelHal : public HalBase<KernelHal<Input, PhysicalAddress, kZeroed>, PhysicalAddress> {
 public:
  using Physical = PhysicalAddress;
  static constexpr bool kFramesComeZeroed = kZeroed;

  KernelHal(const Capabilities& machine, FencePolicy policy) : machine_(machine), policy_(policy) {}

  Result<Physical> alloc_run(unsigned order, FrameUse) {
    const Result<u64> start = pool.alloc(order);
    if (!start) return start.error();
    if constexpr (kZeroed) this->zero(Physical(*start), kFrameBytes << order);
    return Physical(*start);
  }
  void free_run(Physical start, unsigned order) { pool.free(start.value(), order); }
  Hva phys_to_virt(Physical at) const { return Hva(at.value()); }
  Physical virt_to_phys(Hva at) const { return Physical(at.value()); }
  void invalidate(const Invalidation<Gpa>& change) requires std::same_as<Input, Gpa> {
    execute_fences(policy_, machine_, change);
  }
  // A guest's own tables: the guest sees to its fences.
  void invalidate(const Invalidation<Gva>& change) requires std::same_as<Input, Gva> {
    invalidated_ += change.leaves();
  }
  Capabilities capabilities() const { return machine_; }

 private:
  Capabilities machine_;
  FencePolicy policy_;
  u64 invalidated_ = 0;
};

constexpr MappingFlags kRw{kRead | kWrite};

struct Numbers {
  u64 input;
  u64 output;
  u64 size;
};

/// How many of a series of steps succeeded; the optimiser may not guess it.
class Tally {
 public:
  template <class T>
  void add(const Result<T>& result) {
    add(result.ok());
  }
  void add(bool done) { done_ += done ? 1 : 0; }
  void add_text(const char* text) { done_ += static_cast<unsigned char>(*text); }
  u64 done() const { return done_; }

 private:
  u64 done_ = 0;
};

// Page tables ------------------------------------------------------------------------------------

template <class Table>
void single_leaves(Table& table, typename Table::Input at, typename Table::Output to,
                   Tally& tally) {
  tally.add(table.map(at, to, Table::kPageBytes, kRw));
  tally.add(table.query(at));
  tally.add(table.translate(at));
  tally.add(table.entry(at));
  tally.add(table.protect(at, {kRead}));
  tally.add(table.remap(at, to, kRw));
  tally.add(table.unmap(at));
}

template <class Table>
void regions(Table& table, typename Table::InputRange range, typename Table::Output to,
             Tally& tally) {
  tally.add(table.map_region(range, to, kRw));
  tally.add(table.protect_region(range, {kRead}));
  tally.add(table.remap_region(range, to, kRw));
  table.for_each_leaf(range, [&](auto, const auto& leaf) { tally.add(leaf.dirty); });
  tally.add(table.unmap_region(range));
  tally.add(table.map_owned_region(range, kRw, 1));
  tally.add(table.unmap_region(range));
}

template <class F, class H>
void use_table(H& hal, const Result<Geometry>& geometry, const Numbers& numbers, Tally& tally) {
  using Table = PageTable<F, H>;
  if (!geometry) return;
  Result<Table> made = Table::create(hal, *geometry, 1);
  if (!made) return;
  Table table(static_cast<Table&&>(*made));
  const typename F::Input at(numbers.input);
  const auto range = Table::InputRange::make(at, numbers.size);
  if (!range) return;
  single_leaves(table, at, typename F::Output(numbers.output), tally);
  regions(table, *range, typename F::Output(numbers.output), tally);
  tally.add(table.format().malformed(numbers.output, 0));
  tally.add(table.usage().tables != 0 && table.alive() && table.hardware_tracks_dirty());
}

// Address spaces ---------------------------------------------------------------------------------

template <class Space>
void map_all_ways(Space& space, const Numbers& numbers, Tally& tally) {
  const Gpa at(numbers.input);
  tally.add(space.map_linear(at, Hpa(numbers.output), numbers.size, kRw));
  tally.add(space.protect(at, numbers.size, {kRead}));
  tally.add(space.unmap(at, numbers.size));
  tally.add(space.map_alloc(at, numbers.size, kRw, Backend::eager(1)));
  tally.add(space.unmap(at, numbers.size));
  tally.add(space.map_alloc(at, numbers.size, kRw, Backend::lazy(4, 1)));
  tally.add_text(to_string(space.handle_fault(at, kWrite)));
}

template <class Space>
void look_around(Space& space, const Numbers& numbers, Tally& tally) {
  const Gpa at(numbers.input);
  tally.add(space.query(at));
  tally.add(space.translate(at));
  tally.add(space.window(at, kRead));
  tally.add(space.open_window(at, kWrite));
  tally.add(space.contains(at, numbers.size));
  tally.add(space.area_at(at) != nullptr);
  tally.add(space.usage() == SpaceUsage());
  tally.add(space.config().registers.root_register != 0);
  tally.add(space.page_table().alive());
  space.for_each_area([&](const Area& area) { tally.add(area.joins(area)); });
  space.for_each_run(space.range(), [&](const MappedRun& run) { tally.add(run.size != 0); });
}

template <class Space>
void log_dirty_pages(Space& space, DirtyTracking how, Tally& tally) {
  tally.add(space.start_dirty_log(how));
  tally.add(space.dirty_tracking() == how);
  tally.add(space.harvest_dirty_log(space.range(), [&](GpaRange run) { tally.add(run.empty()); }));
  tally.add(space.stop_dirty_log());
}

template <class Space>
void access_memory(Space& space, const Numbers& numbers, Tally& tally) {
  const Gpa at(numbers.input);
  GuestMemory<Space> memory(space);
  u8 bytes[64];
  tally.add(memory.read(at, bytes, sizeof(bytes)).status);
  tally.add(memory.write(at, bytes, sizeof(bytes)).status);
  tally.add(memory.template load<u8>(at));
  tally.add(memory.template load<u16>(at));
  tally.add(memory.template load<u32>(at));
  tally.add(memory.template load<u64>(at));
  tally.add(memory.store(at, u8{1}));
  tally.add(memory.store(at, u16{1}));
  tally.add(memory.store(at, u32{1}));
  tally.add(memory.store(at, u64{1}));
}

template <class F, class H>
void use_space(H& hal, const Result<Geometry>& geometry, const Numbers& numbers, Tally& tally) {
  using Space = AddressSpace<F, H>;
  const Result<GpaRange> range = GpaRange::make(Gpa(0), u64{1} << 32);
  if (!geometry || !range) return;
  Result<Space> made = Space::create(hal, *geometry, *range, 1);
  if (!made) return;
  Space space(static_cast<Space&&>(*made));
  map_all_ways(space, numbers, tally);
  look_around(space, numbers, tally);
  log_dirty_pages(space, DirtyTracking::WriteProtection, tally);
  log_dirty_pages(space, DirtyTracking::Hardware, tally);
  access_memory(space, numbers, tally);
  space.clear();
}

// All formats ------------------------------------------------------------------------------------

template <class H>
void use_frames(H& hal, Tally& tally) {
  Result<PhysFrame<H>> frame = PhysFrame<H>::alloc_zero(hal);
  if (!frame) return;
  PhysFrame<H> held(static_cast<PhysFrame<H>&&>(*frame));
  held.fill(1);
  tally.add(*held.data() == 1);
  PhysFrame<H> adopted = PhysFrame<H>::adopt(hal, held.release());
  held = static_cast<PhysFrame<H>&&>(adopted);
  tally.add(static_cast<bool>(held));
}

template <class F, class H>
void use_nested(H& hal, const Result<Geometry>& geometry, const Numbers& numbers, Tally& tally) {
  use_table<F>(hal, geometry, numbers, tally);
  use_space<F>(hal, geometry, numbers, tally);
}

#ifdef NESTWALK_ARM
template <Granule kGranule, Width kWidth, class NestedHal, class GuestHal>
void use_arm(NestedHal& hal, GuestHal& guest, unsigned bits, const Numbers& numbers, Tally& tally) {
  using Nested = Stage2<kGranule, kWidth>;
  using Guest = Stage1<kGranule, kWidth>;
  use_nested<Nested>(hal, Nested::geometry(bits), numbers, tally);
  use_table<Guest>(guest, Guest::geometry(bits), numbers, tally);
  use_table<Guest>(guest, Guest::geometry(bits, VaHalf::Upper), numbers, tally);
}
#endif

void use_formats(const Capabilities& machine, FencePolicy policy, unsigned levels,
                 const Numbers& numbers, Tally& tally) {
  KernelHal<Gpa, Hpa, false> hal(machine, policy);
  KernelHal<Gva, Gpa, false> guest(machine, policy);
  use_frames(hal, tally);
  use_frames(guest, tally);
#ifdef NESTWALK_X86
  use_nested<Ept>(hal, Ept::geometry(levels), numbers, tally);
  use_nested<Npt>(hal, Npt::geometry(levels), numbers, tally);
  use_table<LongMode>(guest, LongMode::geometry(levels), numbers, tally);
#endif
#ifdef NESTWALK_RISCV
  use_nested<GStage>(hal, GStage::geometry(levels), numbers, tally);
  use_table<Sv>(guest, Sv::geometry(levels), numbers, tally);
#endif
#ifdef NESTWALK_ARM
  const unsigned bits = 12 + 9 * levels;
  use_arm<Granule::k4K, Width::k48>(hal, guest, bits, numbers, tally);
  use_arm<Granule::k64K, Width::k52>(hal, guest, bits, numbers, tally);
#ifndef __OPTIMIZE__
  use_arm<Granule::k4K, Width::k52>(hal, guest, bits, numbers, tally);
  use_arm<Granule::k16K, Width::k48>(hal, guest, bits, numbers, tally);
  use_arm<Granule::k16K, Width::k52>(hal, guest, bits, numbers, tally);
  use_arm<Granule::k64K, Width::k48>(hal, guest, bits, numbers, tally);
#endif
#endif
}

// The frames make no difference to a format, so one of each kind will do.
void use_zeroed_frames(const Capabilities& machine, FencePolicy policy, unsigned levels,
                       const Numbers& numbers, Tally& tally) {
  KernelHal<Gpa, Hpa, true> hal(machine, policy);
  KernelHal<Gva, Gpa, true> guest(machine, policy);
  use_frames(hal, tally);
  use_nested<GStage>(hal, GStage::geometry(levels), numbers, tally);
  use_table<Sv>(guest, Sv::geometry(levels), numbers, tally);
}

// What lies beside the engine --------------------------------------------------------------------

void print_addresses(const Numbers& numbers, Tally& tally) {
  tally.add_text(to_text(Gva(numbers.input)).c_str());
  tally.add_text(to_text(Hva(numbers.input)).c_str());
  tally.add_text(to_upper_text(Hpa(numbers.output)).c_str());
  if (const auto range = GpaRange::make(Gpa(numbers.input), numbers.size)) {
    tally.add_text(to_text(*range).c_str());
    if (const auto pages = Pages<Gpa>::of(*range, kFrameBytes)) {
      for (const Gpa page : *pages) tally.add(page.value() != 0);
    }
  }
}

void print_the_rest(u64 number, Tally& tally) {
  tally.add_text(to_text(MappingFlags{Access(static_cast<u8>(number))}).c_str());
  tally.add_text(to_string(static_cast<MemoryType>(number % kMemoryTypeCount)));
  tally.add_text(to_string(static_cast<Error>(number % kErrorCount)));
  tally.add_text(to_string(class_of(static_cast<Error>(number % kErrorCount))));
  tally.add_text(to_string(static_cast<Architecture>(number % 3)));
  tally.add_text(to_string(*kFencePolicies[number % 7]));
  const Fence fence{stage2::kFences[number % (sizeof(stage2::kFences) / sizeof(FenceOp))]};
  tally.add_text(to_text(fence).c_str());
  tally.add(fence.op.is_broadcast());
}

void decode_faults(u64 number, Tally& tally) {
  const NestedFault decoded[] = {
      vmx::ept_violation(number, number), vmx::ept_misconfiguration(number),
      svm::nested_page_fault(number, number), stage2::nested_abort(number, number, number),
      hext::guest_page_fault(number, number, number, number)};
  for (const NestedFault& fault : decoded) tally.add(fault == decoded[0]);
}

void use_devices(u64 number, Tally& tally) {
  const Port port(static_cast<u16>(number));
  const SysRegAddr reg(number);
  const Result<AccessWidth> width = access_width(number);
  if (width) tally.add_text(to_string(*width));
  if (width) tally.add(bits_range(*width) == BitRange{0, bit_count(*width)});
  tally.add(PortRange{port, port}.contains(port) && SysRegRange{reg, reg}.contains(reg));
  tally.add_text(to_text(port).c_str());
  tally.add_text(to_hex_text(port).c_str());
  tally.add_text(to_upper_hex_text(port).c_str());
  tally.add_text(to_text(reg).c_str());
  tally.add_text(to_hex_text(reg).c_str());
  tally.add_text(to_upper_hex_text(reg).c_str());
  tally.add_text(to_text(PortRange{port, port}).c_str());
  tally.add_text(to_hex_text(PortRange{port, port}).c_str());
  tally.add_text(to_text(SysRegRange{reg, reg}).c_str());
  tally.add_text(to_hex_text(SysRegRange{reg, reg}).c_str());
}

}  // namespace

// And every member that nothing above calls.
#ifdef NESTWALK_X86
template class AddressSpace<Ept, KernelHal<Gpa, Hpa, false>>;
template class PageTable<Ept, KernelHal<Gpa, Hpa, false>>;
template class AddressSpace<Npt, KernelHal<Gpa, Hpa, false>>;
template class GuestMemory<AddressSpace<Ept, KernelHal<Gpa, Hpa, false>>>;
#endif
#ifdef NESTWALK_ARM
template class AddressSpace<Stage2<Granule::k64K, Width::k52>, KernelHal<Gpa, Hpa, false>>;
template class PageTable<Stage1<Granule::k4K>, KernelHal<Gva, Gpa, false>>;
#endif
#ifdef NESTWALK_RISCV
template class AddressSpace<GStage, KernelHal<Gpa, Hpa, false>>;
template class PageTable<Sv, KernelHal<Gva, Gpa, false>>;
#endif
template class PhysFrame<KernelHal<Gpa, Hpa, false>>;
template class Invalidation<Gpa>;
template class Invalidation<Gva>;

}  // namespace nestwalk::addrspace

/// Everything hangs on this, and on numbers that no compiler knows.
extern "C" std::uint64_t nestwalk_use_everything(std::uint64_t ept_vpid_cap, std::uint64_t mmfr0,
                                                 std::uint64_t mmfr1, unsigned policy,
                                                 unsigned levels, std::uint64_t number);
extern "C" std::uint64_t nestwalk_use_everything(std::uint64_t ept_vpid_cap, std::uint64_t mmfr0,
                                                 std::uint64_t mmfr1, unsigned policy,
                                                 unsigned levels, std::uint64_t number) {
  using namespace nestwalk::addrspace;
  Tally tally;
  const FencePolicy fences = *kFencePolicies[policy % 6];
  const Numbers numbers{number, number << 1, number & ~low_mask(kFrameShift)};
  const Capabilities x86 = capabilities_from_ept_vpid_cap(ept_vpid_cap, 48);
  const Capabilities arm = capabilities_from_id_registers(mmfr0, mmfr1);
  use_formats(this_machine(), fences, levels, numbers, tally);
  execute_retirement(x86, VmTag{number, number, 1});
  execute_rollover(x86);
  execute_first_entry(VmTag{number, number, 1});
  execute_vcpu_switch(x86, VmTag{number, number, 1});
#ifdef __x86_64__
  tally.add(svm::this_machine().flush_by_asid);
  svm::TlbControl next;
  svm::execute_retirement(x86, VmTag{number, number, 1}, next);
  svm::execute_rollover(x86, next);
  svm::execute_vcpu_switch(x86, VmTag{number, number, 1}, next);
  const Invalidation<Gpa> change(Cause::Unmap, VmTag{number, number, 1}, Gpa(number));
  svm::execute_fences(fences, x86, change, next);
  tally.add(next.take() != 0);
#endif
  use_formats(x86, fences, levels, numbers, tally);
  use_zeroed_frames(capabilities_from_hgatp(5, 14), fences, levels, numbers, tally);
  use_zeroed_frames(arm, fences, levels, numbers, tally);
  print_addresses(numbers, tally);
  print_the_rest(number, tally);
  decode_faults(number, tally);
  use_devices(number, tally);
  return tally.done();
}
