// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/host_space.hpp"

namespace nestwalk::software {
namespace {

// The guest has the machine for itself, or its second stage is recorded. The engine has no tables,
// so nothing is ever missing, and nobody there who could take something away.
class NativeSpace final : public HostSpace {
 public:
  explicit NativeSpace(const models::HostMemory& memory) : memory_(memory) {}

  models::Stage stage() const override { return {}; }
  Result<void> map(Gpa gpa, u64 bytes, addrspace::Backend) override {
    if (!memory_.contains(Hpa(gpa.value()), bytes)) return addrspace::Error::NoMemory;
    return {};
  }
  FaultOutcome handle_fault(Gpa, Access) override { return FaultOutcome::NoArea; }
  Result<void> unmap(Gpa, u64) override { return refusal(); }
  Result<void> protect(Gpa, u64, Access) override { return refusal(); }
  Result<void> start_log(const addrspace::GpaRange&) override { return refusal(); }
  Result<u64> harvest_log(const addrspace::GpaRange&) override { return refusal(); }
  Result<void> release_log(const addrspace::GpaRange&) override { return refusal(); }
  Result<void> stop_log(const addrspace::GpaRange&) override { return refusal(); }
  void flush() override {}
  addrspace::VmTag tag() const override { return {}; }
  Result<void> set_vmid(u16) override { return {}; }
  addrspace::GpaRange range() const override { return {}; }
  Result<Hpa> translate(Gpa gpa) const override { return Hpa(gpa.value()); }
  addrspace::SpaceUsage usage() const override { return {}; }

 private:
  static addrspace::Error refusal() { return addrspace::Error::UnsupportedFeature; }
  const models::HostMemory& memory_;
};

}  // namespace

std::unique_ptr<HostSpace> make_host_space(const models::Extension& extension,
                                           const HypervisorShape& shape, u64 bytes, u16 vmid,
                                           Recording& recording) {
  if (!shape.has_second_stage()) return std::make_unique<NativeSpace>(recording.memory());
  std::unique_ptr<HostSpace> space = extension.host_space(shape, bytes, vmid, recording);
  if (shape.contiguous && !space->form_groups()) {
    throw ShapeError(
        "hypervisor.contiguous: the machine's tables have no groups of pages, which AArch64's and "
        "RISC-V's with Svnapot have");
  }
  return space;
}

}  // namespace nestwalk::software
