// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the host's program and the payload agree on: an image with tables and probes goes in, words
// come out.
#pragma once

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/addrspace/capabilities.hpp"
#include "nestwalk/addrspace/invalidation.hpp"

namespace nestwalk::baremetal {

using namespace addrspace;

/// Where things are in the machine's memory.
struct MemoryMap {
  u64 ram;
  u64 image;  ///< header, probes, tables
  u64 image_bytes;
  u64 firmware;  ///< the guest's code, at guest-physical 0; filled by the payload
  u64 data;      ///< what leaves point to; filled by the payload
  u64 answers;   ///< where the words go, if they are not printed
};
inline constexpr u64 kFirmwareBytes = 64 * kKiB;  // the largest page
inline constexpr u64 kDataFrames = 2048;

constexpr MemoryMap qemu_map(u64 ram) {
  return {ram, ram + 64 * kMiB, 30 * kMiB, ram + 94 * kMiB, ram + 96 * kMiB, ram + 112 * kMiB};
}
inline constexpr MemoryMap kRiscVMap = qemu_map(0x8000'0000);
inline constexpr MemoryMap kArmMap = qemu_map(0x4000'0000);
/// Bochs is given the image in its ROM: 2 MiB, which end with the payload's 128 KiB.
inline constexpr u64 kRomBytes = 2 * kMiB, kRomPayload = 128 * kKiB;
inline constexpr MemoryMap kX86Map = {0,         32 * kMiB, kRomBytes - kRomPayload,
                                      46 * kMiB, 48 * kMiB, 0};

struct ImageHeader {
  static constexpr u64 kMagic = 0x31'6265'626f'7270;  // "probeb1"
  u64 magic;
  VmTag tag;
  u64 probes;
  Capabilities machine;  ///< that the tables were made for
};

/// Bits 1:0 say how: 0 a load, 1 a store of the probe's number plus 1, 2 a jump; the rest is the
/// guest-physical address, a multiple of 8.
using Probe = u64;
inline constexpr u64 kLoads = 0, kStores = 1, kJumps = 2;
constexpr u64 kind_of(Probe probe) { return probe & 3; }
constexpr u64 address_of(Probe probe) { return probe & ~u64{7}; }

// A frame of data: words that hold their own address; code at kCodeAt, which returns the frame's
// number; and from kStoresAt words for stores, 0 at first.
inline constexpr u64 kCodeAt = 0x800, kStoresAt = 0xc00;

// The words that come out: for each probe the syndrome (0 without fault) and, then, the value; or
// the guest-physical address of the fault. Then, for each word of data that was stored to, its
// address and what it holds; then 0 and kMagic.

}  // namespace nestwalk::baremetal
