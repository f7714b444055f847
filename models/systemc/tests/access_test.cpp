// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a processor that is bound to an Mmu's socket sees: data, times, errors.

#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/translation/fault_report.hpp"
#include "platform_fixture.hpp"

namespace nestwalk::systemc::access_test {
namespace {

using models::AccessKind;
using models::FaultKind;
using tlm::tlm_generic_payload;

class Access : public PlatformTest {
 protected:
  explicit Access(u32 cores = 1, Cycle lookahead = models::kNever)
      : PlatformTest(cores, lookahead) {}

  tlm_generic_payload& read(u64 address, void* data, unsigned length) {
    tlm_generic_payload& payload = initiator.pool.take();
    fill(payload, tlm::TLM_READ_COMMAND, address, data, length);
    return payload;
  }
};

TEST_F(Access, BlockingAddsWhatItTakesAndDoesNotWait) {
  begin();
  word_of(0, 8) = 0x1122'3344'5566'7788;
  u64 data = 0;
  tlm_generic_payload payload;
  fill(payload, tlm::TLM_READ_COMMAND, page(0, 8), &data, 8);
  EXPECT_EQ(initiator.block(payload), ns(kCold + kColdData));
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_OK_RESPONSE);
  EXPECT_EQ(data, 0x1122'3344'5566'7788u);
  EXPECT_EQ(sc_core::sc_time_stamp(), sc_core::SC_ZERO_TIME);
  // Again, when that is over: first TLB 1, L1 4.
  EXPECT_EQ(initiator.block(payload, ns(kCold + kColdData)), ns(5));
  // With a time that lies before: the models are ahead by those five, and it begins after them.
  EXPECT_EQ(initiator.block(payload, ns(kCold + kColdData)), ns(5 + 5));
  EXPECT_EQ(platform.core[0].data.late_cycles(), 5u);
}

TEST_F(Access, NonBlockingRespondsInTheVeryCycle) {
  begin();
  u64 data[2] = {};
  word_of(0, 0) = 7;
  word_of(0, 64) = 8;
  initiator.send_at(ns(100), read(page(0), &data[0], 8));
  sc_core::sc_start(ns(100 + kCold + kColdData - 1));
  EXPECT_TRUE(initiator.responses.empty());
  sc_core::sc_start(ns(1) + ns(1));
  ASSERT_EQ(initiator.responses.size(), 1u);
  EXPECT_EQ(initiator.responses[0].at, ns(100 + kCold + kColdData));
  EXPECT_EQ(data[0], 7u);
  EXPECT_EQ(initiator.pool.freed, 1u);  // nobody holds it any more

  // An annotated delay counts; a part of a cycle is rounded up: 3000 + 0.5 + 9 -> 3010.
  initiator.send_at(ns(3000.5), read(page(0, 64), &data[1], 8), ns(9));
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), 2u);
  // First TLB 1; a line of a row that is open: L1 4, L2 10, L3 40, 100.
  EXPECT_EQ(initiator.responses[1].at, ns(3010 + 1 + 154));
  EXPECT_EQ(data[1], 8u);
}

// The second finds the walk of the first, waits for it, looks again and waits for the bank:
//   2001  the walk ends
//   2002  first TLB; then L1 4, L2 10, L3 40
//   2056  to memory: there at 2096, after the first, whose column is at 2145. Its own follows by
//   tCCD,
//         10, and so do its data
TEST_F(Access, TwoToOnePageAreUnderWayAtATime) {
  begin();
  u64 data[2] = {};
  initiator.send_at(ns(0), read(page(0), &data[0], 8));
  initiator.send_at(ns(0), read(page(0, 64), &data[1], 8));
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), 2u);
  EXPECT_EQ(initiator.responses[0].at, ns(2205));
  EXPECT_EQ(initiator.responses[1].at, ns(2215));
  EXPECT_EQ(mmu().counts().walks(), 1u);
  EXPECT_EQ(mmu().counts().merged, 1u);
}

TEST_F(Access, ResponsesWaitUntilTheOneBeforeIsAccepted) {
  begin();
  u64 data[2] = {};
  initiator.accepts_after = ns(250);
  initiator.send_at(ns(0), read(page(0), &data[0], 8));
  initiator.send_at(ns(0), read(page(0, 64), &data[1], 8));
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), 2u);
  EXPECT_EQ(initiator.responses[0].at, ns(2205));
  EXPECT_EQ(initiator.responses[1].at, ns(2205 + 250));
}

