// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The order between a guest's vCPUs, as far as its trace recorded one: by the clocks of their
// streams (traces/FORMAT.md), at equal clocks the lower vCPU first. A vCPU that comes to a record
// of the time waits until nobody is behind it.
#pragma once

#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

class RecordedOrder {
 public:
  class Member {
   public:
    /// Of its stream, as far as it was played.
    virtual u64 clock() const = 0;
    /// It has ended, and is behind nobody.
    virtual bool is_through() const = 0;
    /// Somebody waits until its clock is there: moved() is to be called from then on. kNobody:
    /// none.
    virtual void watch(u64 clock) = 0;
    /// It does not have to wait any more.
    virtual void go_on() = 0;

   protected:
    Member() = default;
    Member(const Member&) = default;
    Member& operator=(const Member&) = default;
    ~Member() = default;
  };

  static constexpr u64 kNobody = ~u64{0};

  /// In the order of their numbers.
  void add(Member& member) { members_.push_back({&member}); }
  /// Its clock moved to where its next record is. True if it may go on; else it is told when.
  bool reach(const Member& member);
  /// Its clock moved on, or it ended.
  void moved();

 private:
  struct Row {
    Member* member;
    bool waits = false;
  };
  void drop_ended();
  Row* first();

  std::vector<Row> members_;  ///< that have not ended, when it was last looked
};

}  // namespace nestwalk::software
