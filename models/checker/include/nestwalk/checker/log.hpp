// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reads the text log of LOG.md and tells of what it says.
#pragma once

#include <istream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "nestwalk/checker/events.hpp"

namespace nestwalk::checker {

/// `file: line 3: expected an address, found "0xzz"`
class LogError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Keeps what the VMs that it told of need: outlives the checker that it feeds.
class LogReader {
 public:
  /// Tells of all lines, in order. Throws LogError at the first one that makes no sense.
  void read(std::istream& in, const std::string& name, Events& events);
  u64 lines() const { return line_; }

 private:
  class Line;
  void event(Line& line, Events& events);
  void vm(Line& line, const Moment& when, Events& events);
  void fence(Line& line, const Moment& when, Events& events);
  void access(Line& line, const Moment& when, Events& events);
  const Vm& known_vm(Line& line) const;

  std::vector<std::shared_ptr<const models::EntryFormat>> formats_;
  std::vector<Vm> vms_;
  u64 line_ = 0;
};

/// An instruction as an assembler listing shows it, on a processor whose VTTBR_EL2 or hgatp holds
/// the VM (null: none). False if it is none of a fence's.
struct Instruction {
  bool is_barrier = false;
  Barrier barrier{};
  models::FenceRequest request{};
};
bool parse_instruction(const std::string& text, addrspace::Architecture architecture, const Vm* vm,
                       Instruction& instruction);

}  // namespace nestwalk::checker
