// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/io.hpp"
#include "nestwalk/traces/partial.hpp"

namespace nestwalk::traces {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as in Linux

void write_all(const std::string& name, int descriptor, std::span<const u8> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno != EINTR) throw OutputError(name, errno);
    if (count > 0) bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

/// Standard output, a pipe, a device: what cannot be replaced.
class DirectSink : public ByteSink {
 public:
  DirectSink(std::string name, int descriptor, bool owned)
      : name_(std::move(name)), descriptor_(descriptor), owned_(owned) {}
  ~DirectSink() override {
    if (owned_) close(descriptor_);
  }

  void write(std::span<const u8> bytes) override {
    if (!bytes.empty() && std::exchange(untouched_, false)) truncate();
    write_all(name_, descriptor_, bytes);
  }

 private:
  // Only now: who fails before the first byte leaves the file as it was.
  void truncate() {
    struct stat status {};
    const bool regular = fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
    if (regular && owned_ && ftruncate(descriptor_, 0) != 0) throw OutputError(name_, errno);
  }

  std::string name_;
  int descriptor_;
  bool owned_;
  bool untouched_ = true;
};

/// A file that takes the place of what has its name, when it is whole.
class ReplacingSink : public ByteSink {
 public:
  /// `path` is no link.
  ReplacingSink(std::string name, std::string path)
      : name_(std::move(name)), path_(std::move(path)), partial_(make()) {}
  ~ReplacingSink() override {
    if (descriptor_ >= 0) close(descriptor_);
  }

  /// Writing a file again changes neither its owner nor who may read it, as far as this process
  /// may decide that.
  void look_like(const struct stat& before) {
    [[maybe_unused]] const int kept = fchown(descriptor_, before.st_uid, before.st_gid);
    (void)fchmod(descriptor_, before.st_mode & 0777);
  }

  void write(std::span<const u8> bytes) override { write_all(name_, descriptor_, bytes); }

  // Network file systems may report a full disk only on close.
  void finish() override {
    if (close(std::exchange(descriptor_, -1)) != 0) throw OutputError(name_, errno);
    try {
      partial_.rename_to(path_);
    } catch (const std::system_error& error) {
      throw OutputError(name_, error.code().value());
    }
  }

 private:
  Partial make() {
    try {
      return Partial::file_in(fs::path(path_).parent_path().string(), descriptor_);
    } catch (const std::system_error& error) {
      throw OutputError(name_, error.code().value());
    }
  }

  std::string name_;
  std::string path_;
  int descriptor_ = -1;
  Partial partial_;
};

/// Where the bytes of a name belong.
struct Destination {
  std::string path;   ///< behind all links
  bool open = false;  ///< a link of /proc leads there: to what somebody has open
};

Destination place_of(const std::string& name) {
  Destination place{name};
  std::error_code error;
  for (int links = 0; fs::is_symlink(place.path, error); ++links) {
    const fs::path at = place.path;
    const std::string folder = at.parent_path().empty() ? "." : at.parent_path().string();
    struct statfs system {};
    if (statfs(folder.c_str(), &system) == 0 && system.f_type == PROC_SUPER_MAGIC) {
      place.open = true;
      return place;
    }
    if (links == kMostLinks) throw OutputError(name, ELOOP);
    place.path = at.parent_path() / fs::read_symlink(at, error);
    if (error) throw OutputError(name, error.value());
  }
  return place;
}

std::unique_ptr<ByteSink> open_directly(const std::string& name) {
  const int descriptor = open(name.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) throw OutputError(name, errno);
  return std::make_unique<DirectSink>(name, descriptor, true);
}

}  // namespace

std::unique_ptr<ByteSink> create_sink(const std::string& path) {
  if (path == "-") return std::make_unique<DirectSink>("<stdout>", STDOUT_FILENO, false);
  const Destination place = place_of(path);
  if (place.open) return open_directly(path);
  struct stat status {};
  if (stat(place.path.c_str(), &status) != 0) {
    if (errno != ENOENT) throw OutputError(path, errno);
    if (path.empty() || path.back() == '/') throw OutputError(path, path.empty() ? ENOENT : EISDIR);
    return std::make_unique<ReplacingSink>(path, place.path);
  }
  if (S_ISDIR(status.st_mode)) throw OutputError(path, EISDIR);
  if (!S_ISREG(status.st_mode)) return open_directly(path);
  // A file that may not be written is not replaced, either.
  if (access(place.path.c_str(), W_OK) != 0) throw OutputError(path, errno);
  auto sink = std::make_unique<ReplacingSink>(path, place.path);
  sink->look_like(status);
  return sink;
}

}  // namespace nestwalk::traces
