// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Traces that are whole, and say what the format or their own header rules out.

#include <gmock/gmock.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>

#include "../testing/container_parts.hpp"
#include "random_trace.hpp"

namespace nestwalk::traces::rules_test {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

void expect_refused(std::span<const u8> file, const std::string& message) {
  const std::string error = read_all(file).error;
  EXPECT_THAT(error, StartsWith("file: at byte "));
  EXPECT_THAT(error, EndsWith(": expected " + message));
}

Access read_of(u64 gva, u32 instructions = 1, u16 size = 8) {
  return {Gva(gva), Gpa(), Hpa(), instructions, size, AccessKind::Read, kGvaKnown};
}

SideData pages(std::vector<TablePage> pages, When when = When::Begin, Stage stage = Stage::Guest) {
  return {when, stage, 0, {}, std::move(pages)};
}

SideData registers(u32 vcpu, std::vector<std::pair<std::string, u64>> values,
                   When when = When::Begin) {
  return {when, Stage::Guest, vcpu, std::move(values), {}};
}

std::vector<u8> file_with(const std::vector<SideData>& side) {
  return file_of(std::vector<Stream>(2), {}, side);
}

TEST(SideDataRules, PagesLieAtMultiplesOfTheirSize) {
  expect_refused(file_with({pages({page_of(0x1008, 1)})}),
                 "a page's address, a multiple of 4096, found 0x1008");
}

TEST(SideDataRules, PagesHave4096Bytes) {
  for (const std::size_t bytes : {0u, 16u, 4095u, 4097u, 8192u}) {
    expect_refused(file_with({pages({{0x1000, std::vector<u8>(bytes)}})}),
                   "the length of a page from 4096 to 4096, found " + std::to_string(bytes));
  }
}

TEST(SideDataRules, PageOfOneMomentAndStageHasTheSameContentsAgain) {
  const TablePage page = page_of(0x4000, 1), other = page_of(0x4000, 2);
  const std::string message =
      "the page at 0x4000 of the guest's tables at the begin, as it was given before, found other "
      "contents";
  expect_refused(file_with({pages({page, other})}), message);
  expect_refused(file_with({pages({page}), pages({other})}), message);
  EXPECT_EQ(read_all(file_with({pages({page, page}), pages({page})})).error, "");
  EXPECT_EQ(read_all(file_with({pages({page}), pages({other}, When::End),
                                pages({other}, When::Begin, Stage::Host)}))
                .error,
            "");
}

TEST(SideDataRules, RegisterOfOneVcpuAndMomentHasTheSameValueAgain) {
  const std::string message =
      "the register CR3 of vCPU 1 to be 0x1000 at the end, as it was given before, found 0x5000";
  expect_refused(file_with({registers(1, {{"CR3", 0x1000}, {"CR3", 0x5000}}, When::End)}), message);
  expect_refused(file_with({registers(1, {{"CR3", 0x1000}}, When::End),
                            registers(1, {{"CR4", 1}, {"CR3", 0x5000}}, When::End)}),
                 message);
  EXPECT_EQ(read_all(file_with({registers(0, {{"CR3", 0x1000}, {"CR3", 0x1000}}),
                                registers(1, {{"CR3", 0x5000}}),
                                registers(0, {{"CR3", 0x5000}}, When::End)}))
                .error,
            "");
}

// Otherwise who reads the begin alone takes the header's word for what the end says otherwise.
TEST(SideDataRules, VcpusHaveTheSameRegistersAtBothMoments) {
  const auto message = [](const std::string& what) {
    return "the register " + what + " at the begin, as there is at the end, found none";
  };
  const auto file = [](const std::vector<SideData>& side) {
    Header header;
    header.architecture = Architecture::X86_64;
    header.mode = Mode::FullSystem;
    header.vcpus = 2;
    MemorySink sink;
    Writer writer(sink, header);
    for (const SideData& data : side) writer.append(data);
    writer.finish();
    return sink.bytes();
  };
  const SideData end = registers(1, {{"CR3", 0x1000}, {"CR4", 0x20}}, When::End);
  expect_refused(file({registers(1, {{"CR3", 0x1000}}), end}), message("CR4 of vCPU 1"));
  // Nothing is known of the begin, or it is in another section; others do not control translation.
  EXPECT_EQ(read_all(file({end})).error, "");
  EXPECT_EQ(read_all(file({registers(0, {{"CR3", 0x1000}}), end})).error, "");
  EXPECT_EQ(
      read_all(file({registers(1, {{"CR3", 0x1000}}), end, registers(1, {{"CR4", 0}})})).error, "");
  EXPECT_EQ(read_all(file({registers(1, {{"CR3", 0x1000}, {"CR4", 0}}),
                           registers(1, {{"RIP", 5}}, When::End)}))
                .error,
            "");
}

// Two ranges of memory, one after the other, and a device.
TEST(MemoryRules, PageTablesAreInMemory) {
  const auto file = [](Stage stage, const Stream& stream, const std::vector<SideData>& side) {
    Header header;
    header.memory = {{stage, 0x10000, 0x2000, "ram"},
                     {stage, 0x12000, 0x1000, "rom"},
                     {stage, 0x20000, 0x1000, "mmio"}};
    MemorySink sink;
    Writer writer(sink, header);
    for (const SideData& data : side) writer.append(data);
    for (const auto& item : stream) writer.append(0, std::get<Event>(item));
    writer.finish();
    return sink.bytes();
  };
  for (const Stage stage : {Stage::Guest, Stage::Host}) {
    const Stage other = stage == Stage::Guest ? Stage::Host : Stage::Guest;
    const std::string whose = stage == Stage::Guest ? "guest" : "host";
    for (const u64 page : std::initializer_list<u64>{0x10000, 0x11000, 0x12000}) {
      EXPECT_EQ(read_all(file(stage, {{Event{1, TableWrite{stage, page + 0xff8, 7}}}},
                              {pages({page_of(page, 1)}, When::Begin, stage)}))
                    .error,
                "");
    }
    for (const u64 page : std::initializer_list<u64>{0xf000, 0x13000, 0x20000}) {
      const SideData side = pages({page_of(page, 1)}, When::Begin, stage);
      expect_refused(file(stage, {}, {side}),
                     "a page of the " + whose +
                         "'s tables in the memory that the header tells of, found " + in_hex(page));
      expect_refused(
          file(stage, {{Event{1, TableWrite{stage, page, 7}}}}, {}),
          "the address of an entry in the memory that the header tells of, found " + in_hex(page));
      EXPECT_EQ(read_all(file(other, {}, {side})).error, "");  // nothing is told of that stage's
    }
    // Where devices are is told alone.
    Header header;
    header.memory = {{stage, 0x20000, 0x1000, "mmio"}};
    for (const u64 page : std::initializer_list<u64>{0x1f000, 0x20000, 0x21000}) {
      MemorySink sink;
      Writer writer(sink, header);
      writer.append(pages({page_of(page, 1)}, When::Begin, stage));
      writer.finish();
      if (page != 0x20000) {
        EXPECT_EQ(read_all(sink.bytes()).error, "");
        continue;
      }
      expect_refused(sink.bytes(), "a page of the " + whose +
                                       "'s tables in the memory that the header tells of, found "
                                       "0x20000");
    }
  }
}

std::vector<u8> file_of_tables(Architecture architecture, const std::string& guest,
                               const std::string& host, const std::vector<SideData>& side) {
  Header header;
  header.architecture = architecture;
  header.mode = Mode::FullSystem;
  header.vcpus = 2;
  header.guest_tables = guest;
  header.host_tables = host;
  MemorySink sink;
  Writer writer(sink, header);
  for (const SideData& data : side) writer.append(data);
  writer.finish();
  return sink.bytes();
}

// Replay takes the levels of the header, and the root of the registers.
TEST(SideDataRules, RegistersOfTheBeginSayTheFormatThatTheHeaderDoes) {
  constexpr u64 kPaging = u64{1} << 31, kLa57 = 1 << 12;
  const auto message = [](const std::string& vcpu, const std::string& header,
                          const std::string& stage, const std::string& found) {
    return "registers of vCPU " + vcpu + " to say what the header does, '" + header + "' for the " +
           stage + "'s page tables, found '" + found + "'";
  };
  const auto x86 = [&](u32 vcpu, u64 cr0, u64 cr4, When when = When::Begin) {
    return registers(vcpu, {{"CR0", cr0}, {"CR3", 0x1000}, {"CR4", cr4}}, when);
  };
  const auto of_x86 = [](const std::vector<SideData>& side) {
    return file_of_tables(Architecture::X86_64, "x86_64-4", "", side);
  };
  expect_refused(of_x86({x86(0, kPaging, 0), x86(1, kPaging, kLa57)}),
                 message("1", "x86_64-4", "guest", "x86_64-5"));
  // CR4 comes in another section.
  expect_refused(of_x86({registers(0, {{"CR0", kPaging}}), registers(0, {{"CR4", kLa57}})}),
                 message("0", "x86_64-4", "guest", "x86_64-5"));
  EXPECT_EQ(read_all(of_x86({x86(0, kPaging, 0), x86(1, 0, kLa57)})).error, "");
  EXPECT_EQ(read_all(of_x86({x86(0, kPaging, 0), x86(0, kPaging, kLa57, When::End)})).error, "");
  EXPECT_EQ(read_all(file_of_tables(Architecture::X86_64, "", "", {x86(0, kPaging, kLa57)})).error,
            "");
  // MODE 8 is three levels, 9 is four, 10 is five.
  const auto riscv = [](u64 satp, u64 hgatp) {
    return file_of_tables(Architecture::RiscV64, "riscv64-4", "riscv64-3",
                          {registers(0, {{"satp", satp << 60}, {"hgatp", hgatp << 60}})});
  };
  EXPECT_EQ(read_all(riscv(9, 8)).error, "");
  expect_refused(riscv(10, 8), message("0", "riscv64-4", "guest", "riscv64-5"));
  expect_refused(riscv(9, 9), message("0", "riscv64-3", "host", "riscv64-4"));
  // T0SZ of 16 is 48 bits, four levels of 9 above 12; of 25, 39 bits, is three.
  const auto arm = [](u64 t0sz) {
    return file_of_tables(Architecture::AArch64, "aarch64-4", "",
                          {registers(0, {{"SCTLR", 1}, {"TCR_EL1", t0sz}})});
  };
  EXPECT_EQ(read_all(arm(16)).error, "");
  expect_refused(arm(25), message("0", "aarch64-4", "guest", "aarch64-3"));
}

// What is in use, but of no format that a header can name, contradicts every header that names one.
TEST(SideDataRules, RegistersOfTheBeginSayAFormatThatHasAName) {
  using Values = std::vector<std::pair<std::string, u64>>;
  const auto expect = [](Architecture architecture, const std::string& guest,
                         const std::string& host, const Values& values, const std::string& stage) {
    const auto file = file_of_tables(architecture, guest, host, {registers(0, values)});
    if (stage.empty()) {
      EXPECT_EQ(read_all(file).error, "");
      return;
    }
    expect_refused(file, "registers of vCPU 0 to say what the header does, '" +
                             (stage == "guest" ? guest : host) + "' for the " + stage +
                             "'s page tables, found a format without a name");
  };
  // Privileged manual, satp: modes 1 to 7 and 12 to 13 are reserved, 11 is for Sv64, and 14 and 15
  // are for custom use; of hgatp 1 to 7 and 11 to 13 are reserved.
  const auto riscv = [&](u64 satp, u64 hgatp, const std::string& stage) {
    SCOPED_TRACE(testing::Message() << satp << " " << hgatp);
    expect(Architecture::RiscV64, "riscv64-4", "riscv64-3",
           {{"satp", satp << 60}, {"hgatp", hgatp << 60}}, stage);
  };
  riscv(9, 8, "");
  for (const u64 mode : {1u, 5u, 7u, 11u, 12u, 15u}) {
    riscv(mode, 8, "guest");
    riscv(9, mode, "host");
  }
  // Arm ARM, TCR_EL1: T0SZ of 16 is 48 bits, TG0 (15:14) of 1 is 64 KiB; EPD0 is bit 7. T1SZ is
  // 21:16, EPD1 bit 23, TG1 (31:30) of 2 is 4 KiB and of 3 64 KiB.
  constexpr u64 kLower = 16, kEpd0 = 1 << 7, kEpd1 = 1 << 23, kLower64K = 1 << 14;
  constexpr u64 kUpper = 16 << 16 | u64{2} << 30, kUpper64K = 16 << 16 | u64{3} << 30;
  constexpr u64 kUpper39Bits = 25 << 16 | u64{2} << 30;
  const auto arm = [&](u64 tcr, const std::string& stage) {
    SCOPED_TRACE(testing::Message() << std::hex << tcr);
    expect(Architecture::AArch64, "aarch64-4", "", {{"SCTLR", 1}, {"TCR_EL1", tcr}}, stage);
  };
  arm(kLower, "");
  arm(kLower | kUpper39Bits, "");  // the format is the lower half's
  arm(kLower | kLower64K | kUpper, "guest");
  arm(kLower | kLower64K | kUpper | kEpd0, "");
  arm(kUpper64K | kEpd0, "guest");
  arm(kLower | kUpper64K | kEpd1, "");
  expect_refused(file_of_tables(Architecture::AArch64, "aarch64-4", "",
                                {registers(0, {{"SCTLR", 1}, {"TCR_EL1", kUpper39Bits | kEpd0}})}),
                 "registers of vCPU 0 to say what the header does, 'aarch64-4' for the guest's "
                 "page tables, found 'aarch64-3'");
  // VTCR_EL2: T0SZ of 24 is 40 bits; SL0 (7:6) of 1 starts at level 1, which is three levels, and 3
  // is reserved; TG0 (15:14) of 1 is 64 KiB. HCR_EL2.VM is bit 0.
  constexpr u64 kStage2 = u64{1} << 31 | 24 | 1 << 6;
  const auto stage2 = [&](u64 vtcr, u64 hcr, const std::string& stage) {
    SCOPED_TRACE(testing::Message() << std::hex << vtcr);
    expect(Architecture::AArch64, "", "aarch64-3", {{"VTCR_EL2", vtcr}, {"HCR_EL2", hcr}}, stage);
  };
  stage2(kStage2, 1, "");
  stage2(kStage2 | 1 << 14, 1, "host");
  stage2(kStage2 | 3 << 6, 1, "host");
  expect(Architecture::AArch64, "", "aarch64-3", {{"VTCR_EL2", kStage2 | 1 << 14}}, "host");
}

// A `control` record sets a format that the header does not name. An access is made under it; one
// that writes and is written over changes nothing, as a hypervisor's own does between two entries.
TEST(SideDataRules, NoAccessIsTranslatedByTablesThatTheHeaderDoesNotName) {
  struct Case {
    Architecture architecture;
    std::string guest, host;
    std::vector<std::pair<std::string, u64>> begin;
    std::string name;
    u64 value;
    std::string stage, found;
  };
  // The registers are those of the tests above.
  constexpr u64 kSv39 = u64{8} << 60, kPaging = u64{1} << 31, kTcr = 25 | 1 << 23;
  constexpr u64 kVtcr = u64{1} << 31 | 24 | 1 << 6;
  const Case cases[] = {
      {Architecture::RiscV64,
       "riscv64-3",
       "",
       {{"satp", kSv39}},
       "satp",
       u64{11} << 60,
       "guest",
       "a format without a name"},
      {Architecture::RiscV64, "riscv64-3", "", {{"satp", kSv39}}, "vsatp", u64{9} << 60, "", ""},
      {Architecture::RiscV64,
       "",
       "riscv64-3",
       {{"hgatp", kSv39}},
       "hgatp",
       u64{15} << 60,
       "host",
       "a format without a name"},
      {Architecture::RiscV64,
       "",
       "riscv64-3",
       {{"hgatp", kSv39}},
       "hgatp",
       u64{9} << 60,
       "host",
       "'riscv64-4'"},
      {Architecture::RiscV64, "", "riscv64-3", {{"hgatp", kSv39}}, "hgatp", 0, "", ""},
      {Architecture::AArch64,
       "aarch64-3",
       "",
       {{"SCTLR", 1}, {"TCR_EL1", kTcr}},
       "TCR_EL1",
       kTcr | 1 << 14,
       "guest",
       "a format without a name"},
      {Architecture::AArch64,
       "aarch64-3",
       "",
       {{"SCTLR", 1}, {"TCR_EL1", kTcr}},
       "SCTLR",
       0,
       "",
       ""},
      {Architecture::AArch64,
       "",
       "aarch64-3",
       {{"HCR_EL2", 1}, {"VTCR_EL2", kVtcr}},
       "VTCR_EL2",
       kVtcr | 1 << 14,
       "host",
       "a format without a name"},
      {Architecture::X86_64,
       "x86_64-4",
       "",
       {{"CR0", kPaging}, {"CR4", 0x20}},
       "CR4",
       0x1020,
       "guest",
       "'x86_64-5'"},
      {Architecture::X86_64,
       "x86_64-4",
       "",
       {{"CR0", kPaging}, {"CR4", 0x20}},
       "CR4",
       0x20020,
       "",
       ""},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name + " " + in_hex(each.value));
    const auto error = [&](bool written_over) {
      Header header;
      header.architecture = each.architecture;
      header.mode = Mode::FullSystem;
      header.vcpus = 2;
      header.guest_tables = each.guest;
      header.host_tables = each.host;
      MemorySink sink;
      Writer writer(sink, header);
      for (const u32 vcpu : {0u, 1u}) writer.append(registers(vcpu, each.begin));
      for (const u32 vcpu : {0u, 1u}) writer.append(vcpu, read_of(0x1000));
      writer.append(1, Event{1, ControlWrite{each.name, each.value}});
      for (const auto& [name, value] : each.begin) {
        if (written_over && name == each.name) {
          writer.append(1, Event{1, ControlWrite{name, value}});
        }
      }
      writer.append(1, read_of(0x1000));
      writer.finish();
      return read_all(sink.bytes()).error;
    };
    const std::string& format = each.stage == "guest" ? each.guest : each.host;
    EXPECT_EQ(error(false), each.stage.empty()
                                ? ""
                                : "file: expected registers of vCPU 1 behind record 1, which "
                                  "writes " +
                                      each.name + ", to say what the header does, '" + format +
                                      "' for the " + each.stage + "'s page tables, found " +
                                      each.found);
    EXPECT_EQ(error(true), "");
  }
}

