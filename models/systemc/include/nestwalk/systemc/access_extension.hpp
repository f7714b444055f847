// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a memory access has besides address and data: the one payload extension of nestwalk. It may
// be left out.
#pragma once

#include <tlm>

#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::systemc {

struct AccessExtension : tlm::tlm_extension<AccessExtension> {
  // Written by the initiator.
  bool user = true;  ///< user mode; without the extension as well

  // Written by the Mmu, once the response is there.
  models::Fault fault;            ///< why the response is an error; Regime::report_of
  models::u64 fault_address = 0;  ///< virtual, of the piece of the access that faulted
  models::u64 host = 0;           ///< physical address of the first byte, if there is no fault
  models::Cycle begin = 0;        ///< when the access began
  models::Cycle translated = 0;   ///< when the last of its pages was translated
  models::Cycle end = 0;
  models::Served served = models::Served::None;  ///< who had the last of its lines

  tlm::tlm_extension_base* clone() const override;
  void copy_from(const tlm::tlm_extension_base& other) override;
};

}  // namespace nestwalk::systemc