// Page 0 is translated at 2001. Page 1 follows: first and second TLB 10, guest walk cache 1, the
// guest's entry from L2 10, nested TLB and walk cache 2, EPT level 0 from L2 10: 33. Then the last
// line of frame 7: 4 + 10 + 40 + 150, and the first of frame 13, in the row of frame 12 that is
// open: 4 + 10 + 40 + 100.
TEST_F(Access, AcrossPagesTranslatesBothThenTransfersBoth) {
  begin();
  word_of(0, kFrameBytes - 8) = 0x1111'1111'1111'1111;
  word_of(1, 0) = 0x2222'2222'2222'2222;
  u64 data = 0;
  AccessExtension extension;
  tlm_generic_payload payload;
  payload.set_extension(&extension);
  fill(payload, tlm::TLM_READ_COMMAND, page(0, kFrameBytes - 3), &data, 8);
  EXPECT_EQ(initiator.block(payload), ns(2001 + 33 + 204 + 154));
  EXPECT_EQ(data, 0x2222'2222'2211'1111u);
  EXPECT_EQ(extension.translated, 2034u);
  EXPECT_EQ(extension.end, 2392u);
  EXPECT_EQ(extension.served, models::Served::Memory);
  payload.clear_extension(&extension);
}

TEST_F(Access, WritesOnlyTheBytesThatAreEnabled) {
  begin();
  word_of(0, kFrameBytes - 8) = 0;
  word_of(1, 0) = 0;
  u64 data = 0x8877'6655'4433'2211;
  unsigned char enables[3] = {0xff, 0, 0xff};
  tlm_generic_payload payload;
  fill(payload, tlm::TLM_WRITE_COMMAND, page(0, kFrameBytes - 4), &data, 8);
  payload.set_byte_enable_ptr(enables);
  payload.set_byte_enable_length(3);
  initiator.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_OK_RESPONSE);
  // Bytes 1, 4 and 7 stay: 11 -- 33 44 | -- 66 77 --
  EXPECT_EQ(word_of(0, kFrameBytes - 8), 0x4433'0011'0000'0000u);
  EXPECT_EQ(word_of(1, 0), 0x0000'0000'0077'6600u);
}

TEST_F(Access, FaultsTouchNothingAndSayWhy) {
  begin();
  GuestTables::must(tables->guest.map(addrspace::Gva(page(2)), addrspace::Gpa(0), kFrameBytes,
                                      {addrspace::kRead | addrspace::kUser}));
  u64 data = 42;
  AccessExtension extension;
  tlm_generic_payload payload;
  payload.set_extension(&extension);

  fill(payload, tlm::TLM_WRITE_COMMAND, page(2), &data, 8);
  initiator.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_COMMAND_ERROR_RESPONSE);
  EXPECT_EQ(extension.fault.kind, FaultKind::Permission);
  EXPECT_FALSE(extension.fault.nested);

  // From a page that is there into one that is not.
  word_of(1, kFrameBytes - 8) = 5;
  fill(payload, tlm::TLM_WRITE_COMMAND, page(1, kFrameBytes - 4), &data, 8);
  ASSERT_TRUE(tables->guest.unmap(addrspace::Gva(page(2))).ok());
  initiator.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_ADDRESS_ERROR_RESPONSE);
  EXPECT_EQ(extension.fault.kind, FaultKind::NotPresent);
  EXPECT_EQ(extension.fault_address, page(2));
  EXPECT_EQ(word_of(1, kFrameBytes - 8), 5u);

  // The kernel's page, for a user.
  GuestTables::must(tables->guest.map(addrspace::Gva(page(3)), addrspace::Gpa(0), kFrameBytes,
                                      {addrspace::kRead}));
  fill(payload, tlm::TLM_READ_COMMAND, page(3), &data, 8);
  initiator.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_COMMAND_ERROR_RESPONSE);
  EXPECT_EQ(data, 42u);
  extension.user = false;
  initiator.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_OK_RESPONSE);
  payload.clear_extension(&extension);
}

