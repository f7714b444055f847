// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "formats.hpp"

#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::baremetal {
namespace {

// The payload refuses tables that were made for another machine than it finds.
// qemu-system-riscv64 7.2, -cpu rv64 with Svnapot: up to Sv57x4, 14 bits of VMID; any 64 bits are
// an address.
constexpr Capabilities riscv_capabilities() {
  Capabilities found = capabilities_from_hgatp(5, 14);
  found.napot_pages = true;
  return found;
}
const Machine kRiscV{kRiscVMap, riscv_capabilities(), 64};
// qemu-system-aarch64 7.2, -cpu max: ID_AA64MMFR0_EL1 and ID_AA64MMFR1_EL1. With stage 1 off an
// address beyond the physical size, 52 bits, is stage 1's fault.
const Machine kArm{kArmMap, capabilities_from_id_registers(0x323'1020'1126, 0x110'1021'1122), 52};
// Bochs 2.7, corei7_skylake_x: IA32_VMX_EPT_VPID_CAP, and MAXPHYADDR. The guest's own tables cannot
// name more than that.
const Machine kX86{kX86Map, capabilities_from_ept_vpid_cap(0xf01'0633'4141, 40), 40};

// qemu-system-x86_64 7.2, -cpu EPYC: 1 GiB pages, 40 bits of address, 16 ASIDs. As with VMX, the
// guest's own tables name no more.
const Machine kAmd{
    kX86Map,
    capabilities_from_svm({.extended_features_edx = u32{1} << 26, .sizes_eax = 0x3028, .asids = 16},
                          4, kResetPat),
    40};

template <class F>
std::unique_ptr<Trial> make(const Machine& machine, const Geometry& shape,
                            const TrialOptions& options) {
  const auto& [seed, probes, plants, one_bit_wrong] = options;
  if (one_bit_wrong) {
    return std::make_unique<TrialOf<OneBitWrong<F>, F>>(machine, shape, seed, probes, plants);
  }
  return std::make_unique<TrialOf<F>>(machine, shape, seed, probes, plants);
}

template <unsigned kLevels>
std::unique_ptr<Trial> make_riscv(const TrialOptions& options) {
  return make<GStage>(kRiscV, *GStage::geometry(kLevels), options);
}
template <Granule kGranule, Width kWidth, unsigned kBits>
std::unique_ptr<Trial> make_arm(const TrialOptions& options) {
  using F = Stage2<kGranule, kWidth>;
  return make<F>(kArm, *F::geometry(kBits), options);
}
std::unique_ptr<Trial> make_ept(const TrialOptions& options) {
  return make<Ept>(kX86, *Ept::geometry(4), options);
}
std::unique_ptr<Trial> make_npt(const TrialOptions& options) {
  return make<Npt>(kAmd, *Npt::geometry(4), options);
}

constexpr Architecture kA = Architecture::AArch64, kR = Architecture::RiscV64;
constexpr FormatRow kFormats[] = {
    {"sv39x4", kR, make_riscv<3>},
    {"sv48x4", kR, make_riscv<4>},
    {"sv57x4", kR, make_riscv<5>},
    {"stage2-4k-32", kA, make_arm<Granule::k4K, Width::k48, 32>},
    {"stage2-4k-40", kA, make_arm<Granule::k4K, Width::k48, 40>},
    {"stage2-4k-48", kA, make_arm<Granule::k4K, Width::k48, 48>},
    {"stage2-16k-40", kA, make_arm<Granule::k16K, Width::k48, 40>},
    {"stage2-16k-48", kA, make_arm<Granule::k16K, Width::k48, 48>},
    {"stage2-64k-40", kA, make_arm<Granule::k64K, Width::k48, 40>},
    {"stage2-64k-48", kA, make_arm<Granule::k64K, Width::k48, 48>},
    {"stage2-4k-52", kA, make_arm<Granule::k4K, Width::k52, 52>},
    {"stage2-16k-wide-48", kA, make_arm<Granule::k16K, Width::k52, 48>},
    {"stage2-64k-52", kA, make_arm<Granule::k64K, Width::k52, 52>},
    {"ept", Architecture::X86_64, make_ept},
    {"npt", Architecture::X86_64, make_npt},
};

}  // namespace

std::span<const FormatRow> formats() { return kFormats; }

}  // namespace nestwalk::baremetal
