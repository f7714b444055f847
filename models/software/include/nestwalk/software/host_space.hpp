// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine's address space of a guest, in whichever format the machine has.
#pragma once

#include <memory>
#include <stdexcept>
#include <vector>

#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/software/work.hpp"

namespace nestwalk::software {

using addrspace::Access;
using addrspace::FaultOutcome;
using addrspace::Result;

class HostSpace {
 public:
  virtual ~HostSpace() = default;

  /// The tables as a walker sees them; off, where addresses pass unchanged.
  virtual models::Stage stage() const = 0;
  virtual addrspace::VmTag tag() const = 0;
  /// Another VMID, while no core runs the guest.
  virtual Result<void> set_vmid(u16 vmid) = 0;
  /// Promises [gpa, gpa + bytes) to the guest; linear backends take one run of host memory.
  virtual Result<void> map(Gpa gpa, u64 bytes, addrspace::Backend backend) = 0;
  virtual FaultOutcome handle_fault(Gpa gpa, Access access) = 0;
  virtual Result<void> unmap(Gpa gpa, u64 bytes) = 0;
  virtual Result<void> protect(Gpa gpa, u64 bytes, Access access) = 0;
  /// By hardware dirty flags where the tables have them, else by write protection. Of all memory;
  /// outside of the part, pages count as written until they are harvested.
  virtual Result<void> start_log(const addrspace::GpaRange& part) = 0;
  /// How many bytes of the part were written since.
  virtual Result<u64> harvest_log(const addrspace::GpaRange& part) = 0;
  /// Writes to the part no longer fault.
  virtual Result<void> release_log(const addrspace::GpaRange& part) = 0;
  /// Once all other parts are released.
  virtual Result<void> stop_log(const addrspace::GpaRange& part) = 0;
  /// With deferred fences: what the operations since the last call need, and their frames.
  virtual void flush() = 0;
  /// From now on, pages that may be one translation say so.
  virtual Result<void> form_groups() { return addrspace::Error::UnsupportedFeature; }
  /// The guest asks for contiguous frames behind these 2 MiB.
  virtual void keep_together(Gpa /*start*/) {}
  /// Of guest-physical addresses; operations outside of it are refused.
  virtual addrspace::GpaRange range() const = 0;
  virtual Result<Hpa> translate(Gpa gpa) const = 0;
  virtual addrspace::SpaceUsage usage() const = 0;
};

/// For the guest-physical memory [0, bytes); without a second stage it is the host's own. Throws
/// ShapeError where there is no such space.
std::unique_ptr<HostSpace> make_host_space(const models::Extension& extension,
                                           const HypervisorShape& shape, u64 bytes, u16 vmid,
                                           Recording& recording);

/// A shape that no machine has: the message says which part, and what there is.
class ShapeError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace nestwalk::software
