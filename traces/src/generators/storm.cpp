// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Guests on several vCPUs while their hypervisor does everything that changes a second stage.

#include <vector>

#include <algorithm>

#include "common.hpp"

namespace nestwalk::traces {
namespace {

constexpr Parameter kStormParameters[] = {
    {"vcpus", 4, 1, 64, "how many vCPUs run at once"},
    {"accesses", 100'000, 1, kMany, "accesses per vCPU"},
    bytes_parameter(16 * kMiB, kMostTabulated),
    {"period", 200, 1, kMany, "accesses of a vCPU from one operation to the next"},
    {"burst", 16, 1, 512, "pages of an operation, at most"},
    kWritePercent,
    kInstructions,
    kSeed};

u64 storm_accesses(const Values& values) { return values["vcpus"] * values["accesses"]; }

/// What a hypervisor does next, so that each operation finds something to do: pages that it takes
/// away or protects come back later.
class Storm {
 public:
  Storm(u64 seed, Writer& writer, u64 pages, u64 burst)
      : random_(seed), writer_(writer), pages_(pages), burst_(burst < pages ? burst : pages) {}

  void act(u32 vcpu) {
    const u64 count = 1 + random_.below(burst_);
    const u64 first = random_.below(pages_ - count + 1);
    switch (random_.below(8)) {
      case 0:
        return put(vcpu, Operation::Map, first, count);
      case 1:
      case 2:
        return put(vcpu, Operation::Unmap, first, count);
      case 3:
      case 4:
        return toggle(vcpu, protected_, Operation::Protect, Operation::Protect, first, count);
      case 5:
        return toggle(vcpu, ballooned_, Operation::BalloonInflate, Operation::BalloonDeflate, first,
                      count);
      default:
        return log(vcpu);
    }
  }

 private:
  struct Pages {
    u64 first = 0;
    u64 count = 0;  ///< 0: none
  };

  void put(u32 vcpu, Operation kind, u64 first, u64 count, u64 flags = 0) {
    constexpr u64 kAll = kPermitRead | kPermitWrite | kPermitExecute;
    if (kind == Operation::Map) flags = kAll;
    writer_.append(vcpu, {0, HypervisorOperation{kind, Gpa(kGpaBase + first * kPageBytes),
                                                 count * kPageBytes, flags}});
  }
  // The one, and for the same pages the other when its turn comes again.
  void toggle(u32 vcpu, Pages& pages, Operation there, Operation back, u64 first, u64 count) {
    constexpr u64 kReadOnly = kPermitRead | kPermitExecute;
    if (pages.count == 0) {
      pages = {first, count};
      return put(vcpu, there, first, count, kReadOnly);
    }
    put(vcpu, back, pages.first, pages.count, kReadOnly | kPermitWrite);
    pages = {};
  }
  void log(u32 vcpu) {
    const bool ends = logging_ && random_.below(4) == 0;
    put(vcpu,
        !logging_ ? Operation::DirtyLogStart
        : ends    ? Operation::DirtyLogStop
                  : Operation::DirtyLogHarvest,
        0, 0);
    logging_ = !ends;
  }

  Random random_;
  Writer& writer_;
  u64 pages_;
  u64 burst_;
  Pages protected_;
  Pages ballooned_;
  bool logging_ = false;
};

// The accesses of all vCPUs are to the same memory; the operations go round among them. What a vCPU
// does, and the operations, do not depend on how many vCPUs there are. The operations come in this
// order, however fast the vCPUs are: a deflate needs its inflate.
void run_storm(const Values& values, Writer& writer) {
  Random seeds(values["seed"]);
  const u64 bytes = values["bytes"];
  const u64 period = values["period"];
  const u64 write_percent = values["write_percent"];
  Storm storm(seeds.next(), writer, bytes / kPageBytes, values["burst"]);
  std::vector<AccessMaker> vcpus;
  for (u64 vcpu = 0; vcpu < values["vcpus"]; ++vcpu) vcpus.emplace_back(values, seeds.next());
  for (u64 n = 0; n < values["accesses"]; ++n) {
    u32 vcpu = 0;
    for (AccessMaker& make : vcpus) {
      const u64 offset = make.random().below(bytes / 8) * 8;
      writer.append(vcpu++, with_gpa(make.read_or_write(kGvaBase + offset, write_percent),
                                     kGpaBase + offset));
    }
    if ((n + 1) % period != 0) continue;
    const auto actor = static_cast<u32>(n / period % vcpus.size());
    const u64 clock = (n + 1) * std::max<u64>(values["instructions"], 1);
    if (vcpus.size() > 1) writer.append(actor, Event{0, TimeSync{clock}});
    storm.act(actor);
  }
}

}  // namespace

const Generator kStorm{
    "storm",          "vCPUs at work while their hypervisor maps, unmaps, protects and logs",
    kStormParameters, kLacksOfGpa | kNoSpaces | kNoFences,
    storm_accesses,   run_storm};

}  // namespace nestwalk::traces
