// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Writing a trace.
#pragma once

#include <memory>
#include <vector>

#include "nestwalk/traces/block.hpp"
#include "nestwalk/traces/container.hpp"

namespace nestwalk::traces {

/// Writes a trace front to back, to a pipe as well as to a file. A pipe whose writer was destroyed
/// before `finish` reads up to its last whole block.
class Writer {
 public:
  struct Options {
    int level = 3;  ///< of zstd
    u32 block_records = kMaxBlockRecords;
  };

  /// `sink` outlives the writer. Fails with RecordError when the header cannot be.
  Writer(ByteSink& sink, const Header& header, const Options& options);
  Writer(ByteSink& sink, const Header& header) : Writer(sink, header, Options{}) {}

  /// Appends an access. One that crosses pages becomes a record for each page; when the frames of
  /// its second page are known, `next_page` must have them (addresses of the page's first byte).
  void append(u32 vcpu, const Access& access, const Access* next_page = nullptr);
  void append(u32 vcpu, const Event& event);
  /// Page tables and root registers; large ones are divided among sections.
  void append(const SideData& side);

  /// Closes the streams and writes index and footer.
  void end();
  /// The same, and finishes the sink: a file has its name only now.
  void finish();

  const Totals& totals() const { return totals_; }

 private:
  BlockEncoder& encoder(u32 vcpu);
  void append_piece(u32 vcpu, const Access& access);
  void flush(BlockEncoder& encoder);
  void flush_when_full(BlockEncoder& encoder);
  void write_side(const SideData& side);

  SectionWriter sections_;
  Options options_;
  Zstd zstd_;
  ByteBuffer payload_;
  std::vector<std::unique_ptr<BlockEncoder>> encoders_;
  std::vector<IndexEntry> index_;
  Totals totals_;
};

}  // namespace nestwalk::traces
