// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/io.hpp"

#include <fcntl.h>
#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "nestwalk/traces/error.hpp"

namespace nestwalk::traces {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;

class File {
 public:
  File(int descriptor, bool owned) : descriptor_(descriptor), owned_(owned) {}
  ~File() {
    if (owned_) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
  bool owned_;
};

class FileSource : public ByteSource {
 public:
  FileSource(const std::string& name, int descriptor, bool owned)
      : ByteSource(name), file_(descriptor, owned) {
    struct stat status {};
    if (fstat(descriptor, &status) != 0) fail(errno);
    if (S_ISDIR(status.st_mode)) throw InputError(name, "expected a file, found a directory");
    if (S_ISREG(status.st_mode) && lseek(descriptor, 0, SEEK_CUR) == 0) {
      size_ = static_cast<u64>(status.st_size);
    }
  }

  std::size_t read(std::span<u8> to) override {
    for (;;) {
      const ssize_t count = ::read(file_.descriptor(), to.data(), to.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail(errno);
      bytes_read_ += static_cast<u64>(count);
      return static_cast<std::size_t>(count);
    }
  }
  u64 seekable_size() override { return size_; }
  void seek(u64 offset) override {
    if (lseek(file_.descriptor(), static_cast<off_t>(offset), SEEK_SET) < 0) fail(errno);
  }
  u64 bytes_read() const override { return bytes_read_; }

 private:
  [[noreturn]] void fail(int error) const {
    throw InputError(name(), std::string("cannot be read: ") + std::strerror(error));
  }

  File file_;
  u64 size_ = 0;
  u64 bytes_read_ = 0;
};

// What was read to look at it, then the rest.
class PeekedSource : public ByteSource {
 public:
  explicit PeekedSource(std::unique_ptr<ByteSource> source)
      : ByteSource(source->name()), source_(std::move(source)) {
    peeked_.resize(8);
    std::size_t count = 0;
    while (count < peeked_.size()) {
      const std::size_t more = source_->read(std::span(peeked_).subspan(count));
      if (more == 0) break;
      count += more;
    }
    peeked_.resize(count);
  }

  std::span<const u8> peeked() const { return peeked_; }
  std::size_t read(std::span<u8> to) override {
    if (at_ == peeked_.size()) return source_->read(to);
    const std::size_t count = std::min(to.size(), peeked_.size() - at_);
    std::copy_n(peeked_.begin() + static_cast<std::ptrdiff_t>(at_), count, to.begin());
    at_ += count;
    return count;
  }
  u64 seekable_size() override { return source_->seekable_size(); }
  void seek(u64 offset) override {
    source_->seek(offset);
    at_ = peeked_.size();
  }
  u64 bytes_read() const override { return source_->bytes_read(); }

 private:
  std::unique_ptr<ByteSource> source_;
  std::vector<u8> peeked_;
  std::size_t at_ = 0;
};

// The part that the three unpackers share: a buffer of packed bytes, refilled when empty.
class UnpackingSource : public ByteSource {
 public:
  std::size_t read(std::span<u8> to) override {
    for (;;) {
      if (input_.empty() && !source_ended_) refill();
      const std::size_t before = input_.size();
      const std::size_t count = unpack(input_, to, source_ended_);
      if (count != 0) return count;
      if (input_.empty() && source_ended_) {
        if (!between_members()) fail("the end of its compressed data", "that the file ends early");
        return 0;
      }
      if (input_.size() == before && before != 0) fail("compressed data", "something else");
    }
  }
  u64 bytes_read() const override { return source_->bytes_read(); }

 protected:
  explicit UnpackingSource(std::unique_ptr<ByteSource> source)
      : ByteSource(source->name()), source_(std::move(source)), buffer_(kBufferBytes) {}

  /// Consumes the front of `input`; returns how many bytes it wrote.
  virtual std::size_t unpack(std::span<const u8>& input, std::span<u8> to, bool last) = 0;
  /// The packed data could end here.
  virtual bool between_members() const = 0;
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw InputError(name(), packed_offset_ - input_.size(), expected, found);
  }

 private:
  void refill() {
    const std::size_t count = source_->read(buffer_);
    input_ = {buffer_.data(), count};
    packed_offset_ += count;
    source_ended_ = count == 0;
  }

  std::unique_ptr<ByteSource> source_;
  std::vector<u8> buffer_;
  std::span<const u8> input_;
  u64 packed_offset_ = 0;
  bool source_ended_ = false;
};

class GzipSource : public UnpackingSource {
 public:
  explicit GzipSource(std::unique_ptr<ByteSource> source) : UnpackingSource(std::move(source)) {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();  // 16: gzip only
  }
  ~GzipSource() override { inflateEnd(&stream_); }

