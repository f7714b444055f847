// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// cut, split and merge of traces with page tables: what verified before them verifies after them.

#include <algorithm>
#include <array>
#include <fstream>
#include <map>

#include "nestwalk/traces/random.hpp"
#include "nestwalk/traces/verifier.hpp"
#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim::trace_edit_test {
namespace {

using namespace traces;
using Entries = std::map<u64, u64>;  // of page tables, by address
using Registers = std::vector<std::pair<std::string, u64>>;

// Sv39 and Sv39x4. A table is V, a leaf V, R, W, X, U, A and D: 0xdf.
constexpr u64 table(u64 address) { return address >> 2 | 1; }
constexpr u64 leaf(u64 address) { return address >> 2 | 0xdf; }
constexpr u64 satp(u64 root) { return u64{8} << 60 | root >> 12; }

std::vector<TablePage> pages_of(const Entries& entries) {
  std::vector<TablePage> pages;  // entries come in the order of their addresses
  for (const auto& [address, entry] : entries) {
    const u64 page = address & ~(kPageBytes - 1);
    if (pages.empty() || pages.back().address != page) {
      pages.push_back({page, std::vector<u8>(kPageBytes)});
    }
    std::memcpy(pages.back().bytes.data() + address % kPageBytes, &entry, sizeof entry);
  }
  return pages;
}

Access read_of(u64 gva, u64 gpa, u32 instructions = 1) {
  return {Gva(gva), Gpa(gpa), {}, instructions, 8, AccessKind::Read, kGvaKnown | kGpaKnown};
}

TableWrite write_of(u64 address, u64 value, Stage stage = Stage::Guest) {
  return {stage, address, value};
}

struct Judged {
  u64 record, time, gva;
  Verdict verdict;

  /// But for the number, which changes.
  bool same_as(const Judged& other) const {
    return time == other.time && gva == other.gva && verdict == other.verdict;
  }
};
using Stream = std::vector<Judged>;

class TraceEdit : public Program {
 protected:
  std::unique_ptr<ByteSink> create(const std::string& name) {
    return create_sink((folder() / name).string());
  }
  auto opener(const std::string& name) {
    return [path = (folder() / name).string()] { return open_source(path); };
  }
  Verification verify(const std::string& name) {
    constexpr std::size_t kAll = 1 << 20;
    return verify_trace(opener(name), kAll, [](u64, u64, u64) {});
  }

  /// The accesses of each vCPU: what does not translate and is as recorded counts as a match.
  std::vector<Stream> judge(const std::string& name) {
    Reader reader(opener(name)());
    std::vector<Stream> streams(reader.header().vcpus);
    for (auto item = reader.next(); item != Reader::Item::End; item = reader.next()) {
      if (item != Reader::Item::Records) continue;
      u64 record = reader.chunk().first_record, time = reader.chunk().time;
      for (const Access& access : reader.chunk().accesses) {
        time = time_after(time, access);
        streams[reader.chunk().vcpu].push_back(
            {record++, time, access.gva.value(), Verdict::Match});
      }
    }
    const Verification found = verify(name);
    for (const AddressMismatch& each : found.addresses) {
      for (Judged& access : streams[each.vcpu]) {
        if (access.record == each.record) access.verdict = Verdict::Mismatch;
      }
    }
    for (const UnknownStretch& each : found.unknown) {
      for (Judged& access : streams[each.vcpu]) {
        if (access.record < each.first_record || access.record > each.last_record) continue;
        access.verdict = Verdict::UnknownTables;
      }
    }
    return streams;
  }

  /// That the accesses of `name` are the expected ones, at the same times with the same verdicts.
  void expect_same(const std::string& name, const std::vector<Stream>& expected) {
    const std::vector<Stream> found = judge(name);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t vcpu = 0; vcpu < found.size(); ++vcpu) {
      ASSERT_EQ(found[vcpu].size(), expected[vcpu].size()) << name << ", vCPU " << vcpu;
      for (std::size_t n = 0; n < found[vcpu].size(); ++n) {
        ASSERT_TRUE(found[vcpu][n].same_as(expected[vcpu][n]))
            << name << ", access " << n << " of vCPU " << vcpu;
      }
    }
  }

