// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What control registers say about the translations of recorded tables: one page, made by hand, and
// one access, which the machine makes or refuses.

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim::recorded_rules_test {
namespace {

using namespace traces;
using Json = nlohmann::json;

constexpr u64 kPage = 4096;
constexpr u64 kTables = 0x10000;  // the guest's, one after the other, and the root first
constexpr u64 kData = 0x200000;
constexpr u64 kAddress = 0x4000'0000;  // index 1 of the third level from the leaves, else 0
constexpr u64 kTag = u64{0x5a} << 56;
constexpr u64 kUpper = u64{0xffff'ff80} << 32;  // of 39 bits
constexpr u64 bit(unsigned n) { return u64{1} << n; }

using Registers = std::vector<std::pair<std::string, u64>>;

struct Guest {
  Architecture architecture;
  std::string preset;
  unsigned levels;
  Registers registers;
  u64 (*table)(u64 address);
  u64 leaf;
  u64 root_offset = 0;  ///< in its page
};

Guest x86(u64 cr0, u64 efer, u64 leaf) {
  return {Architecture::X86_64,
          "zen4",
          4,
          {{"CR0", cr0}, {"CR3", kTables}, {"CR4", 0x20}, {"EFER", efer}},
          [](u64 address) { return address | 0x67; },
          kData | leaf};
}

// T0SZ and T1SZ of 25 are 39 bits; TG1 of 2 is 4 KiB; EPD1 is bit 23. Both halves have one root.
constexpr u64 kTcr = 25 | 25 << 16 | u64{2} << 30;
Guest arm(u64 leaf, u64 tcr = kTcr, u64 sctlr = 1) {
  return {Architecture::AArch64,
          "cortex-a76",
          3,
          {{"SCTLR", sctlr}, {"TCR_EL1", tcr}, {"TTBR0_EL1", kTables}, {"TTBR1_EL1", kTables}},
          [](u64 address) { return address | 3; },
          kData | 3 | bit(10) | leaf};
}

Guest riscv(u64 leaf, u64 sstatus) {
  return {Architecture::RiscV64,
          "kunminghu",
          3,
          {{"satp", u64{8} << 60 | kTables / kPage}, {"sstatus", sstatus}},
          [](u64 address) { return address >> 2 | 1; },
          kData >> 2 | leaf};
}

TablePage page_of(u64 address, const std::vector<u64>& entries) {
  TablePage page{address, std::vector<u8>(kPage)};
  std::memcpy(page.bytes.data(), entries.data(), entries.size() * sizeof(u64));
  return page;
}

class RecordedRules : public Program {
 protected:
  void write(const Guest& guest, AccessKind kind, u64 address,
             const std::optional<EventDetail>& event = {}, u64 of_table = 0) {
    const auto sink = create_sink((folder() / "t.nwt").string());
    Header header;
    header.architecture = guest.architecture;
    header.mode = Mode::FullSystem;
    Writer writer(*sink, header);
    SideData side{When::Begin, Stage::Guest, 0, guest.registers, {}};
    for (u64 level = 0; level < guest.levels; ++level) {
      const u64 at = kTables + level * kPage;
      const bool last = level + 1 == guest.levels;
      const u64 entry = last ? guest.leaf : guest.table(at + kPage);
      std::vector<u64> entries{entry | (level + 2 == guest.levels ? of_table : 0)};
      if (level + 3 == guest.levels) entries.insert(entries.begin(), 0);
      if (level == 0) entries.insert(entries.begin(), guest.root_offset / sizeof(u64), 0);
      side.pages.push_back(page_of(at, entries));
    }
    writer.append(side);
    if (event) writer.append(0, Event{1, *event});
    writer.append(
        0,
        Access{Gva(address), Gpa(kData + address % kPage), {}, 1, 8, kind, kGvaKnown | kGpaKnown});
    writer.finish();
    command_ = "nestwalk run t.nwt -p " + guest.preset + " --set guest.tables=replayed";
  }
  /// Whether the access is made; otherwise the guest's tables refuse it.
  bool is_made() {
    run("rm -rf d");
    const Result result = run(command_ + " -o d 2>&1");
    EXPECT_EQ(result.exit_code, 0) << result.output;
    std::ifstream file(folder() / "d/stats.json");
    const Json values = Json::parse(file)["statistics"];
    EXPECT_EQ(values["replay.agreed"].get<int>() + values["replay.guest_faults"].get<int>(), 1);
    return values["replay.agreed"] == 1;
  }
  bool is_made(const Guest& guest, AccessKind kind, u64 address = kAddress, u64 of_table = 0) {
    write(guest, kind, address, {}, of_table);
    return is_made();
  }
  std::string verify() { return run("nestwalk trace verify t.nwt 2>&1").output; }

  std::string command_;
};

constexpr AccessKind kRead = AccessKind::Read, kWrite = AccessKind::Write,
                     kFetch = AccessKind::Fetch;

// Arm ARM D8, "Address tagging": where TBI0 (bit 37) or TBI1 (38) is set, the top byte of addresses
// with bit 55 clear or set is not translated; with TBID0 (51) or TBID1 (52), that of fetches is.
TEST_F(RecordedRules, TopByteOfAArch64IsIgnoredWhereRegistersSaySo) {
  using testing::HasSubstr;
  struct Case {
    u64 tcr;
    AccessKind kind;
    u64 address;
    bool is_made;
  };
  constexpr u64 kOfUpper = (kUpper + kAddress) ^ kTag;
  for (const Case& each : {Case{0, kRead, kAddress, true},
                           {0, kRead, kAddress | kTag, false},
                           {0, kRead, kUpper + kAddress, true},
                           {0, kRead, kOfUpper, false},
                           {bit(37), kRead, kAddress | kTag, true},
                           {bit(37), kFetch, kAddress | kTag, true},
                           {bit(37) | bit(51), kRead, kAddress | kTag, true},
                           {bit(37) | bit(51), kFetch, kAddress | kTag, false},
                           {bit(37), kRead, kOfUpper, false},
                           {bit(38), kRead, kOfUpper, true},
                           {bit(38), kRead, kAddress | kTag, false},
                           {bit(38) | bit(52), kFetch, kOfUpper, false}}) {
    SCOPED_TRACE(testing::Message() << std::hex << each.tcr << " " << each.address);
    EXPECT_EQ(is_made(arm(0, kTcr | each.tcr), each.kind, each.address), each.is_made);
    EXPECT_THAT(verify(), HasSubstr(each.is_made ? ": 1 match" : ": 1 mismatch"));
  }
}

// Arm ARM D8, "Stage 1 instruction execution permissions": EL0 executes any page, also one that it
// may not read (AP[1], bit 6), unless UXN (54) is set, EL1 any page unless PXN (53) is set or EL0
// may write it: AP[2], bit 7, is clear. Who fetches is not recorded.
TEST_F(RecordedRules, KernelOfAArch64ExecutesWhatUsersCannotWrite) {
  constexpr u64 kUser = bit(6), kReadOnly = bit(7), kUxn = bit(54), kPxn = bit(53);
  EXPECT_TRUE(is_made(arm(kUser | kReadOnly | kUxn), kFetch));
  EXPECT_FALSE(is_made(arm(kUser | kReadOnly | kUxn | kPxn), kFetch));
  EXPECT_TRUE(is_made(arm(kUser | kReadOnly | kPxn), kFetch));
  EXPECT_FALSE(is_made(arm(kUser | kUxn), kFetch));
  EXPECT_TRUE(is_made(arm(kUser), kFetch));
  EXPECT_TRUE(is_made(arm(kUxn), kFetch));
  EXPECT_TRUE(is_made(arm(kPxn), kFetch));
  EXPECT_TRUE(is_made(arm(kReadOnly | kPxn), kFetch));
  EXPECT_FALSE(is_made(arm(kPxn | kUxn), kFetch));
  // UXNTable, bit 60, and APTable[0], bit 61, which is of reads and writes alone.
  EXPECT_FALSE(is_made(arm(kPxn), kFetch, kAddress, bit(60)));
  EXPECT_TRUE(is_made(arm(kUser | kReadOnly | kPxn), kFetch, kAddress, bit(61)));
  // APTable[1], bit 62 of a table's entry, makes it read-only, and so the kernel's to execute.
  EXPECT_TRUE(is_made(arm(kUser | kUxn), kFetch, kAddress, bit(62)));
}

// Arm ARM, SCTLR_EL1.WXN (bit 19): what EL1 or EL0 may write, it does not execute. EL0 may not
// write a page of EL1's, and executes it unless UXN, bit 54, is set (AArch64.CheckPermission).
TEST_F(RecordedRules, WritablePagesOfAArch64AreNotExecutedWithWxn) {
  constexpr u64 kReadOnly = bit(7);
  EXPECT_TRUE(is_made(arm(bit(54)), kFetch));
  EXPECT_FALSE(is_made(arm(bit(54), kTcr, 1 | bit(19)), kFetch));
  EXPECT_TRUE(is_made(arm(0, kTcr, 1 | bit(19)), kFetch));
  EXPECT_FALSE(is_made(arm(bit(6), kTcr, 1 | bit(19)), kFetch));
  EXPECT_TRUE(is_made(arm(kReadOnly, kTcr, 1 | bit(19)), kFetch));
}

// Arm ARM, TCR_EL1.HPD0 (bit 41) and HPD1 (42): APTable, PXNTable and UXNTable are ignored.
TEST_F(RecordedRules, TablesOfAArch64LimitNothingWithHpd) {
  EXPECT_FALSE(is_made(arm(0), kWrite, kAddress, bit(62)));
  EXPECT_TRUE(is_made(arm(0, kTcr | bit(41)), kWrite, kAddress, bit(62)));
  EXPECT_FALSE(is_made(arm(0, kTcr | bit(42)), kWrite, kAddress, bit(62)));
  EXPECT_TRUE(is_made(arm(0, kTcr | bit(42)), kWrite, kUpper + kAddress, bit(62)));
}

// Intel SDM vol. 3A, "Determination of Access Rights": with CR0.WP (bit 16) clear, supervisor
// writes are to any address with a translation.
TEST_F(RecordedRules, KernelOfX86WritesReadOnlyPagesWithoutWp) {
  constexpr u64 kOn = 0x8005'0033, kNoWp = kOn & ~bit(16), kReadOnly = 0x65;
  EXPECT_FALSE(is_made(x86(kOn, 0xd00, kReadOnly), kWrite));
  EXPECT_TRUE(is_made(x86(kNoWp, 0xd00, kReadOnly), kWrite));
  EXPECT_TRUE(is_made(x86(kOn, 0xd00, kReadOnly), kRead));
  write(x86(kOn, 0xd00, kReadOnly), kWrite, kAddress, ControlWrite{"CR0", kNoWp});
  EXPECT_TRUE(is_made());
  write(x86(kNoWp, 0xd00, kReadOnly), kWrite, kAddress, ControlWrite{"CR0", kOn});
  EXPECT_FALSE(is_made());
}

// Intel SDM vol. 3A, "Reserved bits": bit 63 is one where IA32_EFER.NXE (bit 11) is clear.
TEST_F(RecordedRules, Bit63OfX86IsReservedWithoutNxe) {
  constexpr u64 kOn = 0x8005'0033, kLeaf = 0x67 | bit(63);
  EXPECT_TRUE(is_made(x86(kOn, 0xd00, kLeaf), kRead));
  EXPECT_FALSE(is_made(x86(kOn, 0xd00, kLeaf), kFetch));
  EXPECT_FALSE(is_made(x86(kOn, 0x500, kLeaf), kRead));
  EXPECT_THAT(verify(), testing::HasSubstr(": 1 mismatch"));
  EXPECT_TRUE(is_made(x86(kOn, 0x500, 0x67), kFetch));
}

// Writes to EFER are not recorded. Paging of 64-bit tables sets LMA, bit 10 (SDM vol. 3A,
// "Initializing IA-32e Mode"), so a value without it is from before: nothing is known of NXE then.
TEST_F(RecordedRules, EferOfBeforeLongModeSaysNothingOfBit63) {
  constexpr u64 kOff = 0x11, kOn = 0x8005'0033, kLeaf = 0x67 | bit(63);
  write(x86(kOff, 0, kLeaf), kRead, kAddress, ControlWrite{"CR0", kOn});
  EXPECT_TRUE(is_made());
  EXPECT_THAT(verify(), testing::HasSubstr(": 1 match"));
  write(x86(kOff, 0, kLeaf), kFetch, kAddress, ControlWrite{"CR0", kOn});
  EXPECT_FALSE(is_made());
}

// Privileged manual, "Memory Privilege in sstatus Register": with MXR (bit 19), what may be
// executed may be read. A leaf is V, X, A and D here.
TEST_F(RecordedRules, ExecutablePagesOfRiscVAreReadWithMxr) {
  constexpr u64 kExecuteOnly = 0xc9;
  EXPECT_FALSE(is_made(riscv(kExecuteOnly, 0), kRead));
  EXPECT_TRUE(is_made(riscv(kExecuteOnly, bit(19)), kRead));
  EXPECT_FALSE(is_made(riscv(kExecuteOnly, bit(19)), kWrite));
}

// Arm ARM, TCR_EL1: TG0 (15:14) of 1 is 64 KiB, of 2 16 KiB; TG1 (31:30) of 1 is 16 KiB, of 2 4
// KiB, of 3 64 KiB. Without EPD1, bit 23, the upper half is in use.
TEST_F(RecordedRules, RefusesTablesThatCannotBeWalked) {
  constexpr u64 kLower = kTcr & ~(u64{3} << 30);
  const auto expect = [&](u64 tcr) {
    char value[32];
    std::snprintf(value, sizeof value, "0x%llx", static_cast<unsigned long long>(tcr));
    for (const std::string& command : {command_, std::string("nestwalk trace verify t.nwt")}) {
      const Result result = run(command + " 2>&1");
      EXPECT_EQ(result.exit_code, 4) << command;
      EXPECT_THAT(
          result.output,
          testing::AllOf(testing::StartsWith("nestwalk: t.nwt: expected, at record "),
                         testing::EndsWith(
                             std::string(" of vCPU 0, page tables of the guest of a format that is "
                                         "known here, found those of SCTLR 0x1 TCR_EL1 ") +
                             value + "\n")));
    }
  };
  for (const u64 tcr : {kTcr | bit(14), kTcr | bit(15), kLower | bit(30), kLower | u64{3} << 30}) {
    write(arm(0, tcr), kRead, kAddress);
    expect(tcr);
    write(arm(0), kRead, kAddress, ControlWrite{"TCR_EL1", tcr});
    expect(tcr);
  }
  EXPECT_TRUE(is_made(arm(0, kLower | u64{3} << 30 | bit(23)), kRead));
}

// Arm ARM, TTBR0_EL1.BADDR: a root table is aligned to its size. 64 - T0SZ = 36 bits are 6 of the
// first level's index, a table of 64 entries: bits 11:9 of its address are in the register.
TEST_F(RecordedRules, RootTablesOfAArch64MayBeSmallerThanAPage) {
  constexpr u64 kTcrOf36 = (kTcr & ~u64{63}) | 28, kOffset = 0x200;
  Guest guest = arm(0, kTcrOf36);
  guest.root_offset = kOffset;
  EXPECT_FALSE(is_made(guest, kRead));
  EXPECT_THAT(verify(), testing::HasSubstr(": 1 mismatch"));
  write(guest, kRead, kAddress, SpaceSwitch{kTables + kOffset, 0, Precision::Exact});
  EXPECT_TRUE(is_made());
  EXPECT_THAT(verify(), testing::HasSubstr(": 1 match"));
  guest.registers[2].second = kTables + kOffset;  // TTBR0_EL1
  EXPECT_TRUE(is_made(guest, kRead));
  EXPECT_THAT(verify(), testing::HasSubstr(": 1 match"));
  guest.registers[2].second |= 1;  // CnP
  EXPECT_TRUE(is_made(guest, kRead));
}

// Nothing is ever mapped in a device's pages, so a walk would find no table there.
TEST_F(RecordedRules, RefusesTablesInPagesOfDevices) {
  const auto mmio = [&](u64 page) {
    return run(command_ + " --set hypervisor.mmio=" + std::to_string(page) + "+4K 2>&1");
  };
  const std::string expected =
      "nestwalk: t.nwt: expected tables of the guest outside of hypervisor.mmio, found one at ";
  write(x86(0x8005'0033, 0xd00, 0x67), kRead, kAddress);
  EXPECT_EQ(mmio(kTables - kPage).exit_code, 0);
  const Result begin = mmio(kTables + kPage);
  EXPECT_EQ(begin.exit_code, 4);
  EXPECT_EQ(begin.output, expected + "0x11000\n");
  write(x86(0x8005'0033, 0xd00, 0x67), kRead, kAddress, TableWrite{Stage::Guest, 0x20008, 1});
  EXPECT_EQ(mmio(kTables - kPage).exit_code, 0);
  const Result event = mmio(0x20000);
  EXPECT_EQ(event.exit_code, 4);
  EXPECT_EQ(event.output, expected + "0x20008\n");
}

}  // namespace
}  // namespace nestwalk::sim::recorded_rules_test
