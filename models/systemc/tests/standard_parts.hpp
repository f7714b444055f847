// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A processor and a memory that know nothing but IEEE 1666: what somebody else would bind.
#pragma once

#include <systemc>
#include <tlm>

#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace standard {

using sc_core::sc_time;
using sc_core::sc_time_stamp;
using sc_core::SC_ZERO_TIME;
using tlm::tlm_generic_payload;

inline sc_time ns(double n) { return {n, sc_core::SC_NS}; }

/// Payloads with a memory manager, as nb_transport wants them.
class Pool final : public tlm::tlm_mm_interface {
 public:
  tlm_generic_payload& take() {
    all_.push_back(std::make_unique<tlm_generic_payload>(this));
    all_.back()->acquire();
    return *all_.back();
  }
  void free(tlm_generic_payload*) override { ++freed; }
  unsigned freed = 0;

 private:
  std::vector<std::unique_ptr<tlm_generic_payload>> all_;
};

inline void fill(tlm_generic_payload& payload, tlm::tlm_command command, std::uint64_t address,
                 void* data, unsigned length) {
  payload.set_command(command);
  payload.set_address(address);
  payload.set_data_ptr(static_cast<unsigned char*>(data));
  payload.set_data_length(length);
  payload.set_streaming_width(length);
  payload.set_byte_enable_ptr(nullptr);
  payload.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
}

class Initiator : public sc_core::sc_module, private tlm::tlm_bw_transport_if<> {
 public:
  tlm::tlm_initiator_socket<64> out;
  Pool pool;

  explicit Initiator(const sc_core::sc_module_name& name) : sc_module(name), out("out") {
    out.bind(*this);
    SC_METHOD(send);
    sensitive << send_now_;
    dont_initialize();
    SC_METHOD(accept);
    sensitive << accept_now_;
    dont_initialize();
  }

  /// By b_transport, now; what it adds to the delay.
  sc_time block(tlm_generic_payload& payload, sc_time delay = SC_ZERO_TIME) {
    const sc_time before = delay;
    out->b_transport(payload, delay);
    return delay - before;
  }
  /// By nb_transport, at a time.
  void send_at(const sc_time& at, tlm_generic_payload& payload, sc_time annotated = SC_ZERO_TIME) {
    to_send_.emplace(at, std::pair(&payload, annotated));
    arm();
  }
  /// Called with each response, in the moment in which it comes.
  std::function<void()> reaction;
  /// How long it takes to accept a response.
  sc_time accepts_after = SC_ZERO_TIME;
  struct Response {
    tlm_generic_payload* payload;
    sc_time at;
  };
  std::vector<Response> responses;
  struct Range {
    std::uint64_t start, end;
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> invalidated;

 private:
  SC_HAS_PROCESS(Initiator);
  void arm() {
    if (to_send_.empty()) return;
    const sc_time at = to_send_.begin()->first;
    send_now_.notify(at > sc_time_stamp() ? at - sc_time_stamp() : SC_ZERO_TIME);
  }
  void send() {
    while (!to_send_.empty() && to_send_.begin()->first <= sc_time_stamp()) {
      auto [payload, delay] = to_send_.begin()->second;
      to_send_.erase(to_send_.begin());
      tlm::tlm_phase phase = tlm::BEGIN_REQ;
      const tlm::tlm_sync_enum result = out->nb_transport_fw(*payload, phase, delay);
      if (result == tlm::TLM_COMPLETED) {
        responses.push_back({payload, sc_time_stamp() + delay});
      } else if (result != tlm::TLM_UPDATED || phase != tlm::END_REQ) {
        SC_REPORT_ERROR("/test", "a request that is not accepted at once");
      }
    }
    arm();
  }
  void accept() {
    tlm::tlm_phase phase = tlm::END_RESP;
    sc_time delay = SC_ZERO_TIME;
    out->nb_transport_fw(*accepting_, phase, delay);
    accepting_->release();
    accepting_ = nullptr;
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_time& delay) override {
    if (phase != tlm::BEGIN_RESP || accepting_ != nullptr) {
      SC_REPORT_ERROR("/test", "a response while another one is under way, or another phase");
    }
    responses.push_back({&payload, sc_time_stamp() + delay});
    if (reaction) reaction();
    if (accepts_after == SC_ZERO_TIME) {
      payload.release();
      return tlm::TLM_COMPLETED;
    }
    accepting_ = &payload;
    accept_now_.notify(accepts_after);
    return tlm::TLM_ACCEPTED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64 start, sc_dt::uint64 end) override {
    invalidated.push_back({start, end});
  }