  void expect_all_match(const std::string& name, u64 accesses) {
    const Verification found = verify(name);
    EXPECT_TRUE(found.good()) << name;
    EXPECT_EQ(found.count(Verdict::Match), accesses) << name;
  }

  void edit(const std::string& command) {
    const Result result = run("nestwalk trace " + command + " 2>&1");
    ASSERT_EQ(result.exit_code, 0) << command << ": " << result.output;
  }
};

Header riscv(u32 vcpus) {
  Header header;
  header.architecture = Architecture::RiscV64;
  header.mode = Mode::FullSystem;
  header.vcpus = vcpus;
  return header;
}

// Root, middle and last tables at 0x1000 to 0x3000; 0x7000 and 0x8000 are entries 7 and 8 of the
// last.
const Entries kTables = {{0x1000, table(0x2000)},
                         {0x2000, table(0x3000)},
                         {0x3038, leaf(0x80000000)},
                         {0x3040, leaf(0x90000000)}};
const Registers kRegisters = {{"satp", satp(0x1000)}};

void begin(Writer& writer, u32 vcpus, Entries tables = kTables) {
  writer.append(SideData{When::Begin, Stage::Guest, 0, kRegisters, pages_of(tables)});
  for (u32 vcpu = 1; vcpu < vcpus; ++vcpu) {
    writer.append(SideData{When::Begin, Stage::Guest, vcpu, kRegisters, {}});
  }
}

TEST_F(TraceEdit, CutSaysTheRootThatHeldWhenARegisterWasWrittenAfterASwitch) {
  const auto sink = create("a.nwt");
  Writer writer(*sink, riscv(1));
  Entries tables = kTables;  // and those of another root, with other frames
  tables.insert({{0x5000, table(0x6000)}, {0x6000, table(0x4000)}, {0x4038, leaf(0xa0000000)}});
  begin(writer, 1, tables);
  writer.append(0, Event{0, SpaceSwitch{0x1000, 0, Precision::Exact}});
  writer.append(0, read_of(0x7008, 0x80000008));
  writer.append(0, Event{0, ControlWrite{"satp", satp(0x5000)}});
  for (int n = 0; n < 2; ++n) writer.append(0, read_of(0x7008, 0xa0000008));
  writer.finish();
  expect_all_match("a.nwt", 3);
  edit("cut --from 3 a.nwt -o b.nwt");
  expect_all_match("b.nwt", 2);
}

// No paging and an unknown root are both written as root 0; the registers of the begin say another.
TEST_F(TraceEdit, CutSaysThatThereIsNoRootOrThatItIsNotKnown) {
  for (const auto& [precision, verdict] : {std::pair(Precision::Exact, Verdict::Untranslated),
                                           {Precision::Widened, Verdict::UnknownTables}}) {
    const auto sink = create("a.nwt");
    Writer writer(*sink, riscv(1));
    begin(writer, 1);
    writer.append(0, Event{0, SpaceSwitch{0, 0, precision}});
    for (int n = 0; n < 4; ++n) writer.append(0, read_of(0x9000, 0x9000));
    writer.finish();
    edit("cut --from 2 a.nwt -o b.nwt");
    EXPECT_EQ(verify("b.nwt").count(verdict), 3u) << kVerdictNames[static_cast<u8>(verdict)];
  }
}

// At 51 vCPU 1 maps 0x9000 to 0xb0000000, and is then done; vCPU 0 uses it from 1001 on.
void write_ends_early(ByteSink& sink, u64 accesses) {
  Writer writer(sink, riscv(2));
  begin(writer, 2);
  for (int n = 0; n < 4; ++n) writer.append(0, read_of(0x7008, 0x80000008));
  writer.append(1, Event{50, TimeSync{50}});
  writer.append(1, read_of(0x7008, 0x80000008));
  writer.append(1, Event{0, write_of(0x3048, leaf(0xb0000000))});
  writer.append(0, Event{0, TimeSync{1000}});
  for (u64 n = 4; n < accesses; ++n) writer.append(0, read_of(0x9008, 0xb0000008));
  writer.finish();
}

