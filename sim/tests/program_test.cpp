// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The program as a user runs it: what it prints, where, and its exit codes.

#include <algorithm>
#include <fstream>

#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim::program_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST_F(Program, ExplainsItself) {
  EXPECT_THAT(run("nestwalk --help").output, HasSubstr("  trace     looks at"));
  EXPECT_THAT(run("nestwalk trace --help").output, HasSubstr("  cat       prints the records"));
  EXPECT_THAT(run("nestwalk trace cat --help").output, StartsWith("usage: nestwalk trace cat"));
  EXPECT_THAT(run("nestwalk trace gen --help").output, HasSubstr("  first-touch   writes each"));
  EXPECT_THAT(run("nestwalk trace gen zipf --help").output, HasSubstr("  skew=4  "));
  EXPECT_EQ(run("nestwalk trace cat --help").exit_code, 0);
  EXPECT_THAT(run("nestwalk --version").output, StartsWith("nestwalk "));
}

TEST_F(Program, UsageErrorsAreOneLineAndExitWith2) {
  expect("nestwalk check", 2, "nestwalk check: one log or trace, or --storm\n");
  expect("nestwalk fly", 2,
         "nestwalk: 'fly' is not a command (nestwalk --help lists the commands)\n");
  expect("nestwalk rnu", 2,
         "nestwalk: 'rnu' is not a command; did you mean 'run'? (nestwalk --help lists the "
         "commands)\n");
  expect("nestwalk trace cat --wrong", 2,
         "nestwalk trace cat: unrecognised option '--wrong' (nestwalk trace cat --help says "
         "more)\n");
  expect("nestwalk trace gen chas", 2,
         "nestwalk: generator 'chas' is not known; did you mean 'chase'?\n");
  expect("nestwalk trace info --window 0 x", 2, "--window is at least 1\n");
}

TEST_F(Program, BadInputIsOneLineAndExitsWith4) {
  expect("nestwalk trace cat .", 4, "nestwalk: .: expected a file, found a directory\n");
  expect("nestwalk trace cat nothing", 4,
         "nestwalk: nothing: cannot be opened: No such file or directory\n");
  expect("nestwalk trace info - </dev/null", 4,
         "nestwalk: <stdin>: at byte 0: expected a nestwalk trace (89 4e 57 54 0d 0a 1a 0a), "
         "found an empty file\n");
  expect("echo hello world | nestwalk trace cat", 4,
         "nestwalk: <stdin>: at byte 0: expected a nestwalk trace (89 4e 57 54 0d 0a 1a 0a), "
         "found 'hello wo'\n");
}

TEST_F(Program, CutTraceIsPrintedUpToTheCut) {
  run("nestwalk trace gen smp vcpus=2 accesses=100 -o whole.nwt");
  // Two blocks of 100 records; without the footer's last byte everything else is whole.
  const Result strict = run("head -c -1 whole.nwt | nestwalk trace cat 2>error");
  EXPECT_EQ(strict.exit_code, 4);
  EXPECT_EQ(strict.output, run("nestwalk trace cat whole.nwt").output);
  EXPECT_THAT(run("cat error").output, HasSubstr("ends early"));
  const Result salvaged = run("head -c -1 whole.nwt | nestwalk trace cat --salvage 2>error");
  EXPECT_EQ(salvaged.exit_code, 0);
  EXPECT_EQ(salvaged.output, strict.output);
  EXPECT_THAT(run("cat error").output, StartsWith("nestwalk: lost: <stdin>: at byte "));
}

TEST_F(Program, CutTraceIsPrintedInTheOrderOfTimeUpToTheCut) {
  run("nestwalk trace gen smp vcpus=3 accesses=100 -o whole.nwt; head -c -1 whole.nwt >cut.nwt");
  const std::string whole = run("nestwalk trace cat --by-time whole.nwt").output;
  const Result strict = run("nestwalk trace cat --by-time cut.nwt 2>error");
  EXPECT_EQ(strict.exit_code, 4);
  EXPECT_EQ(strict.output, whole);
  EXPECT_THAT(run("cat error").output, HasSubstr("ends early"));
  const Result salvaged = run("nestwalk trace cat --by-time --salvage cut.nwt 2>error");
  EXPECT_EQ(salvaged.exit_code, 0);
  EXPECT_EQ(salvaged.output, whole);
  // The section that is cut; not once for each vCPU.
  EXPECT_EQ(run("grep -c lost: error").output, "1\n");
}

