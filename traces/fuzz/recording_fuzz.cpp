// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for the importer of recordings. The first byte is the architecture (0 to 2:
// its number less 1) in bits 0 and 1, the flags of the stream in bits 2 to 6, and in bit 7 whether
// the rest is a whole stream. Otherwise the second byte is the number of records, in fours, and the
// rest is the payload of a chunk, whose header is made; vCPU 1 has it, too, when the time events of
// an ordered stream (flag 16) say which of the two goes on.

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <tuple>

#include "nestwalk/traces/recording.hpp"

namespace nestwalk::traces {
namespace {

namespace fs = std::filesystem;

constexpr u32 kVcpus = 2;
constexpr u32 kSystem = 1, kGuestOnly = 4, kTables = 8, kOrdered = 16;

template <class T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string stream_header(u32 architecture, u32 flags, u32 vcpus) {
  std::string stream = "nwrecord";
  for (const u32 field : {u32{1}, u32{64}, architecture, flags, vcpus, u32{12}}) {
    put(stream, field);
  }
  put(stream, u64{0});
  put(stream, u64{1} << 30);
  stream.append(16, '\0');
  return stream;
}

std::string chunk(u32 vcpu, u32 records, u64 number, std::string_view payload) {
  std::string bytes = "NWCK";
  put(bytes, vcpu);
  put(bytes, static_cast<u32>(payload.size()));
  put(bytes, records);
  put(bytes, number);
  put(bytes, u64{0});
  return bytes.append(payload);
}

std::string stream_of(std::string_view input) {
  const auto choice = static_cast<u8>(input[0]);
  input.remove_prefix(1);
  if ((choice & 0x80) != 0 || input.empty()) return std::string(input);
  const u32 records = 4u * static_cast<u8>(input[0]);
  input.remove_prefix(1);
  const u32 flags = choice >> 2 & 31u;
  const u64 chunks = (flags & kOrdered) != 0 ? 2 : 1;
  std::string stream = stream_header((choice & 3) + 1u, flags, kVcpus);
  for (u32 vcpu = 0; vcpu < chunks; ++vcpu) stream += chunk(vcpu, records, vcpu, input);
  return stream;  // Without the last chunk, whose counts are not known: as if it was cut off.
}

// Registers that translate.
constexpr const char* kRegisters[] = {
    "CR0 0x80000001\nCR3 0x1000\nCR4 0x20\nNCR3 0x10000\n",
    ("SCTLR 1\nTCR_EL1 0x80190019\nTTBR0_EL1 0x1000\nTTBR1_EL1 0x1000\nVTCR_EL2 0x58\n"
     "VTTBR_EL2 0x10000\n"),
    "satp 0x8000000000000001\nhgatp 0x8000000000000010\n"};

void import_stream(const fs::path& folder, const std::string& stream) {
  MemorySource source({reinterpret_cast<const u8*>(stream.data()), stream.size()});
  MemorySink sink;
  // What is looked at is the importer: zstd has the least to do.
  import_recording(folder, source, sink, [](const std::string&) {}, {.level = -1});
}

bool is_refused(const fs::path& folder, const std::string& stream) {
  try {
    import_stream(folder, stream);
  } catch (const InputError&) {  // The one that damage may cause.
    return true;
  }
  return false;
}

// What a stream without records needs beside it. Tables are empty: the stream's own are followed.
fs::path make_folder(u32 architecture, u32 flags, u32 vcpus) {
  fs::path made = fs::temp_directory_path() / ("recording-fuzz-" + std::to_string(getpid()) + "-" +
                                               std::to_string(architecture) + "-" +
                                               std::to_string(flags) + "-" + std::to_string(vcpus));
  fs::create_directories(made);
  const std::string no_tables("nwtables\1\0\0\0\0\0\0\0", 16);
  if ((flags & kSystem) != 0) {
    const std::string registers = kRegisters[architecture - 1];
    std::ofstream(made / "registers.begin") << registers;
    if (vcpus > 1) std::ofstream(made / "registers.begin.1") << registers;
  }
  if ((flags & kTables) != 0) std::ofstream(made / "tables.begin.guest") << no_tables;
  if ((flags & kTables) != 0 && (flags & kGuestOnly) != 0) {
    std::ofstream(made / "tables.begin.host") << no_tables;
  }
  const bool possible = (flags & kSystem) != 0 || (flags & (kGuestOnly | kTables)) == 0;
  if (possible == is_refused(made, stream_header(architecture, flags, vcpus))) std::abort();
  return made;
}

// By what the header of the stream says, if it is one.
const fs::path& folder_of(const std::string& stream) {
  static std::map<std::tuple<u32, u32, u32>, fs::path> made;
  u32 architecture = 1, flags = 0, vcpus = 1;
  if (stream.size() >= 28) {
    std::memcpy(&architecture, stream.data() + 16, sizeof architecture);
    std::memcpy(&flags, stream.data() + 20, sizeof flags);
    std::memcpy(&vcpus, stream.data() + 24, sizeof vcpus);
  }
  if (architecture - 1 >= std::size(kRegisters)) architecture = 1;
  flags &= 31;
  vcpus = vcpus == 1 ? 1 : kVcpus;
  const auto [found, is_new] = made.try_emplace({architecture, flags, vcpus});
  if (is_new) found->second = make_folder(architecture, flags, vcpus);
  return found->second;
}

}  // namespace
}  // namespace nestwalk::traces

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::traces;
  if (size == 0) return 0;
  const std::string stream = stream_of({reinterpret_cast<const char*>(data), size});
  static_cast<void>(is_refused(folder_of(stream), stream));
  return 0;
}
