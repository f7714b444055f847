// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/dram.hpp"

#include <bit>

namespace nestwalk::models {

Dram::Dram(const DramShape& shape, u32 line_bytes)
    : shape_(shape),
      channels_(shape.channels),
      bank_count_(shape.banks),
      row_shift_(static_cast<u32>(std::countr_zero(shape.row_bytes / line_bytes))),
      banks_(u64{shape.channels} * shape.banks) {}

}  // namespace nestwalk::models
