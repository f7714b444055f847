// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What lies beside the stream of a recording.

#include "recording_fixture.hpp"

namespace nestwalk::traces::recording_folder_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(RecordingFolder, WhatLiesBesideTheStreamIsChecked) {
  const std::string stream = header(kRiscv, 1 | 8) + last_chunk({.chunks = 0});
  expect_refused(stream, "registers.begin: at byte 0: expected registers");
  const std::string page = raw<u64>(0x1000) + std::string(kPageBytes, '\0');
  const std::pair<std::string, std::string> kTables[] = {
      {"nwtables" + raw<u32>(2) + raw<u32>(1) + page, "expected tables of version 1, found 2"},
      {"nwtables" + raw<u32>(1) + raw<u32>(2) + page, "expected 2 pages of tables, found 1"},
      {"nwtables" + raw<u32>(1) + raw<u32>(1) + page.substr(1), "expected a page"},
      {"nwtableX" + raw<u32>(1) + raw<u32>(1) + page, "expected page tables"}};
  for (const auto& [file, message] : kTables) {
    expect_refused(stream, message,
                   {{"registers.begin", "satp 0\n"}, {"tables.begin.guest", file}});
  }
  expect_refused(stream,
                 "registers.begin: line 1: expected a hexadecimal number for 'satp', found '0x'",
                 {{"registers.begin", "satp 0x\n"}});
  expect_refused(stream, "registers.begin: line 2: expected a name and a value, found 'satp'",
                 {{"registers.begin", "CR3 0\nsatp\n"}});
}

TEST(RecordingFolder, FilesBesideTheStreamThatHaveNoEndAreRefused) {
  const Folder folder;
  folder.write("stream", header(kRiscv, 1) + last_chunk({.chunks = 0}));
  folder.write("registers.begin", "satp 0\n");
  const auto refused = [&](const std::string& file, const std::string& message) {
    fs::create_symlink("/dev/zero", fs::path(folder.path()) / file);
    try {
      convert(folder);
      ADD_FAILURE() << file;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(file + ": " + message));
    }
    fs::remove(fs::path(folder.path()) / file);
  };
  refused("provenance", "expected at most 1048576 bytes, found more");
  refused("registers.end", "expected at most 1048576 bytes, found more");
  folder.write("stream", header(kRiscv, 1 | 8) + last_chunk({.chunks = 0}));
  refused("tables.begin.guest", "at byte 0: expected page tables (nwtables), found something else");
  folder.write("tables.begin.guest", "nwtables" + raw<u32>(1) + raw<u32>((1 << 17) + 1));
  EXPECT_THROW(convert(folder), InputError);
}

TEST(RecordingFolder, WhatIsSaidTwiceIsAnError) {
  const std::string stream = header(kRiscv, 1) + last_chunk({.chunks = 0});
  const std::pair<std::string, std::string> registers{"registers.begin", "satp 0\n"};
  const auto page = [](u64 address) { return raw(address) + std::string(kPageBytes, '\0'); };
  const std::string head = "nwtables" + raw<u32>(1) + raw<u32>(2);
  expect_refused(stream, "registers.begin: line 2: expected each name once, found 'satp' twice",
                 {{"registers.begin", "satp 0\nsatp 1\n"}});
  expect_refused(stream, "registers.end: line 2: expected each name once, found 'satp' twice",
                 {registers, {"registers.end", "satp 0\nsatp 1\n"}});
  expect_refused(stream, "provenance: line 2: expected each name once, found 'nested' twice",
                 {registers, {"provenance", "nested no\nnested yes\n"}});
  expect_refused(header(kRiscv, 1 | 8) + last_chunk({.chunks = 0}),
                 "expected each page of tables once, found 0x1000 twice",
                 {registers, {"tables.begin.guest", head + page(0x1000) + page(0x1000)}});
}

