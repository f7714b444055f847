// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A hypervisor that changes the second stage under a running guest.

#include "common.hpp"

namespace nestwalk::traces {
namespace {

constexpr u64 kPermitAll = kPermitRead | kPermitWrite | kPermitExecute;

Event operation(Operation kind, u64 page, u64 bytes) {
  return {0, HypervisorOperation{kind, Gpa(kGpaBase + page * kPageBytes), bytes,
                                 kind == Operation::Map ? kPermitAll : 0}};
}

// A random word, its GPA at the same place as its GVA.
Access random_word(AccessMaker& make, u64 bytes, u64 write_percent) {
  const u64 offset = make.random().below(bytes / 8) * 8;
  return with_gpa(make.read_or_write(kGvaBase + offset, write_percent), kGpaBase + offset);
}

// Random words; after each period, the hypervisor does something to random pages.
template <class Act>
void run_under_hypervisor(const Values& values, Writer& writer, Act&& act) {
  AccessMaker make(values);
  const u64 bytes = values["bytes"];
  const u64 write_percent = values["write_percent"];
  const u64 accesses = values["accesses"];
  const u64 period = values["period"];
  const auto random_page = [&] { return make.random().below(bytes / kPageBytes); };
  for (u64 n = 0; n < accesses; ++n) {
    writer.append(0, random_word(make, bytes, write_percent));
    if ((n + 1) % period == 0) act(random_page);
  }
}

constexpr Parameter kMigrationParameters[] = {
    accesses_parameter(1'000'000),
    bytes_parameter(16 * kMiB),
    {"period", 1000, 1, kMany, "accesses from one migration to the next"},
    kWritePercent,
    kInstructions,
    kSeed};

void run_migration(const Values& values, Writer& writer) {
  run_under_hypervisor(values, writer, [&](auto&& random_page) {
    const u64 page = random_page();
    writer.append(0, operation(Operation::Unmap, page, kPageBytes));
    writer.append(0, operation(Operation::Map, page, kPageBytes));
  });
}

constexpr Parameter kUnmapStormParameters[] = {
    accesses_parameter(1'000'000),
    bytes_parameter(16 * kMiB),
    {"period", 10'000, 1, kMany, "accesses from one storm to the next"},
    {"burst", 64, 1, 1'000'000, "pages that a storm unmaps; the guest faults them in again"},
    kWritePercent,
    kInstructions,
    kSeed};

void run_unmap_storm(const Values& values, Writer& writer) {
  const u64 burst = values["burst"];
  run_under_hypervisor(values, writer, [&](auto&& random_page) {
    for (u64 k = 0; k < burst; ++k) {
      writer.append(0, operation(Operation::Unmap, random_page(), kPageBytes));
    }
  });
}

}  // namespace

const Generator kMigration{"migration",          "random words while pages move, one at a time",
                           kMigrationParameters, kLacksOfGpa | kNoSpaces | kNoFences,
                           accesses_said,        run_migration};
const Generator kUnmapStorm{"unmap-storm",         "random words while many pages go away at once",
                            kUnmapStormParameters, kLacksOfGpa | kNoSpaces | kNoFences,
                            accesses_said,         run_unmap_storm};

}  // namespace nestwalk::traces
