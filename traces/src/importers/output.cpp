// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "output.hpp"

#include <algorithm>

#include "nestwalk/traces/error.hpp"

namespace nestwalk::traces {
namespace {

// Input may name as many different things as it likes; the report must not grow with them.
constexpr std::size_t kMaxNotes = 50;

u64 address_of(const Access& access) {
  return access.has(kGvaKnown) ? access.gva.value() : access.gpa.value();
}

bool several_addresses(const Access& access) {
  return access.has(kGvaKnown | kGpaKnown) || access.has(kHpaKnown);
}

void check(const Access& access) {
  const auto beyond = [&](u64 address) {
    return access.size != 0 && address + (access.size - 1u) < address;
  };
  if (beyond(access.gva.value()) || beyond(access.gpa.value())) {
    throw RecordError("expected an access within 64-bit addresses, found one beyond their end");
  }
}

[[noreturn]] void fail_clock() {
  throw RecordError("expected clocks below 2^64, found one beyond");
}

}  // namespace

ImportOutput::ImportOutput(ByteSink* sink, Header header, const Writer::Options& options)
    : sink_(sink), header_(std::move(header)), options_(options), stream_(1) {}

void ImportOutput::begin() {
  begun_ = true;
  rules_ = RecordRules(header_);
  if (sink_ != nullptr) writer_ = std::make_unique<Writer>(*sink_, header_, options_);
}

void ImportOutput::select_unordered(u32 vcpu) {
  const u32 limit = sink_ == nullptr ? kMaxVcpus : header_.vcpus;
  if (vcpu >= limit) {
    throw RecordError("expected at most " + std::to_string(limit) + " vCPUs, found one more (" +
                      "tell how many there are with --vcpus)");
  }
  if (vcpu >= stream_.size()) stream_.resize(vcpu + 1);
  streams_ = static_cast<u32>(stream_.size());
  vcpu_ = vcpu;
}

void ImportOutput::set_architecture(Architecture architecture) {
  std::optional<Architecture>& known = header_.architecture;
  if (known && *known != architecture) {
    throw RecordError(std::string("expected a trace of ") + addrspace::to_string(*known) +
                      ", as --architecture or the input says, found " +
                      addrspace::to_string(architecture));
  }
  if (!begun_) known = architecture;
}

void ImportOutput::select(u32 vcpu, u64 time) {
  if (time < latest_time_) {
    throw RecordError("expected records in the order of time, from " +
                      std::to_string(latest_time_) + " ns on, found one of " +
                      std::to_string(time) + " ns");
  }
  latest_time_ = time;
  if (vcpu == vcpu_) return;
  select_unordered(vcpu);
  if (latest_ == ~u64{0}) fail_clock();
  // One more than every clock: records of the same time are read in the order of vCPUs.
  latest_ = std::max(latest_ + 1, time);
  event(TimeSync{latest_});
  stream_[vcpu].clock = latest_;
}

u32 ImportOutput::number_of(u64 thread) {
  if (thread == last_thread_ && last_number_ != ~u32{0}) return last_number_;
  if (number_of_thread_.size() >= kMaxVcpus && !number_of_thread_.contains(thread)) {
    throw RecordError("expected at most " + std::to_string(kMaxVcpus) + " threads, found one more");
  }
  const auto next = static_cast<u32>(number_of_thread_.size());
  last_thread_ = thread;
  last_number_ = number_of_thread_.try_emplace(thread, next).first->second;
  return last_number_;
}

void ImportOutput::access(const Access& access, const Access* next_page) {
  check(access);
  const bool crosses = address_of(access) % kPageBytes + access.size > kPageBytes;
  if (crosses && several_addresses(access) && next_page == nullptr) {
    write_parts(access);
  } else {
    write(access, next_page);
  }
}

// The frames of the first page are known, those of the others are not.
void ImportOutput::write_parts(Access access) {
  if (!access.has(kGvaKnown)) throw RecordError("expected one page, found an access that crosses");
  const auto first = static_cast<u16>(kPageBytes - address_of(access) % kPageBytes);
  Access rest = access;
  access.size = first;
  write(access, nullptr);
  note("frames of the second page of accesses that cross pages");
  rest.gva += first;
  rest.gpa = {};
  rest.hpa = {};
  rest.size = static_cast<u16>(rest.size - first);
  rest.instructions = 0;
  rest.flags = static_cast<u8>((rest.flags & ~kAddressesKnown) | kGvaKnown | kContinues);
  write(rest, nullptr);
}

void ImportOutput::write(const Access& access, const Access* next_page) {
  Stream& stream = stream_[vcpu_];
  if (stream.switches) enter_space();
  if (!begun_) begin();
  if (access.instructions > ~stream.clock) fail_clock();
  if (writer_) writer_->append(vcpu_, access, next_page);
  stream.clock += access.instructions;
  latest_ = std::max(latest_, stream.clock);
  ++records_;
}

void ImportOutput::event(const EventDetail& detail) {
  if (!begun_) begin();
  const Event event{0, detail};
  if (const auto breach = rules_.breach(event)) {
    throw RecordError("expected " + breach->expected + ", found " + breach->found);
  }
  if (writer_) writer_->append(vcpu_, event);
}

void ImportOutput::space(const SpaceSwitch& space) {
  Stream& stream = stream_[vcpu_];
  stream.switches = !stream.in_space || !(stream.space == space);
  stream.next_space = space;
}

void ImportOutput::enter_space() {
  Stream& stream = stream_[vcpu_];
  event(stream.next_space);  // or an error, and those after it are not in the space, either
  stream.switches = false;
  stream.in_space = true;
  stream.space = stream.next_space;
}

void ImportOutput::note(std::string_view what, u64 count) {
  auto found = notes_.find(what);
  if (found == notes_.end()) {
    const bool room = notes_.size() < kMaxNotes;
    found = notes_.try_emplace(std::string(room ? what : "other things"), 0).first;
  }
  found->second += count;
}

void ImportOutput::finish() {
  if (!begun_) begin();
  if (writer_) writer_->finish();
}

}  // namespace nestwalk::traces
