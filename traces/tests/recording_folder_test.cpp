// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What lies beside the stream of a recording.

#include "recording_fixture.hpp"

namespace nestwalk::traces {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(RecordingFolder, WhatLiesBesideTheStreamIsChecked) {
  const std::string stream = header(kRiscv, 1) + last_chunk({.chunks = 0});
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
  expect_refused(stream, "expected each page of tables once, found 0x1000 twice",
                 {registers, {"tables.begin.guest", head + page(0x1000) + page(0x1000)}});
}

TEST(RecordingFolder, WhatNoRecordingHasIsRefusedBeforeATraceIsWritten) {
  const std::string stream = header(kRiscv, 1) + last_chunk({.chunks = 0});
  const std::pair<std::string, std::string> registers{"registers.begin", "satp 0\n"};
  const std::string tables =
      "nwtables" + raw<u32>(1) + raw<u32>(1) + raw<u64>(0x1234) + std::string(kPageBytes, '\0');
  expect_refused(stream, "expected a page's address, a multiple of 4096, found 0x1234",
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
  folder.write("provenance",
               "architecture riscv64\nnested no\nvcpus 2\nmemory_base 0x40000000\n"
               "memory_bytes 1048576\n");
  EXPECT_EQ(convert(folder).header.vcpus, 2u);
}

TEST(RecordingFolder, AFileIsNoFolder) {
  MemorySink sink;
  EXPECT_THROW(import_recording("/dev/null", sink, {}), InputError);
}

}  // namespace
}  // namespace nestwalk::traces