// The tables lead to where no memory is. RISC-V: load and store access faults (privileged spec,
// "Supervisor Cause Register"). Arm: a synchronous external abort that is not of a walk, 0x10, from
// a lower Exception level, EC 0x24; IL is bit 25, WnR bit 6 (Arm ARM, "ISS encoding for an
// exception from a Data Abort").
TEST_F(Access, DataWithoutMemoryAreABusErrorOfTheAccess) {
  begin();
  GuestTables::must(tables->guest.map(addrspace::Gva(page(3)), addrspace::Gpa(u64{1} << 40),
                                      kFrameBytes,
                                      {addrspace::kRead | addrspace::kWrite | addrspace::kUser}));
  GuestTables::must(tables->nested.map(addrspace::Gpa(u64{1} << 40), models::Hpa(u64{1} << 45),
                                       kFrameBytes, {addrspace::kRead | addrspace::kWrite}));
  for (const bool write : {false, true}) {
    u64 data = 0;
    AccessExtension extension;
    tlm_generic_payload payload;
    fill(payload, write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, page(3), &data, 8);
    payload.set_extension(&extension);
    initiator.block(payload);
    payload.clear_extension(&extension);
    EXPECT_EQ(extension.fault.kind, FaultKind::BusError);
    EXPECT_EQ(models::kRiscV64.report(extension.fault)["vscause"], write ? 7u : 5u);
    EXPECT_EQ(models::kAArch64.report(extension.fault)["ESR_EL1"],
              u64{0x24} << 26 | 1 << 25 | (write ? 1 << 6 : 0) | 0x10);
    EXPECT_EQ(models::kAArch64.report(extension.fault)["FAR_EL1"], page(3));
  }
}

TEST_F(Access, NothingButAnAddressIsOnlyTranslated) {
  begin();
  AccessExtension extension;
  tlm_generic_payload payload;
  payload.set_extension(&extension);
  fill(payload, tlm::TLM_IGNORE_COMMAND, page(0, 0x123), nullptr, 0);
  EXPECT_EQ(initiator.block(payload), ns(kCold));
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_OK_RESPONSE);
  EXPECT_EQ(models::Hpa(extension.host),
            platform.board().memory().base() + 7 * kFrameBytes + 0x123);
  payload.clear_extension(&extension);
}

TEST_F(Access, WhatNobodyCanDoIsRefusedAtOnce) {
  begin();
  u64 data = 0;
  tlm_generic_payload payload;
  fill(payload, tlm::TLM_READ_COMMAND, page(0), &data, 8);
  payload.set_streaming_width(4);
  EXPECT_EQ(initiator.block(payload), sc_core::SC_ZERO_TIME);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_BURST_ERROR_RESPONSE);
  fill(payload, tlm::TLM_READ_COMMAND, page(0), &data, 0);
  initiator.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_BURST_ERROR_RESPONSE);

  tlm_generic_payload& other = read(page(0), &data, 8);
  other.set_streaming_width(4);
  initiator.send_at(ns(1), other);
  sc_core::sc_start();
  ASSERT_EQ(initiator.responses.size(), 1u);
  EXPECT_EQ(other.get_response_status(), tlm::TLM_BURST_ERROR_RESPONSE);
}

class AccessWithFetches : public Access {
 protected:
  AccessWithFetches() : fetcher("fetcher") { fetcher.out.bind(platform.core[0].fetch); }
  standard::Initiator fetcher;
};

TEST_F(AccessWithFetches, TheFetchSocketFetches) {
  begin();
  GuestTables::must(tables->guest.map(addrspace::Gva(page(2)), addrspace::Gpa(0), kFrameBytes,
                                      {addrspace::kRead | addrspace::kUser}));
  u64 data = 0;
  tlm_generic_payload payload;
  fill(payload, tlm::TLM_READ_COMMAND, page(2), &data, 8);
  fetcher.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_COMMAND_ERROR_RESPONSE);
  initiator.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_OK_RESPONSE);
  fill(payload, tlm::TLM_WRITE_COMMAND, page(0), &data, 8);
  fetcher.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_COMMAND_ERROR_RESPONSE);
}

}  // namespace
}  // namespace nestwalk::systemc::access_test
