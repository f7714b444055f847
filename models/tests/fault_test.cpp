// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Faults and the registers that report them, one by one.

#include <gtest/gtest.h>

#include "nested_world.hpp"
#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/translation/fault_report.hpp"
#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::models::fault_test {
namespace {

using namespace addrspace;

constexpr u64 kVirtual = 0x40'3000;
constexpr u64 kData = 2 * kGiB + 0x5000;

template <class G, class N>
struct OnePage : NestedWorld<G, N> {
  OnePage(const Geometry& guest_shape, const Geometry& nested_shape, Access guest_access,
          Access nested_access, bool hardware_dirty = false)
      : NestedWorld<G, N>(guest_shape, nested_shape, {}, hardware_dirty) {
    this->map_guest(kVirtual, kData, 0, guest_access);
    this->map_tables(0);
    this->map_nested(kData, 0, nested_access);
  }
};
struct X86 : OnePage<LongMode, Ept> {
  X86(Access inner, Access outer, bool dirty = false)
      : OnePage(*LongMode::geometry(4), *Ept::geometry(4), inner, outer, dirty) {}
};
struct Arm : OnePage<Stage1<Granule::k4K>, Stage2<Granule::k4K>> {
  Arm(Access inner, Access outer)
      : OnePage(*Stage1<Granule::k4K>::geometry(39), *Stage2<Granule::k4K>::geometry(40), inner,
                outer) {}
};
struct Riscv : OnePage<Sv, GStage> {
  Riscv(Access inner, Access outer)
      : OnePage(*Sv::geometry(3), *GStage::geometry(3), inner, outer) {}
};
constexpr Access kUserAll = kRwx | kUser;

TEST(X86Report, WriteToAReadOnlyGuestPage) {
  X86 world(kRead | kUser, kRwx);
  world.walk(kVirtual + 8, AccessKind::Write);
  const FaultReport report = world.regime.report_of(world.fault);
  EXPECT_EQ(report.event, "page fault");
  EXPECT_EQ(report["error code"], 0b00111);  // P, W/R, U/S
  EXPECT_EQ(report["CR2"], kVirtual + 8);
}
TEST(X86Report, FetchOfAMissingGuestPage) {
  X86 world(kUserAll, kRwx);
  world.walk(kVirtual + 0x1000, AccessKind::Execute, false);
  EXPECT_EQ(world.regime.report_of(world.fault)["error code"], 0b10000);  // I/D
}
TEST(X86Report, ReservedBitInAGuestEntry) {
  X86 world(kUserAll, kRwx);
  world.walk(kVirtual);
  const Hpa leaf(world.record.references[world.record.count - 5].address);
  world.memory.store(leaf, world.memory.load(leaf) | u64{1} << 50);
  world.walk(kVirtual);
  EXPECT_EQ(world.regime.report_of(world.fault)["error code"], 0b01101);  // P, U/S, RSVD
}
TEST(X86Report, ANonCanonicalAddressIsNoPageFault) {
  X86 world(kUserAll, kRwx);
  world.walk(u64{1} << 47);
  EXPECT_EQ(world.regime.report_of(world.fault).event, "general protection");
  EXPECT_EQ(world.record.count, 0u);
}
TEST(X86Report, EptViolationOfTheDataSaysWhatIsAllowed) {
  X86 world(kUserAll, kRead | kExecute);
  world.walk(kVirtual + 8, AccessKind::Write);
  const FaultReport report = world.regime.report_of(world.fault);
  EXPECT_EQ(report.event, "EPT violation");
  // write; R and X allowed; linear address valid; of the final address
  EXPECT_EQ(report["exit qualification"], 1u << 1 | 0b101u << 3 | 1u << 7 | 1u << 8);
  EXPECT_EQ(report["guest-physical address"], kData + 8);
  EXPECT_EQ(report["guest-linear address"], kVirtual + 8);
}
TEST(X86Report, EptViolationOfATableIsNotOfTheFinalAddress) {
  X86 world(kUserAll, kRwx);
  const Gpa root = world.guest.root();
  ASSERT_TRUE(world.nested.unmap(root).ok());
  world.walk(kVirtual, AccessKind::Write);
  const FaultReport report = world.regime.report_of(world.fault);
  EXPECT_EQ(report["exit qualification"],
            1u << 0 | 1u << 7);  // a read of the table; nothing allowed
  EXPECT_EQ(report["guest-physical address"], root.value());  // entry 0
}
TEST(X86Report, WithAccessedAndDirtyFlagsReadsOfTablesAreWrites) {
  X86 world(kUserAll, kRwx, true);
  ASSERT_TRUE(world.nested.protect(world.guest.root(), {kRead | kExecute}).ok());
  world.walk(kVirtual);
  const FaultReport report = world.regime.report_of(world.fault);
  EXPECT_EQ(report["exit qualification"], 0b11u | 0b101u << 3 | 1u << 7);
}
TEST(X86Report, SettingAFlagInAReadOnlyTableIsAWrite) {
  X86 world(kUserAll, kRwx);
  ASSERT_TRUE(world.nested.protect(world.guest.root(), {kRead}).ok());
  world.walk(kVirtual);  // the root entry's accessed flag is clear
  EXPECT_EQ(world.regime.report_of(world.fault)["exit qualification"],
            0b10u | 0b001u << 3 | 1u << 7);
}
TEST(X86Report, WriteOnlyIsAMisconfiguration) {
  X86 world(kUserAll, kRwx);
  world.walk(kVirtual);
  const Hpa leaf(world.record.references[world.record.count - 1].address);
  world.memory.store(leaf, (world.memory.load(leaf) & ~u64{7}) | 2);
  world.walk(kVirtual);
  const FaultReport report = world.regime.report_of(world.fault);
  EXPECT_EQ(report.event, "EPT misconfiguration");
  EXPECT_EQ(report["guest-physical address"], kData);
}

TEST(ArmReport, StageTwoTranslationFaultOfTheData) {
  Arm world(kUserAll, kRwx);
  world.map_nested(kData + 0x1000, 0);  // so that the table stays
  ASSERT_TRUE(world.nested.unmap(Gpa(kData)).ok());
  world.walk(kVirtual + 4, AccessKind::Write);
  const FaultReport report = world.regime.report_of(world.fault);
  EXPECT_TRUE(report.to_hypervisor);
  // EC 0x24, IL, WnR, translation fault level 3
  EXPECT_EQ(report["ESR_EL2"], u64{0x24} << 26 | 1u << 25 | 1u << 6 | 0b000111u);
  EXPECT_EQ(report["FAR_EL2"], kVirtual + 4);
  EXPECT_EQ(report["HPFAR_EL2"], kData >> 12 << 4);
}
TEST(ArmReport, StageTwoFaultOfATableHasS1ptwAndIsARead) {
  Arm world(kUserAll, kRwx);
  ASSERT_TRUE(world.nested.unmap(world.guest.root()).ok());
  world.walk(kVirtual, AccessKind::Write);
  const FaultReport report = world.regime.report_of(world.fault);
  EXPECT_EQ(report["ESR_EL2"], u64{0x24} << 26 | 1u << 25 | 1u << 7 | 0b000111u);
  EXPECT_EQ(report["HPFAR_EL2"], world.guest.root().value() >> 12 << 4);
}
TEST(ArmReport, FetchWithoutPermissionInStageTwo) {
  Arm world(kUserAll, kRead | kWrite);
  world.walk(kVirtual, AccessKind::Execute);
  EXPECT_EQ(world.regime.report_of(world.fault)["ESR_EL2"], u64{0x20} << 26 | 1u << 25 | 0b001111u);
}
TEST(ArmReport, TheAccessFlagComesBeforeThePermission) {
  Arm world(kRead | kUser, kRwx);
  world.walk(kVirtual);
  const Hpa leaf(world.record.references[world.record.count - 4].address);
  world.memory.store(leaf, world.memory.load(leaf) & ~(u64{1} << 10));
  world.walk(kVirtual, AccessKind::Write);
  const FaultReport report = world.regime.report_of(world.fault);
  EXPECT_FALSE(report.to_hypervisor);
  EXPECT_EQ(report["ESR_EL1"] & 0x3f, 0b001011u);
}
TEST(ArmReport, AnIpaBeyondTheTablesIsALevelZeroFault) {
  Arm world(kUserAll, kRwx);
  ASSERT_TRUE(world.guest.remap(Gva(kVirtual), Gpa(u64{1} << 41), {kUserAll}).ok());
  world.walk(kVirtual);
  EXPECT_EQ(world.regime.report_of(world.fault)["ESR_EL2"] & 0x3f, 0b000100u);
}

TEST(RiscvReport, GuestPageFaultOfAStore) {
  Riscv world(kUserAll, kRead);
  world.walk(kVirtual + 16, AccessKind::Write);
  EXPECT_EQ(world.regime.report_of(world.fault), (FaultReport{"store/AMO guest-page fault",
                                                              true,
                                                              {{{"scause", 23},
                                                                {"stval", kVirtual + 16},
                                                                {"htval", (kData + 16) >> 2},
                                                                {"htinst", 0}}}}));
}
TEST(RiscvReport, ImplicitAccessesHaveAPseudoinstruction) {
  Riscv world(kUserAll, kRwx);
  ASSERT_TRUE(world.nested.unmap(world.guest.root()).ok());
  world.walk(kVirtual, AccessKind::Execute);
  // Fault of the original access, address of the table's entry (entry 0 of the root), 64-bit read.
  EXPECT_EQ(world.regime.report_of(world.fault),
            (FaultReport{"instruction guest-page fault",
                         true,
                         {{{"scause", 20},
                           {"stval", kVirtual},
                           {"htval", world.guest.root().value() >> 2},
                           {"htinst", 0x3000}}}}));
}
TEST(RiscvReport, AClearDirtyFlagIsAPageFaultWithoutSvadu) {
  Riscv world(kUserAll, kRwx);
  world.walk(kVirtual);
  const Hpa leaf(world.record.references[world.record.count - 4].address);
  world.memory.store(leaf, world.memory.load(leaf) & ~SvEntry::kD);
  world.walk(kVirtual);
  EXPECT_FALSE(world.fault);
  world.walk(kVirtual, AccessKind::Write);
  EXPECT_EQ(
      world.regime.report_of(world.fault),
      (FaultReport{"store/AMO page fault", false, {{{"vscause", 15}, {"vstval", kVirtual}}}}));
}

TEST(Updates, DirtyFlagsOfBothStagesAreSetByAWriteOnly) {
  X86 world(kUserAll, kRwx, true);
  world.walk(kVirtual, AccessKind::Read);
  const Hpa nested_leaf(world.record.references[world.record.count - 1].address);
  EXPECT_NE(world.memory.load(nested_leaf) & Ept::kAccessed, 0u);
  EXPECT_EQ(world.memory.load(nested_leaf) & Ept::kDirty, 0u);
  EXPECT_FALSE(world.translation.dirty);
  world.walk(kVirtual, AccessKind::Write);
  EXPECT_NE(world.memory.load(nested_leaf) & Ept::kDirty, 0u);
  EXPECT_TRUE(world.translation.dirty);
}
/// A fault of an MMU that has just made another access of the page, or none.
template <class World>
Fault fault_of(World& world, AccessKind access, std::optional<AccessKind> before) {
  const ArrayShape pages{1, 16, {12}};
  Mmu mmu(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
          {{}, {{pages}, 1}, {}, {}});
  mmu.set_regime(world.regime);
  Mmu::Outcome outcome;
  const auto make = [&](AccessKind kind) {
    outcome = {};
    if (!mmu.translate({kVirtual + 8, kind, true}, world, 0, outcome)) world.wheel.run();
  };
  if (before) make(*before);
  EXPECT_FALSE(outcome.fault);
  make(access);
  EXPECT_EQ(mmu.counts().walks(), 1u);  // the TLB refuses the second access by itself
  EXPECT_EQ(outcome.fault.kind, FaultKind::Permission);
  return outcome.fault;
}
/// What a TLB entry refuses is the fault that a walk finds.
template <class World>
Fault fault_warm_and_cold(World&& world, AccessKind before) {
  const Fault cold = fault_of(world, AccessKind::Write, {});
  const Fault warm = fault_of(world, AccessKind::Write, before);
  EXPECT_EQ(warm.level, cold.level);
  EXPECT_EQ(warm.granted, cold.granted);
  EXPECT_EQ(warm.guest_physical, cold.guest_physical);
  EXPECT_EQ(warm.reads_as_writes, cold.reads_as_writes);
  EXPECT_TRUE(warm == cold);
  return cold;
}

// The first stage has no guest-physical address to tell, and rights of the second stage are none of
// its business.
TEST(WarmFaults, OfTheFirstStageAreThoseOfAWalk) {
  const Access inner = kRead | kUser;
  for (const Fault& fault : {fault_warm_and_cold(X86(inner, kRwx), AccessKind::Read),
                             fault_warm_and_cold(Arm(inner, kRwx), AccessKind::Read),
                             fault_warm_and_cold(Riscv(inner, kRwx), AccessKind::Read)}) {
    EXPECT_FALSE(fault.nested);
    EXPECT_EQ(fault.granted, Access{});
    EXPECT_EQ(fault.guest_physical, 0u);
  }
}

// Intel SDM vol. 3C, "Exit Qualification for EPT Violations": bits 3 to 5 are the rights of the EPT
// entries.
TEST(WarmFaults, OfTheSecondStageAreThoseOfAWalk) {
  const Access outer = kRead | kExecute;
  for (const bool dirty : {false, true}) {
    const Fault fault = fault_warm_and_cold(X86(kUserAll, outer, dirty), AccessKind::Read);
    EXPECT_EQ(kVmx.report(fault)["exit qualification"], 1u << 1 | 0b101u << 3 | 1u << 7 | 1u << 8);
    EXPECT_EQ(fault.reads_as_writes, dirty);
  }
  for (const Fault& fault : {fault_warm_and_cold(Arm(kUserAll, outer), AccessKind::Read),
                             fault_warm_and_cold(Riscv(kUserAll, outer), AccessKind::Read)}) {
    EXPECT_TRUE(fault.nested);
    EXPECT_EQ(fault.granted, outer);
    EXPECT_EQ(fault.guest_physical, kData + 8);
  }
}

// "The HS-level MXR bit makes execute-only pages readable for both stages": it grants the read.
TEST(WarmFaults, GrantWhatMxrMakesReadable) {
  Riscv world(kUserAll, kExecute);
  world.regime.privilege.nested_execute_is_read = true;
  EXPECT_EQ(fault_warm_and_cold(world, AccessKind::Read).granted, kRead | kExecute);
}

TEST(BusError, ATableOutsideMemory) {
  Riscv world(kUserAll, kRwx);
  world.regime.nested.root = u64{1} << 40;
  world.walk(kVirtual, AccessKind::Read);
  EXPECT_EQ(world.regime.report_of(world.fault)["vscause"], 5u);
}

}  // namespace
}  // namespace nestwalk::models::fault_test
