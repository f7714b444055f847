// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The importers of text: din, Pin, perf and CSV.

#include "import_fixture.hpp"

namespace nestwalk::traces::import_text_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr u64 kTextLacks = kUserLacks | kNoInstructions | kNoDependence;

ImportRequest request_with(const std::string& format, const std::vector<std::string>& options) {
  ImportRequest request = request_for(format);
  request.options = options;
  return request;
}

void expect_malformed(const std::string& format, const std::string& good,
                      const std::vector<std::string>& lines, const std::string& expected,
                      const std::vector<std::string>& options = {}) {
  for (const std::string& line : lines) {
    EXPECT_THAT(import_error(format, good + "\n" + line + "\n", options),
                HasSubstr("input0: line 2: expected " + expected))
        << line;
  }
}

TEST(DinImport, SampleGivesItsRecords) {
  const Imported imported = import_sample(request_for("din"), "din.txt");
  EXPECT_EQ(imported.stream(), (Stream{gva(kFetch, 0x401ab70, 0), gva(kFetch, 0x401ab73, 0),
                                       gva(kWrite, 0x1fff000680, 0), gva(kRead, 0x4033e06, 0),
                                       gva(kWrite, 0x4033e06, 0)}));
  EXPECT_EQ(imported.header.lacks, kTextLacks | kNoSize);
  EXPECT_THAT(imported.reports, ElementsAre("not in the trace: cache flushes (1)",
                                            "not in the trace: references of unknown kind (1)"));
}

TEST(DinImport, AddressesCanBePhysical) {
  const Imported imported = import_text("din", "0 1000\n", {"addresses=physical"});
  EXPECT_EQ(imported.stream(), (Stream{gpa(kRead, 0x1000, 0)}));
  EXPECT_EQ(imported.header.mode, Mode::GuestPhysical);
  EXPECT_EQ(imported.header.lacks, (kTextLacks & ~u64{kNoGpa}) | kNoGva | kNoSize);
  EXPECT_THROW(import_text("din", "0 1000\n", {"addresses=both"}), RecordError);
}

TEST(DinImport, MalformedLinesAreNamed) {
  expect_malformed(
      "din", "0 1000",
      {"5 1000", "0", "0 ", "0 xyz", "01000", "0 11112222333344445", "0 1000,8", "read 1000"},
      "a label from 0 to 4 and a hexadecimal address");
}

TEST(PinImport, SampleGivesItsRecords) {
  const Imported imported = import_sample(request_for("pin"), "pin.txt");
  EXPECT_EQ(imported.stream(),
            (Stream{gva(kWrite, 0x7ffd3a1b2c38, 0), gva(kRead, 0x7f6a1c31be68, 0),
                    gva(kWrite, 0x7f6a1c31bc40, 0)}));
  EXPECT_EQ(imported.header.lacks, kTextLacks | kNoSize | kNoFetches);
  EXPECT_THAT(imported.reports, testing::IsEmpty());
}

TEST(PinImport, ColumnsCanBeInAnotherOrderAndThreadsBecomeVcpus) {
  const Imported imported = import_text("pin",
                                        "threadId: 7, 0x10: R 0x1000 8\n"
                                        "threadId: 9, 0x14: W 0x2000 4\n"
                                        "threadId: 7, 0x18: R 0x1008 8\n#eof\n",
                                        {"columns=-,thread,ip,op,address,size"});
  ASSERT_EQ(imported.streams.size(), 2U);
  // Each change of the thread is one step of the clock that orders them.
  EXPECT_EQ(imported.streams[0],
            (Stream{gva(kRead, 0x1000, 8), happens(TimeSync{2}), gva(kRead, 0x1008, 8)}));
  EXPECT_EQ(imported.streams[1], (Stream{happens(TimeSync{1}), gva(kWrite, 0x2000, 4)}));
  EXPECT_EQ(imported.header.lacks, kTextLacks | kNoFetches);
}

TEST(PinImport, InputWithoutItsEndIsReported) {
  EXPECT_THAT(import_text("pin", "# comment\n0x10: R 0x1000\n").reports,
              ElementsAre(HasSubstr("inputs without #eof may have been cut")));
}