// vCPUs that have not started translate nothing; but nothing is replayed where all are like that.
TEST(SideDataRules, SomeVcpuTranslatesAsTheHeaderSays) {
  const auto file = [](Architecture architecture, const std::string& tables, bool host,
                       const std::vector<SideData>& side) {
    return file_of_tables(architecture, host ? "" : tables, host ? tables : "", side);
  };
  const auto message = [](const std::string& tables, const std::string& stage) {
    return "a vCPU that translates at the begin, as the header has '" + tables + "' for the " +
           stage + "'s page tables, found none";
  };
  constexpr u64 kPaging = u64{1} << 31, kStage2 = u64{1} << 31 | 24 | 1 << 6;
  struct Case {
    Architecture architecture;
    std::string tables, stage;
    std::vector<std::pair<std::string, u64>> off, on;
  };
  const Case cases[] = {
      {Architecture::X86_64,
       "x86_64-4",
       "guest",
       {{"CR0", 1}, {"CR4", 0}},
       {{"CR0", kPaging}, {"CR4", 0}}},
      {Architecture::RiscV64, "riscv64-3", "guest", {{"satp", 0}}, {{"satp", u64{8} << 60}}},
      {Architecture::RiscV64, "riscv64-3", "host", {{"hgatp", 0}}, {{"hgatp", u64{8} << 60}}},
      {Architecture::AArch64,
       "aarch64-4",
       "guest",
       {{"SCTLR", 0}, {"TCR_EL1", 16}},
       {{"SCTLR", 1}, {"TCR_EL1", 16}}},
      // Both halves are switched off.
      {Architecture::AArch64,
       "aarch64-4",
       "guest",
       {{"SCTLR", 1}, {"TCR_EL1", 16 | 1 << 7 | 1 << 23}},
       {{"SCTLR", 1}, {"TCR_EL1", 16}}},
      {Architecture::AArch64, "aarch64-3", "host", {{"VTCR_EL2", 0}}, {{"VTCR_EL2", kStage2}}},
      {Architecture::AArch64,
       "aarch64-3",
       "host",
       {{"HCR_EL2", 0}, {"VTCR_EL2", kStage2}},
       {{"VTCR_EL2", kStage2}}},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.tables + " " + each.stage);
    const bool host = each.stage == "host";
    const auto with = [&](const std::vector<SideData>& side) {
      return file(each.architecture, each.tables, host, side);
    };
    expect_refused(with({registers(0, each.off)}), message(each.tables, each.stage));
    expect_refused(with({registers(0, each.off), registers(1, each.off)}),
                   message(each.tables, each.stage));
    EXPECT_EQ(read_all(with({registers(0, each.off), registers(1, each.on)})).error, "");
    EXPECT_EQ(read_all(with({registers(0, each.on), registers(1, each.off)})).error, "");
    EXPECT_EQ(read_all(file(each.architecture, "", host, {registers(0, each.off)})).error, "");
  }
}

