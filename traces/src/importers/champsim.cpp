// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// ChampSim's traces (inc/trace_instruction.h): structs without header or count, one for each
// instruction; an address of 0 is no operand. Little-endian, as written by x86-64.

#include <algorithm>
#include <array>
#include <cstring>

#include "common.hpp"
#include "registers.hpp"

namespace nestwalk::traces {
namespace {

struct Field {
  std::size_t offset;
  std::size_t count;
};

struct Layout {
  std::size_t bytes;
  Field destination_registers;
  Field source_registers;
  Field destination_memory;
  Field source_memory;
  std::size_t asid;  ///< 0: has none
};

constexpr std::size_t kIp = 0;
constexpr std::size_t kIsBranch = 8;
constexpr std::size_t kBranchTaken = 9;
constexpr Layout kInputInstr = {64, {10, 2}, {12, 4}, {16, 2}, {32, 4}, 0};
constexpr Layout kCloudSuiteInstr = {96, {10, 4}, {14, 4}, {24, 4}, {56, 4}, 88};

template <class T>
T load(std::string_view record, std::size_t offset) {
  T value;
  std::memcpy(&value, record.data() + offset, sizeof value);
  return value;
}

std::span<const u8> registers(std::string_view record, Field field) {
  return {reinterpret_cast<const u8*>(record.data()) + field.offset, field.count};
}

bool has_operand(std::string_view record, Field field) {
  for (std::size_t n = 0; n < field.count; ++n) {
    if (load<u64>(record, field.offset + 8 * n) != 0) return true;
  }
  return false;
}

template <const Layout& kLayout>
class ChampSimImporter : public Importer {
 public:
  ChampSimImporter(ImportInput& input, const ImportValues&, ImportOutput& output)
      : input_(input), output_(output) {
    if (output.begun() || kLayout.asid != 0) return;
    output.header().provenance.emplace_back(
        "dependence", "from registers, where they tell; otherwise not flagged");
  }

  bool step() override {
    std::string_view record;
    if (!input_.take(kLayout.bytes, record, "a record")) return false;
    check(record);
    if constexpr (kLayout.asid != 0) {
      output_.space({0, load<u16>(record, kLayout.asid), Precision::Exact});
    }
    output_.access(gva_access(load<u64>(record, kIp), 0, AccessKind::Fetch, 1));
    const bool reads = has_operand(record, kLayout.source_memory);
    const u8 dependent =
        reads || has_operand(record, kLayout.destination_memory) ? dependence(record) : u8{0};
    // The write of an instruction that reads has the read's address, or one known before it.
    write(record, kLayout.source_memory, AccessKind::Read, dependent);
    write(record, kLayout.destination_memory, AccessKind::Write, reads ? u8{0} : dependent);
    if constexpr (kLayout.asid == 0) {
      loaded_.execute(registers(record, kLayout.source_registers),
                      registers(record, kLayout.destination_registers), reads);
    }
    return true;
  }

 private:
  void check(std::string_view record) const {
    const u8 branch = load<u8>(record, kIsBranch);
    const u8 taken = load<u8>(record, kBranchTaken);
    if (branch > 1 || taken > 1) {
      input_.fail("a record with 0 or 1 for is_branch and branch_taken",
                  std::to_string(branch) + " and " + std::to_string(taken));
    }
  }

  u8 dependence(std::string_view record) {
    // The register numbers of CloudSuite's machine are not documented.
    if constexpr (kLayout.asid != 0) return 0;
    const Carries carries = loaded_.of_address(registers(record, kLayout.source_registers));
    if (carries == Carries::Perhaps) output_.note("accesses that may depend on the read before");
    return carries == Carries::Yes ? u8{kDependent} : u8{0};
  }

  void write(std::string_view record, Field field, AccessKind kind, u8 dependent) {
    for (std::size_t n = 0; n < field.count; ++n) {
      const u64 address = load<u64>(record, field.offset + 8 * n);
      if (address == 0) continue;
      Access access = gva_access(address, 0, kind);
      access.flags |= dependent;
      // An instruction's second read does not depend on its first.
      if (kind == AccessKind::Read) dependent = 0;
      output_.access(access);
    }
  }

  ImportInput& input_;
  ImportOutput& output_;
  LoadedRegisters loaded_;
};

// Nothing marks these files: every record must look like an instruction.
template <const Layout& kLayout>
bool detect(std::string_view beginning) {
  if (beginning.size() < kLayout.bytes) return false;
  for (; beginning.size() >= kLayout.bytes; beginning.remove_prefix(kLayout.bytes)) {
    const u64 ip = load<u64>(beginning, kIp);
    const u8 branch = load<u8>(beginning, kIsBranch);
    const u8 taken = load<u8>(beginning, kBranchTaken);
    const u64 high = ip >> 47;
    if (ip < kPageBytes || (high != 0 && high != ~u64{0} >> 47) || branch > 1 || taken > branch) {
      return false;
    }
  }
  return true;
}

}  // namespace

const ImportFormat kChampSim = {"champsim",
                                "ChampSim's records of 64 bytes: one program, each input a vCPU",
                                kUserOnly | kNoGpa | kNoSize,
                                Mode::User,
                                "branches and register numbers",
                                {},
                                streams_are_inputs,
                                detect<kInputInstr>,
                                make_importer<ChampSimImporter<kInputInstr>>};

const ImportFormat kCloudSuite = {
    "cloudsuite",
    "ChampSim's records of 96 bytes, with address spaces: each input a vCPU",
    (kUserOnly & ~u64{kNoSpaces}) | kNoGpa | kNoSize | kNoDependence,
    Mode::User,
    "branches and register numbers",
    {},
    streams_are_inputs,
    detect<kCloudSuiteInstr>,
    make_importer<ChampSimImporter<kCloudSuiteInstr>>};

}  // namespace nestwalk::traces