TEST(RecordingFolder, WhatNoRecordingHasIsRefusedBeforeATraceIsWritten) {
  const std::string stream = header(kRiscv, 1) + last_chunk({.chunks = 0});
  const std::pair<std::string, std::string> registers{"registers.begin", "satp 0\n"};
  const std::string tables =
      "nwtables" + raw<u32>(1) + raw<u32>(1) + raw<u64>(0x1234) + std::string(kPageBytes, '\0');
  expect_refused(header(kRiscv, 1 | 8) + last_chunk({.chunks = 0}),
                 "expected a page's address, a multiple of 4096, found 0x1234",
                 {registers, {"tables.begin.guest", tables}});
  expect_refused(stream,
                 "registers.begin.5: expected registers of one of 1 vCPUs, found those of '5'",
                 {registers, {"registers.begin.5", "satp 0\n"}});
  expect_refused(stream,
                 "provenance: expected architecture riscv64, as the stream says, found "
                 "'aarch64'",
                 {registers, {"provenance", "architecture aarch64\n"}});
  expect_refused(header(kRiscv, 1 | 32), "expected flags below 32, found 33");
  expect_refused(header(kRiscv, 4), "expected a recording of guests to be of a whole system");
  // Memory of 0x2000 bytes from the last page on.
  std::string memory = header(kRiscv, 1);
  memory.replace(32, 16, raw(~u64{0xfff}) + raw<u64>(0x2000));
  expect_refused(memory,
                 "expected memory that ends below 2^64, found 8192 bytes from "
                 "0xfffffffffffff000 on");
}

TEST(RecordingFolder, AProvenanceThatIsNotTheStreamsIsRefused) {
  const std::string stream = header_with_memory(1, 2) + last_chunk({.chunks = 0});
  const std::pair<std::string, std::string> registers{"registers.begin", "satp 0\n"};
  const auto refused = [&](const std::string& line, const std::string& expected) {
    expect_refused(stream,
                   "provenance: expected " + expected + ", as the stream says, found '" +
                       line.substr(line.find(' ') + 1) + "'",
                   {registers, {"provenance", line + "\n"}});
  };
  refused("vcpus 1", "vcpus 2");
  refused("vcpus 4294967298", "vcpus 2");
  refused("vcpus two", "vcpus 2");
  refused("memory_base 0x0", "memory_base 1073741824");
  refused("memory_bytes 1048575", "memory_bytes 1048576");
  refused("memory_bytes 0x200000", "memory_bytes 1048576");
  refused("nested yes", "nested no");
  expect_refused(header(kRiscv, 1) + last_chunk({.chunks = 0}),
                 "provenance: expected memory_bytes 0, as the stream says, found '1048576'",
                 {registers, {"provenance", "memory_bytes 1048576\n"}});
  expect_refused(header(kRiscv, 1 | 4) + last_chunk({.chunks = 0}),
                 "provenance: expected nested yes, as the stream says, found 'no'",
                 {registers, {"provenance", "nested no\n"}});
  // As the recorder writes them.
  const Folder folder;
  folder.write("stream", stream);
  folder.write("registers.begin", "satp 0\n");
  folder.write("registers.begin.1", "satp 0\n");
  folder.write("provenance",
               "architecture riscv64\nnested no\nvcpus 2\nmemory_base 0x40000000\n"
               "memory_bytes 1048576\n");
  EXPECT_EQ(convert(folder).header.vcpus, 2u);
}

TEST(RecordingFolder, WhatTheHeaderSaysIsThere) {
  const std::string end = last_chunk({.chunks = 0});
  const std::pair<std::string, std::string> registers{"registers.begin", kRiscvRegisters};
  const std::pair<std::string, std::string> guest{"tables.begin.guest", tables({})};
  const std::pair<std::string, std::string> host{"tables.begin.host", tables({})};
  const std::string no_tables =
      ": at byte 0: expected page tables, which a stream that follows them has, found no file";
  const std::string no_registers =
      ": at byte 0: expected registers, which a recording of a whole machine has, found none";
  expect_refused(header(kRiscv, 1 | 8) + end, "tables.begin.guest" + no_tables, {registers});
  expect_refused(header(kRiscv, 1 | 4 | 8) + end, "tables.begin.host" + no_tables,
                 {registers, guest});
  expect_refused(header(kRiscv, 1, 2) + end, "registers.begin.1" + no_registers, {registers});
  expect_refused(header(kRiscv, 1, 2) + end, "registers.begin.1" + no_registers,
                 {registers, {"registers.begin.1", ""}});
  // Of the end there is all or nothing.
  const std::pair<std::string, std::string> at_end{"registers.end", kRiscvRegisters};
  expect_refused(header(kRiscv, 1 | 8) + end, "tables.end.guest" + no_tables,
                 {registers, guest, at_end});
  expect_refused(header(kRiscv, 1 | 8) + end, "registers.end" + no_registers,
                 {registers, guest, {"tables.end.guest", tables({})}});
  expect_refused(header(kRiscv, 1 | 4 | 8) + end, "tables.end.host" + no_tables,
                 {registers, guest, host, at_end, {"tables.end.guest", tables({})}});
  const Folder folder;
  folder.write("stream", header(kRiscv, 1 | 4 | 8) + end);
  for (const auto& [name, text] : {registers, guest, host}) folder.write(name, text);
  EXPECT_TRUE(convert(folder).losses.empty());
}

