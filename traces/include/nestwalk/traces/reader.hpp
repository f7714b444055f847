// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reading a trace.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "nestwalk/traces/block.hpp"
#include "nestwalk/traces/container.hpp"

namespace nestwalk::traces {

/// Reads a trace front to back in constant memory: block after block, as the file has them.
class Reader {
 public:
  enum class Item { Records, SideData, End };

  /// With `on_loss`, damaged parts are reported and passed over; without, they are an InputError
  /// that is thrown after everything before them was read.
  explicit Reader(std::unique_ptr<ByteSource> source, OnLoss on_loss = {});

  const Header& header() const { return header_; }

  Item next();
  /// After Records; valid until the next call of `next`.
  const Chunk& chunk() const { return chunk_; }
  /// After SideData.
  const SideData& side_data() const { return side_; }
  /// What was read so far.
  const Totals& totals() const { return totals_; }
  /// How far into the file the reader is, and how large it is (0 when not known).
  u64 offset() const { return sections_.offset(); }
  u64 size() const { return size_; }

  /// The blocks of the file, from its index or, when that is damaged or missing, from the blocks up
  /// to the first damage (with `on_loss`: all of them). Needs a source that can seek; goes on at
  /// the first section afterwards.
  std::vector<IndexEntry> read_index();
  /// Why the index could not be used; to be thrown when all that is whole has been read.
  const std::optional<InputError>& index_damage() const { return index_damage_; }
  /// Goes on with the block of an entry. What is read is no longer checked against the footer.
  void seek(const IndexEntry& entry);

 private:
  void read_header();
  bool next_chunk();
  Item next_item();
  void open_block(const Section& section);
  void read_side_data(const Section& section);
  void read_footer(const Section& section);
  std::vector<IndexEntry> load_index();
  std::vector<IndexEntry> scan_blocks();
  void lose_index(const InputError& error);
  Place place_of(const Section& section) const { return {sections_.name(), section.offset}; }

  std::unique_ptr<ByteSource> source_;
  u64 size_;
  SectionReader sections_;
  Header header_;
  Zstd zstd_;
  std::unique_ptr<BlockDecoder> block_;  ///< from the first block on
  bool in_block_ = false;
  bool ended_ = false;
  bool sought_ = false;
  std::optional<InputError> index_damage_;
  Chunk chunk_;
  SideData side_;
  Totals totals_;
  std::vector<u64> next_record_;  ///< by vCPU
};

/// The records of one vCPU of a file that can seek.
class StreamReader {
 public:
  StreamReader(std::unique_ptr<ByteSource> source, u32 vcpu, OnLoss on_loss = {});
  /// `index` is that of the file.
  StreamReader(std::unique_ptr<ByteSource> source, u32 vcpu, std::span<const IndexEntry> index,
               OnLoss on_loss);

  const Header& header() const { return reader_.header(); }
  /// False at the end of the stream.
  bool next(Chunk& chunk);

 private:
  void take_blocks(std::span<const IndexEntry> index);

  Reader reader_;
  u32 vcpu_;
  std::vector<IndexEntry> blocks_;
  std::size_t next_block_ = 0;
  u64 left_ = 0;  ///< records of the current block
};

/// All streams of a file in the order of their clocks; records of the same time in the order of
/// vCPU numbers. Holds one block per vCPU.
class TimeOrderedReader {
 public:
  /// `open` is called once for each vCPU; the sources must be able to seek. Damage is thrown, or
  /// reported, as by a Reader.
  using Open = std::function<std::unique_ptr<ByteSource>()>;
  explicit TimeOrderedReader(const Open& open, const OnLoss& on_loss = {});

  const Header& header() const { return header_; }
  /// The next run of records of one vCPU; false at the end.
  bool next(Chunk& chunk);

 private:
  struct Cursor {
    std::unique_ptr<StreamReader> reader;
    Chunk chunk;  ///< what is left of it

    bool fill();
    u64 next_time() const;
  };

  Header header_;
  std::optional<InputError> index_damage_;
  std::vector<Cursor> cursors_;
};

/// The stream's clock after a record, from the clock before it.
inline u64 time_after(u64 time, const Access& access) { return time + access.instructions; }
u64 time_after(u64 time, const Event& event);

}  // namespace nestwalk::traces
