// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

// What the plugin that watches hypervisors knows of instructions, registers and tables. The words
// of instructions are put together from the fields that the manuals give.

#include <gtest/gtest.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

extern "C" {
#include "hypervisor/isa.h"
#include "hypervisor/symbols.h"
#include "hypervisor/tlbi.h"
}

namespace {

// What watch.c does, here: registers by name, and what was called.
const isa* current = nullptr;
std::map<std::string, uint64_t> registers;
bool in_guest = false;
std::vector<std::string> called;

std::string hex(uint64_t value) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "0x%lx", static_cast<unsigned long>(value));
  return text.data();
}
std::string text_of(const guest* guest) {
  return hex(guest->root) + " levels " + std::to_string(guest->levels) + " pages " +
         std::to_string(guest->pages) + " tag " + std::to_string(guest->tag) + " " + guest->format;
}

}  // namespace

extern "C" {
uint64_t read_register(unsigned, int number) { return registers[current->registers[number]]; }
bool is_in_guest(unsigned) { return in_guest; }
void root_loaded(unsigned, const guest* guest, uint64_t) {
  called.push_back("root " + text_of(guest));
}
void guest_entered(unsigned, const guest* guest, const char* flush, uint64_t) {
  called.push_back("enter " + text_of(guest) + (flush ? std::string(" ") + flush : ""));
}
void fenced(unsigned, uint64_t owner, uint64_t, const char* format, ...) {
  std::array<char, 128> text{};
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text.data(), text.size(), format, arguments);
  va_end(arguments);
  called.push_back(std::string("fence ") + text.data() + " of " + hex(owner));
}
uint64_t owner_of_tag(uint64_t tag) { return tag == 3 ? 0x80020000 : 0; }
bool wait_for(unsigned, enum wait reach, bool stores_alone) {
  called.push_back(std::string("waits ") + (reach == kWaitHere ? "here" : "everywhere") +
                   (stores_alone ? " stores" : ""));
  return false;
}
void fence_waits(unsigned, enum wait reach) {
  called.push_back(reach == kWaitHere ? "local" : "broadcast");
}
}

