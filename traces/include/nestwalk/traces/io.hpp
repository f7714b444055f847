// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Where the bytes of a trace come from and go to.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::traces {

using addrspace::u64;
using addrspace::u8;

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  /// Fills the front of `to`; returns how many bytes, 0 only at the end.
  virtual std::size_t read(std::span<u8> to) = 0;
  /// The size when the source can seek, otherwise 0.
  virtual u64 seekable_size() { return 0; }
  virtual void seek(u64 offset);
  /// How many bytes of the file were read so far, packed as they lie there.
  virtual u64 bytes_read() const = 0;

  /// For messages.
  const std::string& name() const { return name_; }

 protected:
  explicit ByteSource(std::string name) : name_(std::move(name)) {}

 private:
  std::string name_;
};

/// Bytes that lie in memory and outlive the source.
class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::span<const u8> bytes, std::string name = "<memory>")
      : ByteSource(std::move(name)), bytes_(bytes) {}

  std::size_t read(std::span<u8> to) override;
  u64 seekable_size() override { return bytes_.size(); }
  void seek(u64 offset) override { at_ = offset; }
  u64 bytes_read() const override { return at_; }

 private:
  std::span<const u8> bytes_;
  std::size_t at_ = 0;
};

/// Told now and then: how much of `total` is done (0: nobody knows the total), and how many records
/// that gave.
using OnProgress = std::function<void(u64 done, u64 total, u64 records)>;

/// Opens a file, or standard input for "-". Input that gzip, xz or zstd compressed is unpacked on
/// the way; it cannot seek then.
std::unique_ptr<ByteSource> open_source(const std::string& path);
/// Unpacks `source` when it begins with the magic number of gzip, xz or zstd.
std::unique_ptr<ByteSource> unpacked(std::unique_ptr<ByteSource> source);

/// The first bytes, 8 at most, which the source gives again.
std::vector<u8> peek(std::unique_ptr<ByteSource>& source);

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  ByteSink() = default;
  ByteSink(const ByteSink&) = delete;
  ByteSink& operator=(const ByteSink&) = delete;

  virtual void write(std::span<const u8> bytes) = 0;
  /// All is written. A file has its name only now.
  virtual void finish() {}
};

class MemorySink : public ByteSink {
 public:
  void write(std::span<const u8> bytes) override {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  const std::vector<u8>& bytes() const { return bytes_; }

 private:
  std::vector<u8> bytes_;
};

/// Writes a file, or to standard output for "-". A file is whole or not there: until `finish` it
/// has another name in the same folder, and what has its name stays as it is; a symbolic link goes
/// on to lead to it. Pipes, devices and open files (/dev/stdout, /proc/self/fd/3) are written as
/// they are. Throws OutputError.
std::unique_ptr<ByteSink> create_sink(const std::string& path);

}  // namespace nestwalk::traces
