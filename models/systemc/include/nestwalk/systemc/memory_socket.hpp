// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// An initiator socket to a memory outside of the models: whole lines by nb_transport with the base
// protocol, or by b_transport while somebody runs ahead of the kernel's time; single entries, which
// caches hold already, by transport_dbg.
#pragma once

#include <tlm>

#include <deque>
#include <memory>
#include <vector>

#include "nestwalk/models/memory/memory_hierarchy.hpp"
#include "nestwalk/systemc/timekeeper.hpp"

namespace nestwalk::systemc {

class MemorySocket final : public tlm::tlm_initiator_socket<64, tlm::tlm_base_protocol_types, 1,
                                                            sc_core::SC_ZERO_OR_MORE_BOUND>,
                           public models::OutsideMemory,
                           public models::ByteStore,
                           private tlm::tlm_bw_transport_if<>,
                           private tlm::tlm_mm_interface {
 public:
  MemorySocket(const char* name, u32 line_bytes);
  void begin(TimeInterface& time) {
    time_ = &time;
    port_ = time.add_port();
  }

  // For the models.
  void fetch(u64 line, models::Actor& owner, u32 what) override;
  void write_back(u64 line) override;
  void read(models::Hpa from, u8* to, u64 bytes) override;
  void write(models::Hpa to, const u8* from, u64 bytes) override;

  // For the module that has the socket: runs send() when it is due.
  const sc_core::sc_event& due() const { return due_; }
  void send();

 private:
  struct Request : tlm::tlm_generic_payload {
    std::vector<u8> data;
    models::Actor* owner = nullptr;  ///< none for a write
    u32 what = 0;
    Cycle at = 0;  ///< when it was made
  };

  Request& take(u64 line, tlm::tlm_command command);
  void put(Request& request);
  void begin_request(Request& request);
  void request_is_over(const sc_core::sc_time& delay);
  void respond(tlm::tlm_generic_payload& payload, const sc_core::sc_time& delay);
  void debug(tlm::tlm_command command, models::Hpa at, u8* data, u64 bytes);

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override;
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}  // it uses none
  void free(tlm::tlm_generic_payload* payload) override;

  u32 line_bytes_;
  TimeInterface* time_ = nullptr;
  u32 port_ = 0;
  sc_core::sc_event due_;
  std::deque<Request*> waiting_;
  Request* under_way_ = nullptr;  ///< its request has not been accepted yet
  sc_core::sc_time free_from_;    ///< no request before then
  std::vector<std::unique_ptr<Request>> pool_;
  std::vector<Request*> free_;
};

}  // namespace nestwalk::systemc
