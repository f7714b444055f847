// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Frame allocation policies. A policy is one file in frames/, and its line in the list in
// frame_policy.cpp.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "nestwalk/addrspace/error.hpp"
#include "nestwalk/addrspace/frame_use.hpp"

namespace nestwalk::models {

using addrspace::FrameUse;
using addrspace::Result;
using addrspace::u64;

/// Frames by their numbers, and in which order they come.
class FreeFrames {
 public:
  /// 2^order frames, aligned to their size: the next such run; or NoMemory.
  virtual Result<u64> allocate(unsigned order) = 0;
  /// Takes a run back, or a naturally aligned part of one.
  virtual void free(u64 first, unsigned order) = 0;

 protected:
  FreeFrames() = default;
  FreeFrames(const FreeFrames&) = default;
  FreeFrames& operator=(const FreeFrames&) = default;
  ~FreeFrames() = default;
};

/// 2^order frames.
struct FrameRequest {
  unsigned order = 0;
  FrameUse use{};
  u64 space = 0;  ///< the address space that `use.input` is in
};

/// Of frames that were reserved.
struct FrameCounts {
  u64 used = 0;        ///< taken by the page they were reserved for
  u64 given_back = 0;  ///< released under memory pressure
};

class FramePolicy {
 public:
  virtual ~FramePolicy() = default;
  FramePolicy(const FramePolicy&) = delete;
  FramePolicy& operator=(const FramePolicy&) = delete;

  virtual Result<u64> allocate(const FrameRequest& wanted) = 0;
  /// Frees a run that allocate() returned.
  virtual void free(u64 first, unsigned order) = 0;
  /// Freed frames stay allocated until a fence is complete; then free() is called again. True if
  /// they belong to a reservation, and are in use again; else the caller has to take them.
  virtual bool hold(u64 /*first*/, unsigned /*order*/) { return false; }

  /// The first frame of the contiguous run that these frames have their place in, if they have one.
  virtual std::optional<u64> reserved_run(const FrameRequest& /*wanted*/) const {
    return std::nullopt;
  }
  /// Does where a table lies follow from what it translates?
  virtual bool places_tables() const { return false; }
  /// The 2 MiB of an address space that have this address are to be backed by contiguous frames.
  virtual void keep_together(u64 /*space*/, u64 /*input*/) {}

  /// Reserved and not allocated.
  u64 reserved() const { return reserved_; }
  const FrameCounts& counts() const { return counts_; }

 protected:
  explicit FramePolicy(FreeFrames& free) : free_(free) {}

  FreeFrames& free_;
  u64 reserved_ = 0;
  FrameCounts counts_;
};

/// A registered policy.
class FramePolicyKind {
 public:
  struct Row {
    const char* name;  ///< in configurations
    std::unique_ptr<FramePolicy> (*make)(FreeFrames& free);
  };
  /// All policies; the default comes first.
  static std::span<const Row> all();
  /// The one of that name, which is there.
  static FramePolicyKind called(std::string_view name);

  FramePolicyKind() : row_(&all().front()) {}
  constexpr explicit FramePolicyKind(const Row& row) : row_(&row) {}

  const char* name() const { return row_->name; }
  std::unique_ptr<FramePolicy> make(FreeFrames& free) const { return row_->make(free); }

 private:
  const Row* row_;
};

}  // namespace nestwalk::models
