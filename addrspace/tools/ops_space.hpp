// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// An address space behind one interface, whatever its architecture: what a script operates on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/fence.hpp"

namespace nestwalk::addrspace {

/// Memory that an entry of the tables points to, or the root.
struct MemoryUse {
  enum class Kind : u8 {
    Table,
    Owned,   ///< guest memory from the Hal
    Linear,  ///< guest memory from elsewhere
  };
  Kind kind;
  Gpa gpa;    ///< the first guest address that it translates or backs
  Hpa start;  ///< of the memory
  u64 bytes;
};

class OpsSpace {
 public:
  static constexpr const char* kMachines[] = {"x86_64", "x86_64-svm", "aarch64", "riscv64"};
  /// A machine of that number with `frames` frames, and an empty space on it. AArch64 has the
  /// 4 KiB granule, with 39-bit intermediate physical addresses for 3 levels, 48-bit ones for 4.
  static Result<std::unique_ptr<OpsSpace>> create(unsigned machine, unsigned levels, Gpa base,
                                                  u64 size, u64 frames);

  OpsSpace() = default;
  OpsSpace(const OpsSpace&) = delete;
  OpsSpace& operator=(const OpsSpace&) = delete;
  virtual ~OpsSpace() = default;

  virtual Result<void> map_linear(Gpa gpa, Hpa hpa, u64 size, MappingFlags flags) = 0;
  virtual Result<void> map_alloc(Gpa gpa, u64 size, MappingFlags flags, Backend backend) = 0;
  virtual Result<void> unmap(Gpa gpa, u64 size) = 0;
  virtual Result<void> protect(Gpa gpa, u64 size, MappingFlags flags) = 0;
  virtual void clear() = 0;
  virtual FaultOutcome handle_fault(Gpa gpa, Access access) = 0;

  /// Where an address leads, and whether to memory of the engine's own.
  struct Target {
    Hpa hpa;
    bool owned;
  };
  virtual Result<Target> query(Gpa gpa) const = 0;

  virtual const Area* area_at(Gpa gpa) const = 0;
  virtual void for_each_area(const std::function<void(const Area&)>& visit) const = 0;
  virtual void for_each_run(const std::function<void(const MappedRun&)>& visit) const = 0;
  /// Everything that the tables point to, read from their raw entries: what the hardware sees, and
  /// pages that a protect without any access hides from it.
  virtual void for_each_memory_use(const std::function<void(const MemoryUse&)>& visit) const = 0;

  virtual SpaceConfig config() const = 0;
  virtual SpaceUsage usage() const = 0;
  /// How many bytes the Hal has handed out and not got back.
  virtual u64 allocated_bytes() const = 0;
  /// Is the frame at this address one of those?
  virtual bool is_allocated(Hpa frame) const = 0;

  virtual void forget_fences() = 0;
  /// Calls visit(Fence) for what a policy issues for the changes since `forget_fences`.
  virtual void for_each_fence(const FencePolicy& policy,
                              const std::function<void(const Fence&)>& visit) const = 0;
};

}  // namespace nestwalk::addrspace
