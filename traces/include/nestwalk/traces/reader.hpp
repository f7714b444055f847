// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reading a trace.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "nestwalk/traces/block.hpp"
#include "nestwalk/traces/container.hpp"
#include "nestwalk/traces/inventory.hpp"

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
  Place side_data_place() const { return {sections_.name(), side_offset_}; }
  /// What was read so far.
  const Totals& totals() const { return totals_; }
  /// How far into the file the reader is, and how large it is (0 when not known).
  u64 offset() const { return sections_.offset(); }
  u64 size() const { return size_; }

  /// The blocks of the file. The headers of all sections are read, and have to agree with the index
  /// and the footer; otherwise the blocks are those up to the first damage (with `on_loss`: all
  /// that are whole). Needs a source that can seek; goes on at the first section afterwards.
  std::vector<IndexEntry> read_index();
  /// Why the index could not be used; to be thrown when all that is whole has been read.
  const std::optional<InputError>& index_damage() const { return index_damage_; }

  /// Reads and judges the side data of the whole file, without its records. Needs a source that can
  /// seek; goes on at the first section afterwards.
  void check_side_data();
  /// What is known of side data so far. Who reads the streams apart shares it among their readers.
  const std::shared_ptr<SideRules>& side_rules() const { return side_rules_; }
  void judge_by(std::shared_ptr<SideRules> rules) { side_rules_ = std::move(rules); }

  /// Goes to the block of an entry, for next_of_block; `next` is of no use afterwards.
  void seek(const IndexEntry& entry);
  /// The next records of that block; false at its end, and when it is lost.
  bool next_of_block();

 private:
  void read_header();
  bool next_chunk();
  void judge_chunk();
  Item next_item();
  void open_block(const Section& section);
  void read_side_data(const Section& section);
  SideData take_side_data_of(const Section& section);
  void decode(const Section& section, const BlockHeader& block);
  void check_position(const Place& place, const BlockHeader& block);
  void open_entry(const IndexEntry& entry);
  Inventory take_inventory();
  Inventory scan_blocks();
  bool lose_index(const InputError& error);
  Place place_of(const Section& section) const { return {sections_.name(), section.offset}; }

  std::unique_ptr<ByteSource> source_;
  u64 size_;
  SectionReader sections_;
  Header header_;
  Zstd zstd_;
  std::unique_ptr<BlockDecoder> block_;  ///< from the first block on
  bool in_block_ = false;
  bool ended_ = false;
  std::optional<IndexEntry> sought_;  ///< and not yet opened
  std::optional<InputError> index_damage_;
  Chunk chunk_;
  SideData side_;
  u64 side_offset_ = 0;
  std::shared_ptr<SideRules> side_rules_;
  Totals totals_;
  Inventory inventory_;
  /// By vCPU, after its latest block: number of the next record, clock, address space.
  std::unordered_map<u32, Chunk> positions_;
  std::unordered_set<u32> begun_;  ///< vCPUs whose blocks so far have accesses
};

/// An index's blocks by vCPU, without the vCPUs that have none.
std::map<u32, std::vector<IndexEntry>> by_vcpu(std::span<const IndexEntry> index);

/// The records of one vCPU of a file that can seek.
class StreamReader {
 public:
  StreamReader(std::unique_ptr<ByteSource> source, u32 vcpu, OnLoss on_loss = {});
  /// `blocks`: those of the vCPU, from the file's index.
  StreamReader(std::unique_ptr<ByteSource> source, std::vector<IndexEntry> blocks,
               OnLoss on_loss = {});

  const Header& header() const { return reader_.header(); }
  /// As of a Reader that has read the side data.
  void judge_by(std::shared_ptr<SideRules> rules) { reader_.judge_by(std::move(rules)); }
  /// False at the end of the stream.
  bool next(Chunk& chunk);

 private:
  Reader reader_;
  std::vector<IndexEntry> blocks_;
  std::size_t next_block_ = 0;
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

  struct Coming {
    u64 time;  ///< of its stream's clock before it
    u64 instructions;
  };
  /// The first record that is still to come, of a vCPU that the run was not of; none at its end.
  std::optional<Coming> coming(u32 vcpu) const;

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