TEST_F(Program, DamagedBlockIsLostOnce) {
  // The first byte of vCPU 0's block, behind the header: a section's frame has 32 bytes.
  run("nestwalk trace gen smp vcpus=3 accesses=1000 -o a.nwt; "
      "at=$(grep -obUaP 'BLCK' a.nwt | head -n 1 | cut -d: -f1); "
      "printf x | dd of=a.nwt bs=1 seek=$((at + 60)) conv=notrunc 2>dd");
  const Result result = run("nestwalk trace cat --by-time --salvage a.nwt 2>error | wc -l");
  EXPECT_EQ(result.output, "2000\n");
  EXPECT_EQ(run("grep -c lost: error").output, "1\n");
}

TEST_F(Program, SalvageRefusesWhatIsNoTraceOfThisVersion) {
  const std::string refused =
      "nestwalk: <stdin>: at byte 0: expected a nestwalk trace (89 4e 57 54 0d 0a 1a 0a), found ";
  expect("seq 100000 | nestwalk trace info --salvage", 4, refused + "31 0a 32 0a 33 0a 34 0a\n");
  expect("nestwalk trace cat --salvage </dev/null", 4, refused + "an empty file\n");
  // Version 2.0; CRC-32C of its first 12 bytes by the library, which a test of its own proves.
  std::vector<traces::u8> preamble = {0x89, 'N', 'W', 'T', 0x0d, 0x0a, 0x1a, 0x0a, 2, 0, 0, 0};
  const traces::u32 checksum = traces::crc32c(preamble);
  std::ofstream(folder() / "two.nwt", std::ios::binary)
      .write(reinterpret_cast<const char*>(preamble.data()), 12)
      .write(reinterpret_cast<const char*>(&checksum), 4);
  for (const char* option : {"", "--salvage "}) {
    expect(std::string("nestwalk trace cat ") + option + "two.nwt", 4,
           "nestwalk: two.nwt: at byte 0: expected version 1 of the format, found version 2.0\n");
  }
}

TEST_F(Program, VcpuThatATraceDoesNotHaveIsAUsageError) {
  run("nestwalk trace gen random accesses=10 -o a.nwt");
  for (const char* verb : {"cat", "cat --by-time", "info", "cut", "split --prefix p"}) {
    expect(std::string("nestwalk trace ") + verb + " --vcpu 5 a.nwt", 2,
           "--vcpu 5: a.nwt has only vCPUs 0 to 0\n");
  }
  expect("echo ' L 1000,8' | nestwalk trace import --vcpus 4097 -o b.nwt", 2,
         "nestwalk: a trace has at most 4096 vCPUs\n");
}

TEST_F(Program, CutWithoutACountTakesAllThatFollows) {
  run("nestwalk trace gen random accesses=100 -o a.nwt; nestwalk trace cut --from 90 a.nwt -o "
      "b.nwt");
  EXPECT_EQ(run("nestwalk trace cat b.nwt | grep -c read").output,
            run("nestwalk trace cat a.nwt | tail -n 10 | grep -c read").output);
}

TEST_F(Program, PrintsARecordPerLine) {
  // 2 accesses of 4 instructions; the second process runs for the second.
  const Result result = run(
      "nestwalk trace gen processes accesses=2 slice=1 bytes=4K write_percent=0 instructions=4 | "
      "nestwalk trace cat | sed s/gva=0x1000000.../gva=G/");
  EXPECT_EQ(result.output,
            "0 0 1 space root=0x1000 asid=0x1 precision=exact instructions=1\n"
            "0 1 5 read gva=G size=8 instructions=4\n"
            "0 2 6 space root=0x2000 asid=0x2 precision=exact instructions=1\n"
            "0 3 10 read gva=G size=8 instructions=4\n");
}

