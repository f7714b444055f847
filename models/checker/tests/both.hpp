// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A checker and an adversary that are told the same, line by line of a log as it is written.
#pragma once

#include <functional>
#include <sstream>
#include <string>

#include "adversary.hpp"
#include "nestwalk/checker/checker.hpp"
#include "nestwalk/checker/log.hpp"
#include "nestwalk/machines/extensions.hpp"

namespace nestwalk::checker {

/// Tells two what it is told.
class Tee final : public Events {
 public:
  Tee(Events& a, Events& b) : a_(a), b_(b) {}

  void vm_created(const Moment& when, const Vm& vm) override {
    a_.vm_created(when, vm), b_.vm_created(when, vm);
  }
  void vm_destroyed(const Moment& when, u32 vm) override {
    a_.vm_destroyed(when, vm), b_.vm_destroyed(when, vm);
  }
  void vm_entered(const Moment& when, u32 vm) override {
    a_.vm_entered(when, vm), b_.vm_entered(when, vm);
  }
  void vm_left(const Moment& when, u32 vm) override { a_.vm_left(when, vm), b_.vm_left(when, vm); }
  void vm_faulted(const Moment& when, u32 vm, u64 gpa, addrspace::Access access) override {
    a_.vm_faulted(when, vm, gpa, access), b_.vm_faulted(when, vm, gpa, access);
  }
  void task_switched(const Moment& when, u64 task) override {
    a_.task_switched(when, task), b_.task_switched(when, task);
  }
  void operation_begun(const Moment& when, std::string_view name) override {
    a_.operation_begun(when, name), b_.operation_begun(when, name);
  }
  void operation_ended(const Moment& when) override {
    a_.operation_ended(when), b_.operation_ended(when);
  }
  void entry_stored(const Moment& when, u64 slot, u64 before, u64 after) override {
    a_.entry_stored(when, slot, before, after), b_.entry_stored(when, slot, before, after);
  }
  void frames_freed(const Moment& when, u64 first, u64 bytes) override {
    a_.frames_freed(when, first, bytes), b_.frames_freed(when, first, bytes);
  }
  void frames_allocated(const Moment& when, u64 first, u64 bytes) override {
    a_.frames_allocated(when, first, bytes), b_.frames_allocated(when, first, bytes);
  }
  void fence_issued(const Moment& when, const models::FenceRequest& request,
                    Cycle cycles) override {
    a_.fence_issued(when, request, cycles), b_.fence_issued(when, request, cycles);
  }
  void barrier_issued(const Moment& when, Barrier barrier) override {
    a_.barrier_issued(when, barrier), b_.barrier_issued(when, barrier);
  }
  void accessed(const Access& access) override { a_.accessed(access), b_.accessed(access); }

 private:
  Events& a_;
  Events& b_;
};

struct Both {
  LogReader reader{models::extensions()};
  Checker checker;
  Adversary adversary;
  Tee tee{checker, adversary};
};

/// Reads lines as soon as they are whole.
class LineFeed {
 public:
  explicit LineFeed(Both& both) : both_(both) {}
  std::function<void(const char*)> lines() {
    return [this](const char* part) {
      if (stopped_) return;
      text_ += part;
      if (text_.back() != '\n') return;
      text_.pop_back();
      both_.reader.read_line(text_, "log", both_.tee);
      text_.clear();
    };
  }
  void stop() { stopped_ = true; }

 private:
  Both& both_;
  std::string text_;
  bool stopped_ = false;
};

}  // namespace nestwalk::checker