TEST(SideDataRules, RegistersThatControlTranslationAreThoseOfTheArchitecture) {
  for (const When when : {When::Begin, When::End}) {
    expect_refused(file_of_tables(Architecture::X86_64, "", "",
                                  {registers(1, {{"CR3", 0x1000}, {"TTBR0_EL1", 0}}, when)}),
                   "a register of x86_64, found 'TTBR0_EL1'");
    expect_refused(
        file_of_tables(Architecture::AArch64, "", "", {registers(0, {{"satp", 0}}, when)}),
        "a register of aarch64, found 'satp'");
  }
  EXPECT_EQ(read_all(file_of_tables(Architecture::RiscV64, "", "",
                                    {registers(0, {{"satp", 0}, {"V", 1}, {"priv", 3}})}))
                .error,
            "");
}

// Of the guest's tables at 0x13000 and 0x14000 the second stage has both in one frame, or one in
// the frame of its own lowest table. A frame has one content, so they are the same, or the trace is
// wrong; hardware has nothing against frames that are two tables.
TEST(SideDataRules, TablesInOneHostFrameAreTheSame) {
  constexpr u64 kRoot = 0x100'0000, kFlags = 7, kFrame = 0x700'0000;
  const auto page_with = [](u64 address, const std::map<u64, u64>& entries) {
    TablePage page{address, std::vector<u8>(kPageBytes)};
    for (const auto& [index, entry] : entries) {
      std::memcpy(page.bytes.data() + index * sizeof entry, &entry, sizeof entry);
    }
    return page;
  };
  // Pages 0x13 and 0x14 of the guest, in these frames.
  const auto lowest_with = [&](u64 first, u64 second) {
    return page_with(kRoot + 0x3000, {{0x13, first | kFlags}, {0x14, second | kFlags}});
  };
  const auto file = [&](u64 first, u64 second, u8 fill_of_second, Mode mode = Mode::Nested,
                        std::optional<TablePage> guest = {}) {
    Header header;
    header.architecture = Architecture::X86_64;
    header.mode = mode;
    MemorySink sink;
    Writer writer(sink, header);
    std::vector<TablePage> host;
    for (u64 level = 0; level < 3; ++level) {
      const u64 table = kRoot + level * 0x1000;
      host.push_back(page_with(table, {{0, (table + 0x1000) | kFlags}}));
    }
    host.push_back(lowest_with(first, second));
    // The host's in front, and behind.
    writer.append(SideData{When::Begin, Stage::Host, 0, {}, host});
    SideData of_guest = registers(0, {{"NCR3", kRoot}});
    of_guest.pages = {guest.value_or(page_of(0x13000, 1)), page_of(0x14000, fill_of_second)};
    writer.append(of_guest);
    writer.finish();
    return sink.bytes();
  };
  EXPECT_EQ(read_all(file(kFrame, kFrame + 0x1000, 2)).error, "");
  EXPECT_EQ(read_all(file(kFrame, kFrame, 1)).error, "");
  EXPECT_EQ(read_all(file(kFrame, kFrame, 2, Mode::FullSystem)).error, "");
  expect_refused(file(kFrame, kFrame, 2),
                 "tables of the begin that lie in one host frame, 0x7000000, to have the same "
                 "contents, the guest's at 0x13000 and the guest's at 0x14000, found other "
                 "contents");
  const u64 own = kRoot + 0x3000;
  expect_refused(file(own, kFrame, 2),
                 "tables of the begin that lie in one host frame, 0x1003000, to have the same "
                 "contents, the host's at 0x1003000 and the guest's at 0x13000, found other "
                 "contents");
  TablePage same = lowest_with(own, kFrame);
  same.address = 0x13000;
  EXPECT_EQ(read_all(file(own, kFrame, 2, Mode::Nested, same)).error, "");
}

