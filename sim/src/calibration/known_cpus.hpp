// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which preset is nearest to a processor.
#pragma once

#include <optional>
#include <string>

#include "calibration/measured.hpp"

namespace nestwalk::sim {

std::optional<std::string> preset_like(const MeasuredMachine& machine);

}  // namespace nestwalk::sim
