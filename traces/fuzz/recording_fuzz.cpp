// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for the importer of recordings. The first byte is the architecture (0 to 2:
// its number less 1) in bits 0 and 1, the flags of the stream in bits 2 to 6, and in bit 7 whether
// the rest is a whole stream. Otherwise the second byte is the number of records, in fours, and the
// rest is the payload of a chunk, whose header is made; vCPU 1 has it, too, when the time events of
// an ordered stream (flag 16) say which of the two goes on.

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "nestwalk/traces/recording.hpp"

namespace nestwalk::traces {
namespace {

namespace fs = std::filesystem;

constexpr u32 kVcpus = 2;
constexpr u32 kOrdered = 16;

template <class T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string stream_header(u32 architecture, u32 flags) {
  std::string stream = "nwrecord";
  for (const u32 field : {u32{1}, u32{64}, architecture, flags, kVcpus, u32{12}}) {
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
  std::string stream = stream_header((choice & 3) + 1u, flags);
  for (u32 vcpu = 0; vcpu < chunks; ++vcpu) stream += chunk(vcpu, records, vcpu, input);
  return stream;  // Without the last chunk, whose counts are not known: as if it was cut off.
}

// Registers that translate, for every architecture, and no tables: the stream's own are followed.
const fs::path& folder() {
  static const fs::path path = [] {
    fs::path made = fs::temp_directory_path() / ("recording-fuzz-" + std::to_string(getpid()));
    fs::create_directories(made);
    std::ofstream(made / "registers.begin")
        << "CR0 0x80000001\nCR3 0x1000\nCR4 0x20\nNCR3 0x10000\nSCTLR 1\nTCR_EL1 0x80190019\n"
           "TTBR0_EL1 0x1000\nTTBR1_EL1 0x1000\nVTCR_EL2 0x58\nVTTBR_EL2 0x10000\n"
           "satp 0x8000000000000001\nhgatp 0x8000000000000010\n";
    return made;
  }();
  return path;
}

}  // namespace
}  // namespace nestwalk::traces

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::traces;
  if (size == 0) return 0;
  const std::string stream = stream_of({reinterpret_cast<const char*>(data), size});
  MemorySource source({reinterpret_cast<const u8*>(stream.data()), stream.size()});
  MemorySink sink;
  try {
    // What is looked at is the importer: zstd has the least to do.
    import_recording(folder(), source, sink, [](const std::string&) {}, {.level = -1});
  } catch (const InputError&) {  // The one that damage may cause.
  }
  return 0;
}
