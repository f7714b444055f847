// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A frame that goes back to its Hal by itself.
#pragma once

#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::addrspace {

template <Hal H>
class PhysFrame {
 public:
  using Physical = typename H::Physical;

  /// Holds nothing.
  PhysFrame() = default;

  /// A frame with whatever it held before.
  static Result<PhysFrame> alloc(H& hal) {
    const Result<Physical> frame = hal.alloc_frame(FrameUse{});
    if (!frame) return frame.error();
    return PhysFrame(hal, *frame);
  }
  static Result<PhysFrame> alloc_zero(H& hal) {
    Result<PhysFrame> frame = alloc(hal);
    if (frame && !H::kFramesComeZeroed) hal.zero(frame->start(), kFrameBytes);
    return frame;
  }
  /// Takes over a frame that `release` gave away.
  static PhysFrame adopt(H& hal, Physical start) { return PhysFrame(hal, start); }

  PhysFrame(PhysFrame&& other) noexcept : hal_(other.hal_), start_(other.start_) {
    other.hal_ = nullptr;
  }
  PhysFrame& operator=(PhysFrame&& other) noexcept {
    if (this != &other) {
      reset();
      hal_ = other.hal_;
      start_ = other.start_;
      other.hal_ = nullptr;
    }
    return *this;
  }
  PhysFrame(const PhysFrame&) = delete;
  PhysFrame& operator=(const PhysFrame&) = delete;
  ~PhysFrame() { reset(); }

  explicit operator bool() const { return hal_ != nullptr; }

  /// Traps on an empty frame, as do the next two.
  Physical start() const {
    if (hal_ == nullptr) __builtin_trap();
    return start_;
  }
  u8* data() const { return reinterpret_cast<u8*>(virtual_start().value()); }
  void fill(u8 byte) { __builtin_memset(data(), byte, kFrameBytes); }

  /// Gives the frame away: the caller now owes it to the Hal.
  Physical release() {
    const Physical given = start();
    hal_ = nullptr;
    return given;
  }
  void reset() {
    if (hal_ != nullptr) hal_->free_frame(start_);
    hal_ = nullptr;
  }

 private:
  PhysFrame(H& hal, Physical start) : hal_(&hal), start_(start) {}
  Hva virtual_start() const {
    const Physical at = start();
    return hal_->phys_to_virt(at);
  }

  H* hal_ = nullptr;
  Physical start_{};
};

}  // namespace nestwalk::addrspace
