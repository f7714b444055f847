// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// An address space of the guest's own: real tables in guest memory, in whichever format the machine
// has, made by the same engine.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

#include "nestwalk/addrspace/page_table.hpp"
#include "nestwalk/software/host_space.hpp"

namespace nestwalk::software {

/// The guest's frames for tables, and how to reach what is in them.
class TableFrames final : private models::FreeFrames {
 public:
  TableFrames(HostSpace& host, Recording& recording, models::FramePolicyKind policy,
              const MemoryRange& memory);
  TableFrames(const TableFrames&) = delete;
  TableFrames& operator=(const TableFrames&) = delete;

  /// The number of another space that asks for tables.
  u64 new_space() { return spaces_++; }

  /// A frame that is to be backed and zeroed for a table; none if all are taken.
  std::optional<Gpa> next();
  /// A frame that is backed and zero, for the next table.
  void stock(Gpa frame) { stock_.push_back(frame); }
  std::size_t in_stock() const { return stock_.size(); }
  /// The same for the lowest-level table of an address, where the frame policy reserves a frame for
  /// just this table, and the frame is not in use yet.
  std::optional<Gpa> next_for(Gva address, u64 space);
  void stock_for(Gva address, u64 space, Gpa frame) { places_[place_of(address, space)] = frame; }
  /// One that could not be backed.
  void drop(Gpa frame) { policy_->free(number_of(frame), 0); }

  Result<Gpa> take(addrspace::FrameUse use, u64 space);
  void give_back(Gpa frame);
  /// Where a space's tables lie; null if that does not follow from what they translate.
  const models::TableAreas* areas(u64 space) {
    return policy_->places_tables() ? &areas_[space] : nullptr;
  }
  bool owns(Gpa at) const { return at >= first_ && at < first_ + frames_ * kFrameBytes; }

  /// Has the hypervisor backed it? A stale translation may hide from the kernel that it has not.
  bool is_backed(Gpa at);
  Hpa host_of(Gpa at);
  Gpa guest_of(Hpa at) const;
  Recording& recording() { return recording_; }

 private:
  using Place = std::pair<u64, u64>;  ///< space, and number of the table within it
  static constexpr unsigned kMostOrder = models::TableAreas::kOrder;

  Result<u64> allocate(unsigned order) override;
  void free(u64 first, unsigned order) override { free_[order].push_back(first); }
  static models::FrameRequest request_for(Gva address, u64 space) {
    return {0, addrspace::FrameUse::table(address.value(), 0), space};
  }
  static Place place_of(Gva address, u64 space) {
    return {space, address.value() >> models::TableAreas::table_shift(0, 0)};
  }
  void note_table(const addrspace::FrameUse& use, u64 space, u64 number, Hpa host);
  u64 number_of(Gpa frame) const { return (frame - first_) / kFrameBytes; }
  Gpa frame(u64 number) const { return first_ + number * kFrameBytes; }

  HostSpace& host_;
  Recording& recording_;
  Gpa first_;
  u64 frames_;
  u64 next_ = 0;  ///< nobody has had it or any above it
  std::array<std::vector<u64>, kMostOrder + 1> free_;
  std::unique_ptr<models::FramePolicy> policy_;
  u64 spaces_ = 0;
  std::vector<Gpa> stock_;
  std::map<Place, Gpa> places_;            ///< frames that are for one table alone
  std::unordered_map<u64, Place> placed_;  ///< tables in such places, by frame
  std::map<u64, models::TableAreas> areas_;
  std::unordered_map<u64, u64> guest_frame_;  ///< by host frame
};

/// What backs a page of the guest.
struct GuestPage {
  Gpa gpa;    ///< of the byte that was asked for
  u64 bytes;  ///< of the page
};

class GuestSpace {
 public:
  virtual ~GuestSpace() = default;

  virtual models::Stage stage() const = 0;
  /// Names its tables to TableFrames.
  virtual u64 number() const = 0;
  virtual Result<void> map(Gva gva, Gpa gpa, u64 bytes) = 0;
  virtual Result<void> unmap(Gva gva, u64 bytes) = 0;
  /// What a page is mapped to, if it is.
  virtual std::optional<GuestPage> query(Gva gva) const = 0;
  virtual bool accepts(Gva gva) const = 0;
  /// Can an entry name the address?
  virtual bool reaches(Gpa gpa) const = 0;
};

/// Frames that the largest operation may take: a table at each level, and two roots with their own.
inline constexpr std::size_t kMostTableFrames = 7;

}  // namespace nestwalk::software