// pinatrace writes it last, and once.
TEST(PinImport, RecordsAfterTheEndAreAnError) {
  EXPECT_EQ(import_error("pin", "0x10: R 0x1000\n#eof\n\n# comment\n"), "");
  EXPECT_EQ(import_error("pin", "0x10: R 0x1000\n#eof\n0x14: R 0x2000\n"),
            "input0: line 3: expected nothing after #eof, found '0x14: R 0x2000'");
}

TEST(PinImport, MalformedLinesAreNamed) {
  expect_malformed("pin", "0x10: R 0x1000", {"0x10: R", "0x10: R 0x1000 8"}, "3 columns");
  expect_malformed("pin", "0x10: R 0x1000", {"0x10: X 0x1000"}, "R or W");
  expect_malformed("pin", "0x10: R 0x1000", {"0x10: R 0x10g0", "0x10: R 0x"},
                   "a hexadecimal address");
  expect_malformed("pin", "R 0x1000 8", {"R 0x1000 4097", "R 0x1000 -1"}, "a size up to 4096",
                   {"columns=op,address,size"});
  EXPECT_THROW(import_text("pin", "R 0x1000\n", {"columns=op"}), RecordError);
  EXPECT_THROW(import_text("pin", "R 0x1000\n", {"columns=op,adress"}), RecordError);
}

TEST(PerfImport, RealPageFaultsGiveAddressesOnly) {
  const Imported imported = import_sample(
      request_with("perf", {"columns=addr,phys_addr", "kind=read"}), "perf-faults.txt");
  EXPECT_EQ(imported.stream(), (Stream{happens(SpaceSwitch{0, 14516, Precision::Inferred}),
                                       gva(kRead, 0x55f68f7bf1e0, 0), gva(kRead, 0x7f3bb6f86110, 0),
                                       gva(kRead, 0x7ffc73e5a259, 0)}));
  EXPECT_EQ(imported.header.lacks, kNoHpa | kNoSize | kNoInstructions | kNoDependence | kNoFetches |
                                       kNoFences | kNoHypervisor);
}

TEST(PerfImport, EventThatDoesNotSayTheKindIsAnError) {
  EXPECT_THAT(import_error("perf", read_sample("perf-faults.txt")),
              HasSubstr("line 1: expected an event or data_src that says load or store"));
}

TEST(PerfImport, PublishedMemorySampleGivesItsAccess) {
  EXPECT_EQ(
      import_sample(request_with("perf", {"columns=addr,data_src"}), "perf-mem.txt").stream(),
      (Stream{happens(SpaceSwitch{0, 46572, Precision::Inferred}), gva(kRead, 0x7ffdf1391b0c, 0)}));
}