// A file of 2 KB unpacks to 64 MiB of them, which would be 1.3 GB in memory.
TEST(SideDataRules, CountsAreJudgedBeforeTheyTakeMemory) {
  const auto file = [](u64 register_count, u64 page_count) {
    ByteBuffer side;
    for (const u64 value : {u64{0}, u64{0}, u64{0}, register_count}) side.put_varint(value);
    for (u64 n = 0; n < std::min<u64>(register_count, kMaxRegisters); ++n) {
      side.put_string("");
      side.put_varint(0);
    }
    side.put_varint(page_count);
    side.put_bytes(std::vector<u8>(10'000));
    ByteBuffer payload;
    payload.put(u64{side.size()});
    Zstd(3).compress(side.bytes(), payload);
    Parts parts = parts_of(file_with({pages({page_of(0x1000, 1)})}));
    for (Part& part : parts) {
      if (part.type != kSideSection) continue;
      part.payload.assign(payload.bytes().begin(), payload.bytes().end());
    }
    return joined(parts);
  };
  expect_refused(file(kMaxRegisters + 1, 0), "a number of registers from 0 to 4096, found 4097");
  // Two bytes for each of them are there, for an address and a length, and none is a page.
  expect_refused(file(1, 5000), "the length of a page from 4096 to 4096, found 0");
  expect_refused(file(1, 5001), "a possible number of pages, found 5001 with 10000 bytes left");
}

TEST(SideDataRules, SalvageKeepsWhatWasSaidFirst) {
  const TablePage page = page_of(0x4000, 1), other = page_of(0x4000, 2);
  const Contents contents =
      read_all(file_with({pages({page}), pages({other}), pages({page_of(0x5000, 3)})}), true);
  ASSERT_EQ(contents.side.size(), 2U);
  EXPECT_EQ(contents.side[0].pages[0], page);
  EXPECT_EQ(contents.side[1].pages[0].address, 0x5000U);
  // The other page, and that the footer counts it.
  ASSERT_EQ(contents.losses.size(), 2U);
  EXPECT_THAT(contents.losses[0], HasSubstr("the page at 0x4000"));
}

TEST(EventRules, EntriesOfPageTablesLieAtMultiplesOf8) {
  for (const u64 off : {1u, 3u, 4u, 7u}) {
    for (const Stage stage : {Stage::Guest, Stage::Host}) {
      expect_refused(file_of({{Event{1, TableWrite{stage, 0x4000 + off, 7}}}}),
                     "the address of an entry, a multiple of 8, found 0x400" + std::to_string(off));
    }
  }
  EXPECT_EQ(read_all(file_of({{Event{1, TableWrite{Stage::Guest, ~u64{7}, 7}}}})).error, "");
}

// ---- clocks ----

TEST(ClockRules, ClocksDoNotWrapAround) {
  constexpr u64 kLast = ~u64{0};
  const Event to_last{0, TimeSync{kLast}};
  expect_refused(file_of({{to_last, read_of(0, 1)}}),
                 "a clock below 2^64 after record 1 of vCPU 0, found 0xffffffffffffffff and 1 "
                 "instructions");
  expect_refused(file_of({{to_last, Event{1, VmEntry{}}}}),
                 "a clock below 2^64 after record 1 of vCPU 0, found 0xffffffffffffffff and 1 "
                 "instructions");
  expect_refused(file_of({{read_of(0, 5), Event{kLast - 4, VmEntry{}}}}),
                 "a clock below 2^64 after record 1 of vCPU 0, found 0x5 and "
                 "18446744073709551611 instructions");
  EXPECT_EQ(read_all(file_of({{read_of(0, 5), Event{kLast - 5, VmEntry{}}, read_of(0, 0)}})).error,
            "");
}

// ---- accesses ----

/// A block with other shapes and escapes.
template <class Change>
Part with_changed_shapes(const Part& part, Change&& change) {
  const Place place{"file", 0};
  BlockHeader header = BlockDecoder::read_header(part.payload, part.payload.size(), place);
  std::span<const u8> stored = std::span(part.payload).subspan(sizeof header);
  Zstd zstd;
  ByteBuffer columns;
  for (std::size_t n = 0; n < kColumns; ++n) {
    BlockHeader::Size& size = header.columns[n];
    std::vector<u8> column(size.raw);
    zstd.decompress(stored.first(size.stored), column, place);
    stored = stored.subspan(size.stored);
    if (n == kShapes) change(column);
    size.stored = zstd.compress(column, columns);
  }
  ByteBuffer payload;
  payload.put(header);
  payload.put_bytes(columns.bytes());
  return {part.type, {payload.bytes().begin(), payload.bytes().end()}};
}

TEST(AccessRules, AccessesDoNotCrossPages) {
  // The writer divides them: 4 bytes at the end of a page become 5 by a change of the shape.
  Parts parts = parts_of(file_of({{read_of(0x1ffc, 1, 4), read_of(0x5000, 1, 4096)}}));
  const auto block = std::find_if(parts.begin(), parts.end(),
                                  [](const Part& part) { return part.type == kBlockSection; });
  *block = with_changed_shapes(*block, [](std::vector<u8>& shapes) {
    const auto size = std::find(shapes.begin(), shapes.end(), u8{4});
    ASSERT_NE(size, shapes.end());
    *size = 5;
  });
  mend_index(parts);
  expect_refused(joined(parts),
                 "an access within one page as record 0 of vCPU 0, found 5 bytes from 0xffc on");
}

TEST(AccessRules, FirstAccessOfAStreamContinuesNone) {
  Access rest = read_of(0x2000, 0);
  rest.flags |= kContinues;
  const std::string message =
      "the beginning of an access as the first one of vCPU 1, found one that continues";
  expect_refused(file_of({{}, {rest}}), message);
  // Also behind a block without accesses.
  const Stream late = {Event{1, VmEntry{}}, Event{1, VmEntry{}}, rest};
  expect_refused(file_of({{}, late}, {.block_records = 2}), message);
  const Stream stream = {read_of(0x1ffc), Event{1, VmEntry{}}, rest, rest};
  for (const u32 records : {1u, 2u, 3u, 4u}) {
    EXPECT_EQ(read_all(file_of({stream}, {.block_records = records})).error, "");
  }
}

TEST(AccessRules, WhatContinuesTakesNoInstructions) {
  Access rest = read_of(0x2000, 1);
  rest.flags |= kContinues;
  expect_refused(file_of({{read_of(0x1ffc), rest}}),
                 "the instruction count of an access that continues below 1, found 1");
}

// ---- events ----

std::vector<u8> file_of_events(std::optional<Architecture> architecture,
                               const std::vector<EventDetail>& events,
                               Mode mode = Mode::FullSystem) {
  MemorySink sink;
  Header header;
  header.architecture = architecture;
  header.mode = mode;
  Writer writer(sink, header);
  for (const EventDetail& detail : events) writer.append(0, Event{1, detail});
  writer.finish();
  return sink.bytes();
}

GuestFence fence_of(FenceScope scope, u64 flags, u64 address, u64 bytes, u64 asid) {
  return {scope, flags, Gva(address), bytes, asid, Precision::Exact};
}

constexpr Architecture kArchitectures[] = {Architecture::X86_64, Architecture::AArch64,
                                           Architecture::RiscV64};

TEST(EventRules, AsidsHaveTheBitsOfTheArchitecture) {
  for (const Architecture architecture : kArchitectures) {
    const unsigned bits = architecture == Architecture::X86_64 ? 12 : 16;
    const u64 end = u64{1} << bits;
    const std::string message =
        "an ASID of " + std::to_string(bits) + " bits, found 0x1" + std::string(bits / 4, '0');
    expect_refused(file_of_events(architecture, {SpaceSwitch{0x1000, end}}), message);
    expect_refused(file_of_events(architecture, {fence_of(FenceScope::AddressAsid, 0, 0, 0, end)}),
                   message);
    EXPECT_EQ(read_all(file_of_events(architecture, {SpaceSwitch{0x1000, end - 1},
                                                     fence_of(FenceScope::Asid, 0, 0, 0, end - 1)}))
                  .error,
              "");
  }
  EXPECT_EQ(read_all(file_of_events({}, {SpaceSwitch{0x1001, ~u64{0}}})).error, "");
  // There they are whatever tells processes apart.
  EXPECT_EQ(
      read_all(file_of_events(Architecture::X86_64, {SpaceSwitch{0, ~u64{0}}}, Mode::User)).error,
      "");
}

TEST(EventRules, RootsLieAtMultiplesOfAPage) {
  for (const Architecture architecture : {Architecture::X86_64, Architecture::RiscV64}) {
    expect_refused(file_of_events(architecture, {SpaceSwitch{0x1ff8, 1}}),
                   "an address space's root, a multiple of 4096, found 0x1ff8");
  }
  // A table of eight entries.
  EXPECT_EQ(read_all(file_of_events(Architecture::AArch64, {SpaceSwitch{0x1040, 1}})).error, "");
}

TEST(EventRules, FlagsAreDefined) {
  expect_refused(file_of_events({}, {fence_of(FenceScope::All, 8, 0, 0, 0)}),
                 "flags of a fence below 8, found 0x8");
  for (const Operation operation : {Operation::Protect, Operation::Unmap}) {
    expect_refused(file_of_events({}, {HypervisorOperation{operation, Gpa(0), 4096, 8}}),
                   "flags of a hypervisor's operation below 8, found 0x8");
  }
  EXPECT_EQ(read_all(file_of_events({}, {fence_of(FenceScope::All, 7, 0, 0, 0),
                                         HypervisorOperation{Operation::Map, Gpa(0), 4096, 7}}))
                .error,
            "");
}

TEST(EventRules, FencesHaveNoOperandsOutsideOfTheirScope) {
  expect_refused(file_of_events({}, {fence_of(FenceScope::All, 0, 0x7000, 0, 0)}),
                 "a fence of scope all without an address, found 0x0 bytes from 0x7000 on");
  expect_refused(file_of_events({}, {fence_of(FenceScope::Asid, 0, 0, 0x1000, 5)}),
                 "a fence of scope asid without an address, found 0x1000 bytes from 0x0 on");
  expect_refused(file_of_events({}, {fence_of(FenceScope::All, 0, 0, 0, 5)}),
                 "a fence of scope all without an ASID, found 0x5");
  expect_refused(file_of_events({}, {fence_of(FenceScope::Address, 0, 0x7000, 0, 5)}),
                 "a fence of scope address without an ASID, found 0x5");
}

TEST(EventRules, ControlRegistersAreThoseOfTheArchitecture) {
  constexpr const char* kOwn[] = {"CR3", "TTBR1_EL1", "hgatp"};
  for (const Architecture architecture : kArchitectures) {
    const auto own = static_cast<std::size_t>(architecture);
    for (std::size_t n = 0; n < std::size(kOwn); ++n) {
      const std::vector<u8> file = file_of_events(architecture, {ControlWrite{kOwn[n], 0x1000}});
      if (n == own) {
        EXPECT_EQ(read_all(file).error, "");
      } else {
        EXPECT_THAT(read_all(file).error, HasSubstr(std::string(", found '") + kOwn[n] + "'"));
      }
    }
  }
  expect_refused(file_of_events(Architecture::RiscV64, {ControlWrite{"bogus", 1}}),
                 "a register that controls the translation of riscv64, found 'bogus'");
  EXPECT_EQ(read_all(file_of_events({}, {ControlWrite{"bogus", 1}})).error, "");
}

// ---- headers ----

std::vector<u8> file_of_header(const Header& header) {
  MemorySink sink;
  Writer(sink, header).finish();
  return sink.bytes();
}

TEST(HeaderRules, PageTablesAreOfTheArchitecture) {
  Header header;
  header.architecture = Architecture::X86_64;
  for (const char* const tables : {"x86_64-9", "x86_64-3", "x86_64-", "x86_64-44", "riscv64-4"}) {
    for (std::string Header::*const stage : {&Header::guest_tables, &Header::host_tables}) {
      Header bad = header;
      bad.*stage = tables;
      expect_refused(
          file_of_header(bad),
          "a format of page tables from x86_64-4 to x86_64-5, found '" + std::string(tables) + "'");
    }
  }
  header.guest_tables = "x86_64-5";
  header.host_tables = "x86_64-4";
  EXPECT_EQ(read_all(file_of_header(header)).error, "");
  header.architecture.reset();
  EXPECT_EQ(read_all(file_of_header(header)).error, "");
  header.guest_tables = "x86_64-9";
  expect_refused(file_of_header(header), "a format of page tables, found 'x86_64-9'");
}

TEST(HeaderRules, NotesOnProvenanceSayWhatTheHeaderDoes) {
  Header header;
  header.architecture = Architecture::RiscV64;
  header.mode = Mode::FullSystem;
  header.vcpus = 2;
  header.memory = {{Stage::Guest, 0x80000000, 0x1000, "ram"}};
  // What the header says of each, and the note.
  const std::pair<std::string, std::pair<std::string, std::string>> contradictions[] = {
      {"2", {"vcpus", "1"}},
      {"riscv64", {"architecture", "x86_64"}},
      {"no", {"nested", "yes"}},
      {"2147483648", {"memory_base", "0x1000"}},
      {"4096", {"memory_bytes", "8192"}}};
  const std::vector<std::pair<std::string, std::string>> right = {{"architecture", "riscv64"},
                                                                  {"nested", "no"},
                                                                  {"vcpus", "2"},
                                                                  {"memory_base", "0x80000000"},
                                                                  {"memory_bytes", "4096"}};
  header.provenance = right;
  EXPECT_EQ(read_all(file_of_header(header)).error, "");
  for (const auto& [said, note] : contradictions) {
    const std::string message = "a note on provenance, " + note.first + " " + said +
                                ", as the header, found '" + note.second + "'";
    header.provenance = right;
    header.provenance.push_back(note);
    expect_refused(file_of_header(header), message);
    // They are those of its inputs.
    for (const std::string edit : {"merge", "split"}) {
      header.provenance.emplace_back(edit, "");
      EXPECT_EQ(read_all(file_of_header(header)).error, "");
      header.provenance.pop_back();
    }
    header.provenance.emplace_back("cut", "");
    expect_refused(file_of_header(header), message);
  }
}

// A section of 64 MiB has room for 16 million ranges, which would be 900 MB in memory.
TEST(HeaderRules, CountsAreJudgedBeforeTheyTakeMemory) {
  const auto file = [](u64 ranges, u64 notes) {
    ByteBuffer payload;
    constexpr u64 kBegin[] = {1, 0, 1, 0, 0, 0, 0, 0};
    for (const u64 value : kBegin) payload.put_varint(value);
    payload.put_varint(ranges);
    for (u64 n = 0; n < std::min<u64>(ranges, kMaxMemoryRanges); ++n) {
      for (const u64 value : {u64{0}, n, u64{1}, u64{0}}) payload.put_varint(value);
    }
    if (ranges > kMaxMemoryRanges) payload.put_bytes(std::vector<u8>(4));
    payload.put_varint(notes);
    payload.put_bytes(std::vector<u8>(2 * notes));
    Parts parts = parts_of(file_of(std::vector<Stream>(1)));
    parts.front().payload.assign(payload.bytes().begin(), payload.bytes().end());
    return joined(parts);
  };
  Header header;
  header.memory.assign(kMaxMemoryRanges, {Stage::Guest, 0, 1, "ram"});
  header.provenance.resize(kMaxProvenance);
  EXPECT_EQ(read_all(file_of_header(header)).error, "");
  expect_refused(file(kMaxMemoryRanges + 1, 0),
                 "a number of memory ranges from 0 to 4096, found 4097");
  expect_refused(file(0, kMaxProvenance + 1),
                 "a number of notes on provenance from 0 to 65536, found 65537");
}

TEST(HeaderRules, NoTraceIsWrittenWithMoreThanAHeaderHolds) {
  MemorySink sink;
  Header header;
  header.memory.resize(kMaxMemoryRanges + 1);
  EXPECT_THROW(Writer(sink, header), RecordError);
  header.memory.clear();
  header.provenance.resize(kMaxProvenance + 1);
  EXPECT_THROW(Writer(sink, header), RecordError);
}

TEST(HeaderRules, MemoryIsOfOneKindAndNotEmpty) {
  Header header;
  header.memory = {{Stage::Guest, 0x1000, 0, "ram"}};
  expect_refused(file_of_header(header),
                 "a memory range with bytes, found 0 bytes of 'ram' from 0x1000 on");
  // The second one lies within the first one, and so does the third one.
  header.memory = {{Stage::Guest, 0x1000, 0x9000, "ram"},
                   {Stage::Guest, 0x2000, 0x1000, "ram"},
                   {Stage::Guest, 0x4000, 0x1000, "rom"}};
  expect_refused(
      file_of_header(header),
      "one kind of memory at 0x4000 of the guest, found 36864 bytes of 'ram' from 0x1000 "
      "on and 4096 bytes of 'rom' from 0x4000 on");
  header.memory[2].stage = Stage::Host;
  EXPECT_EQ(read_all(file_of_header(header)).error, "");
  header.memory[2] = {Stage::Guest, 0xa000, 0x1000, "rom"};
  EXPECT_EQ(read_all(file_of_header(header)).error, "");
}

// ---- sections ----

TEST(SectionRules, FlagsAreDefined) {
  std::vector<u8> file = file_of({{read_of(0)}});
  // The header's section follows the preamble; the checksum is the last field of its frame.
  SectionFrame frame;
  std::memcpy(&frame, file.data() + sizeof(Preamble), sizeof frame);
  frame.flags = 2;
  frame.checksum = crc32c({reinterpret_cast<const u8*>(&frame), offsetof(SectionFrame, checksum)});
  std::memcpy(file.data() + sizeof(Preamble), &frame, sizeof frame);
  expect_refused(file, "flags of a section of 0 or 1, found 2");
}

}  // namespace
}  // namespace nestwalk::traces::rules_test
