// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/mapping.hpp"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace nestwalk::models {

Mapping::Mapping(u64 bytes) : bytes_(bytes) {
  start_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
  if (start_ == MAP_FAILED) throw std::bad_alloc();
}

Mapping::~Mapping() {
  if (start_ != nullptr) munmap(start_, bytes_);
}

Mapping::Mapping(Mapping&& other) noexcept
    : start_(std::exchange(other.start_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(start_, other.start_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace nestwalk::models
