// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/dram.hpp"

namespace nestwalk::models {

Dram::Dram(const DramShape& shape, u32 line_bytes)
    : shape_(shape),
      lines_per_row_(shape.row_bytes / line_bytes),
      banks_(u64{shape.channels} * shape.banks) {}

}  // namespace nestwalk::models