namespace {

using Calls = std::vector<std::string>;

/// What the instruction does to the one who watches.
Calls executed(const isa& architecture, uint32_t word, std::map<std::string, uint64_t> values,
               size_t size = 4) {
  current = &architecture;
  registers = std::move(values);
  called.clear();
  std::array<uint8_t, 16> bytes{};
  for (size_t n = 0; n < 4; ++n) bytes[n] = static_cast<uint8_t>(word >> (8 * n));
  const instruction instruction{0x1000, bytes.data(), size, word};
  if (!architecture.is_watched(&instruction)) return {"not watched"};
  const site site{0x1000, word};
  architecture.executed(0, &site);
  return called;
}

// SYS: 1101 0101 0000 1 op1 CRn CRm op2 Rt (Arm ARM C6, "SYS").
constexpr uint32_t sys(uint32_t op1, uint32_t crn, uint32_t crm, uint32_t op2, uint32_t rt) {
  return 0xd5080000 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | rt;
}
std::string tlbi(uint32_t word, uint64_t value = 0x40) {
  std::array<char, 64> text{};
  return tlbi_text(word, value, text.data(), text.size()) ? text.data() : "none";
}

TEST(Tlbi, HasTheNamesOfTheManual) {
  EXPECT_EQ(tlbi(sys(4, 8, 0, 1, 3)), "tlbi ipas2e1is, 0x40");
  EXPECT_EQ(tlbi(sys(4, 8, 4, 1, 3)), "tlbi ipas2e1, 0x40");
  EXPECT_EQ(tlbi(sys(4, 8, 0, 5, 3)), "tlbi ipas2le1is, 0x40");
  EXPECT_EQ(tlbi(sys(4, 8, 0, 2, 3)), "tlbi ripas2e1is, 0x40");
  EXPECT_EQ(tlbi(sys(0, 8, 3, 0, 31)), "tlbi vmalle1is");
  EXPECT_EQ(tlbi(sys(0, 8, 7, 0, 31)), "tlbi vmalle1");
  EXPECT_EQ(tlbi(sys(4, 8, 3, 6, 31)), "tlbi vmalls12e1is");
  EXPECT_EQ(tlbi(sys(4, 8, 1, 6, 31)), "tlbi vmalls12e1os");
  EXPECT_EQ(tlbi(sys(4, 8, 7, 4, 31)), "tlbi alle1");
  EXPECT_EQ(tlbi(sys(0, 8, 3, 1, 2)), "tlbi vae1is, 0x40");
  EXPECT_EQ(tlbi(sys(4, 9, 0, 1, 3)), "tlbi ipas2e1is, 0x40");  // with nXS
}

TEST(Tlbi, OfEl2AndDataCacheInstructionsAreNone) {
  EXPECT_EQ(tlbi(sys(4, 8, 3, 1, 2)), "none");   // TLBI VAE2IS
  EXPECT_EQ(tlbi(sys(4, 8, 3, 0, 31)), "none");  // TLBI ALLE2IS
  EXPECT_EQ(tlbi(sys(3, 7, 14, 1, 2)), "none");  // DC CIVAC
}

// DSB: 1101 0101 0000 0011 0011 CRm 1 00 11111; with nXS 1101 0101 0000 0011 0011 imm2 10 001
// 11111.
TEST(Dsb, HasItsDomain) {
  const auto dsb = [](uint32_t option) {
    const char* text = dsb_text(0xd503309f | option << 8);
    return std::string(text ? text : "none");
  };
  EXPECT_EQ(dsb(15), "dsb sy");
  EXPECT_EQ(dsb(14), "dsb st");
  EXPECT_EQ(dsb(11), "dsb ish");
  EXPECT_EQ(dsb(10), "dsb ishst");
  EXPECT_EQ(dsb(7), "dsb nsh");
  EXPECT_EQ(dsb(6), "dsb nshst");
  for (const uint32_t loads : {13u, 9u, 5u, 1u}) EXPECT_EQ(dsb(loads), "none");
  EXPECT_STREQ(dsb_text(0xd503323f | 1 << 10), "dsb nsh");
  EXPECT_EQ(dsb_text(0xd5033bbf), nullptr);  // DMB ISH
}

constexpr uint64_t kEl2 = 2 << 2, kEl1 = 1 << 2;
constexpr uint64_t kVm = 1, kTge = uint64_t{1} << 27, kE2h = uint64_t{1} << 34;

// VTCR_EL2: T0SZ 24 and SL0 1: 40 bits, walks begin at level 1 of 0 to 3, which has 10 bits of
// index: two pages.
TEST(Aarch64, EntersAGuestByEret) {
  const std::map<std::string, uint64_t> entering = {{"cpsr", kEl2},
                                                    {"HCR_EL2", kVm | kE2h},
                                                    {"SPSR_EL2", kEl1 | 1},
                                                    {"VTTBR_EL2", uint64_t{7} << 48 | 0x40010001},
                                                    {"VTCR_EL2", 24 | 1 << 6}};
  constexpr uint32_t kEret = 0xd69f03e0;
  EXPECT_EQ(executed(aarch64, kEret, entering),
            Calls{"enter 0x40010000 levels 3 pages 2 tag 7 stage2-4k ipa=40"});
  auto host = entering;
  host["HCR_EL2"] = kVm | kE2h | kTge;
  EXPECT_EQ(executed(aarch64, kEret, host), Calls{});
  auto own = entering;
  own["SPSR_EL2"] = kEl2;
  EXPECT_EQ(executed(aarch64, kEret, own), Calls{});
}

TEST(Aarch64, TellsFencesOfGuestsApartFromAHostsOwn) {
  const uint32_t all = sys(0, 8, 3, 0, 31), by_ipa = sys(4, 8, 4, 1, 3);
  const uint64_t root = 0x40010000;
  const auto fence = [&](uint32_t word, uint64_t cpsr, uint64_t hcr) {
    return executed(aarch64, word,
                    {{"cpsr", cpsr}, {"HCR_EL2", hcr}, {"VTTBR_EL2", root}, {"x3", 0x81}});
  };
  EXPECT_EQ(fence(all, kEl2, kVm | kE2h),
            (Calls{"fence tlbi vmalle1is of 0x40010000", "broadcast"}));
  EXPECT_EQ(fence(all, kEl2, kE2h | kTge), Calls{});  // VHE
  EXPECT_EQ(fence(all, kEl1, 0), Calls{});            // without VHE
  EXPECT_EQ(fence(by_ipa, kEl2, kE2h | kTge),
            (Calls{"fence tlbi ipas2e1, 0x81 of 0x40010000", "local"}));
  EXPECT_EQ(fence(0xd503379f, kEl2, 0), Calls{"waits here"});
  EXPECT_EQ(fence(0xd5033a9f, kEl2, 0), Calls{"waits everywhere stores"});
}

TEST(Aarch64, IsTheHypervisorsWithoutASecondStage) {
  const auto is = [](uint64_t cpsr, uint64_t hcr) {
    current = &aarch64;
    registers = {{"cpsr", cpsr}, {"HCR_EL2", hcr}};
    return aarch64.is_hypervisor(0, 0);
  };
  EXPECT_TRUE(is(kEl2, kVm));
  EXPECT_TRUE(is(kEl1, 0));
  EXPECT_FALSE(is(kEl1, kVm));
  EXPECT_FALSE(is(0, kTge));
}

// ESR_EL2: EC in 31:26, WnR in bit 6, S1PTW in bit 7; HPFAR_EL2 holds IPA >> 12 from bit 4.
TEST(Aarch64, SaysWhyAGuestWasLeft) {
  current = &aarch64;
  const auto left = [](uint64_t esr, uint64_t vector) {
    registers = {{"ESR_EL2", esr}, {"HPFAR_EL2", uint64_t{0x80005} << 4}, {"FAR_EL2", 0x123}};
    const fault fault = aarch64.why_left(0, vector);
    return fault.is_fault ? hex(fault.address) + " " + fault.access : "none";
  };
  constexpr uint64_t kLower = 0x400, kData = uint64_t{0x24} << 26, kFetch = uint64_t{0x20} << 26;
  EXPECT_EQ(left(kData | 1 << 6, kLower), "0x80005123 write");
  EXPECT_EQ(left(kData, kLower), "0x80005123 read");
  EXPECT_EQ(left(kFetch, kLower), "0x80005123 execute");
  EXPECT_EQ(left(kData | 1 << 7, kLower), "0x80005000 ");  // of the guest's tables
  EXPECT_EQ(left(kData, 0x480), "none");                   // an interrupt
  EXPECT_EQ(left(uint64_t{0x16} << 26, kLower), "none");   // HVC
}

// R-type SYSTEM: funct7 rs2 rs1 000 00000 1110011.
constexpr uint32_t system(uint32_t funct7, uint32_t rs2, uint32_t rs1) {
  return funct7 << 25 | rs2 << 20 | rs1 << 15 | 0x73;
}

TEST(Riscv64, NamesFencesWithTheirOperands) {
  const std::map<std::string, uint64_t> values = {
      {"a0", 0x1400}, {"a1", 3}, {"hgatp", uint64_t{9} << 60 | 0x80010}};
  const auto fence = [&](uint32_t word) { return executed(riscv64, word, values); };
  EXPECT_EQ(fence(system(0x31, 11, 10)), Calls{"fence hfence.gvma 0x1400, 0x3 of 0x80010000"});
  EXPECT_EQ(fence(system(0x31, 11, 0)), Calls{"fence hfence.gvma zero, 0x3 of 0x80010000"});
  EXPECT_EQ(fence(system(0x11, 0, 10)), Calls{"fence hfence.vvma 0x1400, zero of 0x80010000"});
  EXPECT_EQ(fence(system(0x33, 0, 0)), Calls{"fence hinval.gvma zero, zero of 0x80010000"});
  EXPECT_EQ(fence(system(0x0c, 0, 0)), Calls{"fence sfence.w.inval of 0x80010000"});
  EXPECT_EQ(fence(system(0x0c, 1, 0)), Calls{"fence sfence.inval.ir of 0x80010000"});
  EXPECT_EQ(fence(system(0x09, 0, 10)), Calls{"not watched"});  // SFENCE.VMA: the host's own
  // hgatp has a VMID and no root.
  EXPECT_EQ(executed(riscv64, system(0x11, 0, 0), {{"hgatp", uint64_t{3} << 44}}),
            Calls{"fence hfence.vvma zero, zero of 0x80020000"});
}

TEST(Riscv64, EntersAGuestBySretAndMret) {
  const uint64_t hgatp = uint64_t{10} << 60 | uint64_t{3} << 44 | 0x80010;
  const std::string guest = "enter 0x80010000 levels 5 pages 4 tag 3 sv57x4";
  EXPECT_EQ(executed(riscv64, 0x10200073, {{"hgatp", hgatp}, {"hstatus", 1 << 7}}), Calls{guest});
  EXPECT_EQ(executed(riscv64, 0x10200073, {{"hgatp", hgatp}}), Calls{});
  const uint64_t mpv = uint64_t{1} << 39, supervisor = 1 << 11, machine = 3 << 11;
  EXPECT_EQ(executed(riscv64, 0x30200073, {{"hgatp", hgatp}, {"mstatus", mpv | supervisor}}),
            Calls{guest});
  EXPECT_EQ(executed(riscv64, 0x30200073, {{"hgatp", hgatp}, {"mstatus", mpv | machine}}), Calls{});
}

// CSRRW rd, hgatp, rs1: 0x680 rs1 001 rd 1110011.
TEST(Riscv64, FollowsWhatIsWrittenToHgatp) {
  const uint32_t write = uint32_t{0x680} << 20 | 10 << 15 | 1 << 12 | 0x73;
  EXPECT_EQ(executed(riscv64, write, {{"a0", uint64_t{8} << 60 | 0x80010}}),
            Calls{"root 0x80010000 levels 3 pages 4 tag 0 sv39x4"});
  EXPECT_EQ(executed(riscv64, write, {{"a0", 0}}), Calls{});
}

/// Sixteen pages of memory from 0x100000, and the log.
class World {
 public:
  explicit World(const entry_format& format)
      : file_(open_memstream(&text_, &size_)), log_{file_, 0} {
    tables_init(&log_, &format, memory_.data(), kBase, memory_.size() * 8);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() {
    tables_end();
    std::fclose(file_);
    std::free(text_);
  }
  void put(uint64_t address, uint64_t value) { *tables_memory(address) = value; }
  void store(uint64_t address, uint64_t value) {
    put(address, value);
    tables_stored(0, address, 8, "here");
  }
  /// What was told since the last call, without numbers.
  std::string told() {
    std::fflush(file_);
    std::string lines(text_ + read_, size_ - read_), text;
    read_ = size_;
    for (size_t at = 0; at < lines.size();) {
      const size_t end = lines.find('\n', at);
      const size_t event = lines.find(' ', lines.find(' ', at) + 1) + 1;
      text += lines.substr(event, end - event) + "; ";
      at = end + 1;
    }
    return text;
  }

  static constexpr uint64_t kBase = 0x100000;

 private:
  std::vector<uint64_t> memory_ = std::vector<uint64_t>(16 * 512);
  char* text_ = nullptr;
  size_t size_ = 0;
  size_t read_ = 0;
  FILE* file_;
  struct log log_;
};

// Root at 0x100000, of level 1; its table 0x101000 leads to 0x108000. AArch64: 3 is a table, or a
// page at level 0; 1 a block.
TEST(Tables, TellWhatATableHoldsBeforeWalksReachIt) {
  World world(aarch64.format);
  world.put(0x101010, 0x108003);
  ASSERT_TRUE(tables_follow(0, 0x100000, 2, 1, "root"));
  EXPECT_EQ(world.told(), "");
  world.store(0x100008, 0x101003);
  EXPECT_EQ(world.told(), "store 0x101010 0x0 0x108003 @here; store 0x100008 0x0 0x101003 @here; ");
  world.store(0x101010, 0);
  EXPECT_EQ(world.told(), "store 0x101010 0x108003 0x0 @here; ");
  world.store(0x101010, 0);
  EXPECT_EQ(world.told(), "");
}

TEST(Tables, FollowNoStoresBelowAnUnlinkedTableUntilItIsLinkedAgain) {
  World world(aarch64.format);
  ASSERT_TRUE(tables_follow(0, 0x100000, 2, 1, "root"));
  world.store(0x100008, 0x101003);
  world.store(0x100008, 0);
  world.told();
  world.store(0x101018, 0x109003);
  EXPECT_EQ(world.told(), "");
  world.store(0x100010, 0x101003);
  EXPECT_EQ(world.told(), "store 0x101018 0x0 0x109003 @here; store 0x100010 0x0 0x101003 @here; ");
}

TEST(Tables, AreNoMoreOnceTheyAreFreed) {
  World world(aarch64.format);
  ASSERT_TRUE(tables_follow(0, 0x100000, 2, 1, "root"));
  world.put(0x101010, 0x108003);
  world.store(0x100008, 0x101003);
  world.store(0x100008, 0);
  world.told();
  EXPECT_TRUE(tables_are_used(0x101000, 0x1000));
  EXPECT_TRUE(tables_are_used(0x108000, 0x1000));   // that a leaf named
  EXPECT_FALSE(tables_are_used(0x109000, 0x1000));  // nobody's
  tables_freed(0, 0x101000, 0x1000);
  EXPECT_EQ(world.told(), "free 0x101000 0x1000; ");
  EXPECT_FALSE(tables_is_table(0x101000));
  EXPECT_FALSE(tables_are_used(0x101000, 0x1000));
  // In the log, what was stored there is forgotten: it is told anew.
  world.store(0x100008, 0x101003);
  EXPECT_EQ(world.told(), "store 0x101010 0x0 0x108003 @here; store 0x100008 0x0 0x101003 @here; ");
}

// A page that was a table of level 0 becomes one of level 1: it was freed, and nobody said so.
TEST(Tables, ThatChangeTheirLevelWereFreed) {
  World world(aarch64.format);
  ASSERT_TRUE(tables_follow(0, 0x100000, 3, 1, "root"));
  world.put(0x101000, 0x102003);
  world.store(0x100008, 0x101003);
  world.store(0x101000, 0);
  world.told();
  world.store(0x100010, 0x102003);
  EXPECT_EQ(world.told(), "free 0x102000 4096; store 0x100010 0x0 0x102003 @here; ");
}

TEST(Tables, OutsideOfMemoryAreNotFollowed) {
  World world(aarch64.format);
  EXPECT_FALSE(tables_follow(0, 0x900000, 2, 1, "root"));
}

// Bits 3:1, R W X, of a leaf (privileged specification, "Sv32: Virtual Memory System"); the frame
// in 53:10. x86: a large page has bit 7.
TEST(Entries, LeadToTablesOrTranslate) {
  uint64_t address = 0;
  EXPECT_TRUE(riscv64.format.table(0x40001, 1, &address));
  EXPECT_EQ(address, 0x100000u);
  EXPECT_FALSE(riscv64.format.leaf(0x40001, 1, &address));
  EXPECT_TRUE(riscv64.format.leaf(0x4001f, 1, &address));
  EXPECT_TRUE(x86_64.format.table(0x100007, 1, &address));
  EXPECT_FALSE(x86_64.format.table(0x100087, 1, &address));
  EXPECT_TRUE(x86_64.format.leaf(0x100087, 1, &address));
  EXPECT_TRUE(x86_64.format.leaf(0x100007, 0, &address));
  EXPECT_FALSE(x86_64.format.leaf(0x100006, 0, &address));
}

TEST(Symbols, SayWhereAnAddressIs) {
  std::array<char, 32> path{"/tmp/symbols-XXXXXX"};
  const int file = mkstemp(path.data());
  ASSERT_GE(file, 0);
  FILE* const out = fdopen(file, "w");
  std::fputs("ffff0000 second\nfffe0000 first\nfffe0010 .L0\n", out);
  std::fclose(out);
  symbols_read(path.data());
  std::remove(path.data());
  std::array<char, 64> text{};
  const auto described = [&](uint64_t address) {
    symbols_describe(address, text.data(), text.size());
    return std::string(text.data());
  };
  EXPECT_EQ(described(0xfffe001c), "first+0x1c");
  EXPECT_EQ(described(0xffff0000), "second+0x0");
  EXPECT_EQ(described(0x1000), "0x1000");
  EXPECT_EQ(described(0x1ffff0000), "0x1ffff0000");  // too far from any
  uint64_t end = 0;
  EXPECT_EQ(symbols_find("first", &end), 0xfffe0000u);
  EXPECT_EQ(end, 0xffff0000u);
  EXPECT_EQ(symbols_find("third", &end), 0u);
}

}  // namespace
