// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Rights of a translation, and what an access needs of them.
#pragma once

#include "nestwalk/models/translation/regime.hpp"

namespace nestwalk::models {

enum class AccessKind : u8 { Read, Write, Execute };

/// Read, write and execute for user mode (bits 0 to 2) and for the kernel (bits 3 to 5), so that
/// both stages and all levels combine with `&` and a check is one mask.
class Rights {
 public:
  constexpr Rights() = default;
  constexpr explicit Rights(u8 bits) : bits_(bits) {}

  /// Of a nested leaf: it serves every privilege level alike.
  static constexpr Rights nested(Access access) {
    const unsigned rwx = access.bits() & 7u;
    return Rights(static_cast<u8>(rwx | rwx << 3));
  }
  /// Of one that is also read by whoever may execute it.
  constexpr Rights with_execute_as_read() const {
    return Rights(static_cast<u8>(bits_ | (bits_ >> 2 & 0b001001u)));
  }
  /// Of a guest leaf, after what its tables left of it.
  static constexpr Rights guest(Access access, PrivilegeRules rules, const StageRules& stage) {
    unsigned rwx = access.bits() & 7u;
    if (rules.execute_is_read) rwx = Rights(static_cast<u8>(rwx)).with_execute_as_read().bits_;
    const bool user = access.has(kUser);
    unsigned of_user = (user ? rwx & 3 : 0) | (access.has(kUserMayExecute) ? rwx & 4 : 0);
    unsigned of_kernel = access.has(kKernelMayExecute) ? rwx : rwx & 3;
    if (rules.kernel_writes_read_only) of_kernel |= 2;
    if (user && !rules.kernel_touches_user) of_kernel &= 4;
    const bool executes_user =
        stage.kernel_executes_what_users_read ? !access.has(kWrite) : rules.kernel_executes_user;
    if (user && !executes_user) of_kernel &= 3;
    // Who may write it; the kernel, where both may (Arm ARM, SCTLR_EL1.WXN).
    if (rules.writable_never_executes && access.has(kWrite)) {
      if (user) of_user &= 3;
      of_kernel &= 3;
    }
    if (rules.not_known) return Rights::nested(Access(static_cast<u8>(of_user | of_kernel)));
    return Rights(static_cast<u8>(of_user | of_kernel << 3));
  }
  static constexpr Rights needed(AccessKind kind, bool user) {
    return Rights(static_cast<u8>(1u << static_cast<unsigned>(kind) << (user ? 0 : 3)));
  }
  static constexpr Rights all() { return Rights(0x3f); }

  constexpr u8 bits() const { return bits_; }
  constexpr bool permit(Rights wanted) const { return (bits_ & wanted.bits_) == wanted.bits_; }
  friend constexpr Rights operator&(Rights a, Rights b) {
    return Rights(static_cast<u8>(a.bits_ & b.bits_));
  }
  friend constexpr bool operator==(Rights, Rights) = default;

 private:
  u8 bits_ = 0;
};

}  // namespace nestwalk::models
