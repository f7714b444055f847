// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the fence instructions of a recording mean.
#pragma once

#include <optional>

#include "nestwalk/traces/bytes.hpp"
#include "nestwalk/traces/header.hpp"

namespace nestwalk::traces::recording {

/// Of an instruction, as the stream has it.
struct Operand {
  enum class State : u8 { Absent, Exact, Lost };
  State state = State::Absent;
  u64 value = 0;

  bool exact() const { return state == State::Exact; }
  bool lost() const { return state == State::Lost; }
};

Operand take_operand(ByteReader& from);

/// The fence of the guest's first stage that the instruction `code` is; nothing for those that only
}  // namespace nestwalk::traces::recording
