// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "print.hpp"
#include "scenario.hpp"

extern "C" [[noreturn]] void payload_main();
void payload_main() {
  using namespace nestwalk::baremetal;
  start_hypervisor();
  answer_probes();
  run_example();
  run_operations();
  run_fences();
  finish();
}
