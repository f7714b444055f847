// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for the reader. The first byte says what the others are:
//   0  a whole file; it is changed section by section, and its checksums are made again
//   1  the payload of a section, whose type is the second byte; checksums are made
//   2  a block whose columns are not compressed; compression and checksums are made
// So that mutations get past the checksums.

#include <algorithm>
#include <cstring>
#include <random>

#include "../testing/container_parts.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/text.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

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

void read_by_time(std::span<const u8> file, const OnLoss& on_loss) {
  try {
    TimeOrderedReader reader([&] { return std::make_unique<MemorySource>(file); }, on_loss);
    for (Chunk chunk; reader.next(chunk);) continue;
  } catch (const InputError&) {
  }
}

Parts whole_parts(std::span<const u8> file) {
  try {
    return parts_of(file);
  } catch (const InputError&) {
    return {};
  }
}

// A field of an index, a footer, or the header of a block.
void change_field(Part& part, std::minstd_rand& random) {
  const std::size_t fields = std::min<std::size_t>(part.payload.size(), 96) / 4;
  if (fields == 0) return;
  constexpr u32 kBy[] = {1, ~u32{0}, 1 << 16, u32{1} << 31};
  add(part, 4 * (random() % fields), kBy[random() % std::size(kBy)]);
}

void change_bytes(Part& part) {
  const std::size_t size = part.payload.size();
  part.payload.resize(size + 64);
  part.payload.resize(LLVMFuzzerMutate(part.payload.data(), size, size + 64));
}

void change(Parts& parts, std::minstd_rand& random) {
  const auto at = static_cast<std::ptrdiff_t>(random() % parts.size());
  Part& part = parts[static_cast<std::size_t>(at)];
  switch (random() % 6) {
    case 0:
      parts.erase(parts.begin() + at);
      break;
    case 1:
      parts.insert(parts.begin() + at, Part(part));
      break;
    case 2:
      std::swap(part, parts[random() % parts.size()]);
      break;
    case 3:
      change_bytes(part);
      break;
    default:
      change_field(part, random);
  }
  if (random() % 2 == 0) mend_index(parts);
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
  for (const OnLoss& on_loss : {OnLoss(), OnLoss([](const std::string&) {})}) {
    read(file, on_loss);
    read_by_time(file, on_loss);
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  using namespace nestwalk::traces;
  std::minstd_rand random(seed);
  Parts parts = size == 0 || data[0] != 0 ? Parts() : whole_parts({data + 1, size - 1});
  if (parts.empty() || random() % 8 == 0) return LLVMFuzzerMutate(data, size, most);
  change(parts, random);
  const Bytes file = joined(parts);
  if (file.size() + 1 > most) return LLVMFuzzerMutate(data, size, most);
  std::copy(file.begin(), file.end(), data + 1);
  return file.size() + 1;
}