TEST_F(Program, OutputThatNobodyGetsIsAnError) {
  run("nestwalk trace gen random accesses=100000 -o long.nwt");
  EXPECT_EQ(run("nestwalk trace cat long.nwt >&-").exit_code, 1);
  EXPECT_EQ(run("nestwalk trace cat long.nwt >/dev/full 2>error").exit_code, 1);
  EXPECT_EQ(run("cat error").output,
            "nestwalk: <stdout>: cannot be written: No space left on device\n");
}

TEST_F(Program, SplitAndMergeGiveTheSameTraceInTime) {
  run("nestwalk trace gen smp vcpus=3 accesses=1000 -o whole.nwt");
  EXPECT_EQ(run("nestwalk trace split --prefix part whole.nwt").exit_code, 0);
  EXPECT_EQ(run("nestwalk trace merge part.0.nwt part.1.nwt part.2.nwt -o again.nwt").exit_code, 0);
  const std::string whole = run("nestwalk trace cat --by-time whole.nwt").output;
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 3000);
  EXPECT_EQ(run("nestwalk trace cat --by-time again.nwt").output, whole);
}

TEST_F(Program, InputIsNotOverwritten) {
  run("nestwalk trace gen random accesses=10 -o a.nwt && cp a.nwt copy.nwt && ln a.nwt b.nwt");
  expect("nestwalk trace cut --count 1 a.nwt -o b.nwt", 2,
         "b.nwt is read; write to another file\n");
  EXPECT_EQ(run("cmp a.nwt copy.nwt").exit_code, 0);
}

TEST_F(Program, FailedCommandLeavesTheOutputAsItWas) {
  const Result result =
      run("echo precious > out.nwt; echo text | nestwalk trace import -o out.nwt");
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(run("cat out.nwt").output, "precious\n");
}

TEST_F(Program, ShorterTraceReplacesALongerFile) {
  run("seq 100000 > out.nwt; nestwalk trace gen random accesses=10 -o out.nwt");
  EXPECT_EQ(run("nestwalk trace cat out.nwt >/dev/null").exit_code, 0);
}

TEST_F(Program, SalvageEndsWhereCompressedInputIsCutOff) {
  run("nestwalk trace gen random accesses=20000 -o whole.nwt");
  const Result result =
      run("gzip -c whole.nwt | head -c 30000 > part.gz; "
          "timeout 20 '" NESTWALK_PROGRAM "' trace cat --salvage part.gz 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 0);
  // The compressed data ends, and so does the trace.
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 2) << result.output;
}

TEST_F(Program, MergeRefusesTracesOfAnotherKind) {
  run("nestwalk trace gen random accesses=10 -o a.nwt");
  run("echo ' L 1000,8' | nestwalk trace import --architecture riscv64 -o b.nwt");
  expect("nestwalk trace merge a.nwt b.nwt -o c.nwt", 2,
         "nestwalk trace merge: b.nwt is of another kind than a.nwt (architecture, mode or page "
         "tables)\n");
}

TEST_F(Program, NegativeNumbersAreRefused) {
  expect("nestwalk trace cut x.nwt --from -1 --count 2", 2,
         "nestwalk trace cut: '-1' is negative\n");
  expect("nestwalk trace cat --vcpu=-1 x.nwt", 2, "nestwalk trace cat: '--vcpu=-1' is negative\n");
}

TEST_F(Program, VerifyPassesOverDamage) {
  run("head -c -1 '" NESTWALK_TRACE_SAMPLES "/x86_64-linux.nwt' >cut.nwt");
  EXPECT_EQ(run("nestwalk trace verify cut.nwt 2>error").exit_code, 4);
  const Result result = run("nestwalk trace verify --salvage cut.nwt 2>error");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(run("cat error").output, HasSubstr("lost: cut.nwt: at byte"));
  EXPECT_THAT(result.output, HasSubstr(" match"));
}

