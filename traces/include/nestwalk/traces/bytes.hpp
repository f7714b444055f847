// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Growing and reading byte strings: little-endian integers, LEB128 varints, counted strings.
#pragma once

#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/record.hpp"

namespace nestwalk::traces {

static_assert(std::endian::native == std::endian::little, "files are little-endian, copied as is");

constexpr u64 zigzag(u64 value) { return (value << 1) ^ (u64{0} - (value >> 63)); }
constexpr u64 unzigzag(u64 value) { return (value >> 1) ^ (u64{0} - (value & 1)); }

/// As messages have addresses: 0x1000.
std::string in_hex(u64 value);

class ByteBuffer {
 public:
  /// `bytes` more may be written at the result, after which `commit` keeps some of them.
  u8* room(std::size_t bytes) {
    if (storage_.size() - size_ < bytes) storage_.resize(2 * storage_.size() + bytes + 64);
    return storage_.data() + size_;
  }
  void commit(std::size_t bytes) { size_ += bytes; }

  template <class T>
  void put(T value) {
    std::memcpy(room(sizeof value), &value, sizeof value);
    commit(sizeof value);
  }
  void put_varint(u64 value) {
    u8* const start = room(10);
    u8* to = start;
    for (; value >= 0x80; value >>= 7) *to++ = static_cast<u8>(value | 0x80);
    *to++ = static_cast<u8>(value);
    commit(static_cast<std::size_t>(to - start));
  }
  void put_bytes(std::span<const u8> bytes) {
    if (bytes.empty()) return;
    std::memcpy(room(bytes.size()), bytes.data(), bytes.size());
    commit(bytes.size());
  }
  void put_string(std::string_view text) {
    put_varint(text.size());
    put_bytes({reinterpret_cast<const u8*>(text.data()), text.size()});
  }

  void clear() { size_ = 0; }
  std::size_t size() const { return size_; }
  std::span<const u8> bytes() const { return {storage_.data(), size_}; }
  u8* data() { return storage_.data(); }

 private:
  std::vector<u8> storage_;
  std::size_t size_ = 0;
};

/// Where in which file a byte string lay: what a message names.
struct Place {
  std::string name;
  u64 offset = 0;

  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw InputError(name, offset, expected, found);
  }
  void expect_no(const std::optional<Breach>& breach) const {
    if (breach) [[unlikely]]
      fail(breach->expected, breach->found);
  }
  /// Fails unless what should be `expected` is.
  void expect(const std::string& what, u64 expected, u64 found) const {
    if (found != expected) fail(what + " " + std::to_string(expected), std::to_string(found));
  }
};

/// Takes values from the front; throws an InputError at the place when they are not there.
class ByteReader {
 public:
  ByteReader(std::span<const u8> bytes, const Place& place) : bytes_(bytes), place_(&place) {}

  template <class T>
  T take(const char* what) {
    T value;
    std::memcpy(&value, take_bytes(sizeof value, what).data(), sizeof value);
    return value;
  }
  u64 take_varint(const char* what) {
    if (!bytes_.empty() && bytes_.front() < 0x80) [[likely]] {
      const u64 value = bytes_.front();
      bytes_ = bytes_.subspan(1);
      return value;
    }
    return take_long_varint(what);
  }
  std::span<const u8> take_bytes(u64 count, const char* what) {
    if (count > bytes_.size()) [[unlikely]]
      fail_short(count, what);
    const std::span<const u8> taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  std::string take_string(const char* what);
  /// A number of things of at least `least_bytes` each: more than what is left cannot be.
  u64 take_count(std::size_t least_bytes, const char* what);
  /// A number below `limit`.
  u64 take_below(u64 limit, const char* what) {
    const u64 value = take_varint(what);
    check_below(value, limit, what);
    return value;
  }
  u64 take_from(u64 least, u64 most, const char* what);
  void check_below(u64 value, u64 limit, const char* what) const {
    if (value >= limit) [[unlikely]]
      fail_below(value, limit, what);
  }

  void check_multiple(u64 value, u64 of, const char* what) const {
    if (value % of != 0) [[unlikely]]
      fail_multiple(value, of, what);
  }

  std::size_t left() const { return bytes_.size(); }
  /// Everything has been taken.
  void expect_end(const char* what) const;

 private:
  u64 take_long_varint(const char* what);
  [[noreturn]] void fail_short(u64 count, const char* what) const;
  [[noreturn]] void fail_below(u64 value, u64 limit, const char* what) const;
  [[noreturn]] void fail_multiple(u64 value, u64 of, const char* what) const;

  std::span<const u8> bytes_;
  const Place* place_;
};

}  // namespace nestwalk::traces