 private:
  std::size_t unpack(std::span<const u8>& input, std::span<u8> to, bool) override {
    if (done_ && input.empty()) return 0;
    if (done_) inflateReset(&stream_);
    done_ = false;
    stream_.next_in = const_cast<Bytef*>(input.data());
    stream_.avail_in = static_cast<uInt>(input.size());
    stream_.next_out = to.data();
    stream_.avail_out = static_cast<uInt>(std::min(to.size(), kBufferBytes));
    const uInt room = stream_.avail_out;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    input = input.last(stream_.avail_in);
    if (result == Z_STREAM_END) {
      done_ = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail("gzip data", stream_.msg != nullptr ? stream_.msg : "damaged data");
    }
    return room - stream_.avail_out;
  }
  bool between_members() const override { return done_; }

  z_stream stream_{};
  bool done_ = false;
};

class XzSource : public UnpackingSource {
 public:
  explicit XzSource(std::unique_ptr<ByteSource> source) : UnpackingSource(std::move(source)) {
    constexpr u64 kMemoryLimit = u64{256} << 20;
    if (lzma_stream_decoder(&stream_, kMemoryLimit, LZMA_CONCATENATED) != LZMA_OK) {
      throw std::bad_alloc();
    }
  }
  ~XzSource() override { lzma_end(&stream_); }

 private:
  std::size_t unpack(std::span<const u8>& input, std::span<u8> to, bool last) override {
    if (done_) return 0;
    stream_.next_in = input.data();
    stream_.avail_in = input.size();
    stream_.next_out = to.data();
    stream_.avail_out = to.size();
    const lzma_ret result = lzma_code(&stream_, last ? LZMA_FINISH : LZMA_RUN);
    if (result == LZMA_MEM_ERROR) throw std::bad_alloc();
    input = input.last(stream_.avail_in);
    done_ = result == LZMA_STREAM_END;
    if (!done_ && result != LZMA_OK && result != LZMA_BUF_ERROR) {
      fail("xz data", "liblzma's error " + std::to_string(result));
    }
    return to.size() - stream_.avail_out;
  }
  bool between_members() const override { return done_; }

  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool done_ = false;
};

class ZstdSource : public UnpackingSource {
 public:
  explicit ZstdSource(std::unique_ptr<ByteSource> source)
      : UnpackingSource(std::move(source)), stream_(ZSTD_createDStream(), ZSTD_freeDStream) {
    if (!stream_) throw std::bad_alloc();
  }

 private:
  std::size_t unpack(std::span<const u8>& input, std::span<u8> to, bool) override {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{to.data(), to.size(), 0};
    if (done_ && input.empty()) return 0;
    const std::size_t result = ZSTD_decompressStream(stream_.get(), &out, &in);
    input = input.subspan(in.pos);
    if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc();
    if (ZSTD_isError(result)) fail("zstd data", ZSTD_getErrorName(result));
    done_ = result == 0;
    return out.pos;
  }
  bool between_members() const override { return done_; }

  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream_;
  bool done_ = false;
};

template <class Source>
std::unique_ptr<ByteSource> make_source(std::unique_ptr<ByteSource> source) {
  return std::make_unique<Source>(std::move(source));
}

struct Packing {
  std::vector<u8> magic;
  std::unique_ptr<ByteSource> (*unpack)(std::unique_ptr<ByteSource>);
};
const Packing kPackings[] = {
    {{0x1f, 0x8b}, make_source<GzipSource>},
    {{0xfd, '7', 'z', 'X', 'Z', 0}, make_source<XzSource>},
    {{0x28, 0xb5, 0x2f, 0xfd}, make_source<ZstdSource>},
};

}  // namespace

void ByteSource::seek(u64) { throw InputError(name(), "cannot seek"); }

std::size_t MemorySource::read(std::span<u8> to) {
  const std::size_t count = std::min(to.size(), bytes_.size() - std::min(at_, bytes_.size()));
  if (count != 0) std::memcpy(to.data(), bytes_.data() + at_, count);
  at_ += count;
  return count;
}

std::unique_ptr<ByteSource> unpacked(std::unique_ptr<ByteSource> source) {
  auto peeked = std::make_unique<PeekedSource>(std::move(source));
  const std::span<const u8> bytes = peeked->peeked();
  for (const Packing& packing : kPackings) {
    if (bytes.size() >= packing.magic.size() &&
        std::equal(packing.magic.begin(), packing.magic.end(), bytes.begin())) {
      return packing.unpack(std::move(peeked));
    }
  }
  return peeked;
}

std::vector<u8> peek(std::unique_ptr<ByteSource>& source) {
  auto peeked = std::make_unique<PeekedSource>(std::move(source));
  const std::vector<u8> bytes(peeked->peeked().begin(), peeked->peeked().end());
  source = std::move(peeked);
  return bytes;
}

std::unique_ptr<ByteSource> open_source(const std::string& path) {
  if (path == "-") {
    return unpacked(std::make_unique<FileSource>("<stdin>", STDIN_FILENO, false));
  }
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw_cannot_be_opened(path, errno);
  return unpacked(std::make_unique<FileSource>(path, descriptor, true));
}

}  // namespace nestwalk::traces