TEST_F(Program, CutSaysWhatTheRegistersWereBefore) {
  using namespace traces;
  const auto sink = create_sink((folder() / "a.nwt").string());
  Writer writer(*sink, Header{});
  for (const u64 value : {u64{1}, u64{2}}) writer.append(0, Event{0, ControlWrite{"CR4", value}});
  const Access access = {Gva(8), {}, {}, 0, 8, AccessKind::Read, kGvaKnown};
  for (int n = 0; n < 2; ++n) writer.append(0, access);
  writer.finish();
  EXPECT_EQ(run("nestwalk trace cut --from 3 a.nwt | nestwalk trace cat").output,
            "0 0 0 control name=\"CR4\" value=0x2 instructions=0\n"
            "0 1 0 read gva=0x8 size=8 instructions=0\n");
}

// The walker finds the addresses only if the cut carries the tables as they were by then.
TEST_F(Program, CutOfARecordingStillVerifies) {
  const Result result =
      run("nestwalk trace cut '" NESTWALK_TRACE_SAMPLES
          "/x86_64-linux.nwt' --from 1000000 --count 100000 | nestwalk trace verify -");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr(" match"));
}

TEST_F(Program, CutKeepsClockAndAddressSpace) {
  // Records: space 1, accesses at 4, 7, then space 2 at 8, accesses at 11, 14.
  const Result result = run(
      "nestwalk trace gen processes accesses=4 slice=2 | nestwalk trace cut --from 4 --count 1 | "
      "nestwalk trace cat | cut -d\" \" -f 2-6");
  EXPECT_THAT(result.output, StartsWith("0 8 time time=0x8 instructions=0\n"
                                        "1 8 space root=0x2000 asid=0x2\n"
                                        "2 11 "));
}

TEST_F(Program, StatsAreJson) {
  const Result result =
      run("nestwalk trace gen first-touch bytes=4M | nestwalk trace stats --json | "
          "python3 -c \"import json,sys; d = json.load(sys.stdin); "
          "print(d[\\\"footprint_pages\\\"])\"");
  EXPECT_EQ(result.output, "{'4K': 1024, '2M': 2, '1G': 1}\n");
}

TEST_F(Program, InfoSaysTheSameAsText) {
  const Result result =
      run("nestwalk trace gen strided accesses=8 bytes=16K stride=4K | "
          "nestwalk trace info --window 4");
  // 4 pages, each accessed twice, with the three others in between.
  EXPECT_THAT(result.output, HasSubstr("footprint_pages\n  4K: 4\n"));
  EXPECT_THAT(result.output, HasSubstr("reuse_distance_pages\n  first: 4\n"));
  EXPECT_THAT(result.output, HasSubstr("  from_2: 4\n"));
  EXPECT_THAT(result.output, HasSubstr("  pages: 4, 4\n"));
}

TEST_F(Program, ImportsFromAPipeAndFindsTheFormat) {
  expect(
      "printf \"I  1000,4\\n S 2000,8\\n==7==   guest instrs:  1\\n\" | gzip | "
      "nestwalk trace import | nestwalk trace cat",
      0,
      "0 0 1 fetch gva=0x1000 size=4 instructions=1\n"
      "0 1 1 write gva=0x2000 size=8 instructions=0\n");
}

TEST_F(Program, ImportSaysWhereInputMakesNoSenseAndWhatIsLeftOut) {
  expect("printf \"0 1000\\n9 1000\\n\" > a.din && nestwalk trace import a.din -o a.nwt", 4,
         "nestwalk: a.din: line 2: expected a label from 0 to 4 and a hexadecimal address, found "
         "'9 1000'\n");
  expect("printf \"0 1000\\n4 0\\n\" > a.din && nestwalk trace import a.din -o a.nwt", 0,
         "nestwalk: not in the trace, of any record: what follows the addresses\n"
         "nestwalk: not in the trace: cache flushes (1)\n");
  expect("echo hello | nestwalk trace import --from lackey -o a.nwt", 4,
         "nestwalk: <stdin>: line 1: expected 'I  ADDRESS,SIZE', ' L ...', ' S ...' or ' M ...', "
         "found 'hello'\n");
  EXPECT_EQ(run("nestwalk trace import . -o a.nwt 2>&1").exit_code, 4);
}

