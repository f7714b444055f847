// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reads the text log of LOG.md and tells of what it says.
#pragma once

#include <array>
#include <istream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "nestwalk/checker/address_set.hpp"
#include "nestwalk/checker/events.hpp"
#include "nestwalk/models/base/text_file.hpp"

namespace nestwalk::checker {

/// `file: line 3: expected an address, found "0xzz"`
class LogError : public models::TextError {
  using models::TextError::TextError;
};

/// Of a line, without its end.
inline constexpr std::size_t kMostLineBytes = 4096;

/// Keeps what the VMs that it told of need: outlives the checker that it feeds.
class LogReader {
 public:
  /// Whose tables a log may be of.
  explicit LogReader(std::span<const models::Extension* const> extensions)
      : extensions_(extensions) {}

  /// Tells of all lines, in order. Throws LogError at the first one that makes no sense.
  void read(std::istream& in, const std::string& name, Events& events);
  /// The next line alone, without its end.
  void read_line(const std::string& text, const std::string& name, Events& events);
  u64 lines() const { return line_; }

 private:
  class Line;
  void event(Line& line, Events& events);
  void vm(Line& line, const Moment& when, Events& events);
  void fence(Line& line, const Moment& when, Events& events);
  void access(Line& line, const Moment& when, Events& events);
  void store(Line& line, const Moment& when, Events& events);
  void enter(Line& line, const Moment& when, Events& events);
  void exit(Line& line, const Moment& when, Events& events);
  void destroy(Line& line, const Moment& when, Events& events);
  void begin(Line& line, const Moment& when, Events& events);
  void end(Line& line, const Moment& when, Events& events);
  void fault(Line& line, const Moment& when, Events& events);
  void free(Line& line, const Moment& when, Events& events);
  void alloc(Line& line, const Moment& when, Events& events);
  void task(Line& line, const Moment& when, Events& events);
  struct Frames {
    u64 first, bytes;
  };
  Frames frames(Line& line);
  void expect_host(Line& line, u64 last);
  /// A VM that was told of.
  struct Known {
    Vm vm;
    bool destroyed = false;
  };
  Known& known_vm(Line& line);
  Known& living_vm(Line& line);
  void expect_inside(Line& line, u32 processor, const Known& known) const;
  void claim_processors(Line& line, const Vm& vm);
  void add_flags_of(const models::EntryFormat& format);
  /// Operations of a processor, or of a task.
  struct Nesting {
    u32 depth = 0;
    u64 begun = 0;      ///< the outermost: the line
    u32 processor = 0;  ///< and where it began
  };
  void expect_end(const Nesting& nesting, const std::string& name) const;
  Nesting& nesting_on(u32 processor);
  std::string_view interned(const std::string& site);

  /// What the lines before say of a processor.
  struct Processor {
    const Vm* inside = nullptr;
    const Vm* may_be_in = nullptr;  ///< by `processors=`, until it is told where it is
    bool told = false;              ///< where it is, or was
    Nesting own;
    std::optional<u64> task;

    void now_in(const Vm* vm) {
      inside = vm;
      may_be_in = nullptr;
      told = true;
    }
  };

  std::span<const models::Extension* const> extensions_;
  std::vector<std::shared_ptr<const models::EntryFormat>> formats_;
  std::unordered_map<u32, Known> vms_;
  const models::EntryFormat* first_format_ = nullptr;
  unsigned host_bits_ = 64;  ///< of host addresses; until there is a VM, any
  u64 last_host_ = 0;        ///< the highest host address that was told of
  u64 set_by_hardware_ = 0;  ///< flags, of any VM
  std::array<Processor, kMostProcessors> processors_{};
  std::map<u64, Nesting> tasks_;
  std::set<std::string, std::less<>> sites_;
  std::map<u64, u64> entries_;  ///< by slot
  AddressSet freed_, taken_;    ///< of frames: what was told of last
  bool tells_of_taken_ = false;
  u64 line_ = 0;
};

/// An instruction as an assembler listing shows it; nothing if it is none of the extension's
/// fences.
std::optional<addrspace::Fence> parse_instruction(const std::string& text,
                                                  const models::Extension& extension);

}  // namespace nestwalk::checker