TEST(RecordingFolder, WhatTheHeaderSaysIsNotThereIsRefused) {
  const std::string end = last_chunk({.chunks = 0});
  for (const std::string moment : {"begin", "end"}) {
    const auto with = [&](const std::string& name) {
      return std::map<std::string, std::string>{{"registers.begin", kRiscvRegisters},
                                                {"tables.begin.guest", tables({})},
                                                {"tables." + moment + "." + name, tables({})}};
    };
    auto files = with("guest");
    if (moment == "end") files.erase("tables.begin.guest");
    expect_refused(header(kRiscv, 1) + end,
                   "tables." + moment +
                       ".guest: at byte 0: expected flag 8 (page tables) in the stream's header, "
                       "for page tables, found flags 1",
                   files);
    expect_refused(header(kRiscv, 1 | 8) + end,
                   "tables." + moment +
                       ".host: at byte 0: expected flag 4 (nested guests) in the stream's header, "
                       "for tables of a second stage, found flags 9",
                   with("host"));
    files.erase("registers.begin");
    expect_refused(header(kRiscv, 0) + end, "found flags 0", files);
  }
}

TEST(RecordingFolder, RegistersThatTranslationDependsOnAreThere) {
  const auto refused = [](u32 architecture, u32 flags, const std::string& registers,
                          const std::string& missing) {
    expect_refused(header(architecture, flags) + last_chunk({.chunks = 0}),
                   "registers.begin: at byte 0: expected the register " + missing +
                       ", which translation depends on, found none",
                   {{"registers.begin", registers}});
  };
  refused(kX86, 1, "CR0 0x80000011\nCR3 0x1000\n", "CR4");
  refused(kX86, 1, "CR3 0x1000\nCR4 0x20\n", "CR0");
  refused(kX86, 1 | 4, "CR0 0x80000011\nCR3 0x1000\nCR4 0x20\n", "NCR3");
  refused(kAarch64, 1, "SCTLR 1\nTTBR0_EL1 0\nTTBR1_EL1 0\n", "TCR_EL1");
  refused(kAarch64, 1 | 4, kAarch64Registers + "VTTBR_EL2 0\n", "VTCR_EL2");
  refused(kRiscv, 1 | 4, "satp 0\n", "hgatp");
}

TEST(RecordingFolder, RegistersOfAllVcpusSayTheSameFormat) {
  // Sv39 is mode 8, Sv48 9.
  expect_refused(header(kRiscv, 1, 2) + last_chunk({.chunks = 0}),
                 "expected registers of vCPU 1 to say what the header does, 'riscv64-3' for the "
                 "guest's page tables, found 'riscv64-4'",
                 {{"registers.begin", "satp 0x8000000000000001\n"},
                  {"registers.begin.1", "satp 0x9000000000000001\n"}});
}

TEST(RecordingFolder, AStreamThatWasCutOffEndsBeforeTheEnd) {
  const Folder folder;
  folder.write("stream", header(kRiscv, 1));
  folder.write("registers.begin", "satp 0\n");
  folder.write("registers.end", "satp 1\n");
  EXPECT_THAT(
      convert(folder).losses,
      testing::ElementsAre(HasSubstr("cut off"), HasSubstr("of the end are of a later moment")));
}

TEST(RecordingFolder, AFileIsNoFolder) {
  MemorySink sink;
  EXPECT_THROW(import_recording("/dev/null", sink, {}), InputError);
}

}  // namespace
}  // namespace nestwalk::traces::recording_folder_test