TEST_F(Program, ImportKnowsItsFormatsAndTheirOptions) {
  EXPECT_THAT(
      run("nestwalk trace import --help").output,
      AllOf(HasSubstr("  dynamorio   final traces of"), HasSubstr("columns=ip,op,address: ")));
  EXPECT_EQ(run("nestwalk trace import --from din --set adresses=physical 2>&1").exit_code, 2);
  EXPECT_EQ(run("nestwalk trace import --from dinn 2>&1").exit_code, 2);
  expect(
      "printf \"kind,gpa,vcpu\\nr,1,0\\nw,2,1\\n\" | "
      "nestwalk trace import --architecture riscv64 --vcpus 2 -o a.nwt && "
      "nestwalk trace info a.nwt | head -n 4 | tail -n 3",
      0, "  architecture: riscv64\n  mode: guest-physical\n  vcpus: 2\n");
}

// RISC-V, Sv39: a leaf of 1 GiB maps the lowest one to 0x40000000. One read at 0x1000, which was
// recorded at `gpa`.
void write_trace(const std::filesystem::path& path, addrspace::u64 gpa) {
  using namespace traces;
  Header header;
  header.architecture = Architecture::RiscV64;
  header.mode = Mode::FullSystem;
  std::vector<u8> page(kPageBytes);
  page[0] = 0xcf;    // V, R, W, X, A, D
  page[3] = 1 << 4;  // bit 28: 0x40000000 >> 2
  const auto sink = create_sink(path);
  Writer writer(*sink, header);
  writer.append(SideData{
      When::Begin, Stage::Guest, 0, {{"satp", u64{8} << 60 | 1}}, {TablePage{0x1000, page}}});
  writer.append(0,
                Access{Gva(0x1000), Gpa(gpa), {}, 1, 8, AccessKind::Read, kGvaKnown | kGpaKnown});
  page[8] = 1;
  writer.append(SideData{When::End, Stage::Guest, 0, {}, {TablePage{0x1000, page}}});
  writer.finish();
}

TEST_F(Program, VerifySaysWhatDiffersAndExitsWith3) {
  write_trace(folder() / "a.nwt", 0x4000'2000);
  expect("nestwalk trace verify a.nwt", 3,
         "a.nwt: vcpu 0 read: 1 mismatch\n"
         "a.nwt: vcpu 0 write: none\n"
         "a.nwt: vcpu 0 fetch: none\n"
         "a.nwt: guest entries at the end: 1 match, 1 differ\n"
         "a.nwt: vcpu 0 record 0 read gva=0x1000 guest stage: recorded 0x40002000, walked "
         "0x40001000, a leaf at level 2\n"
         "a.nwt: guest entry at 0x1008: followed to 0x0, recorded at the end 0x1\n");
  const Result json =
      run("nestwalk trace verify --json a.nwt | python3 -c \"import json,sys; "
          "d = json.load(sys.stdin)[0]; print(d[\\\"good\\\"], "
          "d[\\\"vcpus\\\"][0][\\\"read\\\"][\\\"mismatch\\\"], "
          "d[\\\"address_mismatches\\\"][0][\\\"walked\\\"])\"");
  EXPECT_EQ(json.output, "False 1 0x40001000\n");
}

TEST_F(Program, VerifyExitsWith4WhereThereIsNothingToWalk) {
  run("nestwalk trace gen random accesses=10 -o a.nwt");
  expect("nestwalk trace verify a.nwt", 4,
         "nestwalk: a.nwt: does not say its architecture: its tables cannot be walked\n");
  EXPECT_EQ(run("nestwalk trace verify 2>&1").exit_code, 2);
}

}  // namespace
}  // namespace nestwalk::sim::program_test
