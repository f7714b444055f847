// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/systemc/access_socket.hpp"

#include <algorithm>
#include <utility>

namespace nestwalk::systemc {

using models::AccessKind;
using models::FaultKind;
using models::Hpa;
using models::kFrameBytes;
using models::Translation;
using sc_core::sc_time;
using sc_core::sc_time_stamp;
using sc_core::SC_ZERO_TIME;
using tlm::tlm_generic_payload;

namespace {

// An initiator may have no better idea of what went wrong than this.
tlm::tlm_response_status status_of(FaultKind kind) {
  const bool refused = kind == FaultKind::Permission || kind == FaultKind::AccessFlag;
  return refused ? tlm::TLM_COMMAND_ERROR_RESPONSE : tlm::TLM_ADDRESS_ERROR_RESPONSE;
}

// Of something that only wants its address translated, at least the byte there.
u32 length_of(const tlm_generic_payload& payload) {
  return std::max(payload.get_data_length(), 1u);
}

// The bytes [done, done + bytes) of the payload, from or to memory.
void copy(tlm_generic_payload& payload, u32 done, Hpa host, u32 bytes, models::HostMemory& memory) {
  u8* const data = payload.get_data_ptr() + done;
  const u8* const enables = payload.get_byte_enable_ptr();
  if (enables == nullptr) {
    return payload.is_write() ? memory.write(host, data, bytes) : memory.read(host, data, bytes);
  }
  for (u32 n = 0; n < bytes; ++n) {
    if (enables[(done + n) % payload.get_byte_enable_length()] == 0) continue;
    payload.is_write() ? memory.write(host + n, data + n, 1) : memory.read(host + n, data + n, 1);
  }
}

// Bytes from an address to the end of its smallest page, and no more than are wanted.
u32 rest_of_page(u64 address, u64 wanted) {
  return static_cast<u32>(std::min(wanted, kFrameBytes - address % kFrameBytes));
}

}  // namespace

AccessSocket::AccessSocket(const char* name, AccessKind read)
    : tlm_target_socket(name), read_(read) {
  bind(static_cast<tlm_fw_transport_if<>&>(*this));
}

void AccessSocket::begin(const AccessTarget& target) {
  target_ = target;
  port_ = target.time->add_port();
  peek_ = std::make_unique<models::Peek>(*target.memory);
}

AccessKind AccessSocket::kind_of(const tlm_generic_payload& payload) const {
  return payload.is_write() ? AccessKind::Write : read_;
}

bool AccessSocket::is_acceptable(tlm_generic_payload& payload) const {
  const unsigned length = payload.get_data_length();
  if (payload.get_command() == tlm::TLM_IGNORE_COMMAND) return true;
  if (payload.get_streaming_width() < length || length == 0) {
    payload.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
    return false;
  }
  if (payload.get_byte_enable_ptr() != nullptr && payload.get_byte_enable_length() == 0) {
    payload.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
    return false;
  }
  if (payload.is_write() && read_ == AccessKind::Execute) {  // nobody writes by fetching
    payload.set_response_status(tlm::TLM_COMMAND_ERROR_RESPONSE);
    return false;
  }
  return true;
}

u32 AccessSocket::take(tlm_generic_payload& payload, bool blocking) {
  if (free_.empty()) {
    transfers_.push_back(std::make_unique<Transfer>());
    free_.push_back(static_cast<u32>(transfers_.size() - 1));
  }
  const u32 number = free_.back();
  free_.pop_back();
  Transfer& transfer = *transfers_[number];
  const auto* const extension = payload.get_extension<AccessExtension>();
  transfer.payload = &payload;
  transfer.blocking = blocking;
  transfer.finished = false;
  transfer.user = extension == nullptr || extension->user;
  transfer.done = 0;
  transfer.served = models::Served::None;
  transfer.pages.clear();
  return number;
}

void AccessSocket::start(u32 number, const sc_time& at) {
  models::Wheel& wheel = target_.time->wheel();
  const Cycle wanted = target_.time->cycle_from(at);
  const Cycle begin = std::max(wanted, wheel.now());
  late_cycles_ += begin - wanted;
  Transfer& transfer = *transfers_[number];
  transfer.begin = begin;
  transfer.process.start(play(transfer, number));
}

// One access -------------------------------------------------------------------------------------

models::Task<> AccessSocket::play(Transfer& transfer, u32 number) {
  models::Call turn([&](models::Actor& owner) {
    target_.time->enter(port_, transfer.begin, owner, 0);
    return false;
  });
  co_await turn;
  const tlm::tlm_response_status status = co_await translate(transfer);
  transfer.translated = target_.time->wheel().now();
  const bool moves = transfer.payload->get_command() != tlm::TLM_IGNORE_COMMAND;
  if (status == tlm::TLM_OK_RESPONSE && moves) co_await move_data(transfer);
  finish(transfer, number, status);
}

// All pages first: an access that faults touches nothing.
models::Task<tlm::tlm_response_status> AccessSocket::translate(Transfer& transfer) {
  const u32 length = length_of(*transfer.payload);
  models::Fault& fault = transfer.outcome.fault;
  while (transfer.done != length) {
    const u64 address = transfer.payload->get_address() + transfer.done;
    models::Call translation([&](models::Actor& owner) {
      return target_.mmu->translate({address, kind_of(*transfer.payload), transfer.user}, owner, 0,
                                    transfer.outcome);
    });
    co_await translation;
    const u32 bytes = rest_of_page(address, length - transfer.done);
    if (!fault && !target_.memory->contains(Hpa(transfer.outcome.host), bytes)) {
      fault = {};
      fault.kind = FaultKind::BusError;
      fault.of_data = true;
      fault.access = kind_of(*transfer.payload);
      fault.user = transfer.user;
      fault.virtual_address = address;
    }
    if (fault) co_return status_of(fault.kind);
    transfer.pages.push_back({transfer.outcome.host, bytes});
    transfer.done += bytes;
  }
  co_return tlm::TLM_OK_RESPONSE;
}

// Line by line.
models::Task<> AccessSocket::move_data(Transfer& transfer) {
  const u32 line = target_.hierarchy->line_bytes();
  transfer.done = 0;
  for (const Page& page : transfer.pages) {
    for (u32 in_page = 0; in_page != page.bytes;) {
      const Hpa host(page.host + in_page);
      const u32 piece =
          std::min(page.bytes - in_page, line - static_cast<u32>(host.value() % line));
      models::Call access([&](models::Actor& owner) {
        return target_.hierarchy->access(target_.path, host, transfer.payload->is_write(), owner, 0,
                                         transfer.served);
      });
      co_await access;
      copy(*transfer.payload, transfer.done, host, piece, *target_.memory);
      transfer.done += piece;
      in_page += piece;
    }
  }
}

void AccessSocket::finish(Transfer& transfer, u32 number, tlm::tlm_response_status status) {
  transfer.end = target_.time->wheel().now();
  transfer.finished = true;
  transfer.payload->set_response_status(status);
  transfer.payload->set_dmi_allowed(dmi_allowed_ && target_.memory->has_pointers() &&
                                    status == tlm::TLM_OK_RESPONSE);
  if (auto* const extension = transfer.payload->get_extension<AccessExtension>()) {
    const bool ok = status == tlm::TLM_OK_RESPONSE;
    extension->fault = ok ? models::Fault{} : transfer.outcome.fault;
    extension->fault_address = ok ? 0 : transfer.payload->get_address() + transfer.done;
    extension->host = ok ? transfer.pages.front().host : 0;
    extension->begin = transfer.begin;
    extension->translated = ok ? transfer.translated : transfer.end;
    extension->end = transfer.end;
    extension->served = transfer.served;
  }
  target_.time->wait_for_outside();
  if (!transfer.blocking) {
    finished_.push_back(number);
    notify_at(target_.time->time_of(transfer.end));
  }
}

// The base protocol ------------------------------------------------------------------------------

void AccessSocket::b_transport(tlm_generic_payload& payload, sc_time& delay) {
  if (!is_acceptable(payload)) return;
  const u32 number = take(payload, true);
  Transfer& transfer = *transfers_[number];
  start(number, sc_time_stamp() + delay);
  for (;;) {
    target_.time->run_ahead();
    if (transfer.finished) break;
    if (target_.time->wheel().next() == models::kNever) {
      SC_REPORT_FATAL("/nestwalk/mmu",
                      "b_transport waits for what an nb_transport to memory has yet to bring: use "
                      "one or the other");
    }
  }
  delay = target_.time->time_of(transfer.end) - sc_time_stamp();
  free_.push_back(number);
}

tlm::tlm_sync_enum AccessSocket::nb_transport_fw(tlm_generic_payload& payload,
                                                 tlm::tlm_phase& phase, sc_time& delay) {
  if (phase == tlm::END_RESP) {
    if (responding_ != kNobody && transfers_[responding_]->payload == &payload) {
      response_is_over(delay);
    }
    return tlm::TLM_COMPLETED;
  }
  if (phase != tlm::BEGIN_REQ) return tlm::TLM_ACCEPTED;  // somebody's own phase: not ours
  if (!is_acceptable(payload)) return tlm::TLM_COMPLETED;
  payload.acquire();
  start(take(payload, false), sc_time_stamp() + delay);
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

void AccessSocket::notify_at(const sc_time& at) {
  was_ahead_ = at > sc_time_stamp();
  due_.notify(was_ahead_ ? at - sc_time_stamp() : SC_ZERO_TIME);
}

// Responses that were known ahead of their time leave in the delta cycle in which others do.
void AccessSocket::respond() {
  if (std::exchange(was_ahead_, false)) return due_.notify(SC_ZERO_TIME);
  while (!finished_.empty() && responding_ == kNobody) {
    const Transfer& transfer = *transfers_[finished_.front()];
    const sc_time from = std::max(target_.time->time_of(transfer.end), free_from_);
    if (from > sc_time_stamp()) return notify_at(from);
    responding_ = finished_.front();
    finished_.pop_front();
    tlm::tlm_phase phase = tlm::BEGIN_RESP;
    sc_time delay = SC_ZERO_TIME;
    if ((*this)->nb_transport_bw(*transfer.payload, phase, delay) != tlm::TLM_ACCEPTED) {
      response_is_over(delay);
    }
  }
}

void AccessSocket::response_is_over(const sc_time& delay) {
  free_.push_back(responding_);
  tlm_generic_payload& payload = *transfers_[responding_]->payload;
  responding_ = kNobody;
  free_from_ = sc_time_stamp() + delay;
  if (!finished_.empty()) notify_at(free_from_);
  payload.release();
}

// Without simulated time -------------------------------------------------------------------------

unsigned AccessSocket::transport_dbg(tlm_generic_payload& payload) {
  const auto* const extension = payload.get_extension<AccessExtension>();
  const bool user = extension == nullptr || extension->user;
  const u32 length = payload.get_data_length();
  u32 done = 0;
  while (done < length && payload.get_command() != tlm::TLM_IGNORE_COMMAND) {
    const u64 address = payload.get_address() + done;
    const u32 bytes = rest_of_page(address, length - done);
    const models::Peek::Found found =
        peek_->translate(target_.mmu->regime(), {address, AccessKind::Read, user});
    if (found.fault) break;
    const Hpa host(found.translation.host_of(address));
    if (!target_.memory->contains(host, bytes)) break;
    if (payload.is_write()) {
      target_.memory->write(host, payload.get_data_ptr() + done, bytes);
    } else {
      target_.memory->read(host, payload.get_data_ptr() + done, bytes);
    }
    done += bytes;
  }
  return done;
}

bool AccessSocket::get_direct_mem_ptr(tlm_generic_payload& payload, tlm::tlm_dmi& dmi) {
  dmi.init();
  if (!dmi_allowed_ || !target_.memory->has_pointers()) return false;
  const auto* const extension = payload.get_extension<AccessExtension>();
  const bool user = extension == nullptr || extension->user;
  if (payload.is_write() && read_ == AccessKind::Execute)
    return false;  // nobody writes by fetching
  const u64 address = payload.get_address();
  dmi.set_start_address(address / kFrameBytes * kFrameBytes);
  dmi.set_end_address(dmi.get_start_address() + kFrameBytes - 1);
  const models::Grant* const grant = target_.mmu->grant({address, kind_of(payload), user});
  if (grant == nullptr) return false;
  const Translation& entry = grant->translation;
  const u64 size = u64{1} << entry.shift();
  if (!target_.memory->contains(Hpa(entry.host), size)) return false;
  const bool writes = read_ != AccessKind::Execute && entry.dirty &&
                      entry.permits(models::Rights::needed(AccessKind::Write, user));
  const bool reads = entry.permits(models::Rights::needed(read_, user));
  dmi.set_dmi_ptr(
      reinterpret_cast<unsigned char*>(target_.memory->pointer(Hpa(entry.host)).value()));
  dmi.set_start_address(address & ~(size - 1));
  dmi.set_end_address(dmi.get_start_address() + size - 1);
  dmi.set_granted_access(reads && writes ? tlm::tlm_dmi::DMI_ACCESS_READ_WRITE
                         : writes        ? tlm::tlm_dmi::DMI_ACCESS_WRITE
                                         : tlm::tlm_dmi::DMI_ACCESS_READ);
  const sc_time latency = target_.time->time_of(target_.first_latency_cycles);
  dmi.set_read_latency(latency);
  // In a data TLB, or one of stores.
  const u32 write = target_.first_latency_cycles + target_.mmu->first_latency(AccessKind::Write) -
                    target_.mmu->first_latency(AccessKind::Read);
  dmi.set_write_latency(writes ? target_.time->time_of(write) : latency);
  return true;
}

void AccessSocket::revoke(const models::Grant& grant) {
  if (!is_bound()) return;
  const u64 size = u64{1} << grant.translation.shift();
  const u64 start = grant.address & ~(size - 1);
  (*this)->invalidate_direct_mem_ptr(start, start + size - 1);
}

}  // namespace nestwalk::systemc
