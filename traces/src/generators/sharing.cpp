// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Several processes, several CPUs.

#include "common.hpp"

namespace nestwalk::traces {
namespace {

// Where the root tables of the generated processes would lie.
constexpr u64 root_of(u64 process) { return (process + 1) * kPageBytes; }

Event switch_to(u64 process) {
  return {1, SpaceSwitch{root_of(process), process + 1, Precision::Exact}};
}

constexpr Parameter kForkParameters[] = {
    accesses_parameter(1'000'000),
    bytes_parameter(16 * kMiB, kMostTabulated),
    {"slice", 1000, 1, kMany, "accesses of parent or child before the other one runs"},
    kWritePercent,
    kInstructions,
    kSeed};

// Parent and child share each frame until one of them writes to it and gets a copy.
void run_fork(const Values& values, Writer& writer) {
  AccessMaker make(values);
  const u64 pages = values["bytes"] / kPageBytes;
  std::vector<u64> frames[2] = {std::vector<u64>(pages), std::vector<u64>(pages)};
  const u64 accesses = values["accesses"];
  const u64 slice = values["slice"];
  const u64 write_percent = values["write_percent"];
  for (u64 page = 0; page < pages; ++page) frames[0][page] = frames[1][page] = page;
  u64 next_frame = pages;
  for (u64 n = 0; n < accesses; ++n) {
    const u64 process = n / slice % 2;
    if (n % slice == 0) writer.append(0, switch_to(process));
    const u64 page = make.random().below(pages);
    const u64 offset = make.random().below(kPageBytes / 8) * 8;
    const Access access = make.read_or_write(kGvaBase + page * kPageBytes + offset, write_percent);
    u64& frame = frames[process][page];
    if (access.kind == AccessKind::Write && frame == frames[1 - process][page]) {
      frame = next_frame++;
      writer.append(
          0, Event{1, GuestFence{FenceScope::AddressAsid, 0, access.gva.aligned_down(kPageBytes),
                                 kPageBytes, process + 1, Precision::Exact}});
    }
    writer.append(0, with_gpa(access, kGpaBase + frame * kPageBytes + offset));
  }
}

constexpr Parameter kProcessesParameters[] = {
    accesses_parameter(1'000'000),
    {"processes", 4, 1, 4096, "how many processes take turns"},
    {"slice", 1000, 1, kMany, "accesses between two switches"},
    bytes_parameter(4 * kMiB),
    kWritePercent,
    kInstructions,
    kSeed};

void run_processes(const Values& values, Writer& writer) {
  AccessMaker make(values);
  const u64 words = values["bytes"] / 8;
  const u64 accesses = values["accesses"];
  const u64 slice = values["slice"];
  const u64 processes = values["processes"];
  const u64 write_percent = values["write_percent"];
  for (u64 n = 0; n < accesses; ++n) {
    if (n % slice == 0) {
      writer.append(0, switch_to(n / slice % processes));
    }
    const u64 gva = kGvaBase + make.random().below(words) * 8;
    writer.append(0, make.read_or_write(gva, write_percent));
  }
}

constexpr Parameter kSmpParameters[] = {
    {"vcpus", 2, 1, 256, "how many vCPUs run at once"},
    {"accesses", 500'000, 1, kMany, "accesses per vCPU"},
    {"bytes", 4 * kMiB, kPageBytes, kTiB, "the memory that each vCPU has for itself"},
    {"shared", kMiB, kPageBytes, kTiB, "the memory that all share"},
    {"shared_percent", 20, 0, 100, "how many accesses go to shared memory"},
    kWritePercent,
    kInstructions,
    kSeed};

u64 smp_accesses(const Values& values) { return values["vcpus"] * values["accesses"]; }

void run_smp(const Values& values, Writer& writer) {
  AccessMaker make(values);
  const u64 vcpus = values["vcpus"];
  const u64 accesses = values["accesses"];
  const u64 shared_percent = values["shared_percent"];
  const u64 shared = values["shared"];
  const u64 bytes = values["bytes"];
  const u64 write_percent = values["write_percent"];
  for (u64 n = 0; n < accesses; ++n) {
    for (u64 vcpu = 0; vcpu < vcpus; ++vcpu) {
      const bool to_shared = make.random().percent(shared_percent);
      const u64 start = kGvaBase + (to_shared ? 0 : shared + vcpu * bytes);
      const u64 words = (to_shared ? shared : bytes) / 8;
      const u64 gva = start + make.random().below(words) * 8;
      writer.append(static_cast<u32>(vcpu), make.read_or_write(gva, write_percent));
    }
  }
}

}  // namespace

const Generator kFork{"fork",          "parent and child after a fork: frames shared until written",
                      kForkParameters, kLacksOfGpa | kNoHypervisor,
                      accesses_said,   run_fork};
const Generator kProcesses{
    "processes",          "processes that take turns, each with its own memory",
    kProcessesParameters, kNoGpa | kNoHpa | kNoFetches | kNoFences | kNoHypervisor,
    accesses_said,        run_processes};
const Generator kSmp{"smp",          "vCPUs that run at once and share some memory",
                     kSmpParameters, kLacksOfGva,
                     smp_accesses,   run_smp};

}  // namespace nestwalk::traces
