// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The preset `simple` as a platform of one-nanosecond cycles, with the guest of
// models/testing/guest_tables.hpp whose tables have their accessed flags set: models/README.md
// works out what an access costs there. Whatever the kernel or a part has to complain about fails
// the test.
#pragma once

#include <gtest/gtest.h>

#include "guest_tables.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/models/machine/machine.hpp"
#include "nestwalk/systemc/platform.hpp"
#include "standard_parts.hpp"

namespace nestwalk::systemc {

using models::GuestTables;
using models::kFrameBytes;
using standard::fill;
using standard::ns;

/// Of the first access of all, to page 0: models/README.md, "A walk, cycle by cycle".
constexpr double kCold = 2001;
/// Of its line, then: L1 4, L2 10, L3 40, a bank without open row 150.
constexpr double kColdData = 204;

inline models::MachineShape simple(u32 cores = 1) {
  models::MachineShape shape = models::load_preset(NESTWALK_PRESETS "/simple.json").shape;
  shape.cores = cores;
  return shape;
}

inline void complain_by_throwing() {
  sc_core::sc_report_handler::set_actions(sc_core::SC_WARNING, sc_core::SC_THROW);
  sc_core::sc_report_handler::set_actions(sc_core::SC_ERROR, sc_core::SC_THROW);
  sc_core::sc_report_handler::set_actions(sc_core::SC_FATAL, sc_core::SC_THROW);
}

// The tables above the pages: as if the guest had run before (see models/tests/timeline_test.cpp).
inline void set_accessed_flags(models::HostMemory& memory) {
  const auto frame = [&](u64 n) { return memory.base() + n * kFrameBytes; };
  for (const models::Hpa entry : {frame(2) + 2 * 8, frame(10), frame(11)}) {
    memory.store(entry, memory.load(entry) | addrspace::LongMode::kAccessed);
  }
}

class PlatformTest : public testing::Test {
 protected:
  explicit PlatformTest(u32 cores = 1, Cycle lookahead = models::kNever)
      : initiator("initiator"),
        platform("platform", simple(cores), addrspace::kGiB, ns(1), lookahead) {
    complain_by_throwing();
    initiator.out.bind(platform.core[0].data);
  }
  /// Ends elaboration and lets the guest be there.
  void begin(u64 pages = 2) {
    sc_core::sc_start(sc_core::SC_ZERO_TIME);
    tables = std::make_unique<GuestTables>(platform.board(), pages);
    set_accessed_flags(platform.board().memory());
    for (u32 n = 0; n < platform.board().cores(); ++n) {
      platform.board().core(n).mmu->set_regime(tables->regime);
    }
  }
  static u64 page(u64 number, u64 offset = 0) {
    return GuestTables::kBase + number * kFrameBytes + offset;
  }
  /// What guest-physical page `number` holds at an offset: guest page n is host frame 7 or 13.
  u64& word_of(u64 number, u64 offset) {
    const u64 frame = number == 0 ? 7 : 13;
    models::HostMemory& memory = platform.board().memory();
    return *reinterpret_cast<u64*>(
        memory.pointer(memory.base() + frame * kFrameBytes + offset).value());
  }
  models::Mmu& mmu() { return *platform.board().core(0).mmu; }

  standard::Initiator initiator;
  Platform platform;
  std::unique_ptr<GuestTables> tables;
};

}  // namespace nestwalk::systemc
