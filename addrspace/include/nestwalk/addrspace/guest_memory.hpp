// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reading and writing guest memory on the guest's behalf.
//
// Every address is checked against areas and permissions, page by page; unbacked lazy pages are
// backed as the guest's own access would back them; writes reach the dirty log. The guest may
// change the memory at the same time, so it is read and written with relaxed atomic accesses, each
// as large as size and alignment permit: an aligned value of 1, 2, 4 or 8 bytes is never torn.
#pragma once

#include <concepts>
#include <type_traits>

#include "nestwalk/addrspace/address_space.hpp"

namespace nestwalk::addrspace {

/// Types for which any bytes that a guest may write are a value. Specialise it for structures of
/// such types.
template <class T>
inline constexpr bool kAnyBytesAreAValue =
    (std::is_integral_v<T> && !std::is_same_v<T, bool>) || std::is_floating_point_v<T>;
template <class T, unsigned long N>
inline constexpr bool kAnyBytesAreAValue<T[N]> = kAnyBytesAreAValue<T>;

template <class T>
concept GuestValue = kAnyBytesAreAValue<T> && std::is_trivially_copyable_v<T>;

/// How far a transfer came, and why not further.
struct Transfer {
  u64 bytes = 0;
  Result<void> status{};
};

template <class Space>
class GuestMemory {
 public:
  explicit GuestMemory(Space& space) : space_(space) {}

  Transfer read(Gpa from, void* to, u64 size) {
    u8* out = static_cast<u8*>(to);
    return transfer(from, size, kRead, [&](u8* guest, u64 bytes) {
      copy(guest, bytes, [&](auto* word) {
        const auto value = __atomic_load_n(word, __ATOMIC_RELAXED);
        __builtin_memcpy(out, &value, sizeof(value));
        out += sizeof(value);
      });
    });
  }

  Transfer write(Gpa to, const void* from, u64 size) {
    const u8* in = static_cast<const u8*>(from);
    return transfer(to, size, kWrite, [&](u8* guest, u64 bytes) {
      copy(guest, bytes, [&](auto* word) {
        std::remove_reference_t<decltype(*word)> value;
        __builtin_memcpy(&value, in, sizeof(value));
        __atomic_store_n(word, value, __ATOMIC_RELAXED);
        in += sizeof(value);
      });
    });
  }

  /// After an image was written for a guest that begins with its caches off (AArch64): until then
  /// it may only be in ours. Backs what is promised.
  Transfer publish(Gpa from, u64 size) {
    auto& hal = space_.page_table().hal();
    return transfer(from, size, kNoAccess, [&](u8* guest, u64 bytes) {
      hal.publish(hal.virt_to_phys(Hva(reinterpret_cast<std::uintptr_t>(guest))), bytes);
    });
  }

  template <GuestValue T>
  Result<T> load(Gpa from) {
    T value;
    const Transfer done = read(from, &value, sizeof(T));
    if (!done.status) return done.status.error();
    return value;
  }
  /// All of the value or nothing.
  template <GuestValue T>
  Result<void> store(Gpa to, const T& value) {
    const auto nothing = [](u8*, u64) {};
    const Transfer reachable = transfer(to, sizeof(T), kWrite, nothing);
    if (!reachable.status) return reachable.status;
    return write(to, &value, sizeof(T)).status;
  }

 private:
  template <class Part>
  Transfer transfer(Gpa at, u64 size, Access access, Part&& part) {
    Transfer done;
    if (const Result<GpaRange> range = GpaRange::make(at, size); !range) {
      done.status = range.error();
      return done;
    }
    while (done.bytes < size) {
      const Result<Window> window = space_.open_window(at + done.bytes, access);
      if (!window) {
        done.status = window.error();
        return done;
      }
      const u64 left = size - done.bytes;
      const u64 bytes = window->bytes < left ? window->bytes : left;
      part(pointer(window->address), bytes);
      done.bytes += bytes;
    }
    return done;
  }

  u8* pointer(Hpa at) const {
    return reinterpret_cast<u8*>(space_.page_table().hal().phys_to_virt(at).value());
  }

  // Cuts the bytes into the largest aligned words.
  template <class Word>
  static void copy(u8* guest, u64 bytes, Word&& word) {
    while (bytes != 0) {
      const u64 reach = reinterpret_cast<std::uintptr_t>(guest) | 8;
      u64 step = reach & (~reach + 1);
      while (step > bytes) step >>= 1;
      switch (step) {
        case 8:
          word(reinterpret_cast<u64*>(guest));
          break;
        case 4:
          word(reinterpret_cast<u32*>(guest));
          break;
        case 2:
          word(reinterpret_cast<u16*>(guest));
          break;
        default:
          word(guest);
      }
      guest += step;
      bytes -= step;
    }
  }

  Space& space_;
};

}  // namespace nestwalk::addrspace
