// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/late_output.hpp"

#include <span>

namespace nestwalk::sim {

void LateOutput::write(std::string_view text) {
  sink_->write(std::span(reinterpret_cast<const addrspace::u8*>(text.data()), text.size()));
  sink_->finish();
}

}  // namespace nestwalk::sim
