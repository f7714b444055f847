// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/spool.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <vector>

#include "nestwalk/traces/container.hpp"
#include "nestwalk/traces/error.hpp"

namespace nestwalk::traces {
namespace {

/// What a path is read from: a copy, or standard input's file.
struct Spooled {
  std::unique_ptr<UnnamedFile> copy;
  std::string path;
};
std::map<std::string, Spooled>& spooled() {
  static std::map<std::string, Spooled> all;
  return all;
}

/// A copy, with the name of what it is one of.
class CopySource final : public ByteSource {
 public:
  CopySource(const std::string& name, std::unique_ptr<ByteSource> copy)
      : ByteSource(name), copy_(std::move(copy)) {}
  std::size_t read(std::span<u8> to) override { return copy_->read(to); }
  u64 seekable_size() override { return copy_->seekable_size(); }
  void seek(u64 offset) override { copy_->seek(offset); }
  u64 bytes_read() const override { return copy_->bytes_read(); }

 private:
  std::unique_ptr<ByteSource> copy_;
};

/// Less than a full buffer only at the end.
std::size_t read_fully(ByteSource& source, std::span<u8> to) {
  std::size_t count = 0;
  while (const std::size_t more = source.read(to.subspan(count))) count += more;
  return count;
}

/// What is no trace is copied as far as its first bytes: whoever reads the copy sees that.
void copy_to(ByteSink& sink, ByteSource& source, u64 most_bytes) {
  std::vector<u8> buffer(std::size_t{1} << 20);
  bool is_trace = true;
  u64 bytes = 0;
  for (std::size_t count = 1; is_trace && count != 0; bytes += count) {
    count = read_fully(source, buffer);
    if (bytes == 0) is_trace = begins_trace({buffer.data(), count});
    if (count > most_bytes - bytes) {
      throw InputError(source.name(),
                       "is a pipe or compressed, and copied to a temporary file to be read from: "
                       "expected at most " +
                           std::to_string(most_bytes) + " bytes, found more");
    }
    sink.write({buffer.data(), count});
  }
  sink.finish();
}

std::string name_of(const std::string& path) { return path == "-" ? "<stdin>" : path; }

}  // namespace

UnnamedFile::UnnamedFile() {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (error) throw OutputError("the folder for temporary files ($TMPDIR)", error.value());
  std::string file = (folder / "nestwalk-XXXXXX").string();
  file_ = mkostemp(file.data(), O_CLOEXEC);
  if (file_ < 0) throw OutputError(file, errno);
  unlink(file.c_str());
  path_ = "/proc/self/fd/" + std::to_string(file_);
}

UnnamedFile::~UnnamedFile() { close(file_); }

void spool(const std::string& path, std::unique_ptr<ByteSource> source, u64 most_bytes) {
  if (spooled().count(path) != 0) return;
  Spooled copy{std::make_unique<UnnamedFile>(), {}};
  copy.path = copy.copy->path();
  copy_to(*create_sink(copy.path), *source, most_bytes);
  spooled()[path] = std::move(copy);
}

std::unique_ptr<ByteSource> open_seekable(const std::string& path, u64 most_bytes) {
  if (spooled().count(path) == 0) {
    std::unique_ptr<ByteSource> source = open_source(path);
    if (source->seekable_size() == 0) {
      spool(path, std::move(source), most_bytes);
    } else if (path == "-") {
      // It has one position, whoever reads: its file is opened anew.
      spooled()[path] = {nullptr, "/proc/self/fd/0"};
    } else {
      return source;
    }
  }
  return std::make_unique<CopySource>(name_of(path), open_source(spooled()[path].path));
}

}  // namespace nestwalk::traces