  std::multimap<sc_time, std::pair<tlm_generic_payload*, sc_time>> to_send_;
  tlm_generic_payload* accepting_ = nullptr;
  sc_core::sc_event send_now_;
  sc_core::sc_event accept_now_;
};

/// Answers each access after the same time, in order; in any of the ways that the base protocol
/// leaves to a target.
class Memory : public sc_core::sc_module, private tlm::tlm_fw_transport_if<> {
 public:
  enum class Answers { Completed, UpdatedToResponse, RequestThenResponse, ResponseOnly };

  tlm::tlm_target_socket<64> in;
  std::vector<unsigned char> bytes;
  unsigned reads = 0;
  unsigned writes = 0;

  Memory(const sc_core::sc_module_name& name, std::uint64_t base, std::uint64_t size,
         const sc_time& latency, Answers answers)
      : sc_module(name), in("in"), bytes(size), base_(base), latency_(latency), answers_(answers) {
    in.bind(*this);
    SC_METHOD(work);
    sensitive << due_;
    dont_initialize();
  }

 private:
  SC_HAS_PROCESS(Memory);
  void carry_out(tlm_generic_payload& payload) {
    const std::uint64_t at = payload.get_address() - base_;
    if (payload.get_address() < base_ || at + payload.get_data_length() > bytes.size()) {
      payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
      return;
    }
    const unsigned char* const enables = payload.get_byte_enable_ptr();
    for (unsigned n = 0; n < payload.get_data_length(); ++n) {
      if (enables != nullptr && enables[n % payload.get_byte_enable_length()] == 0) continue;
      unsigned char& own = bytes[at + n];
      unsigned char& theirs = payload.get_data_ptr()[n];
      (payload.is_read() ? theirs : own) = payload.is_read() ? own : theirs;
    }
    payload.set_response_status(tlm::TLM_OK_RESPONSE);
  }
  void b_transport(tlm_generic_payload& payload, sc_time& delay) override {
    (payload.is_read() ? reads : writes) += 1;
    carry_out(payload);
    delay += latency_;
  }
  tlm::tlm_sync_enum nb_transport_fw(tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_time& delay) override {
    if (phase == tlm::END_RESP) return tlm::TLM_COMPLETED;
    if (phase != tlm::BEGIN_REQ || requesting_ != nullptr) {
      SC_REPORT_ERROR("/test", "a request while another one is under way, or another phase");
    }
    (payload.is_read() ? reads : writes) += 1;
    switch (answers_) {
      case Answers::Completed:
        carry_out(payload);
        delay += latency_;
        return tlm::TLM_COMPLETED;
      case Answers::UpdatedToResponse:
        carry_out(payload);
        delay += latency_;
        phase = tlm::BEGIN_RESP;
        return tlm::TLM_UPDATED;
      case Answers::RequestThenResponse:
      case Answers::ResponseOnly:
        break;
    }
    payload.acquire();
    requesting_ = &payload;
    const sc_time there = sc_time_stamp() + delay;
    if (answers_ == Answers::RequestThenResponse) {
      agenda_.emplace(there + latency_ / 2, std::pair(&payload, tlm::END_REQ));
    }
    agenda_.emplace(there + latency_, std::pair(&payload, tlm::BEGIN_RESP));
    arm();
    return tlm::TLM_ACCEPTED;
  }
  void arm() {
    if (!agenda_.empty()) due_.notify(agenda_.begin()->first - sc_time_stamp());
  }
  void work() {
    while (!agenda_.empty() && agenda_.begin()->first <= sc_time_stamp()) {
      auto [payload, next] = agenda_.begin()->second;
      agenda_.erase(agenda_.begin());
      if (requesting_ == payload) requesting_ = nullptr;
      tlm::tlm_phase phase = next;
      sc_time delay = SC_ZERO_TIME;
      if (phase == tlm::END_REQ) {
        in->nb_transport_bw(*payload, phase, delay);
        continue;
      }
      carry_out(*payload);
      if (in->nb_transport_bw(*payload, phase, delay) != tlm::TLM_COMPLETED) {
        SC_REPORT_ERROR("/test", "a response that is not taken at once");
      }
      payload->release();
    }
    arm();
  }
  bool get_direct_mem_ptr(tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
  unsigned transport_dbg(tlm_generic_payload& payload) override {
    carry_out(payload);
    return payload.is_response_ok() ? payload.get_data_length() : 0;
  }

  std::uint64_t base_;
  sc_time latency_;
  Answers answers_;
  tlm_generic_payload* requesting_ = nullptr;  ///< not accepted yet
  std::multimap<sc_time, std::pair<tlm_generic_payload*, tlm::tlm_phase>> agenda_;
  sc_core::sc_event due_;
};

}  // namespace standard