TEST_F(TraceEdit, CutKeepsTheTableWritesOfAVcpuWithoutRecordsInTheRange) {
  write_ends_early(*create("a.nwt"), 9);
  expect_all_match("a.nwt", 10);
  edit("cut --from 4 a.nwt -o b.nwt");
  expect_all_match("b.nwt", 5);
  // From its first record on, vCPU 1 has two before the write.
  edit("cut --from 0 --count 2 a.nwt -o c.nwt");
  expect_all_match("c.nwt", 3);
}

TEST_F(TraceEdit, CutKeepsTableWritesAfterTheRangeOfOneVcpuAndWithinThatOfAnother) {
  const auto sink = create("a.nwt");
  Writer writer(*sink, riscv(2));
  begin(writer, 2);
  writer.append(1, read_of(0x7008, 0x80000008, 10));
  writer.append(1, Event{20, HypervisorOperation{}});
  writer.append(1, Event{20, write_of(0x3048, leaf(0xb0000000))});  // at 50
  writer.append(0, read_of(0x9008, 0xb0000008, 60));
  writer.append(0, read_of(0x9008, 0xb0000008, 10));                // at 70
  writer.append(1, Event{21, write_of(0x3048, leaf(0xc0000000))});  // at 71
  writer.append(0, read_of(0x9008, 0xc0000008, 10));
  writer.finish();
  expect_all_match("a.nwt", 4);
  edit("cut --count 2 a.nwt -o b.nwt");
  expect_all_match("b.nwt", 3);
  // The write at 71 is after all that is kept.
  EXPECT_EQ(run("nestwalk trace cat b.nwt | grep -c table").output, "1\n");
}

TEST_F(TraceEdit, CutKeepsTheOrderInWhichVcpusWroteAnEntry) {
  const auto sink = create("a.nwt");
  Writer writer(*sink, riscv(2));
  begin(writer, 2);
  writer.append(0, Event{50, write_of(0x3048, leaf(0xa0000000))});
  writer.append(1, Event{100, write_of(0x3048, leaf(0xb0000000))});
  for (int n = 0; n < 200; ++n) writer.append(1, read_of(0x9008, 0xb0000008));  // 101 to 300
  writer.append(0, Event{0, TimeSync{200}});
  for (int n = 0; n < 5; ++n) writer.append(0, read_of(0x9008, 0xb0000008));
  writer.finish();
  expect_all_match("a.nwt", 205);
  edit("cut --from 4 a.nwt -o b.nwt");
  expect_all_match("b.nwt", 200 - 3 + 5 - 2);
}

TEST_F(TraceEdit, PartsOfATraceHaveTheTableWritesOfAllVcpus) {
  write_ends_early(*create("a.nwt"), 9);
  edit("cut --vcpu 0 a.nwt -o b.nwt");
  expect_all_match("b.nwt", 9);
  edit("split --prefix part a.nwt");
  expect_all_match("part.0.nwt", 9);
  expect_all_match("part.1.nwt", 1);
  edit("merge part.0.nwt part.1.nwt -o again.nwt");
  expect_all_match("again.nwt", 10);
}

// The write at 5 falls into the 8 instructions before the access, which still ends at 8.
TEST_F(TraceEdit, SplitKeepsClocksAndInstructions) {
  const auto sink = create("a.nwt");
  Writer writer(*sink, riscv(2));
  begin(writer, 2);
  writer.append(0, read_of(0x7008, 0x80000008, 8));
  writer.append(1, Event{5, write_of(0x3048, leaf(0xb0000000))});
  writer.finish();
  edit("split --prefix part a.nwt");
  // At 5, vCPU 0 would come first: its copy of the other's write is at 6.
  EXPECT_EQ(run("nestwalk trace cat part.0.nwt | grep -v when= | sed \"s/ [a-z]*=0x[0-9a-f]*//g; "
                "s/ stage=guest//\"")
                .output,
            "0 0 6 table instructions=6\n"
            "0 1 8 read size=8 instructions=2\n");
}

