// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <zstd.h>
#include <zstd_errors.h>

#include <new>

#include "nestwalk/traces/block.hpp"

namespace nestwalk::traces {

struct Zstd::Contexts {
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> compression{nullptr, ZSTD_freeCCtx};
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> decompression{nullptr, ZSTD_freeDCtx};
  int level = 0;
};

namespace {

template <class Context>
void require(const Context& context) {
  if (!context) throw std::bad_alloc();
}

void require_memory(std::size_t result) {
  if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc();
}

}  // namespace

Zstd::Zstd(int level) : contexts_(std::make_unique<Contexts>()) {
  if (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel()) {
    throw RecordError("compression level " + std::to_string(level) + " is not one of zstd's");
  }
  contexts_->level = level;
}

Zstd::~Zstd() = default;

u32 Zstd::compress(std::span<const u8> from, ByteBuffer& to) {
  if (from.empty()) return 0;
  if (!contexts_->compression) contexts_->compression.reset(ZSTD_createCCtx());
  require(contexts_->compression);
  const std::size_t most = ZSTD_compressBound(from.size());
  const std::size_t stored = ZSTD_compressCCtx(contexts_->compression.get(), to.room(most), most,
                                               from.data(), from.size(), contexts_->level);
  require_memory(stored);
  if (ZSTD_isError(stored)) throw std::runtime_error(ZSTD_getErrorName(stored));
  to.commit(stored);
  return static_cast<u32>(stored);
}

void Zstd::decompress(std::span<const u8> from, std::span<u8> to, const Place& place) {
  if (from.empty() && to.empty()) return;
  if (!contexts_->decompression) contexts_->decompression.reset(ZSTD_createDCtx());
  require(contexts_->decompression);
  const std::size_t raw = ZSTD_decompressDCtx(contexts_->decompression.get(), to.data(), to.size(),
                                              from.data(), from.size());
  require_memory(raw);
  const std::string expected = "zstd data of " + std::to_string(to.size()) + " bytes";
  if (ZSTD_isError(raw)) place.fail(expected, ZSTD_getErrorName(raw));
  if (raw != to.size()) place.fail(expected, std::to_string(raw) + " bytes");
}

}  // namespace nestwalk::traces
