// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A target socket for a processor's accesses at virtual addresses, with the base protocol.
//
// An access translates all its pages, then goes through the caches line by line; each line's bytes
// are copied in the cycle in which they are there. TLM_IGNORE_COMMAND only translates. A fault is
// an error response and no byte is touched; AccessExtension says the rest.
//
//   b_transport    never waits: it runs the models ahead until the access is over, and adds that
//                  to the delay. Exact if nobody else comes with an earlier time afterwards.
//   nb_transport   exact, any number of accesses under way: END_REQ at once, BEGIN_RESP in the
//                  cycle in which the data are there.
//   transport_dbg  by the tables, whatever they permit; no time, no flag, no cache changes.
//   DMI            of pages that a TLB of the core holds, until a fence reaches them; if allowed.
#pragma once

#include <tlm>

#include <deque>
#include <memory>
#include <vector>

#include "nestwalk/models/time/process.hpp"
#include "nestwalk/models/translation/peek.hpp"
#include "nestwalk/systemc/access_extension.hpp"
#include "nestwalk/systemc/timekeeper.hpp"

namespace nestwalk::systemc {

/// What stands behind a socket, once elaboration is over.
struct AccessTarget {
  TimeInterface* time = nullptr;
  models::Mmu* mmu = nullptr;
  models::MemoryHierarchy* hierarchy = nullptr;
  models::HostMemory* memory = nullptr;
  models::MemoryHierarchy::PathId path = 0;
  u32 first_latency_cycles = 0;  ///< of a hit in TLB and cache, for DMI
};

class AccessSocket final : public tlm::tlm_target_socket<64, tlm::tlm_base_protocol_types, 1,
                                                         sc_core::SC_ZERO_OR_MORE_BOUND>,
                           private tlm::tlm_fw_transport_if<> {
 public:
  /// `read` is what reads are: Read or Execute.
  AccessSocket(const char* name, models::AccessKind read);
  void begin(const AccessTarget& target);

  bool is_bound() const { return size() != 0; }
  /// DMI pointers make accesses that the models do not see.
  void allow_dmi(bool allowed) { dmi_allowed_ = allowed; }
  void revoke(const models::Grant& grant);

  /// Cycles by which accesses came too late, since somebody had run ahead.
  u64 late_cycles() const { return late_cycles_; }

  // For the module that has the socket: runs respond() when it is due.
  const sc_core::sc_event& due() const { return due_; }
  void respond();

 private:
  static constexpr u32 kNobody = ~u32{0};
  struct Page {
    u64 host;
    u32 bytes;
  };
  struct Transfer {
    tlm::tlm_generic_payload* payload = nullptr;
    bool blocking = false;
    bool finished = false;
    bool user = true;
    u32 done = 0;  ///< bytes: translated, then transferred
    Cycle begin = 0;
    Cycle translated = 0;
    Cycle end = 0;
    models::Mmu::Outcome outcome;
    models::Served served = models::Served::None;
    std::vector<Page> pages;
    models::Process process;
  };

  models::AccessKind kind_of(const tlm::tlm_generic_payload& payload) const;
  bool is_acceptable(tlm::tlm_generic_payload& payload) const;
  u32 take(tlm::tlm_generic_payload& payload, bool blocking);
  void start(u32 number, const sc_core::sc_time& at);
  models::Task<> play(Transfer& transfer, u32 number);
  models::Task<tlm::tlm_response_status> translate(Transfer& transfer);
  models::Task<> move_data(Transfer& transfer);
  void finish(Transfer& transfer, u32 number, tlm::tlm_response_status status);
  void notify_at(const sc_core::sc_time& at);
  void response_is_over(const sc_core::sc_time& delay);

  void b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) override;
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override;
  bool get_direct_mem_ptr(tlm::tlm_generic_payload& payload, tlm::tlm_dmi& dmi) override;
  unsigned transport_dbg(tlm::tlm_generic_payload& payload) override;

  models::AccessKind read_;
  AccessTarget target_;
  u32 port_ = 0;
  std::unique_ptr<models::Peek> peek_;
  bool dmi_allowed_ = false;
  u64 late_cycles_ = 0;
  std::vector<std::unique_ptr<Transfer>> transfers_;  ///< they stay where they are
  std::vector<u32> free_;
  std::deque<u32> finished_;    ///< responses, in the order in which they are due
  u32 responding_ = kNobody;    ///< its response has not been accepted yet
  sc_core::sc_time free_from_;  ///< no response before then
  bool was_ahead_ = false;      ///< respond() is due in a later cycle than it was planned in
  sc_core::sc_event due_;
};

}  // namespace nestwalk::systemc
