// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <utility>

#include "nestwalk/traces/container.hpp"

namespace nestwalk::traces {
namespace {

constexpr std::size_t kReadBytes = 64 << 10;

std::string hex(std::span<const u8> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const u8 byte : bytes) {
    if (!text.empty()) text += ' ';
    text += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

// Bytes of a text file are shown as text.
std::string shown(std::span<const u8> bytes) {
  if (!std::all_of(bytes.begin(), bytes.end(),
                   [](u8 byte) { return byte >= 0x20 && byte < 0x7f; })) {
    return hex(bytes);
  }
  std::string text(1, '\'');
  text.append(bytes.begin(), bytes.end());
  return text.append(1, '\'');
}

template <class T>
std::span<const u8> bytes_before_checksum(const T& value) {
  return {reinterpret_cast<const u8*>(&value), sizeof value - sizeof value.checksum};
}

template <class T>
T from_bytes(std::span<const u8> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

[[noreturn]] void fail_early(const Place& place, const std::string& expected, u64 found) {
  place.fail(expected,
             "that the file ends early, after " + std::to_string(found) + " bytes of them");
}

[[noreturn]] void fail_short(const Place& place, u64 whole, u64 found) {
  fail_early(place, "a section of " + std::to_string(whole) + " bytes", found);
}

}  // namespace

SectionWriter::SectionWriter(ByteSink& sink) : sink_(&sink) {
  Preamble preamble{{}, kMajorVersion, kMinorVersion, 0};
  std::memcpy(preamble.magic, kMagic, sizeof kMagic);
  preamble.checksum = crc32c(bytes_before_checksum(preamble));
  ByteBuffer bytes;
  bytes.put(preamble);
  sink_->write(bytes.bytes());
  offset_ = bytes.size();
}

void SectionWriter::write(u32 type, std::span<const u8> payload) {
  SectionFrame frame{{}, type, 0, payload.size(), crc32c(payload), 0};
  std::memcpy(frame.marker, kMarker, sizeof kMarker);
  frame.checksum = crc32c(bytes_before_checksum(frame));
  ByteBuffer bytes;
  bytes.put(frame);
  sink_->write(bytes.bytes());
  sink_->write(payload);
  offset_ += bytes.size() + payload.size();
}

SectionReader::SectionReader(ByteSource& source, OnLoss on_loss)
    : source_(&source), on_loss_(std::move(on_loss)) {
  u16 major = kMajorVersion;
  u16 minor = 0;
  try {
    const Preamble preamble = read_preamble();
    major = preamble.major;
    minor = preamble.minor;
  } catch (const InputError& error) {
    // What has no section is no damaged trace, but something else.
    if (!on_loss_) throw;
    find_marker();
    if (peek(1).empty()) throw;
    lose(error);
  }
  if (major != kMajorVersion) {
    Place{name(), 0}.fail("version " + std::to_string(kMajorVersion) + " of the format",
                          "version " + std::to_string(major) + "." + std::to_string(minor));
  }
}

void SectionReader::lose(const InputError& error) {
  if (!on_loss_) throw error;
  has_lost_ = true;
  on_loss_(error.what());
}

bool SectionReader::at_end() {
  skip(std::exchange(pending_, u64{0}));
  return peek(1).empty();
}

// At least `bytes` bytes of what comes next, or all that there are. Memory grows with what is
// there, not with what is asked for.
std::span<const u8> SectionReader::peek(std::size_t bytes) {
  while (end_ - begin_ < bytes) {
    if (begin_ >= buffer_.size() / 2) {
      std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
                buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
      end_ -= begin_;
      begin_ = 0;
    }
    if (buffer_.size() - end_ < kReadBytes) buffer_.resize(2 * buffer_.size() + kReadBytes);
    const std::size_t count = read(std::span(buffer_).subspan(end_));
    if (count == 0) break;
    end_ += count;
  }
  return {buffer_.data() + begin_, end_ - begin_};
}

// A source that failed once (compressed input that is cut off, say) has nothing more to give.
std::size_t SectionReader::read(std::span<u8> to) {
  if (failed_) return 0;
  try {
    return source_->read(to);
  } catch (const InputError&) {
    failed_ = true;
    throw;
  }
}

void SectionReader::skip(u64 bytes) {
  if (bytes > end_ - begin_) return seek(offset_ + bytes);
  begin_ += static_cast<std::size_t>(bytes);
  offset_ += bytes;
}

void SectionReader::seek(u64 offset) {
  source_->seek(offset);
  failed_ = false;
  begin_ = end_ = pending_ = 0;
  offset_ = offset;
}

Preamble SectionReader::read_preamble() {
  const std::span<const u8> bytes = peek(sizeof(Preamble));
  const Place place{name(), 0};
  const std::size_t magic_bytes = std::min(bytes.size(), sizeof kMagic);
  const std::string expected = "a nestwalk trace (" + hex(kMagic) + ")";
  if (bytes.empty()) place.fail(expected, "an empty file");
  if (std::memcmp(bytes.data(), kMagic, magic_bytes) != 0) {
    place.fail(expected, shown(bytes.first(magic_bytes)));
  }
  if (bytes.size() < sizeof(Preamble)) {
    place.fail("16 bytes of preamble", "the end of the file after " + std::to_string(bytes.size()));
  }
  const auto preamble = from_bytes<Preamble>(bytes);
  if (crc32c(bytes_before_checksum(preamble)) != preamble.checksum) {
    place.fail("a preamble with the right checksum", "a damaged one");
  }
  skip(sizeof(Preamble));
  return preamble;
}

bool SectionReader::next(Section& section) {
  for (;;) {
    try {
      if (at_end()) return false;
      read_section(section);
      return true;
    } catch (const InputError& error) {
      lose(error);
      skip(std::min<std::size_t>(1, end_ - begin_));
      find_marker();
    }
  }
}

bool SectionReader::next_head(Section& section, std::size_t bytes) {
  if (at_end()) return false;
  const SectionFrame frame = read_frame();
  const u64 whole = sizeof frame + frame.payload_bytes;
  const u64 rest = source_->seekable_size() - offset_;
  if (rest < whole) fail_short({name(), offset_}, whole, rest);
  const std::size_t given = std::min(static_cast<std::size_t>(frame.payload_bytes), bytes);
  const std::span<const u8> head = peek(sizeof frame + given);
  if (head.size() < sizeof frame + given) fail_short({name(), offset_}, whole, head.size());
  section = {frame.type, offset_, frame.payload_bytes, head.subspan(sizeof frame, given),
             frame.payload_checksum};
  pending_ = whole;
  return true;
}

SectionFrame SectionReader::read_frame() {
  const Place place{name(), offset_};
  const std::span<const u8> head = peek(sizeof(SectionFrame));
  if (head.size() < sizeof(SectionFrame)) {
    fail_early(place, "32 bytes of a section's frame", head.size());
  }
  const auto frame = from_bytes<SectionFrame>(head);
  if (std::memcmp(frame.marker, kMarker, sizeof kMarker) != 0) {
    place.fail("a section (" + hex(kMarker) + ")", shown(head.first(sizeof kMarker)));
  }
  if (crc32c(bytes_before_checksum(frame)) != frame.checksum) {
    place.fail("a section's frame with the right checksum", "a damaged one");
  }
  if (frame.payload_bytes > kMaxPayload) {
    place.fail("a section of at most " + std::to_string(kMaxPayload) + " bytes",
               std::to_string(frame.payload_bytes));
  }
  if ((frame.flags & ~kOptionalSection) != 0) {
    place.fail("flags of a section of 0 or 1", std::to_string(frame.flags));
  }
  const bool known = std::find(std::begin(kKnownSections), std::end(kKnownSections), frame.type) !=
                     std::end(kKnownSections);
  if (!known && (frame.flags & kOptionalSection) == 0) {
    place.fail("a section of a known type", shown(head.subspan(8, 4)));
  }
  return frame;
}

void SectionReader::read_section(Section& section) {
  const Place place{name(), offset_};
  const SectionFrame frame = read_frame();
  const auto payload_bytes = static_cast<std::size_t>(frame.payload_bytes);
  const std::size_t whole = sizeof frame + payload_bytes;
  const std::span<const u8> bytes = peek(whole);
  if (bytes.size() < whole) fail_short(place, whole, bytes.size());
  section = {frame.type, offset_, payload_bytes, bytes.subspan(sizeof frame, payload_bytes),
             frame.payload_checksum};
  if (crc32c(section.payload) != frame.payload_checksum) {
    place.fail("a section with the right checksum", "a damaged one");
  }
  pending_ = whole;
}

void SectionReader::find_marker() {
  for (;;) {
    const std::span<const u8> bytes = peek(kReadBytes);
    const auto found =
        std::search(bytes.begin(), bytes.end(), std::begin(kMarker), std::end(kMarker));
    if (found != bytes.end()) return skip(static_cast<std::size_t>(found - bytes.begin()));
    // The last bytes may be the beginning of a marker.
    if (bytes.size() < sizeof kMarker) return skip(bytes.size());
    skip(bytes.size() - (sizeof kMarker - 1));
    if (peek(sizeof kMarker).size() < sizeof kMarker) return skip(peek(1).size());
  }
}

}  // namespace nestwalk::traces
