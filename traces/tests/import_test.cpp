// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What all importers share: finding the format, packed input, leniency, options.

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "import_fixture.hpp"

namespace nestwalk::traces::import_test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Import, FormatIsFoundWhereItCanBeTold) {
  const std::pair<const char*, const char*> kSamples[] = {{"lackey.txt", "lackey"},
                                                          {"lackey.zip", "lackey"},
                                                          {"din.txt", "din"},
                                                          {"champsim.bin", "champsim"},
                                                          {"pin.txt", "pin"},
                                                          {"csv.csv", "csv"},
                                                          {"cloudsuite.bin", "cloudsuite"},
                                                          {"gem5.gz", "gem5"},
                                                          {"kvm-x86.txt", "kvm"},
                                                          {"dynamorio.bin", "dynamorio"},
                                                          {"dynamorio.zip", "dynamorio"},
                                                          {"kvm-ept.txt", "kvm"},
                                                          {"kvm-arm64.txt", "kvm"},
                                                          {"kvm-riscv.txt", "kvm"}};
  for (const auto& [file, format] : kSamples) {
    SCOPED_TRACE(file);
    const Imported told = import_sample(request_for(format), file);
    const Imported found = import_sample(request_for(""), file);
    EXPECT_EQ(found.streams, told.streams);
    EXPECT_EQ(found.header, told.header);
    EXPECT_THAT(found.header.provenance,
                Contains(std::pair<std::string, std::string>("format", format)));
  }
}

// One pass over a text of lackey; two over a csv, whose vCPUs are counted first. Progress is told
// every 65536 lines, and input is read by 256 KiB, so at most that is ahead.
TEST(Import, ProgressIsInBytesOfTheInputs) {
  struct Input {
    const char* format;
    std::string heading, line;
    u64 passes;
  };
  const Input kInputs[] = {{"lackey", "", " L 1000,8\n", 1},
                           {"csv", "kind,gva\n", "read,1000\n", 2}};
  constexpr u64 kLines = 200'000;
  const auto path =
      std::filesystem::temp_directory_path() / ("nestwalk-progress-" + std::to_string(getpid()));
  for (const Input& input : kInputs) {
    SCOPED_TRACE(input.format);
    std::string text = input.heading;
    for (u64 n = 0; n < kLines; ++n) text += input.line;
    std::ofstream(path) << text;
    ImportRequest request = request_for(input.format);
    request.inputs = {path};
    u64 told = 0;
    request.progress = [&](u64 done, u64 total, u64 records) {
      ++told;
      EXPECT_EQ(total, input.passes * text.size());
      const u64 lines = told * 65536 + (told > 3 ? kLines - 3 * 65536 : 0);
      EXPECT_NEAR(static_cast<double>(records), static_cast<double>(lines), 1);
      const u64 behind = lines * input.line.size();
      EXPECT_GE(done, behind - input.line.size());
      EXPECT_LE(done, behind + (256 << 10) + input.heading.size() * 2);
    };
    run_import(request);
    EXPECT_EQ(told, input.passes * 3);  // 200'000 / 65536
  }
  std::filesystem::remove(path);
}

TEST(Import, InputInNoKnownFormatIsAnError) {
  EXPECT_THAT(import_error("", "Lorem ipsum\n"),
              AllOf(HasSubstr("input0: at byte 0: expected a format that can be told"),
                    HasSubstr("found 'Lorem ipsum?'")));
  EXPECT_EQ(import_error("", ""), "input0: at byte 0: expected a trace, found an empty file");
}

TEST(Import, ProseIsNotTakenForDin) {
  // "add" and "bad" are hexadecimal numbers.
  for (const char* prose : {"1 add the flour\n", "2 bad\n", "1 2 buckle my shoe\n",
                            "0 1000\nis not\na trace\n", "1. 2000 words\n"}) {
    EXPECT_THAT(import_error("", prose), HasSubstr("expected a format that can be told")) << prose;
  }
  EXPECT_EQ(import_text("", "0 1000 a read\n\n2 b\n").stream(),
            (Stream{gva(kRead, 0x1000, 0), gva(kFetch, 0xb, 0)}));
}

TEST(Import, WhatNoRecordOfAFormatBringsIntoATraceIsSaid) {
  EXPECT_EQ(import_sample(request_for("gem5"), "gem5.gz").drops,
            "ticks, packet ids, PCs, and flags besides those of fetches");
  EXPECT_EQ(import_sample(request_for("lackey"), "lackey.txt").drops, "");
}

