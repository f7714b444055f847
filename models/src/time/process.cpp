// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/time/process.hpp"

#include <array>
#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define NESTWALK_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NESTWALK_POISONS 1
#endif
#endif
#if defined(NESTWALK_POISONS)
#include <sanitizer/asan_interface.h>
#endif

namespace nestwalk::models {
namespace {

constexpr std::size_t kStep = 64;
constexpr std::size_t kSizes = 64;

/// By size: frames that are not in use, a list. Each has the next one in its last word.
constinit thread_local std::array<void*, kSizes> unused{};
constinit thread_local u64 taken_from_heap = 0;

void*& next_of(void* frame, std::size_t size) {
  void* const end = static_cast<char*>(frame) + size * kStep;
  return static_cast<void**>(end)[-1];
}

// So that whoever resumes a frame after its end is found. The last word stays as it is.
void poison([[maybe_unused]] void* frame, [[maybe_unused]] std::size_t size) noexcept {
#if defined(NESTWALK_POISONS)
  __asan_poison_memory_region(frame, size * kStep - sizeof(void*));
#endif
}
void unpoison([[maybe_unused]] void* frame, [[maybe_unused]] std::size_t size) noexcept {
#if defined(NESTWALK_POISONS)
  __asan_unpoison_memory_region(frame, size * kStep);
#endif
}

}  // namespace

void* FramePool::take(std::size_t bytes) {
  const std::size_t size = (bytes + kStep - 1) / kStep;
  if (size >= kSizes || unused[size] == nullptr) {
    ++taken_from_heap;
    return ::operator new(size* kStep);
  }
  void* const frame = unused[size];
  unused[size] = next_of(frame, size);
  unpoison(frame, size);
  return frame;
}

void FramePool::give(void* frame, std::size_t bytes) noexcept {
  const std::size_t size = (bytes + kStep - 1) / kStep;
  if (size >= kSizes) return ::operator delete(frame);
  next_of(frame, size) = std::exchange(unused[size], frame);
  poison(frame, size);
}

u64 FramePool::from_heap() { return taken_from_heap; }

}  // namespace nestwalk::models
