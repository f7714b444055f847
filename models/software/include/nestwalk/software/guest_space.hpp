// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// An address space of the guest's own: real tables in guest memory, in whichever format the machine
// has, made by the same engine.
#pragma once

#include <optional>
#include <unordered_map>

#include "nestwalk/addrspace/page_table.hpp"
#include "nestwalk/software/host_space.hpp"

namespace nestwalk::software {

/// The guest's frames for tables, and how to reach what is in them.
class TableFrames {
 public:
  TableFrames(HostSpace& host, Recording& recording) : host_(host), recording_(recording) {}

  /// A frame that is backed and zero, for the next table.
  void stock(Gpa frame) { stock_.push_back(frame); }
  std::size_t in_stock() const { return stock_.size(); }
  Result<Gpa> take();
  void give_back(Gpa frame);

  /// Has the hypervisor backed it? A stale translation may hide from the kernel that it has not.
  bool is_backed(Gpa at);
  Hpa host_of(Gpa at);
  Gpa guest_of(Hpa at) const;
  Recording& recording() { return recording_; }

 private:
  HostSpace& host_;
  Recording& recording_;
  std::vector<Gpa> stock_;
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
