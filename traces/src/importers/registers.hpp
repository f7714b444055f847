// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which registers hold what the latest read brought, from the register numbers of instructions.
#pragma once

#include <algorithm>
#include <array>
#include <span>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::traces {

/// Whether a value came out of the latest read.
enum class Carries : addrspace::u8 { No, Perhaps, Yes };

/// Follows data through registers. Answers Yes or No only where the register numbers leave no
/// other reading: what an instruction does with its operands is not known.
class LoadedRegisters {
 public:
  using u8 = addrspace::u8;
  using u64 = addrspace::u64;

  // ChampSim's inc/trace_instruction.h.
  static constexpr u8 kNone = 0;
  static constexpr u8 kStackPointer = 6;
  static constexpr u8 kFlags = 25;
  static constexpr u8 kInstructionPointer = 26;

  /// Of the address of a memory operand: sources of an instruction are parts of the address or
  /// data, so they must agree. One relative to the instruction pointer depends on nothing.
  Carries of_address(std::span<const u8> sources) const {
    bool all = true;
    bool any = false;
    bool some_register = false;
    for (const u8 source : sources) {
      if (source == kInstructionPointer) return Carries::No;
      if (source == kNone || source == kFlags) continue;
      some_register = true;
      all = all && of(source) == Carries::Yes;
      any = any || of(source) != Carries::No;
    }
    if (!any) return Carries::No;
    return all && some_register ? Carries::Yes : Carries::Perhaps;
  }

  /// The instruction has executed.
  void execute(std::span<const u8> sources, std::span<const u8> destinations, bool reads) {
    Carries result = Carries::Yes;
    if (reads) {
      ++read_;
    } else {
      result = of_result(sources, destinations);
    }
    // Of several destinations one may be an updated pointer, as with LODS.
    if (result == Carries::Yes && count(destinations) > 1) result = Carries::Perhaps;
    for (const u8 destination : destinations) {
      if (is_data(destination)) set(destination, result);
    }
  }

 private:
  // The stack pointer moves by itself; POP's result is not in it.
  static bool is_data(u8 number) {
    return number != kNone && number != kStackPointer && number != kFlags &&
           number != kInstructionPointer;
  }
  static unsigned count(std::span<const u8> numbers) {
    unsigned result = 0;
    for (const u8 number : numbers) result += is_data(number);
    return result;
  }

  Carries of_result(std::span<const u8> sources, std::span<const u8> destinations) const {
    Carries most = Carries::No;
    u8 only = kNone;
    for (const u8 source : sources) {
      if (!is_data(source)) continue;
      most = std::max(most, of(source));
      only = source;
    }
    // XOR of a register with itself looks like NEG.
    const bool same =
        count(sources) == 1 && count(destinations) == 1 &&
        std::find(destinations.begin(), destinations.end(), only) != destinations.end();
    return same ? std::min(most, Carries::Perhaps) : most;
  }

  Carries of(u8 number) const {
    if (sure_[number] == read_) return Carries::Yes;
    return possible_[number] == read_ ? Carries::Perhaps : Carries::No;
  }
  void set(u8 number, Carries carries) {
    sure_[number] = carries == Carries::Yes ? read_ : 0;
    possible_[number] = carries == Carries::Perhaps ? read_ : 0;
  }

  // The number of the read whose value a register holds.
  std::array<u64, 256> sure_{};
  std::array<u64, 256> possible_{};
  u64 read_ = 1;
};

}  // namespace nestwalk::traces