TEST(Import, MoreVcpusThanATraceCanHaveAreRefused) {
  ImportRequest request = request_for("csv");
  request.vcpus = 4097;
  EXPECT_THROW(import_texts(request, {"kind,gva\nread,1\n"}), RecordError);
}

TEST(Import, VcpusThatTheInputsDoNotHaveAreSaid) {
  ImportRequest request = request_for("csv");
  request.vcpus = 8;
  EXPECT_THAT(import_texts(request, {"kind,gva,vcpu\nread,1,0\n"}).reports,
              Contains("vCPUs that the inputs have: 1, not 8"));
  request = request_for("lackey");
  request.vcpus = 2;
  EXPECT_THROW(import_texts(request, {read_sample("lackey.txt")}), RecordError);
}

TEST(Import, OptionsAndColumnsThatAreThereTwiceAreAnError) {
  EXPECT_THROW(import_text("gem5", "gem5", {"reads=1", "reads=2"}), RecordError);
  EXPECT_THROW(import_text("pin", "", {"columns=ip,op,address,address"}), RecordError);
  EXPECT_THROW(import_text("pin", "", {"columns=op,op,address"}), RecordError);
  EXPECT_THROW(import_text("perf", "", {"columns=addr,addr"}), RecordError);
}

TEST(Import, PerfIsFoundAsWell) {
  ImportRequest request;
  request.options = {"kind=read"};
  EXPECT_THAT(import_sample(request, "perf-faults.txt").header.provenance,
              Contains(std::pair<std::string, std::string>("format", "perf")));
}

TEST(Import, InputThatCannotBeReadTwiceNeedsTheNumberOfVcpus) {
  const std::string text = "kind,gva,vcpu\nread,1,0\nread,1,1\n";
  ImportRequest request = request_for("csv");
  request.twice = false;
  EXPECT_THAT([&] { import_texts(request, {text}); },
              testing::ThrowsMessage<InputError>(
                  "input0: line 3: expected at most 1 vCPUs, found one more (tell how many there "
                  "are with --vcpus)"));
  request.vcpus = 3;
  EXPECT_EQ(import_texts(request, {text}).streams.size(), 3U);
}

TEST(Import, SeveralInputsOfRecordsThatSayWhoMadeThemAreOneRecording) {
  const Imported imported =
      import_texts(request_for("csv"), {"kind,gva,vcpu\nread,1,0\n", "kind,gva,vcpu\nread,2,1\n"});
  ASSERT_EQ(imported.streams.size(), 2U);
  EXPECT_EQ(imported.streams[1], (Stream{happens(TimeSync{1}), gva(kRead, 2, 0)}));
}

TEST(Import, InputWithoutAnAccessIsAnError) {
  EXPECT_EQ(import_error("lackey", "==1== \n"),
            "input0: at byte 7: expected an access, found the end of the input");
}

TEST(Import, LenientImportLeavesOutAndCounts) {
  ImportRequest request = request_for("lackey");
  request.lenient = true;
  const Imported imported =
      import_texts(request, {" L 1000,8\nnonsense\n L fffffffffffffffe,8\n S 2000,8\n"});
  EXPECT_EQ(imported.stream(), (Stream{gva(kRead, 0x1000, 8), gva(kWrite, 0x2000, 8)}));
  EXPECT_THAT(imported.reports,
              ElementsAre(HasSubstr("left out: input0: line 2: expected"),
                          HasSubstr("left out: input0: line 3: expected"),
                          "not in the trace: lines or records that make no sense (2)",
                          HasSubstr("without lackey's summary")));
}

TEST(Import, UnknownFormatsAndOptionsAreErrorsOfTheCommand) {
  EXPECT_THROW(import_format_of("lacky"), RecordError);
  EXPECT_THROW(import_text("lackey", " L 1000,8\n", {"columns=ip"}), RecordError);
}

TEST(Import, LineWithoutAnEndIsAnError) {
  EXPECT_EQ(import_error("lackey", " L 1000,8\n" + std::string(100'000, '=')),
            "input0: line 2: expected a line, found more than 64 KiB without one");
}

}  // namespace
}  // namespace nestwalk::traces::import_test
