// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Virtual memory of the host in which untouched pages cost nothing and read as zero.
#pragma once

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

class Mapping {
 public:
  Mapping() = default;
  explicit Mapping(u64 bytes);
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(start_);
  }
  u64 bytes() const { return bytes_; }

 private:
  void* start_ = nullptr;
  u64 bytes_ = 0;
};

}  // namespace nestwalk::models
