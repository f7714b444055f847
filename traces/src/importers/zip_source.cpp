// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// PKWARE's APPNOTE.TXT 6.3.10: section 4.3.7 the local file header, 4.3.9 the data descriptor,
// 4.3.12 the directory, 4.3.14 to 4.3.16 its end, 4.5.3 the extra field of zip64.

#include "zip_source.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "nestwalk/traces/error.hpp"

namespace nestwalk::traces {
namespace {

using addrspace::u16;
using addrspace::u32;

constexpr std::size_t kBufferBytes = 256 << 10;
constexpr u32 kLocalHeader = 0x04034b50;
constexpr u32 kDescriptor = 0x08074b50;
constexpr u32 kEntry = 0x02014b50;
constexpr u32 kSignature = 0x05054b50;
constexpr u32 kEnd64 = 0x06064b50;
constexpr u32 kLocator64 = 0x07064b50;
constexpr u32 kEnd = 0x06054b50;
constexpr std::size_t kHeaderBytes = 30;
constexpr std::size_t kEntryBytes = 46;
constexpr std::size_t kLocatorBytes = 20;
constexpr std::size_t kEndBytes = 22;
constexpr u16 kEncrypted = 1;
constexpr u16 kSizesFollow = 8;
constexpr u16 kStored = 0;
constexpr u16 kDeflated = 8;
constexpr u16 kZip64 = 1;
constexpr u32 kInZip64 = ~u32{0};
constexpr u16 kCountInZip64 = 0xffff;

template <class T>
T load(const u8* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

class ZipSource : public ByteSource {
 public:
  explicit ZipSource(std::unique_ptr<ByteSource> source)
      : ByteSource(source->name()), source_(std::move(source)), buffer_(kBufferBytes) {
    if (inflateInit2(&stream_, -15) != Z_OK) throw std::bad_alloc();  // No header of zlib's.
  }
  ~ZipSource() override { inflateEnd(&stream_); }

  bool is_zip() { return peek(4).size() == 4 && load<u32>(peek(4).data()) == kLocalHeader; }

  std::size_t read(std::span<u8> to) override {
    if (!decided_) {
      zip_ = is_zip();
      decided_ = true;
    }
    if (!zip_) return read_plain(to);
    while (!read_directory_) {
      if (!in_member_ && !open_member()) {
        read_directory();
        break;
      }
      const std::size_t count = method_ == kStored ? read_stored(to) : inflate_some(to);
      if (count != 0) {
        checksum_ = static_cast<u32>(crc32(checksum_, to.data(), static_cast<uInt>(count)));
        written_ += count;
        return count;
      }
      close_member();
    }
    return 0;
  }
  u64 bytes_read() const override { return source_->bytes_read(); }

 private:
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw InputError(name(), offset_ + begin_, expected, found);
  }

  std::span<const u8> peek(std::size_t bytes) {
    while (end_ - begin_ < bytes && !ended_) fill();
    return {buffer_.data() + begin_, std::min(bytes, end_ - begin_)};
  }
  void fill() {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    offset_ += begin_;
    end_ -= begin_;
    begin_ = 0;
    const std::size_t count = source_->read(std::span(buffer_).subspan(end_));
    end_ += count;
    ended_ = count == 0;
  }
  const u8* take(std::size_t bytes, const char* what) {
    const std::span<const u8> taken = peek(bytes);
    if (taken.size() < bytes) fail(what, "the end of the archive");
    begin_ += bytes;
    return taken.data();
  }

  std::size_t read_plain(std::span<u8> to) {
    const std::span<const u8> bytes = peek(1);
    if (bytes.empty()) return 0;
    const std::size_t count = std::min(to.size(), end_ - begin_);
    std::memcpy(to.data(), buffer_.data() + begin_, count);
    begin_ += count;
    return count;
  }

  // False at the directory, which comes after the last member.
  bool open_member() {
    if (!is_zip()) {
      if (peek(4).size() == 4 && peek(2)[0] == 'P' && peek(2)[1] == 'K') return false;
      fail("a member or the directory of a zip archive", "neither");
    }
    members_.push_back({offset_ + begin_});
    u8 header[kHeaderBytes];
    std::memcpy(header, take(kHeaderBytes, "a member's header"), kHeaderBytes);
    flags_ = load<u16>(header + 6);
    method_ = load<u16>(header + 8);
    expected_checksum_ = load<u32>(header + 14);
    left_ = load<u32>(header + 18);
    size_ = load<u32>(header + 22);
    take(load<u16>(header + 26), "a member's name");
    read_extra(load<u16>(header + 28), size_ == kInZip64);
    if ((flags_ & kEncrypted) != 0) fail("a member that is not encrypted", "one that is");
    if (method_ != kDeflated && (method_ != kStored || (flags_ & kSizesFollow) != 0)) {
      fail("a member that is deflated or stored with its size",
           "method " + std::to_string(method_));
    }
    in_member_ = true;
    packed_begin_ = offset_ + begin_;
    packed_ = left_;
    checksum_ = 0;
    written_ = 0;
    inflateReset(&stream_);
    return true;
  }

  // The size as packed comes after the size unpacked, and both only when their 32 bits overflow.
  void read_extra(std::size_t bytes, bool has_size) {
    if (bytes == 0) return;
    const u8* extra = take(bytes, "a member's extra fields");
    std::span<const u8> rest(extra, bytes);
    while (rest.size() >= 4) {
      const std::size_t length = std::min<std::size_t>(load<u16>(rest.data() + 2), rest.size() - 4);
      const std::size_t at = has_size ? 8 : 0;
      if (load<u16>(rest.data()) == kZip64 && left_ == kInZip64 && length >= at + 8) {
        left_ = load<u64>(rest.data() + 4 + at);
      }
      rest = rest.subspan(4 + length);
    }
  }

  std::size_t read_stored(std::span<u8> to) {
    const std::size_t count =
        static_cast<std::size_t>(std::min<u64>({to.size(), left_, kBufferBytes}));
    if (count == 0) return 0;
    std::memcpy(to.data(), take(count, "the bytes of a member"), count);
    left_ -= count;
    return count;
  }

  std::size_t inflate_some(std::span<u8> to) {
    for (;;) {
      const std::span<const u8> input = peek(1);
      stream_.next_in = const_cast<Bytef*>(buffer_.data() + begin_);
      stream_.avail_in = static_cast<uInt>(end_ - begin_);
      stream_.next_out = to.data();
      stream_.avail_out = static_cast<uInt>(std::min(to.size(), kBufferBytes));
      const uInt room = stream_.avail_out;
      const int result = member_ended_ ? Z_STREAM_END : inflate(&stream_, Z_NO_FLUSH);
      begin_ = end_ - stream_.avail_in;
      member_ended_ = result == Z_STREAM_END;
      const std::size_t count = room - stream_.avail_out;
      if (count != 0 || member_ended_) return count;
      if (result != Z_OK && result != Z_BUF_ERROR) fail("deflated data", "damaged data");
      if (input.empty()) fail("the end of a deflated member", "the end of the archive");
    }
  }

  void close_member() {
    in_member_ = false;
    member_ended_ = false;
    const u64 packed = offset_ + begin_ - packed_begin_;
    if ((flags_ & kSizesFollow) != 0) {
      read_descriptor();
    } else {
      expect_size("packed", packed_, packed);
      expect_size("unpacked", size_, written_);
    }
    if (checksum_ != expected_checksum_) fail("a member with its CRC-32", "another one");
    members_.back().checksum = checksum_;
    members_.back().packed = packed;
    members_.back().size = written_;
  }

  // Where 32 bits overflow, extra fields have what is compared.
  void expect_size(const char* what, u64 said, u64 found) const {
    if (said == kInZip64 || said == found) return;
    fail("a member of " + std::to_string(said) + " bytes when " + what, std::to_string(found));
  }

  // Each member once, and the end.
  void read_directory() {
    read_directory_ = true;
    std::size_t entries = 0;
    for (; next_is(kEntry); ++entries) read_entry();
    if (next_is(kSignature)) {
      const u16 bytes = load<u16>(take(6, "a signature") + 4);
      take(bytes, "a signature");
    }
    if (next_is(kEnd64)) {
      const u64 bytes = load<u64>(take(12, "the end of a zip64 directory") + 4);
      if (bytes > kBufferBytes) fail("the end of a zip64 directory", "a longer one");
      take(bytes, "the end of a zip64 directory");
    }
    if (next_is(kLocator64)) take(kLocatorBytes, "the end of a zip64 directory");
    if (!next_is(kEnd)) fail("the end of the directory", "something else");
    u8 end[kEndBytes];
    std::memcpy(end, take(kEndBytes, "the end of the directory"), kEndBytes);
    take(load<u16>(end + 20), "the archive's comment");
    const u16 said = load<u16>(end + 10);
    expect_members(entries);
    if (said != kCountInZip64) expect_members(said);
    if (!peek(1).empty()) fail("the end of the archive", "more bytes");
  }
  void expect_members(std::size_t listed) const {
    if (listed == members_.size()) return;
    fail("a directory of " + std::to_string(members_.size()) + " members", std::to_string(listed));
  }
  bool next_is(u32 signature) {
    return peek(4).size() == 4 && load<u32>(peek(4).data()) == signature;
  }

  // An offset in an extra field is not compared: such a member's place is that in the directory.
  void read_entry() {
    u8 entry[kEntryBytes];
    std::memcpy(entry, take(kEntryBytes, "an entry of the directory"), kEntryBytes);
    for (const std::size_t at : {28u, 30u, 32u}) {
      take(load<u16>(entry + at), "an entry of the directory");
    }
    const u32 offset = load<u32>(entry + 42);
    ++listed_;
    auto member = members_.begin() + static_cast<std::ptrdiff_t>(listed_ - 1);
    if (offset != kInZip64) {
      member = std::lower_bound(members_.begin(), members_.end(), offset,
                                [](const Member& each, u64 at) { return each.offset < at; });
      if (member != members_.end() && member->offset != offset) member = members_.end();
    } else if (listed_ > members_.size()) {
      member = members_.end();
    }
    if (member == members_.end() || std::exchange(member->is_listed, true)) {
      fail("an entry of the directory for each member", "one more");
    }
    if (load<u32>(entry + 16) != member->checksum) {
      fail("a member's CRC-32 in the directory", "another one");
    }
    expect_size("packed in the directory", load<u32>(entry + 20), member->packed);
    expect_size("unpacked in the directory", load<u32>(entry + 24), member->size);
  }

  // Checksum and two sizes, of 4 bytes each or, in zip64, of 8; before them a signature or not.
  void read_descriptor() {
    if (peek(4).size() == 4 && load<u32>(peek(4).data()) == kDescriptor) take(4, "");
    expected_checksum_ = load<u32>(take(4, "a member's checksum"));
    const std::span<const u8> sizes = peek(20);
    const auto next_is_signature = [&](std::size_t at) {
      return sizes.size() >= at + 2 && sizes[at] == 'P' && sizes[at + 1] == 'K';
    };
    const bool wide =
        sizes.size() >= 16 && next_is_signature(16) && load<u64>(sizes.data() + 8) == written_;
    take(wide ? 16 : 8, "a member's sizes");
  }

  std::unique_ptr<ByteSource> source_;
  std::vector<u8> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool ended_ = false;
  u64 offset_ = 0;
  bool decided_ = false;
  bool zip_ = false;
  z_stream stream_{};
  bool in_member_ = false;
  bool member_ended_ = false;
  u16 flags_ = 0;
  u16 method_ = 0;
  u32 checksum_ = 0;
  u32 expected_checksum_ = 0;
  u64 left_ = 0;               ///< of a stored member
  u64 packed_ = 0, size_ = 0;  ///< as its header says
  u64 packed_begin_ = 0;
  u64 written_ = 0;
  struct Member {
    u64 offset;
    u32 checksum = 0;
    bool is_listed = false;
    u64 packed = 0, size = 0;
  };
  std::vector<Member> members_;  ///< by their offsets
  std::size_t listed_ = 0;
  bool read_directory_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> unzipped(std::unique_ptr<ByteSource> source) {
  return std::make_unique<ZipSource>(std::move(source));
}

}  // namespace nestwalk::traces
