// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Recordings made by hand, byte for byte after traces/recorder/STREAM.md, and what they convert to.
#pragma once

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/recording.hpp"
#include "nestwalk/traces/text.hpp"

namespace nestwalk::traces {

// A folder that goes away with the test.
class Folder {
 public:
  Folder() {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            (std::string("nestwalk-recording-") + test->name() + std::to_string(getpid()));
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Registers of machines that do not translate.
inline const std::string kX86Registers = "CR0 0x10\nCR3 0\nCR4 0\nNCR3 0\n";
inline const std::string kAarch64Registers = "SCTLR 0\nTCR_EL1 0\nTTBR0_EL1 0\nTTBR1_EL1 0\n";
inline const std::string kRiscvRegisters = "satp 0\nhgatp 0\n";

enum Number : u32 { kX86 = 1, kAarch64 = 2, kRiscv = 3 };

inline std::string header(u32 architecture, u32 flags, u32 vcpus = 1) {
  return "nwrecord" + raw<u32>(1) + raw<u32>(64) + raw(architecture) + raw(flags) + raw(vcpus) +
         raw<u32>(12) + raw<u64>(0) + raw<u64>(0) + std::string(16, '\0');
}

// `number` chunks are before it; the vCPU's count of instructions stands at `instructions`.
inline std::string chunk(u32 vcpu, u32 records, const std::string& payload, u64 number = 0,
                         u64 instructions = 0) {
  return "NWCK" + raw(vcpu) + raw(static_cast<u32>(payload.size())) + raw(records) + raw(number) +
         raw(instructions) + payload;
}

struct Counts {
  u64 chunks = 1;
  u64 reads = 0, writes = 0, fetches = 0, events = 0;
  u64 instructions = 1000;  ///< more than any stream here has
  u64 not_recorded = 0;     ///< accesses that were seen
};

inline std::string last_chunk(const Counts& counts) {
  const u64 records = counts.reads + counts.writes + counts.fetches + counts.events;
  std::string payload;
  for (const u64 count :
       {records, counts.reads, counts.writes, counts.fetches, counts.events, counts.instructions,
        counts.reads + counts.writes + counts.not_recorded}) {
    payload += raw(count);
  }
  return chunk(0xffffffff, 0, payload, counts.chunks);
}

inline std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

// One page of tables in the form of tables.begin.guest: entries by index.
inline std::string tables(const std::vector<std::pair<u64, std::map<unsigned, u64>>>& pages) {
  std::string text = "nwtables" + raw<u32>(1) + raw(static_cast<u32>(pages.size()));
  for (const auto& [address, entries] : pages) {
    text += raw(address);
    for (unsigned index = 0; index < 512; ++index) {
      const auto found = entries.find(index);
      text += raw<u64>(found == entries.end() ? 0 : found->second);
    }
  }
  return text;
}

struct Converted {
  std::vector<std::string> lines;  ///< of `nestwalk trace cat`, without side data
  Header header;
  std::vector<std::string> losses;
};

inline Converted convert(const Folder& folder) {
  Converted converted;
  MemorySink sink;
  import_recording(folder.path(), sink,
                   [&](const std::string& line) { converted.losses.push_back(line); });
  Reader reader(std::make_unique<MemorySource>(sink.bytes()));
  converted.header = reader.header();
  std::string text;
  for (Reader::Item item = reader.next(); item != Reader::Item::End; item = reader.next()) {
    if (item == Reader::Item::Records) append_text(text, reader.chunk());
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) converted.lines.push_back(line);
  return converted;
}

inline std::string varint(u64 value) {
  std::string text;
  for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
  return text + static_cast<char>(value);
}

inline void expect_refused(const std::string& stream, const std::string& message,
                           const std::map<std::string, std::string>& files = {}) {
  const Folder folder;
  folder.write("stream", stream);
  for (const auto& [name, bytes] : files) folder.write(name, bytes);
  MemorySink sink;
  try {
    import_recording(folder.path(), sink, [](const std::string&) {});
    FAIL() << "expected: " << message;
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(message));
  }
}

// A machine of 1 MiB of memory from 0x40000000 on.
inline std::string header_with_memory(u32 flags, u32 vcpus = 1) {
  return header(kRiscv, flags, vcpus).replace(32, 16, raw<u64>(0x40000000) + raw<u64>(0x100000));
}

}  // namespace nestwalk::traces
