// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/machine/core_shape.hpp"

namespace nestwalk::models {

std::string to_text(const CoreShape& core) {
  std::string text = "in order";
  if (core.is_out_of_order()) text = "out of order, window " + std::to_string(core.window);
  text += ", width " + std::to_string(core.width);
  if (core.store_buffer != 0) text += ", store buffer " + std::to_string(core.store_buffer);
  return text;
}

}  // namespace nestwalk::models
