// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Recorded processors that share a core: each has ASIDs and PCIDs of its own, so that equal ones
// mean other address spaces.

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim::shared_core_tables_test {
namespace {

using namespace traces;
using Json = nlohmann::json;

constexpr u64 kPage = 4096;
constexpr u32 kProcessors = 2;
constexpr u64 kPages = 20, kRounds = 10;
constexpr u64 kAsid = 5;

using Registers = std::vector<std::pair<std::string, u64>>;

/// What an instruction set's words look like: all pages are a user's, readable and accessed.
struct Words {
  addrspace::Architecture architecture;
  const char* tables;
  u64 levels;
  u64 (*table)(u64 to);
  u64 (*leaf)(u64 to);
  Registers (*registers)(u64 root);
  const char* preset;
};

// Intel SDM vol. 3A, "4-Level Paging": P, R/W, U/S, A, D; CR4.PAE and PCIDE.
const Words kX86{addrspace::Architecture::X86_64,
                 "x86_64-4",
                 4,
                 [](u64 to) { return to | 0x67; },
                 [](u64 to) { return to | 0x67; },
                 [](u64 root) {
                   return Registers{{"CR0", 0x8005'0033}, {"CR3", root | kAsid}, {"CR4", 0x2'0020}};
                 },
                 "skylake-sp"};
// Arm ARM D8: valid, table or page; AF, inner shareable, user. TCR: 48 bits in TTBR0, no TTBR1.
const Words kArm{addrspace::Architecture::AArch64,
                 "aarch64-4",
                 4,
                 [](u64 to) { return to | 3; },
                 [](u64 to) { return to | 0x743; },
                 [](u64 root) {
                   return Registers{{"MAIR_EL1", 0xff},
                                    {"SCTLR", 1},
                                    {"TCR_EL1", u64{1} << 23 | 16},
                                    {"TTBR0_EL1", kAsid << 48 | root},
                                    {"TTBR1_EL1", 0}};
                 },
                 "cortex-a76"};
// Privileged spec, "Sv39": V, R, W, X, U, A, D.
const Words kRiscV{addrspace::Architecture::RiscV64,
                   "riscv64-3",
                   3,
                   [](u64 to) { return to >> 12 << 10 | 1; },
                   [](u64 to) { return to >> 12 << 10 | 0xdf; },
                   [](u64 root) {
                     return Registers{{"satp", u64{8} << 60 | kAsid << 44 | root >> 12}};
                   },
                   "rocket-h"};

class SharedCoreTables : public Program {
 protected:
  static TablePage page_of(u64 address, const std::vector<u64>& entries) {
    TablePage page{address, std::vector<u8>(kPage)};
    std::memcpy(page.bytes.data(), entries.data(), entries.size() * sizeof(u64));
    return page;
  }
  static u64 root_of(u32 processor) { return 0x10'0000 + processor * 0x1'0000; }
  static u64 data_of(u32 processor) { return 0x80'0000 + processor * 0x40'0000; }

  /// Each processor reads its own pages at the same virtual addresses, over and over.
  void write(const Words& words) {
    const std::unique_ptr<ByteSink> sink = create_sink((folder() / "t.nwt").string());
    Header header;
    header.architecture = words.architecture;
    header.mode = Mode::FullSystem;
    header.vcpus = kProcessors;
    header.guest_tables = words.tables;
    header.memory = {{Stage::Guest, 0, 64 << 20, "ram"}};
    header.lacks = kNoHpa;
    Writer writer(*sink, header);
    for (u32 processor = 0; processor < kProcessors; ++processor) {
      const u64 root = root_of(processor);
      SideData start{When::Begin, Stage::Guest, processor, words.registers(root), {}};
      for (u64 level = 0; level + 1 < words.levels; ++level) {
        start.pages.push_back(
            page_of(root + level * kPage, {words.table(root + (level + 1) * kPage)}));
      }
      std::vector<u64> leaves;
      for (u64 page = 0; page < kPages; ++page) {
        leaves.push_back(words.leaf(data_of(processor) + page * kPage));
      }
      start.pages.push_back(page_of(root + (words.levels - 1) * kPage, leaves));
      writer.append(start);
    }
    for (u64 round = 0; round < kRounds; ++round) {
      for (u32 processor = 0; processor < kProcessors; ++processor) {
        for (u64 page = 0; page < kPages; ++page) {
          writer.append(processor, Access{Gva(page * kPage), Gpa(data_of(processor) + page * kPage),
                                          Hpa(0), 1, 8, AccessKind::Read, kGvaKnown | kGpaKnown});
        }
      }
    }
    writer.finish();
  }
};

TEST_F(SharedCoreTables, AreNotReachedByWhatTheOtherOneTranslated) {
  for (const Words* const words : {&kX86, &kArm, &kRiscV}) {
    SCOPED_TRACE(words->preset);
    write(*words);
    const Result result =
        run(std::string("nestwalk run t.nwt --set guest.tables=replayed --set host.cores=1 "
                        "--set host.time_slice=2000 --set core.kind=in-order --force -o d -p ") +
            words->preset + " 2>&1");
    ASSERT_EQ(result.exit_code, 0) << result.output;
    std::ifstream file(folder() / "d/stats.json");
    const Json values = Json::parse(file)["statistics"];
    EXPECT_GT(values["host.departures"], 2);
    EXPECT_EQ(values["replay.stale"], 0);
    EXPECT_EQ(values["replay.agreed"], kProcessors * kPages * kRounds);
  }
}

}  // namespace
}  // namespace nestwalk::sim::shared_core_tables_test
