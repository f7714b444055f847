// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the payload does, in this order.
#pragma once

namespace nestwalk::baremetal {

/// If a batch of probes lies in memory, answers it and does not return.
void answer_probes();
void run_example();
void run_operations();
void run_fences();

}  // namespace nestwalk::baremetal
