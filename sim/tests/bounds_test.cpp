// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Input that is small, and of which a little takes no more than a little time and memory.

#include <cstdlib>
#include <fstream>

#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim::bounds_test {
namespace {

using namespace traces;
using testing::HasSubstr;

class Bounds : public Program {
 protected:
  /// Within so many seconds of processor time; two is what each of these takes at most.
  Result soon(const std::string& command) {
#ifdef NESTWALK_SANITIZED
    const std::string limit = "60";
#else
    const std::string limit = "20";
#endif
    return run("(ulimit -t " + limit + "; nestwalk " + command + ") 2>&1");
  }
  /// Of memory that it had at a time.
  long peak_kibibytes(const std::string& command) {
    const Result result = run(
        "python3 -c \"import resource, subprocess, sys; subprocess.run(sys.argv[1:], "
        "stdout=subprocess.DEVNULL, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\" '" NESTWALK_PROGRAM "' " +
        command);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return std::atol(result.output.c_str());
  }
  /// `keys` k0, k1, ... that are 0, then `end`.
  void write_keys(const std::string& file, const std::string& begin, unsigned keys,
                  const std::string& end) const {
    std::ofstream out(folder() / file);
    out << begin;
    for (unsigned n = 0; n < keys; ++n) out << (n == 0 ? "" : ",") << "\"k" << n << "\":0";
    out << end;
  }
  /// One vCPU that reads a page in each of so many phases, whose names have so many letters.
  void write_phases(unsigned phases, std::size_t letters = 1) const {
    Header header;
    header.lacks = kNoGpa | kNoHpa;
    const auto sink = create_sink((folder() / "t.nwt").string());
    Writer writer(*sink, header);
    for (unsigned n = 0; n < phases; ++n) {
      writer.append(0, Event{0, PhaseMarker{n, std::string(letters, 'p')}});
      writer.append(0, traces::Access{Gva(0x7000), Gpa(), {}, 1, 8, AccessKind::Read, kGvaKnown});
    }
    writer.finish();
  }
};

// 3.6 MB. Where each key is looked for among those before it, these are 4.5e10 comparisons.
TEST_F(Bounds, AnObjectOfManyKeysIsReadInLinearTime) {
#ifdef NESTWALK_SANITIZED
  GTEST_SKIP() << "it is about time";
#endif
  write_phases(1);
  write_keys("many.json", "{", 300'000, "}");
  for (const char* const command :
       {"run -p simple t.nwt --config many.json", "config print --config many.json",
        "compare t.nwt --config many.json"}) {
    const Result result = soon(command);
    EXPECT_EQ(result.exit_code, 2) << command;
    EXPECT_EQ(result.output, "many.json: k0 is unknown\n") << command;
  }
  EXPECT_EQ(soon("run t.nwt -p ./many.json").exit_code, 2);
  std::filesystem::create_directory(folder() / "d");
  write_keys("d/stats.json",
             R"({"format": "nestwalk-stats", "version": 1, "histograms": {}, "statistics": {)",
             300'000, R"(, "last": -1}})");
  const Result compared = soon("compare d d");
  EXPECT_EQ(compared.exit_code, 4);
  EXPECT_THAT(compared.output, HasSubstr("d/stats.json: last: expected a number that is not "
                                         "negative, found -1\n"));
}

// Each phase has some 200 statistics, so these are 2e5 rows.
TEST_F(Bounds, StatisticsOfManyPhasesAreWrittenInLinearTime) {
#ifdef NESTWALK_SANITIZED
  GTEST_SKIP() << "it is about time";
#endif
  write_phases(999);
  EXPECT_EQ(soon("run -p simple t.nwt --phases -o d").exit_code, 0);
  // And one for what comes before the first.
  EXPECT_EQ(run("grep -c '\"phase.*access.total\": ' d/stats.json").output, "1000\n");
  EXPECT_EQ(soon("compare d d --format csv").exit_code, 0);
}

TEST_F(Bounds, StatisticsOfPhasesHaveALimit) {
  write_phases(1001);
  const Result result = soon("run -p simple t.nwt --phases");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.output, "run.phases: expected at most 1000 phases that differ, found more\n");
  EXPECT_EQ(soon("run -p simple t.nwt").exit_code, 0);
  EXPECT_EQ(soon("run -p simple t.nwt --from 1000").exit_code, 0);
}

TEST_F(Bounds, AMessageNamesSomePhasesOfMany) {
  write_phases(30);
  const Result result = soon("run -p simple t.nwt --from boot");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("there are only the phases p-0, p-1, "));
  EXPECT_THAT(result.output, HasSubstr(", p-19 and 10 more\n"));
}

// Work is recorded before it is played: 2^47 bytes of a guest are as many pages as the host has,
// here 2^21, each with several steps of 32 bytes.
TEST_F(Bounds, AnOperationOnAllMemoryIsPlayedInParts) {
#ifdef NESTWALK_SANITIZED
  GTEST_SKIP() << "a sanitizer keeps what was freed";
#endif
  Header header;
  header.lacks = kNoHpa;
  header.mode = Mode::GuestPhysical;
  header.memory = {{Stage::Guest, 0, u64{1} << 47, "ram"}};
  const auto sink = create_sink((folder() / "t.nwt").string());
  Writer writer(*sink, header);
  const traces::Access access{{}, Gpa(0x1000), {}, 1, 8, AccessKind::Read, kGpaKnown};
  writer.append(0, access);
  writer.append(0, Event{0, HypervisorOperation{Operation::Map, Gpa(), u64{1} << 47}});
  writer.append(0, access);
  writer.finish();
  EXPECT_LT(peak_kibibytes("run -p simple t.nwt --set host.memory=8G"), 400 << 10);
}

// A log of 2^21 pages: each is read and written, a step of 32 bytes each, 128 MiB in one piece and
// some more while the list grows. The guest is given its memory before, in parts.
TEST_F(Bounds, ADirtyLogOfAllMemoryIsPlayedInParts) {
#ifdef NESTWALK_SANITIZED
  GTEST_SKIP() << "a sanitizer keeps what was freed";
#endif
  Header header;
  header.lacks = kNoHpa;
  header.mode = Mode::GuestPhysical;
  header.memory = {{Stage::Guest, 0, u64{8} << 30, "ram"}};
  const auto write = [&](const std::string& name, bool logged) {
    const auto sink = create_sink((folder() / name).string());
    Writer writer(*sink, header);
    const traces::Access access{{}, Gpa(0x1000), {}, 1, 8, AccessKind::Read, kGpaKnown};
    writer.append(0, access);
    for (const Operation kind :
         {Operation::DirtyLogStart, Operation::DirtyLogHarvest, Operation::DirtyLogStop}) {
      if (logged) writer.append(0, Event{0, HypervisorOperation{kind, Gpa(), 0}});
    }
    writer.append(0, access);
    writer.finish();
  };
  write("plain.nwt", false);
  write("logged.nwt", true);
  const std::string settings =
      " --set host.memory=9G --set hypervisor.backing=eager --set hypervisor.large_pages=false";
  const auto plain = peak_kibibytes("run -p simple plain.nwt" + settings);
  EXPECT_LT(peak_kibibytes("run -p simple logged.nwt" + settings), plain + (64 << 10));
}

// 150,000 of a page each, with a page between them; and one of 2^33 pages.
TEST_F(Bounds, DevicesTakeLinearTimeByTheirNumberAndNoneByTheirPages) {
  write_phases(1);
  {
    std::ofstream out(folder() / "many.json");
    out << R"({"hypervisor": {"mmio": [)";
    for (u64 n = 0; n < 150'000; ++n) {
      out << (n == 0 ? "" : ",") << '"' << (u64{1} << 28) + n * 8192 << "+4K\"";
    }
    out << "]}}";
  }
  const Result many = soon("run -p simple t.nwt --config many.json");
  EXPECT_EQ(many.exit_code, 0) << many.output;
  for (const char* const placement : {"linear", "random", "buddy"}) {
    const Result large =
        soon(std::string("run -p simple t.nwt --set guest.memory=32T --set 'hypervisor.mmio="
                         "[\"0x100000000+31T\"]' --set guest.placement=") +
             placement);
    EXPECT_EQ(large.exit_code, 0) << large.output;
  }
}

// Two million writes, which would be 96 MB or more if they were kept. A block is some MB.
TEST_F(Bounds, CutAndSplitHoldNoWritesToPageTables) {
#ifdef NESTWALK_SANITIZED
  GTEST_SKIP() << "a sanitizer keeps what was freed";
#endif
  const auto write = [&](u64 writes) {
    Header header;
    header.vcpus = 2;
    const auto sink = create_sink((folder() / "t.nwt").string());
    Writer writer(*sink, header, {.level = 1, .block_records = 1 << 16});
    const traces::Access access{Gva(0x1000), {}, {}, 1, 8, AccessKind::Read, kGvaKnown};
    for (u64 n = 0; n < writes; ++n) {
      writer.append(n % 2, Event{1, TableWrite{Stage::Guest, n % 4096 * 8, n}});
    }
    writer.append(0, access);
    writer.append(1, access);
    writer.finish();
  };
  for (const std::string command :
       {"trace cut --vcpu 0 --from 1000000 t.nwt -o ", "trace split t.nwt --prefix "}) {
    write(2000);
    const auto few = peak_kibibytes(command + (folder() / "few").string());
    write(2'000'000);
    EXPECT_LT(peak_kibibytes(command + (folder() / "many").string()), few + (64 << 10)) << command;
  }
}

// 2^26 regions of 2 MiB, of which a page or two are used.
TEST_F(Bounds, BuddiesTakeNoMemoryForWhatNobodyUses) {
  write_phases(1);
  for (const char* const fragmentation : {"0", "50", "100"}) {
    const std::string command = std::string(
                                    "run -p simple t.nwt --set guest.memory=128T --set "
                                    "guest.placement=buddy --set guest.fragmentation=") +
                                fragmentation;
    const Result result = soon(command);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_LT(peak_kibibytes(command), 200 << 10);
  }
}

// Of 2^35 frames 512 are left, 2 MiB at the end, for 1024 pages.
TEST_F(Bounds, FramesThatDevicesLeaveAreFoundAmongThemselves) {
  run("nestwalk trace gen first-touch bytes=4M -o pages.nwt");
  for (const char* const placement : {"linear", "random"}) {
    const Result few = soon(std::string("run -p simple pages.nwt --set guest.memory=128T --set "
                                        "hypervisor.mmio=0+131071G,0x7fffc0000000+1022M --set "
                                        "guest.placement=") +
                            placement);
    EXPECT_EQ(few.exit_code, 5) << few.output;
    EXPECT_THAT(few.output, HasSubstr("the guest is out of memory"));
  }
}

// 100,000 names of 4096 bytes are 410 MB, and take some kilobytes in the file.
TEST_F(Bounds, NamesOfPhasesThatNobodyAskedForAreNotKept) {
#ifdef NESTWALK_SANITIZED
  GTEST_SKIP() << "a sanitizer keeps what was freed";
#endif
  write_phases(100'000, 4096);
  EXPECT_LT(peak_kibibytes("run -p simple t.nwt"), 300 << 10);
}

}  // namespace
}  // namespace nestwalk::sim::bounds_test
