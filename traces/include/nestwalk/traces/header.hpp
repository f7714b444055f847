// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a file says about its records: where they come from, and what they cannot tell.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nestwalk/addrspace/geometry.hpp"
#include "nestwalk/traces/record.hpp"

namespace nestwalk::traces {

using addrspace::Architecture;

enum class Mode : u8 {
  User,           ///< one or more programs, without their kernel
  FullSystem,     ///< a whole machine or guest
  Nested,         ///< a guest within a recorded machine: host addresses are known
  GuestPhysical,  ///< accesses have a GPA and no GVA
};
inline constexpr std::string_view kModeNames[] = {"user", "full-system", "nested",
                                                  "guest-physical"};
constexpr auto& names_of(Mode) { return kModeNames; }

/// What the source did not record. A set: bit n is entry n of kLackNames.
enum Lack : u64 {
  kNoGva = 1,
  kNoGpa = 2,
  kNoHpa = 4,
  kNoSize = 8,
  kNoInstructions = 16,
  kNoDependence = 32,
  kNoFetches = 64,
  kNoSpaces = 128,
  kNoFences = 256,
  kNoHypervisor = 512,
  kNoOrder = 1024,  ///< the order between streams
};
inline constexpr std::string_view kLackNames[] = {"gva",
                                                  "gpa",
                                                  "hpa",
                                                  "sizes",
                                                  "instruction-counts",
                                                  "dependence",
                                                  "fetches",
                                                  "address-spaces",
                                                  "fences",
                                                  "hypervisor",
                                                  "order-of-cpus"};

struct MemoryRange {
  Stage stage = Stage::Guest;  ///< whose physical addresses
  u64 start = 0;
  u64 bytes = 0;
  std::string kind;  ///< "ram", "rom", "mmio", ...

  friend bool operator==(const MemoryRange&, const MemoryRange&) = default;
};

struct Header {
  std::optional<Architecture> architecture;
  Mode mode = Mode::User;
  u32 vcpus = 1;
  u64 lacks = 0;             ///< of Lack
  std::string guest_tables;  ///< format of the guest's page tables, such as "x86_64-4"
  std::string host_tables;
  std::string producer;  ///< program and version
  std::string command;   ///< the command line that made the trace
  std::vector<MemoryRange> memory;
  std::vector<std::pair<std::string, std::string>> provenance;  ///< whatever else is worth saying

  friend bool operator==(const Header&, const Header&) = default;
};

enum class When : u8 { Begin, End };
inline constexpr std::string_view kWhenNames[] = {"begin", "end"};
constexpr auto& names_of(When) { return kWhenNames; }

struct TablePage {
  u64 address = 0;  ///< physical, in the space of the side data's stage
  std::vector<u8> bytes;

  friend bool operator==(const TablePage&, const TablePage&) = default;
};

/// Root registers and page tables of one stage, as they were when the recording began or ended.
struct SideData {
  When when = When::Begin;
  Stage stage = Stage::Guest;
  u32 vcpu = 0;  ///< whose registers
  std::vector<std::pair<std::string, u64>> registers;
  std::vector<TablePage> pages;

  friend bool operator==(const SideData&, const SideData&) = default;
};

}  // namespace nestwalk::traces
