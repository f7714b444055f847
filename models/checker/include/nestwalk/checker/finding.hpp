// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a checker finds, in words and with the manual's section.
#pragma once

#include <string>
#include <vector>

#include "nestwalk/checker/events.hpp"

namespace nestwalk::checker {

/// What is wrong. Up to TooEarly: why a fence that the virtualization extension demands did not do
/// it; the later, the closer it came.
enum class Failure : u8 {
  Missing,
  WrongKind,
  WrongTag,
  WrongOperand,
  Unshifted,
  RangeTooSmall,
  WrongLevel,
  LeafOnly,
  WrongProcessors,
  NotCompleted,
  TooEarly,
  BreakBeforeMake,
  UseAfterFree,
  TagReused,
  WrongHit,
  RepeatedFault,
  Excess,
  OverBroad,
  FreedOutside,
};
inline constexpr unsigned kFailureCount = static_cast<unsigned>(Failure::FreedOutside) + 1;

using models::Change;
using models::Demand;
using models::kChangeCount;

enum class Severity : u8 {
  Error,
  Warning,  ///< it costs time, and nothing else
  Note,     ///< the manual leaves it open, or permits it at the cost of a fault
};
const char* to_string(Severity severity);

struct FailureText {
  const char* name;
  const char* sentence;
  Severity severity;
  const char* help;  ///< what to do about it
  Change about;      ///< after such a change, say, manuals demand what is missing
};
const FailureText& text_of(Failure failure);

struct Finding {
  Failure failure;
  Failure because;  ///< of a use after free or of a tag: what was wrong with the fence
  Change change;
  std::string operation;  ///< empty: none was told
  std::string site;       ///< of the store, or of the fence that is excess or over-broad; or empty
  u32 vm = 0;
  u8 level = 0;
  u64 gpa = 0;
  u64 bytes = 0;
  std::string before;  ///< the entry, in words
  std::string after;
  u64 processors = 0;  ///< bit n: processor n may use what is stale
  Moment when{};       ///< of the store; of a fence that is excess or over-broad
  std::string issued;  ///< the fence that came closest; empty: none
  Moment issued_when{};
  Moment violated{};           ///< when what was owed was too late
  const char* violation = "";  ///< and what happened then: "the operation returned"
  std::string reason;          ///< why what was issued does not do, or was in vain: sentences
  const Demand* demand = nullptr;
  u64 count = 1;   ///< how often the like was found; the rest is about the first time
  u64 hits = 0;    ///< accesses afterwards that a stale entry could serve
  u64 cycles = 0;  ///< of a fence: what all of them cost
  Access first_hit{};

  Severity severity() const { return text_of(failure).severity; }
};

/// `leaf of 4 KiB at 0x5000, read write, write-back`
std::string describe(const models::EntryFormat& format, const addrspace::Geometry& geometry,
                     u64 entry, unsigned level);
/// `tlbi ipas2e1is (GPA 0x40012000, VMID 5)`
std::string describe(const models::FenceRequest& fence);
/// `0, 2-5`
std::string processors_text(u64 processors);
/// All of a finding, in a few lines; `file` is the log's name.
std::string describe(const Finding& finding, const std::string& file = "");
/// `fences.log:12`, and `, at unmap+0x1c`, as far as they are known.
std::string place_text(const Moment& when, const std::string& file);

}  // namespace nestwalk::checker