TEST_F(TraceEdit, SplitOfAPipeNeedsThatNoVcpuWritesTables) {
  write_ends_early(*create("a.nwt"), 9);
  expect("cat a.nwt | nestwalk trace split --prefix part", 4,
         "nestwalk: <stdin>: has several vCPUs and writes to page tables: only a file that is "
         "not compressed can be split\n");
  EXPECT_FALSE(std::filesystem::exists(folder() / "part.0.nwt"));
  run("nestwalk trace gen smp vcpus=2 accesses=10 | nestwalk trace split --prefix part");
  EXPECT_TRUE(std::filesystem::exists(folder() / "part.1.nwt"));
}

// The first trace has no fetches, and the second one no dependence: neither has the merged one, but
// each part has what its vCPU had.
TEST_F(TraceEdit, PartsLackWhatTheirOwnVcpuLacks) {
  Access fetch = read_of(0x7008, 0x80000008), dependent = fetch;
  fetch.kind = AccessKind::Fetch;
  dependent.flags |= kDependent;
  const std::tuple<std::string, u64, Access> traces[] = {{"a.nwt", kNoFetches, dependent},
                                                         {"b.nwt", kNoDependence, fetch}};
  for (const auto& [name, lacks, record] : traces) {
    Header header = riscv(1);
    header.lacks = lacks;
    const auto sink = create(name);
    Writer writer(*sink, header);
    writer.append(0, record);
    writer.finish();
  }
  const auto lacks = [&](const std::string& name) {
    return run("nestwalk trace info " + name + " 2>&1 | grep -e '^  lacks' -e nestwalk:").output;
  };
  edit("merge a.nwt b.nwt -o both.nwt");
  EXPECT_EQ(lacks("both.nwt"), "  lacks: dependence, fetches, order-of-cpus\n");
  edit("split --prefix part both.nwt");
  EXPECT_EQ(lacks("part.0.nwt"), "  lacks: fetches, order-of-cpus\n");
  EXPECT_EQ(lacks("part.1.nwt"), "  lacks: dependence, order-of-cpus\n");
  edit("merge part.0.nwt part.1.nwt -o again.nwt");
  EXPECT_EQ(lacks("again.nwt"), "  lacks: dependence, fetches, order-of-cpus\n");
  expect("cat both.nwt | nestwalk trace split --prefix pipe", 4,
         "nestwalk: <stdin>: has vCPUs that know more than its header says: only a file that is "
         "not compressed can be split\n");
}

