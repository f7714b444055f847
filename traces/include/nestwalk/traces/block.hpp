// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A block: up to a million records of one stream, in columns, readable without any other block.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "nestwalk/traces/container.hpp"
#include "nestwalk/traces/predictor.hpp"
#include "nestwalk/traces/record.hpp"
#include "nestwalk/traces/rules.hpp"
#include "nestwalk/traces/shape.hpp"

namespace nestwalk::traces {

inline constexpr u32 kMaxBlockRecords = 1 << 20;
/// A block is closed when its events take this many bytes.
inline constexpr u32 kMaxEventBytes = 8 << 20;

enum Column : u8 { kShapes, kTokens, kDeltas, kFrames, kEscapes, kEvents, kColumns };

/// How a block begins in the file, field by field.
struct BlockHeader {
  struct Size {
    u32 raw;
    u32 stored;
  };
  u32 vcpu = 0;
  u32 accesses = 0;
  u32 events = 0;
  u32 shapes = 0;
  u64 first_record = 0;  ///< number of the first record in its stream
  u64 time = 0;          ///< the stream's clock before the first record
  u64 root = 0;          ///< the address space before the first record
  u64 asid = 0;
  Size columns[kColumns] = {};

  u32 records() const { return accesses + events; }
};
static_assert(sizeof(BlockHeader) == 96);

/// Compresses and decompresses with zstd.
class Zstd {
 public:
  explicit Zstd(int level = 3);
  ~Zstd();
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;

  /// Appends the compressed bytes; returns how many.
  u32 compress(std::span<const u8> from, ByteBuffer& to);
  /// Fills `to` exactly, or fails at the place.
  void decompress(std::span<const u8> from, std::span<u8> to, const Place& place);

 private:
  struct Contexts;
  std::unique_ptr<Contexts> contexts_;
};

class BlockEncoder {
 public:
  explicit BlockEncoder(u32 vcpu);

  void append(const Access& access);
  void append(const Event& event);

  u32 records() const { return header_.records(); }
  bool full() const { return columns_[kEvents].size() >= kMaxEventBytes; }
  /// What the header will say.
  const BlockHeader& header() const { return header_; }
  /// Writes the block and begins the next one.
  void finish(Zstd& zstd, ByteBuffer& to);

 private:
  u64 shape_key(const Access& access, u64 address);
  u32 shape_id(u64 key);
  void correct_frame(Frame& frame, Frame actual);
  void choose_shapes();
  void begin_block();
  void begin_accesses();

  static constexpr std::size_t kCacheEntries = 4096;
  struct CacheEntry {
    u64 inverted_key;  ///< 0 is no shape's
    u32 id;
  };

  BlockHeader header_;
  u64 time_ = 0;
  u64 root_ = 0;
  u64 asid_ = 0;
  u32 accesses_since_event_ = 0;
  AddressPredictor addresses_;
  FramePredictor frames_;
  Frame last_frame_;
  ByteBuffer columns_[kColumns];
  std::vector<u32> ids_;  ///< of the shape of each access
  ZeroedTable<CacheEntry, kCacheEntries> cache_;
  std::unordered_map<u64, u32> id_of_key_;
  std::vector<u64> keys_;    ///< by id
  std::vector<u32> counts_;  ///< by id
};

/// Accesses in order, then an event or none.
struct Chunk {
  u32 vcpu = 0;
  u64 first_record = 0;  ///< number of the first record in its stream
  u64 time = 0;          ///< the stream's clock before it
  u64 root = 0;          ///< the address space of the accesses
  u64 asid = 0;
  std::span<const Access> accesses;
  const Event* event = nullptr;
};

class BlockDecoder {
 public:
  explicit BlockDecoder(const RecordRules& rules);
  ~BlockDecoder();
  BlockDecoder(const BlockDecoder&) = delete;
  BlockDecoder& operator=(const BlockDecoder&) = delete;

  /// Reads the header alone, from the front of a payload of so many bytes; fails at the place when
  /// it promises what cannot be.
  static BlockHeader read_header(std::span<const u8> front, u64 payload_bytes, const Place& place);

  /// `begins`: no access of the stream comes before the block.
  void open(std::span<const u8> payload, const Place& place, bool begins);
  /// The next chunk, valid until the next call; false at the end of the block.
  bool next(Chunk& chunk);
  /// Where the stream stands after what was read.
  const Chunk& position() const { return position_; }
  /// No access of the stream was read so far.
  bool begins() const { return begins_; }

 private:
  struct Token;

  void read_columns(std::span<const u8> stored);
  ByteReader reader(Column column) const;
  void read_tokens();
  void plan_event();
  u64 decode(std::span<Access> to);
  template <u8 kUsual>
  u64 decode_mostly(std::span<Access> to);
  const Token& read_escape(u8 token);
  void read_frame(Frame& frame);
  void read_event();
  void pass(u64 instructions);
  void expect_begin();
  void expect_end() const;
  [[noreturn]] void fail_crossing(std::span<const Access> batch) const;
  std::string of_vcpu() const;

  RecordRules rules_;
  Place place_;
  BlockHeader header_;
  std::vector<u8> columns_[kColumns];
  Zstd zstd_;
  std::vector<Token> tokens_;  ///< by token byte
  std::unique_ptr<Token> escaped_;
  AddressPredictor addresses_;
  FramePredictor frames_;
  Frame last_frame_;      ///< the distances of the latest frame in the column
  u8 usual_ = kGvaKnown;  ///< what the latest frame that differed knows

  const u8* token_ = nullptr;
  const u8* delta_ = nullptr;
  ByteReader frame_reader_{{}, place_};
  ByteReader escape_reader_{{}, place_};
  ByteReader event_reader_{{}, place_};
  u32 accesses_left_ = 0;
  u32 accesses_before_event_ = 0;
  u32 events_left_ = 0;
  bool begins_ = false;
  Chunk position_;  ///< where the next chunk begins
  std::vector<Access> batch_;
  Event event_;
};

}  // namespace nestwalk::traces
