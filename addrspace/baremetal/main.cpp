// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "print.hpp"
#include "scenario.hpp"

extern "C" [[noreturn]] void payload_main();
void payload_main() {
  using namespace nestwalk::baremetal;
  start_hypervisor();
  answer_probes();
#if !defined(NESTWALK_SVM)
  run_example();  // its hypervisor on x86-64 is VMX's
#endif
  run_operations();
  run_fences();
  finish();
}