TEST(PerfImport, CpusBecomeVcpusInTheOrderOfTimeAndProcessesBecomeSpaces) {
  const Imported imported = import_text("perf",
                                        "my app 10/11 [003] 5.000001: mem-loads: 1008 5008\n"
                                        "b 20/20 [001] 5.000002: mem-stores: 2000 0\n"
                                        "b 20/20 [003] 5.000003: mem-loads: 2000 6000\n",
                                        {"columns=addr,phys_addr"});
  ASSERT_EQ(imported.streams.size(), 2U);
  EXPECT_EQ(
      imported.streams[0],
      (Stream{happens(SpaceSwitch{0, 10, Precision::Inferred}), both(kRead, 0x1008, 0x5008, 0),
              happens(TimeSync{5'000'003'000}), happens(SpaceSwitch{0, 20, Precision::Inferred}),
              both(kRead, 0x2000, 0x6000, 0)}));
  EXPECT_EQ(imported.streams[1],
            (Stream{happens(TimeSync{5'000'002'000}),
                    happens(SpaceSwitch{0, 20, Precision::Inferred}), gva(kWrite, 0x2000, 0)}));
}

TEST(PerfImport, ATimeThatGoesBackIsAnError) {
  const std::string first = "a 1/1 [000] 5.000002: mem-loads: 1000\n";
  for (const std::string cpu : {"0", "1"}) {
    EXPECT_THAT(
        import_error("perf", first + "a 1/1 [00" + cpu + "] 5.000001: mem-loads: 2000\n"),
        HasSubstr("input0: line 2: expected records in the order of time, from 5000002000 ns on, "
                  "found one of 5000001000 ns"));
  }
  EXPECT_EQ(import_error("perf", first + first), "");
  // Each input has a clock of its own.
  EXPECT_NO_THROW(import_texts(request_for("perf"), {first, "a 1/1 [000] 1.0: mem-loads: 1000\n"}));
}

// The lowest five bits of the number are the operation: 1 not available, 2 load, 4 store, 8
// prefetch (PERF_MEM_OP_* of uapi/linux/perf_event.h).
TEST(PerfImport, OperationThatDataSourceDoesNotHaveIsAnError) {
  const auto sample = [](const std::string& number, const std::string& operation) {
    return "a 1/1 5.000001: mem: 1008 " + number + " |" + operation + "LVL L1 hit|BLK  N/A\n";
  };
  const auto error = [&](const std::string& number, const std::string& operation) {
    return import_error("perf", sample(number, operation), {"columns=addr,data_src", "kind=read"});
  };
  EXPECT_EQ(error("68100142", "OP LOAD|"), "");
  EXPECT_EQ(error("68100144", "OP STORE|"), "");
  EXPECT_EQ(error("68100141", "OP N/A|"), "");
  EXPECT_EQ(error("68100148", "OP PFETCH|"), "");
  EXPECT_EQ(error("68100142", ""), "");  // as older versions print it
  EXPECT_EQ(error("68100142", "OP STORE|"),
            "input0: line 1: expected the operation that data_src 0x68100142 says, found OP STORE");
  EXPECT_THAT(error("68100144", "OP LOAD|"), HasSubstr("0x68100144 says, found OP LOAD"));
  EXPECT_THAT(error("68100144", "OP N/A|"), HasSubstr("found neither OP LOAD nor OP STORE"));
  EXPECT_THAT(error("x", "OP LOAD|"), HasSubstr("expected data_src with a hexadecimal number"));
}

TEST(PerfImport, EventWhoseNameSaysAnotherOperationThanDataSourceIsReported) {
  const Imported imported = import_text(
      "perf", "a 1/1 5.000001: mem-loads: 1008 68100144 |OP STORE|LVL L1 hit|BLK  N/A\n",
      {"columns=addr,data_src"});
  EXPECT_EQ(imported.stream(),
            (Stream{happens(SpaceSwitch{0, 1, Precision::Inferred}), gva(kWrite, 0x1008, 0)}));
  EXPECT_THAT(imported.reports, ElementsAre("not in the trace: names of events that say another "
                                            "operation than data_src (1)"));
}

TEST(PerfImport, AddressesThatPerfCouldNotTellAreNoAddresses) {
  const Imported imported = import_text("perf",
                                        "a 1/1 5.000001: mem-loads: 0 0\n"
                                        "a 1/1 5.000002: mem-loads: 0 5000\n"
                                        "a 1/1 5.000003: mem-loads: 1000 0\n",
                                        {"columns=addr,phys_addr"});
  EXPECT_EQ(imported.stream(), (Stream{happens(SpaceSwitch{0, 1, Precision::Inferred}),
                                       gpa(kRead, 0x5000, 0), gva(kRead, 0x1000, 0)}));
  EXPECT_THAT(imported.reports, ElementsAre("not in the trace: samples without an address (1)"));
}

TEST(PerfImport, MalformedLinesAreNamed) {
  const std::string good = "a 1/1 5.000001: mem-loads: 1000";
  expect_malformed("perf", good,
                   {"garbage", "a 1/1 5.000001 mem-loads: 1000", "a b 5.1: mem-loads: 1000",
                    "a 1/1 5.0000000001: mem-loads: 1000", "a 1/1 5.1: mem-loads 1000"},
                   "'COMM PID/TID TIME: EVENT: ...'");
  expect_malformed("perf", good, {"a 1/1 5.1: mem-loads: xyz"}, "a hexadecimal address");
  expect_malformed("perf", good, {"a 1/1 5.1: mem-loads:"}, "1 columns");
  EXPECT_THAT(import_error("perf", "a 1/1 5.1: mem-loads: 1008 5000\n", {"columns=addr,phys_addr"}),
              HasSubstr("line 1: an access whose addresses disagree"));
}

TEST(CsvImport, SampleGivesItsRecords) {
  const Imported imported = import_sample(request_for("csv"), "csv.csv");
  ASSERT_EQ(imported.streams.size(), 2U);
  Access dependent = both(kRead, 0x7f0000002000, 0x6000, 8);
  dependent.flags |= kDependent;
  // The clock of vCPU 0 is at 4 when vCPU 1 begins, that one's at 6 when vCPU 0 goes on.
  EXPECT_EQ(imported.streams[0], (Stream{happens(SpaceSwitch{0, 1, Precision::Exact}),
                                         both(kRead, 0x7f0000001008, 0x5008, 8, 3),
                                         gva(kWrite, 0x7f0000001010, 4, 1), happens(TimeSync{7}),
                                         happens(SpaceSwitch{0, 2, Precision::Exact}), dependent}));
  EXPECT_EQ(imported.streams[1],
            (Stream{happens(TimeSync{5}), happens(SpaceSwitch{0, 2, Precision::Exact}),
                    both(kFetch, 0x400000, 0x9000, 16, 1)}));
  EXPECT_EQ(imported.header.lacks, u64{kNoHpa | kNoFences | kNoHypervisor});
}

TEST(CsvImport, WhatNoColumnGivesIsLacking) {
  EXPECT_EQ(import_text("csv", "kind,gpa\nread,0x1000\n").header.lacks,
            kTextLacks - kNoGpa + kNoGva + kNoSize);
}

TEST(CsvImport, ByteOrderMarkOfASpreadsheetIsPassedOver) {
  EXPECT_EQ(import_text("", "\xef\xbb\xbfkind,gva\r\nread,16\r\n").stream(),
            (Stream{gva(kRead, 16, 0)}));
}

TEST(CsvImport, ColumnsStandOnce) {
  EXPECT_THAT(import_error("csv", "kind,gva,gva\nread,1,2\n"),
              HasSubstr("line 1: expected each column once, found 'gva' again"));
  EXPECT_EQ(import_text("csv", "kind,gva,a,a\nread,1,2,3\n", {"ignore=a"}).stream(),
            (Stream{gva(kRead, 1, 0)}));
}

TEST(CsvImport, AccessThatCannotBeIsLeftOutAsAWhole) {
  // 8 bytes from 0x1ffc by GPA and HPA: of the second page neither the GVA nor the frames are
  // known.
  ImportRequest request = request_for("csv");
  request.lenient = true;
  const Imported imported =
      import_texts(request, {"kind,gpa,hpa,size\nread,0x1ffc,0x5ffc,8\nread,0x1000,0x5000,8\n"});
  Access access = gpa(kRead, 0x1000, 8);
  access.hpa = Hpa(0x5000);
  access.flags |= kHpaKnown;
  EXPECT_EQ(imported.stream(), (Stream{access}));
}

TEST(CsvImport, MalformedLinesAreNamed) {
  const std::string columns = "kind,gva,size";
  expect_malformed("csv", columns, {"read,0x1000", "read,0x1000,8,1", "read"}, "3 values");
  expect_malformed("csv", columns, {"load,0x1000,8"}, "read, write or fetch");
  expect_malformed("csv", columns, {"read,xyz,8", "read,0x1000,4097", "read,0x1000,", "read,-1,8"},
                   "a number up to");
  EXPECT_THAT(import_error("csv", columns + "\nread,,8\n"),
              HasSubstr("line 2: an access without GVA and GPA"));
  EXPECT_THAT(import_error("csv", "kind,gva,colour\n"), HasSubstr("line 1: expected columns of"));
  EXPECT_EQ(import_text("csv", "kind,gva,colour\nread,16,red\n", {"ignore=colour"}).stream(),
            (Stream{gva(kRead, 16, 0)}));
  EXPECT_THAT(import_error("csv", "gva,size\n"), HasSubstr("columns kind and gva"));
}

// A reader would refuse them.
TEST(CsvImport, SpacesThatTheArchitectureDoesNotHaveAreErrors) {
  const auto error = [](const std::string& text) -> std::string {
    ImportRequest request = request_for("csv");
    request.architecture = Architecture::X86_64;
    try {
      import_texts(request, {text});
    } catch (const InputError& found) {
      return found.what();
    }
    return {};
  };
  EXPECT_EQ(error("kind,gpa,root,asid\nread,0x1000,0x3000,0xfff\nread,0x1000,0x3000,0x1000\n"),
            "input0: line 3: expected an ASID of 12 bits, found 0x1000");
  EXPECT_EQ(error("kind,gpa,root\nread,0x1000,0x3008\n"),
            "input0: line 2: expected an address space's root, a multiple of 4096, found 0x3008");
}

}  // namespace
}  // namespace nestwalk::traces::import_text_test
