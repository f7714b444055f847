// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the engine needs from the hypervisor (or the simulator) around it.
//
// A Hal is an object, so that every VM may have its own allocator. `HalBase` supplies what most
// have in common; a minimal Hal adds six functions:
//
//   struct MyHal : HalBase<MyHal> {
//     Result<Hpa> alloc_run(unsigned order, FrameUse);    // 2^order frames, aligned to their size,
//                                                         // and what they are for: frame_use.hpp
//     void free_run(Hpa start, unsigned order);
//     Hva phys_to_virt(Hpa) const;
//     Hpa virt_to_phys(Hva) const;
//     void invalidate(const Invalidation<Gpa>&);          // carry out the fence: fence.hpp
//     Capabilities capabilities() const;                  // of the machine: capabilities.hpp
//   };
#pragma once

#include <concepts>

#include "nestwalk/addrspace/capabilities.hpp"
#include "nestwalk/addrspace/format/format.hpp"
#include "nestwalk/addrspace/frame_use.hpp"
#include "nestwalk/addrspace/invalidation.hpp"

namespace nestwalk::addrspace {

template <class H>
concept Hal = requires(H& hal, const H& const_hal, typename H::Physical physical, Hva virt,
                       unsigned order, FrameUse use, u64 entry, u64 bytes) {
  /// The space of frames: Hpa for a hypervisor, Gpa for a guest's own tables.
  typename H::Physical;

  // Frames and their addresses.
  { hal.alloc_frame(use) } -> std::same_as<Result<typename H::Physical>>;
  { hal.free_frame(physical) } -> std::same_as<void>;
  { const_hal.phys_to_virt(physical) } -> std::same_as<Hva>;
  { const_hal.virt_to_phys(virt) } -> std::same_as<typename H::Physical>;

  /// 2^order frames, aligned to their own size: wide roots, large granules, huge pages. The
  /// engine may give a run back in naturally aligned parts (a huge page that was split).
  { hal.alloc_run(order, use) } -> std::same_as<Result<typename H::Physical>>;
  { hal.free_run(physical, order) } -> std::same_as<void>;
  /// True where fresh frames hold zeros already, for guests without caches, too; else the engine
  /// zeroes them, and publishes those that guests will see.
  { H::kFramesComeZeroed } -> std::convertible_to<bool>;
  { hal.zero(physical, bytes) } -> std::same_as<void>;
  { hal.publish(physical, bytes) } -> std::same_as<void>;

  /// Table entries. A write is a single 8-byte store that makes all earlier stores visible first,
  /// so that a hardware walker never finds a table before its content.
  { const_hal.read_entry(physical) } -> std::same_as<u64>;
  { hal.write_entry(physical, entry) } -> std::same_as<void>;
  /// Replaces `expected` and says whether it was still there: for entries in which the hardware
  /// sets accessed and dirty bits.
  { hal.compare_exchange_entry(physical, entry, entry) } -> std::same_as<bool>;

  { const_hal.capabilities() } -> std::convertible_to<Capabilities>;
};

/// A Hal whose frames hold tables of format F and that knows the fences for its input addresses.
template <class H, class F>
concept HalFor = Hal<H> && Format<F> && std::same_as<typename H::Physical, typename F::Output> &&
    requires(H& hal, const Invalidation<typename F::Input>& invalidation) {
  { hal.invalidate(invalidation) } -> std::same_as<void>;
};

/// Makes memory look the same to observers without caches: an AArch64 guest that has not turned its
/// own on yet reads around ours (Arm ARM D7, "Mismatched memory attributes"). Elsewhere caches are
/// coherent with everybody.
inline void clean_to_memory([[maybe_unused]] u8* start, [[maybe_unused]] u64 bytes) {
#if defined(__aarch64__)
  u64 cache_type;
  asm volatile("mrs %0, ctr_el0" : "=r"(cache_type));
  const u64 line = u64{4} << (cache_type >> 16 & 0xf);  // DminLine: log2 of the words
  for (u64 at = 0; at < bytes; at += line) {
    asm volatile("dc civac, %0" : : "r"(start + at) : "memory");
  }
  asm volatile("dsb sy" : : : "memory");
#endif
}

template <class Derived, class PhysicalAddress = Hpa>
class HalBase {
 public:
  using Physical = PhysicalAddress;
  static constexpr bool kFramesComeZeroed = false;

  Result<Physical> alloc_frame(FrameUse use = {}) { return self().alloc_run(0, use); }
  void free_frame(Physical frame) { self().free_run(frame, 0); }

  void zero(Physical start, u64 bytes) { __builtin_memset(pointer<void>(start), 0, bytes); }
  void publish(Physical start, u64 bytes) { clean_to_memory(pointer<u8>(start), bytes); }
  // The builtins, because std::atomic_ref takes its values through memory.
  u64 read_entry(Physical slot) const {
    return __atomic_load_n(pointer<u64>(slot), __ATOMIC_ACQUIRE);
  }
  void write_entry(Physical slot, u64 entry) {
    __atomic_store_n(pointer<u64>(slot), entry, __ATOMIC_RELEASE);
  }
  bool compare_exchange_entry(Physical slot, u64 expected, u64 desired) {
    constexpr bool kMayFailSpuriously = false;
    return __atomic_compare_exchange_n(pointer<u64>(slot), &expected, desired, kMayFailSpuriously,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  }

 protected:
  template <class T>
  T* pointer(Physical at) const {
    return reinterpret_cast<T*>(self().phys_to_virt(at).value());
  }

 private:
  Derived& self() { return static_cast<Derived&>(*this); }
  const Derived& self() const { return static_cast<const Derived&>(*this); }
};

}  // namespace nestwalk::addrspace
