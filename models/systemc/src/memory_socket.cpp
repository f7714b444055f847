// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/systemc/memory_socket.hpp"

#include <algorithm>
#include <sstream>

namespace nestwalk::systemc {

using sc_core::sc_time;
using sc_core::sc_time_stamp;

namespace {

void complain(const tlm::tlm_generic_payload& payload, const char* what) {
  std::ostringstream text;
  text << "memory at 0x" << std::hex << payload.get_address() << ": " << what;
  SC_REPORT_ERROR("/nestwalk/memory", text.str().c_str());
}

}  // namespace

MemorySocket::MemorySocket(const char* name, u32 line_bytes)
    : tlm_initiator_socket(name), line_bytes_(line_bytes) {
  bind(static_cast<tlm_bw_transport_if<>&>(*this));
}

MemorySocket::Request& MemorySocket::take(u64 line, tlm::tlm_command command) {
  if (free_.empty()) {
    pool_.push_back(std::make_unique<Request>());
    pool_.back()->set_mm(this);
    pool_.back()->data.resize(line_bytes_);
    free_.push_back(pool_.back().get());
  }
  Request& request = *free_.back();
  free_.pop_back();
  request.set_command(command);
  request.set_address(line * line_bytes_);
  request.set_data_ptr(request.data.data());
  request.set_data_length(line_bytes_);
  request.set_streaming_width(line_bytes_);
  request.set_byte_enable_ptr(nullptr);
  request.set_dmi_allowed(false);
  request.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
  request.owner = nullptr;
  request.at = time_->wheel().now();
  request.acquire();
  return request;
}

void MemorySocket::free(tlm::tlm_generic_payload* payload) {
  payload->reset();
  free_.push_back(static_cast<Request*>(payload));
}

void MemorySocket::fetch(u64 line, models::Actor& owner, u32 what) {
  Request& request = take(line, tlm::TLM_READ_COMMAND);
  request.owner = &owner;
  request.what = what;
  put(request);
}

// What the line holds has been in memory since it was written there, and may be newer by the time
// that the memory gets to this: only its time counts, so no byte is enabled.
void MemorySocket::write_back(u64 line) {
  Request& request = take(line, tlm::TLM_WRITE_COMMAND);
  static unsigned char disabled = TLM_BYTE_DISABLED;
  request.set_byte_enable_ptr(&disabled);
  request.set_byte_enable_length(1);
  put(request);
}

void MemorySocket::put(Request& request) {
  if (time_->is_ahead()) {
    sc_time delay = time_->time_of(request.at) - sc_time_stamp();
    const sc_time before = sc_time_stamp();
    (*this)->b_transport(request, delay);
    if (sc_time_stamp() != before)
      complain(request, "b_transport waited; it has to add to the delay");
    respond(request, delay);
    return;
  }
  waiting_.push_back(&request);
  due_.notify(std::max(time_->time_of(request.at), sc_time_stamp()) - sc_time_stamp());
  time_->wait_for_outside();
}

void MemorySocket::send() {
  while (!waiting_.empty() && under_way_ == nullptr) {
    const sc_time from = std::max(time_->time_of(waiting_.front()->at), free_from_);
    if (from > sc_time_stamp()) {
      due_.notify(from - sc_time_stamp());
      return;
    }
    Request& request = *waiting_.front();
    waiting_.pop_front();
    begin_request(request);
  }
}

void MemorySocket::begin_request(Request& request) {
  under_way_ = &request;
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_time delay = sc_core::SC_ZERO_TIME;
  switch ((*this)->nb_transport_fw(request, phase, delay)) {
    case tlm::TLM_ACCEPTED:
      return;
    case tlm::TLM_COMPLETED:
      request_is_over(delay);
      respond(request, delay);
      return;
    case tlm::TLM_UPDATED:
      request_is_over(delay);
      if (phase == tlm::BEGIN_RESP) {
        tlm::tlm_phase end = tlm::END_RESP;
        sc_time at = delay;
        (*this)->nb_transport_fw(request, end, at);
        respond(request, delay);
      }
  }
}

void MemorySocket::request_is_over(const sc_time& delay) {
  under_way_ = nullptr;
  free_from_ = sc_time_stamp() + delay;
  if (!waiting_.empty()) due_.notify(std::max(delay, sc_core::SC_ZERO_TIME));
}

void MemorySocket::respond(tlm::tlm_generic_payload& payload, const sc_time& delay) {
  Request& request = static_cast<Request&>(payload);
  const bool knows_no_enables =
      request.get_response_status() == tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE;  // and wrote nothing
  if (request.is_response_error() && !(request.is_write() && knows_no_enables)) {
    complain(request, request.get_response_string().c_str());
  }
  if (request.owner != nullptr) {
    const Cycle there = time_->cycle_from(sc_time_stamp() + delay);
    if (time_->is_ahead()) {
      models::Wheel& wheel = time_->wheel();
      wheel.schedule(std::max(there, wheel.now()), *request.owner, request.what);
    } else {
      time_->enter(port_, there, *request.owner, request.what);
    }
  }
  request.release();
}

tlm::tlm_sync_enum MemorySocket::nb_transport_bw(tlm::tlm_generic_payload& payload,
                                                 tlm::tlm_phase& phase, sc_time& delay) {
  if (phase != tlm::END_REQ && phase != tlm::BEGIN_RESP) return tlm::TLM_ACCEPTED;
  if (under_way_ == &payload) request_is_over(delay);
  if (phase == tlm::END_REQ) return tlm::TLM_ACCEPTED;
  respond(payload, delay);
  return tlm::TLM_COMPLETED;
}

void MemorySocket::debug(tlm::tlm_command command, models::Hpa at, u8* data, u64 bytes) {
  tlm::tlm_generic_payload payload;
  payload.set_command(command);
  payload.set_address(at.value());
  payload.set_data_ptr(data);
  payload.set_data_length(static_cast<unsigned>(bytes));
  payload.set_streaming_width(static_cast<unsigned>(bytes));
  if ((*this)->transport_dbg(payload) != bytes) {
    complain(payload, "transport_dbg did not transfer all bytes; the Mmu's tables are there");
  }
}

void MemorySocket::read(models::Hpa from, u8* to, u64 bytes) {
  debug(tlm::TLM_READ_COMMAND, from, to, bytes);
}

void MemorySocket::write(models::Hpa to, const u8* from, u64 bytes) {
  debug(tlm::TLM_WRITE_COMMAND, to, const_cast<u8*>(from), bytes);  // read only, by the command
}

}  // namespace nestwalk::systemc
