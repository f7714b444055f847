// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// An array whose size is known at the start, laid out for random access: aligned to the host's
// cache lines, and in huge pages where it is large, since every other access to it would miss the
// host's own TLB.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

template <class T>
class Table {
 public:
  Table() = default;
  explicit Table(u64 size, T value = T{}) : size_(size) {
    const u64 bytes = size * sizeof(T);
    const u64 alignment = bytes >= kHuge ? kHuge : 64;
    const u64 rounded = std::max<u64>((bytes + alignment - 1) / alignment * alignment, alignment);
    items_.reset(static_cast<T*>(std::aligned_alloc(alignment, rounded)));
    if (!items_) throw std::bad_alloc();
    if (bytes >= kHuge) (void)madvise(items_.get(), rounded, MADV_HUGEPAGE);  // a wish
    std::uninitialized_fill_n(items_.get(), size, value);
  }

  T& operator[](u64 n) { return items_[n]; }
  const T& operator[](u64 n) const { return items_[n]; }
  u64 size() const { return size_; }

 private:
  static_assert(std::is_trivially_destructible_v<T>);
  static constexpr u64 kHuge = u64{2} << 20;
  struct Free {
    void operator()(T* items) const { std::free(items); }
  };
  std::unique_ptr<T[], Free> items_;
  u64 size_ = 0;
};

}  // namespace nestwalk::models
