// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The container: a preamble, then sections, each with a marker, its size and two checksums.
// FORMAT.md describes it to the byte.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nestwalk/traces/bytes.hpp"
#include "nestwalk/traces/header.hpp"
#include "nestwalk/traces/io.hpp"

namespace nestwalk::traces {

inline constexpr u8 kMagic[8] = {0x89, 'N', 'W', 'T', '\r', '\n', 0x1a, '\n'};
/// Is this the begin of a trace?
inline bool begins_trace(std::span<const u8> bytes) {
  return bytes.size() >= sizeof kMagic &&
         std::equal(std::begin(kMagic), std::end(kMagic), bytes.begin());
}
inline constexpr u8 kMarker[8] = {0xd4, 'N', 'W', 'S', '\r', '\n', 0x1a, '\n'};
inline constexpr u16 kMajorVersion = 1;
inline constexpr u16 kMinorVersion = 0;
inline constexpr u64 kMaxPayload = u64{64} << 20;
inline constexpr u64 kMaxSideBytes = u64{64} << 20;  ///< uncompressed, of one section
inline constexpr u32 kMaxRegisters = 4096;           ///< of one section
inline constexpr u32 kMaxMemoryRanges = 4096;        ///< of a header
inline constexpr u32 kMaxProvenance = 1 << 16;       ///< notes of a header
inline constexpr u32 kMaxVcpus = 4096;

constexpr u32 section_type(const char (&name)[5]) {
  u32 type = 0;
  for (unsigned n = 0; n < 4; ++n) type |= u32{static_cast<u8>(name[n])} << 8 * n;
  return type;
}
inline constexpr u32 kHeaderSection = section_type("HEAD");
inline constexpr u32 kBlockSection = section_type("BLCK");
inline constexpr u32 kSideSection = section_type("SIDE");
inline constexpr u32 kIndexSection = section_type("INDX");
inline constexpr u32 kFooterSection = section_type("FOOT");
inline constexpr u32 kKnownSections[] = {kHeaderSection, kBlockSection, kSideSection, kIndexSection,
                                         kFooterSection};
/// A reader that does not know the section's type may pass over it.
inline constexpr u32 kOptionalSection = 1;

struct Preamble {
  u8 magic[8];
  u16 major;
  u16 minor;
  u32 checksum;  ///< of the fields above
};
static_assert(sizeof(Preamble) == 16);

struct SectionFrame {
  u8 marker[8];
  u32 type;
  u32 flags;
  u64 payload_bytes;
  u32 payload_checksum;
  u32 checksum;  ///< of the fields above
};
static_assert(sizeof(SectionFrame) == 32);

struct IndexEntry {
  u64 offset;  ///< of the block's section
  u64 first_record;
  u64 time;
  u32 vcpu;
  u32 records;

  friend bool operator==(const IndexEntry&, const IndexEntry&) = default;
};
static_assert(sizeof(IndexEntry) == 32);

struct Totals {
  u64 blocks = 0;
  u64 side_sections = 0;
  u64 accesses = 0;  ///< records that continue another count as well
  u64 events = 0;

  friend bool operator==(const Totals&, const Totals&) = default;
};

struct Footer {
  u64 index_offset = 0;
  Totals totals;
};
static_assert(sizeof(Footer) == 40);

u32 crc32c(std::span<const u8> bytes);

void put(ByteBuffer& to, const Header& header);
Header take_header(ByteReader& from);
void put(ByteBuffer& to, const SideData& side);
SideData take_side_data(ByteReader& from);

/// Writes sections one after the other.
class SectionWriter {
 public:
  /// Writes the preamble.
  explicit SectionWriter(ByteSink& sink);

  void write(u32 type, std::span<const u8> payload);
  void finish() { sink_->finish(); }
  u64 offset() const { return offset_; }

 private:
  ByteSink* sink_;
  u64 offset_ = 0;
};

struct Section {
  u32 type = 0;
  u64 offset = 0;  ///< of its frame
  u64 payload_bytes = 0;
  std::span<const u8> payload;  ///< valid until the next section is read
  u32 payload_checksum = 0;     ///< as its frame says
};

/// Called with one line for each loss that a salvaging reader passes over.
using OnLoss = std::function<void(const std::string&)>;

/// Reads sections one after the other. Without `on_loss`, damage is an InputError; with it, damage
/// is reported and the search goes on at the next section that is whole.
class SectionReader {
 public:
  SectionReader(ByteSource& source, OnLoss on_loss);

  /// False at the end of the input.
  bool next(Section& section);
  /// As `next`, but gives the first `bytes` of the payload at most and does not check it: what
  /// comes between two of them is not read. Needs a source that can seek; throws damage.
  bool next_head(Section& section, std::size_t bytes);
  void seek(u64 offset);
  /// The next call of `next` gives the same section.
  void again() { pending_ = 0; }
  /// Where the section after the one that the caller got begins.
  u64 next_offset() const { return offset_ + pending_; }
  /// Nothing comes after the section that the caller got.
  bool at_end();
  /// Throws the damage that the caller found, or reports it.
  void lose(const InputError& error);
  /// Something was reported.
  bool has_lost() const { return has_lost_; }

  u64 offset() const { return offset_; }
  ByteSource& source() { return *source_; }
  const std::string& name() const { return source_->name(); }

 private:
  Preamble read_preamble();
  std::span<const u8> peek(std::size_t bytes);
  std::size_t read(std::span<u8> to);
  void skip(u64 bytes);
  SectionFrame read_frame();
  void read_section(Section& section);
  void find_marker();

  ByteSource* source_;
  OnLoss on_loss_;
  std::vector<u8> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  u64 offset_ = 0;       ///< of begin_
  u64 pending_ = 0;      ///< bytes of the section that the caller looks at
  bool failed_ = false;  ///< the source, for good
  bool has_lost_ = false;
};

}  // namespace nestwalk::traces
