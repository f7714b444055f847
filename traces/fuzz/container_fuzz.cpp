// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for the reader. The first byte says what the others are:
//   0  a whole file
//   1  the payload of a section, whose type is the second byte; checksums are made
//   2  a block whose columns are not compressed; compression and checksums are made
// So that mutations get past the checksums.

#include <algorithm>
#include <cstring>

#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/text.hpp"

namespace nestwalk::traces {
namespace {

using Bytes = std::vector<u8>;

void read(std::span<const u8> file, const OnLoss& on_loss) {
  try {
    Reader reader(std::make_unique<MemorySource>(file), on_loss);
    std::string text;
    for (Reader::Item item = reader.next(); item != Reader::Item::End; item = reader.next()) {
      text.clear();
      if (item == Reader::Item::SideData) {
        append_text(text, reader.side_data());
      } else {
        append_text(text, reader.chunk());
      }
    }
    reader.read_index();
  } catch (const InputError&) {  // The one that damage may cause.
  }
}

Bytes file_with(u32 type, std::span<const u8> payload) {
  MemorySink sink;
  SectionWriter sections(sink);
  if (type != kHeaderSection) {
    ByteBuffer header;
    put(header, Header{});
    sections.write(kHeaderSection, header.bytes());
  }
  sections.write(type, payload);
  return sink.bytes();
}

Bytes block_with(std::span<const u8> bytes) {
  BlockHeader header;
  if (bytes.size() < sizeof header) return {};
  std::memcpy(&header, bytes.data(), sizeof header);
  bytes = bytes.subspan(sizeof header);
  Zstd zstd;
  ByteBuffer columns;
  for (BlockHeader::Size& size : header.columns) {
    const std::size_t raw = std::min<std::size_t>(size.raw, bytes.size());
    size = {static_cast<u32>(raw), zstd.compress(bytes.first(raw), columns)};
    bytes = bytes.subspan(raw);
  }
  ByteBuffer payload;
  payload.put(header);
  payload.put_bytes(columns.bytes());
  return file_with(kBlockSection, payload.bytes());
}

Bytes file_of(std::span<const u8> input) {
  const u8 kind = input[0];
  input = input.subspan(1);
  if (kind == 0 || input.empty()) return {input.begin(), input.end()};
  if (kind == 1) return file_with(kKnownSections[input[0] % 5], input.subspan(1));
  return block_with(input);
}

}  // namespace
}  // namespace nestwalk::traces

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::traces;
  if (size == 0) return 0;
  const Bytes file = file_of({data, size});
  read(file, {});
  read(file, [](const std::string&) {});
  return 0;
}
