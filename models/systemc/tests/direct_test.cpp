// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What takes no simulated time: debug transport, which leaves no trace, and DMI pointers, which
// live until a fence reaches them.

#include "platform_fixture.hpp"

namespace nestwalk::systemc::direct_test {
namespace {

namespace vmx = addrspace::vmx;
using models::FenceRequest;
using models::Reach;
using Range = standard::Initiator::Range;
using tlm::tlm_generic_payload;

class Direct : public PlatformTest, protected models::Actor {
 protected:
  unsigned debug(tlm::tlm_command command, u64 address, void* data, unsigned length) {
    tlm_generic_payload payload;
    fill(payload, command, address, data, length);
    return initiator.out->transport_dbg(payload);
  }
  void access(tlm::tlm_command command, u64 address) {
    u64 data = 0;
    tlm_generic_payload payload;
    fill(payload, command, address, &data, 8);
    initiator.block(payload);
    ASSERT_EQ(payload.get_response_status(), tlm::TLM_OK_RESPONSE);
  }
  bool ask(tlm::tlm_command command, u64 address, tlm::tlm_dmi& dmi) {
    u64 data = 0;
    tlm_generic_payload payload;
    fill(payload, command, address, &data, 8);
    return initiator.out->get_direct_mem_ptr(payload, dmi);
  }
  void fence(const FenceRequest& request) {
    platform.fences().issue(0, request, Reach::Own, *this, 0);
    platform.time.wake();
    sc_core::sc_start();
  }
  void on_cycle(u32) override {}
  static Range range_of(u64 number) { return {page(number), page(number + 1) - 1}; }
};

TEST_F(Direct, DebugTransportLeavesNoTrace) {
  begin();
  word_of(0, kFrameBytes - 8) = 0x1111'1111'1111'1111;
  word_of(1, 0) = 0x2222'2222'2222'2222;
  const models::Hpa root = platform.board().memory().base() + 2 * kFrameBytes + 2 * 8;
  models::HostMemory& memory = platform.board().memory();
  memory.store(root, memory.load(root) & ~addrspace::LongMode::kAccessed);
  const u64 before = memory.load(root);

  u64 data = 0;
  EXPECT_EQ(debug(tlm::TLM_READ_COMMAND, page(0, kFrameBytes - 3), &data, 8), 8u);
  EXPECT_EQ(data, 0x2222'2222'2211'1111u);
  data = 0x3333'3333'3333'3333;
  EXPECT_EQ(debug(tlm::TLM_WRITE_COMMAND, page(0, kFrameBytes - 4), &data, 8), 8u);
  EXPECT_EQ(word_of(0, kFrameBytes - 8), 0x3333'3333'1111'1111u);
  EXPECT_EQ(word_of(1, 0), 0x2222'2222'3333'3333u);
  // Up to the hole behind page 1.
  EXPECT_EQ(debug(tlm::TLM_READ_COMMAND, page(1, kFrameBytes - 3), &data, 8), 3u);
  EXPECT_EQ(debug(tlm::TLM_READ_COMMAND, page(2), &data, 8), 0u);

  EXPECT_EQ(memory.load(root), before);
  EXPECT_EQ(mmu().counts().walks(), 0u);
  EXPECT_EQ(platform.time.wheel().now(), 0u);
  // And the first real access is as cold as ever; one flag has to be set, in a line of L2: 10.
  tlm_generic_payload payload;
  fill(payload, tlm::TLM_READ_COMMAND, page(0), &data, 8);
  EXPECT_EQ(initiator.block(payload), ns(kCold + 10 + kColdData));
}

// A debugger sets a breakpoint in code that nobody may write, for whoever is running.
TEST_F(Direct, DebugTransportAsksForNoRights) {
  begin();
  GuestTables::must(tables->guest.map(addrspace::Gva(page(2)), addrspace::Gpa(0), kFrameBytes,
                                      {addrspace::kRead | addrspace::kExecute}));
  u64 data = 0xcc;
  EXPECT_EQ(debug(tlm::TLM_WRITE_COMMAND, page(2, 16), &data, 1), 1u);
  EXPECT_EQ(word_of(0, 16) & 0xff, 0xccu);
}

TEST_F(Direct, DmiIsForPagesThatATlbHolds) {
  platform.core[0].data.allow_dmi(true);
  begin();
  tlm::tlm_dmi dmi;
  EXPECT_FALSE(ask(tlm::TLM_READ_COMMAND, page(0), dmi));
  EXPECT_EQ(dmi.get_start_address(), page(0));
  EXPECT_EQ(dmi.get_end_address(), page(1) - 1);

  word_of(0, 24) = 99;
  access(tlm::TLM_READ_COMMAND, page(0));
  ASSERT_TRUE(ask(tlm::TLM_READ_COMMAND, page(0, 24), dmi));
  EXPECT_EQ(dmi.get_start_address(), page(0));
  EXPECT_EQ(dmi.get_end_address(), page(1) - 1);
  u64 seen = 0;
  std::memcpy(&seen, dmi.get_dmi_ptr() + 24, sizeof seen);
  EXPECT_EQ(seen, 99u);
  // A hit in the first TLB and in L1.
  EXPECT_EQ(dmi.get_read_latency(), ns(1 + 4));
}

// As long as the page's dirty flag is clear, a write has to walk.
TEST_F(Direct, DmiWritesWaitForTheDirtyFlag) {
  platform.core[0].data.allow_dmi(true);
  begin();
  const models::Hpa leaf = platform.board().memory().base() + 12 * kFrameBytes;
  models::HostMemory& memory = platform.board().memory();
  memory.store(leaf, memory.load(leaf) & ~addrspace::LongMode::kDirty);
  access(tlm::TLM_READ_COMMAND, page(0));
  tlm::tlm_dmi dmi;
  EXPECT_FALSE(ask(tlm::TLM_WRITE_COMMAND, page(0), dmi));
  ASSERT_TRUE(ask(tlm::TLM_READ_COMMAND, page(0), dmi));
  EXPECT_EQ(dmi.get_granted_access(), tlm::tlm_dmi::DMI_ACCESS_READ);
  access(tlm::TLM_WRITE_COMMAND, page(0));
  ASSERT_TRUE(ask(tlm::TLM_WRITE_COMMAND, page(0), dmi));
  EXPECT_EQ(dmi.get_granted_access(), tlm::tlm_dmi::DMI_ACCESS_READ_WRITE);
}

TEST_F(Direct, AFenceEndsThePointersThatItReaches) {
  platform.core[0].data.allow_dmi(true);
  begin();
  tlm::tlm_dmi dmi;
  access(tlm::TLM_READ_COMMAND, page(0));
  access(tlm::TLM_READ_COMMAND, page(1));
  ASSERT_TRUE(ask(tlm::TLM_READ_COMMAND, page(0), dmi));
  ASSERT_TRUE(ask(tlm::TLM_READ_COMMAND, page(1), dmi));

  fence({vmx::kInvvpidSingle, 0, 7, 0, 0, 1});  // of another VPID
  EXPECT_TRUE(initiator.invalidated.empty());
  fence({vmx::kInvvpidAddress, 0, 1, 0, page(1, 8), 1});
  EXPECT_EQ(initiator.invalidated, std::vector{range_of(1)});
  EXPECT_FALSE(ask(tlm::TLM_READ_COMMAND, page(1), dmi));  // the TLB has lost it, too
  fence({vmx::kInveptSingle, tables->regime.nested.root, 0, 0, 0, 1});
  EXPECT_EQ(initiator.invalidated, (std::vector{range_of(1), range_of(0)}));
  fence({vmx::kInveptAll, 0, 0, 0, 0, 1});
  EXPECT_EQ(initiator.invalidated.size(), 2u);  // nothing is said twice
}

// Copy on write: the fault has removed the TLB entry, so that no INVLPG is owed.
TEST_F(Direct, AFaultEndsThePointersToItsPage) {
  platform.core[0].data.allow_dmi(true);
  begin();
  const models::Hpa leaf = platform.board().memory().base() + 12 * kFrameBytes;
  models::HostMemory& memory = platform.board().memory();
  memory.store(leaf, memory.load(leaf) & ~u64{2});
  tlm::tlm_dmi dmi;
  access(tlm::TLM_READ_COMMAND, page(0));
  access(tlm::TLM_READ_COMMAND, page(1));
  ASSERT_TRUE(ask(tlm::TLM_READ_COMMAND, page(0), dmi));
  ASSERT_TRUE(ask(tlm::TLM_READ_COMMAND, page(1), dmi));
  u64 data = 0;
  tlm::tlm_generic_payload payload;
  fill(payload, tlm::TLM_WRITE_COMMAND, page(0), &data, 8);
  initiator.block(payload);
  EXPECT_EQ(payload.get_response_status(), tlm::TLM_COMMAND_ERROR_RESPONSE);
  EXPECT_EQ(initiator.invalidated, std::vector{range_of(0)});
}

TEST_F(Direct, AnotherAddressSpaceEndsAllPointers) {
  platform.core[0].data.allow_dmi(true);
  begin();
  tlm::tlm_dmi dmi;
  access(tlm::TLM_READ_COMMAND, page(0));
  ASSERT_TRUE(ask(tlm::TLM_READ_COMMAND, page(0), dmi));
  mmu().set_regime(tables->regime);
  EXPECT_EQ(initiator.invalidated, std::vector{range_of(0)});
}

class DirectFetches : public Direct {
 protected:
  DirectFetches() : fetcher("fetcher") { fetcher.out.bind(platform.core[0].fetch); }
  bool ask_to_fetch(tlm::tlm_command command, tlm::tlm_dmi& dmi) {
    u64 data = 0;
    tlm_generic_payload payload;
    fill(payload, command, page(0), &data, 8);
    return fetcher.out->get_direct_mem_ptr(payload, dmi);
  }
  standard::Initiator fetcher;
};

// The data TLB has the page, with every right: but nobody writes by fetching.
TEST_F(DirectFetches, AreNoWayToWrite) {
  platform.core[0].fetch.allow_dmi(true);
  begin();
  access(tlm::TLM_WRITE_COMMAND, page(0));
  tlm::tlm_dmi dmi;
  EXPECT_FALSE(ask_to_fetch(tlm::TLM_WRITE_COMMAND, dmi));
}

TEST_F(Direct, WithoutLeaveThereIsNoDmi) {
  begin();
  tlm::tlm_dmi dmi;
  access(tlm::TLM_READ_COMMAND, page(0));
  EXPECT_FALSE(ask(tlm::TLM_READ_COMMAND, page(0), dmi));
  EXPECT_EQ(dmi.get_start_address(), 0u);
  EXPECT_EQ(dmi.get_end_address(), ~sc_dt::uint64{0});
}

}  // namespace
}  // namespace nestwalk::systemc::direct_test
