// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "importers/recording_fences.hpp"

namespace nestwalk::traces::recording {
Operand take_operand(ByteReader& from) {
  Operand operand;
  const u8 state = from.take<u8>("the state of an operand");
  from.check_below(state, 3, "the state of an operand");
  operand.state = static_cast<Operand::State>(state);
  if (operand.exact()) operand.value = from.take_varint("an operand");
  return operand;
}

}  // namespace nestwalk::traces::recording