TEST_F(TraceEdit, CutOfAPipeHoldsSoManyTableWritesOfSeveralVcpus) {
  const auto write = [&](u64 writes) {
    const auto sink = create("a.nwt");
    Writer writer(*sink, riscv(2));
    for (u64 n = 0; n < writes; ++n) writer.append(1, Event{1, write_of(0x3048, n)});
    writer.append(0, read_of(0x7008, 0x80000008, 0x7fff'ffff));
    writer.finish();
  };
  write((u64{1} << 20) + 1);
  const std::string cut = "trace cut --vcpu 0 ";
  expect("cat a.nwt | nestwalk " + cut + "-o b.nwt", 4,
         "nestwalk: <stdin>: has several vCPUs and more than 1048576 writes to page tables that "
         "are left out: only a file that is not compressed can be cut\n");
  edit(cut.substr(6) + "a.nwt -o b.nwt");
  write(1000);
  run("cat a.nwt | nestwalk " + cut + "-o pipe.nwt");
  edit(cut.substr(6) + "a.nwt -o file.nwt");
  expect("nestwalk trace cat pipe.nwt >pipe; nestwalk trace cat file.nwt | cmp - pipe", 0, "");
}

// At the begin vCPU 1 has not started, so its part has no format that its registers contradict.
TEST_F(TraceEdit, PartOfAVcpuThatDoesNotTranslateYetNamesNoFormat) {
  const auto sink = create("a.nwt");
  Header header = riscv(2);
  header.guest_tables = "riscv64-3";
  Writer writer(*sink, header);
  begin(writer, 1);
  writer.append(SideData{When::Begin, Stage::Guest, 1, {{"satp", 0}}, {}});
  writer.append(0, read_of(0x7008, 0x80000008));
  writer.append(1, Event{0, ControlWrite{"satp", satp(0x1000)}});
  writer.append(1, read_of(0x7008, 0x80000008));
  writer.finish();
  expect_all_match("a.nwt", 2);
  const auto format = [&](const std::string& name) {
    return run("nestwalk trace info " + name + " 2>&1 | grep -e guest_tables -e nestwalk:").output;
  };
  edit("split --prefix part a.nwt");
  EXPECT_EQ(format("part.0.nwt"), "  guest_tables: riscv64-3\n");
  EXPECT_EQ(format("part.1.nwt"), "  guest_tables: \n");
  for (const char* const part : {"part.0.nwt", "part.1.nwt"}) expect_all_match(part, 1);
  for (const char* const parts : {"part.0.nwt part.1.nwt", "part.1.nwt part.0.nwt"}) {
    edit(std::string("merge -o again.nwt ") + parts);
    EXPECT_EQ(format("again.nwt"), "  guest_tables: riscv64-3\n");
    expect_all_match("again.nwt", 2);
  }
  expect("cat a.nwt | nestwalk trace split --prefix pipe", 4,
         "nestwalk: <stdin>: has vCPUs that do not translate at the begin: only a file that is not "
         "compressed can be split\n");
}

// Such a vCPU is known from its first switch on, by the registers of vCPU 0.
TEST_F(TraceEdit, VcpuWithoutRegistersKeepsTheFormOfItsTables) {
  const auto sink = create("a.nwt");
  Writer writer(*sink, riscv(2));
  begin(writer, 1);
  writer.append(1, read_of(0x7008, 0x80000008));
  writer.append(1, Event{0, SpaceSwitch{0x1000, 0, Precision::Exact}});
  for (int n = 0; n < 2; ++n) writer.append(1, read_of(0x7008, 0x80000008));
  writer.finish();
  const std::vector<Stream> whole = judge("a.nwt");
  ASSERT_EQ(whole[1][0].verdict, Verdict::UnknownTables);
  ASSERT_EQ(whole[1][1].verdict, Verdict::Match);
  edit("split --prefix part a.nwt");
  expect_same("part.1.nwt", {whole[1]});
  run("nestwalk trace gen random accesses=1 -o other.nwt");
  const auto other = create("other.nwt");
  Writer(*other, riscv(1)).finish();
  edit("merge other.nwt a.nwt -o b.nwt");
  expect_same("b.nwt", {{}, whole[0], whole[1]});
}

// What is lost may have moved the clock and switched the address space.
TEST_F(TraceEdit, SalvagedRecordsKeepTheirClockAndAddressSpace) {
  const auto sink = create("a.nwt");
  Writer writer(*sink, riscv(1), {.level = 3, .block_records = 2});
  writer.append(0, read_of(0x7008, 0x80000008));
  writer.append(0, read_of(0x7008, 0x80000008));
  writer.append(0, Event{100, SpaceSwitch{0x5000, 3, Precision::Exact}});
  writer.append(0, read_of(0x7008, 0x80000008));
  writer.append(0, read_of(0x7008, 0x80000008));
  writer.finish();
  // The second of three blocks.
  run("at=$(grep -obUaP BLCK a.nwt | sed -n 2p | cut -d: -f1); "
      "printf X | dd of=a.nwt bs=1 seek=$((at + 100)) conv=notrunc status=none");
  edit("cut --salvage a.nwt -o cut.nwt");
  edit("merge --salvage a.nwt -o merge.nwt");
  edit("split --salvage --prefix split a.nwt");
  for (const char* const name : {"cut.nwt", "merge.nwt", "split.0.nwt"}) {
    // Records end at 1, 2, then those that are lost, at 102 and 103, and one at 104.
    EXPECT_EQ(run(std::string("nestwalk trace cat ") + name + " | cut -d\" \" -f 2-7").output,
              "0 1 read gva=0x7008 gpa=0x80000008 size=8\n"
              "1 2 read gva=0x7008 gpa=0x80000008 size=8\n"
              "2 103 time time=0x67 instructions=0\n"
              "3 103 space root=0x5000 asid=0x3 precision=inferred\n"
              "4 104 read gva=0x7008 gpa=0x80000008 size=8\n")
        << name;
  }
}

// ---- any trace ----

constexpr u64 kRoots[] = {0x1000, 0x5000};        // the other tables are in the two pages behind
constexpr u64 kHostRoots[] = {0x10000, 0x20000};  // of vCPUs in turn, 16 KiB each
constexpr u64 kPages = 4;                         // from 0x7000 on, of each space
constexpr u64 kFrames = 8;                        // from 0x40000 on

/// Records of vCPUs that write tables, switch spaces and write root registers. Most accesses have
/// the addresses that the tables say by then.
class RandomTrace {
 public:
  RandomTrace(Random& random, u32 vcpus, bool nested)
      : random_(random), nested_(nested), vcpus_(vcpus) {
    for (const u64 root : kRoots) {
      guest_[root] = table(root + 0x1000);
      guest_[root + 0x1000] = table(root + 0x2000);
      for (u64 n = 0; n < kPages; ++n) guest_[entry_of(root, n)] = leaf(any_frame());
    }
    if (!nested) return;
    for (const u64 root : kHostRoots) {
      host_[root] = table(root + 0x4000);
      host_[root + 0x4000] = table(root + 0x5000);
      for (u64 n = 0; n < kFrames; ++n) {
        host_[host_entry_of(root, frame(n))] = leaf(any_host_frame());
      }
    }
  }

  void write(ByteSink& sink, u64 records) {
    Header header = riscv(static_cast<u32>(vcpus_.size()));
    if (nested_) header.mode = Mode::Nested;
    Writer writer(sink, header,
                  {.level = 1, .block_records = 1 + static_cast<u32>(random_.below(40))});
    put_tables(writer, When::Begin);
    for (u32 vcpu = 0; vcpu < vcpus_.size(); ++vcpu) {
      if (vcpu != 0 && random_.percent(25)) continue;  // it has those of vCPU 0
      vcpus_[vcpu].host_root = kHostRoots[vcpu % std::size(kHostRoots)];
      Registers registers = kRegisters;
      if (nested_) registers.emplace_back("hgatp", satp(vcpus_[vcpu].host_root));
      writer.append(SideData{When::Begin, Stage::Guest, vcpu, registers, {}});
    }
    for (u64 n = 0; n < records; ++n) add(writer);
    put_tables(writer, When::End);
    writer.finish();
  }

 private:
  struct Vcpu {
    u64 root = kRoots[0];
    u64 host_root = kHostRoots[0];
    u64 clock = 0;
    bool idle = false;
  };

  static u64 frame(u64 n) { return 0x40000 + n * kPageBytes; }
  u64 any_frame() { return frame(random_.below(kFrames)); }
  u64 any_host_frame() { return 0x900000 + random_.below(64) * kPageBytes; }
  static u64 entry_of(u64 root, u64 page) { return root + 0x2000 + (7 + page) * 8; }
  static u64 host_entry_of(u64 root, u64 gpa) { return root + 0x5000 + gpa / kPageBytes * 8; }
  static u64 target(u64 entry) { return entry >> 10 << 12; }

  void put_tables(Writer& writer, When when) {
    writer.append(SideData{when, Stage::Guest, 0, {}, pages_of(guest_)});
    if (nested_) writer.append(SideData{when, Stage::Host, 0, {}, pages_of(host_)});
  }

  // The next record in the order of time: at one time, vCPUs come in the order of their numbers.
  void add(Writer& writer) {
    const auto vcpu = static_cast<u32>(random_.below(vcpus_.size()));
    Vcpu& state = vcpus_[vcpu];
    // Some stay away for long.
    if (state.idle && !random_.percent(3)) return;
    state.idle = random_.percent(2);
    time_ += random_.percent(50) ? 0 : random_.below(4);
    if (vcpu < latest_) ++time_;
    latest_ = vcpu;
    if (random_.percent(30)) {
      writer.append(vcpu, Event{random_.below(time_ - state.clock + 1), TimeSync{time_}});
      state.clock = time_;
    }
    const u64 instructions = time_ - std::exchange(state.clock, time_);
    if (random_.percent(60))
      return writer.append(vcpu, access(state, static_cast<u32>(instructions)));
    writer.append(vcpu, Event{instructions, event(state)});
  }

  Access access(const Vcpu& vcpu, u32 instructions) {
    const u64 page = random_.below(kPages);
    const u64 offset = random_.below(500) * 8;
    const u64 gpa = random_.percent(5) ? frame(0) : target(guest_[entry_of(vcpu.root, page)]);
    Access access = read_of(0x7000 + page * kPageBytes + offset, gpa + offset, instructions);
    if (nested_) {
      access.hpa = Hpa(target(host_[host_entry_of(vcpu.host_root, gpa)]) + offset);
      access.flags |= kHpaKnown;
    }
    return access;
  }

  EventDetail event(Vcpu& vcpu) {
    const u64 root = kRoots[random_.below(std::size(kRoots))];
    const u64 choice = random_.below(100);
    if (choice < 15) {
      vcpu.root = root;
      if (random_.percent(20)) return SpaceSwitch{0, 0, Precision::Widened};
      return SpaceSwitch{root, random_.below(3), Precision::Exact};
    }
    if (choice < 30) {
      vcpu.root = root;
      return ControlWrite{"satp", satp(root)};
    }
    if (choice < 40) return GuestFence{};
    if (nested_ && choice < 70) {
      const u64 address =
          host_entry_of(kHostRoots[random_.below(std::size(kHostRoots))], any_frame());
      return write_of(address, host_[address] = leaf(any_host_frame()), Stage::Host);
    }
    const u64 address = entry_of(root, random_.below(kPages));
    return write_of(address, guest_[address] = leaf(any_frame()));
  }

  Random& random_;
  bool nested_;
  std::vector<Vcpu> vcpus_;
  u64 time_ = 0;
  u32 latest_ = 0;
  Entries guest_, host_;
};

TEST_F(TraceEdit, WhatVerifiedBeforeACutOrASplitVerifiesAfterIt) {
  Random random(7);
  u64 matches = 0;
  for (int round = 0; round < 24; ++round) {
    const auto vcpus = static_cast<u32>(1 + random.below(4));
    RandomTrace(random, vcpus, random.percent(50)).write(*create("a.nwt"), 50 + random.below(500));
    const std::vector<Stream> whole = judge("a.nwt");
    const Verification verified = verify("a.nwt");
    matches += verified.count(Verdict::Match);

    for (const bool all : {true, false}) {
      const u64 from = random.below(100), count = random.below(200);
      const u64 only = random.below(vcpus);
      std::vector<Stream> kept(vcpus);
      for (u32 vcpu = 0; vcpu < vcpus; ++vcpu) {
        if (!all && vcpu != only) continue;
        std::copy_if(whole[vcpu].begin(), whole[vcpu].end(), std::back_inserter(kept[vcpu]),
                     [&](const Judged& each) { return each.record - from < count; });
      }
      std::string command = "cut a.nwt -o cut.nwt --from " + std::to_string(from) + " --count " +
                            std::to_string(count);
      if (!all) command += " --vcpu " + std::to_string(only);
      SCOPED_TRACE("round " + std::to_string(round) + ": " + command);
      edit(command);
      expect_same("cut.nwt", kept);
    }

    SCOPED_TRACE("round " + std::to_string(round));
    edit("split --prefix part a.nwt");
    std::string parts;
    for (u32 vcpu = 0; vcpu < vcpus; ++vcpu) {
      const std::string part = "part." + std::to_string(vcpu) + ".nwt";
      expect_same(part, {whole[vcpu]});
      // And the tables of the end are those that the writes lead to.
      EXPECT_EQ(verify(part).entries[0].differ + verify(part).entries[1].differ, 0u) << part;
      parts += " " + part;
    }
    edit("merge -o again.nwt" + parts);
    expect_same("again.nwt", whole);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(matches, 1000u);
}

}  // namespace
}  // namespace nestwalk::sim::trace_edit_test
