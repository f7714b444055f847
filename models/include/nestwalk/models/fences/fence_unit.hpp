// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences: which cached translations an operation removes, and when it has done so on which cores.
// What each of them reaches is in its row (addrspace/extension/).
#pragma once

#include <optional>
#include <span>

#include "nestwalk/models/machine/board.hpp"
#include "nestwalk/models/translation/extension.hpp"

namespace nestwalk::models {

namespace fence = addrspace::fence;
using addrspace::By;
using addrspace::FenceOrder;
using addrspace::FenceRow;

struct FenceRequest {
  FenceOp op{};         ///< none: nothing was issued, and nothing may be with this
  u64 root = 0;         ///< INVEPT: EPTP
  u16 vmid = 0;         ///< VMID or VPID, the current one where the operation names none
  u16 asid = 0;         ///< ASID or PCID, likewise
  u64 address = 0;      ///< virtual or guest-physical
  u64 bytes = 1;        ///< from there: more for range operations
  bool engine = false;  ///< the engine's: `instruction`
  bool alone = false;   ///< of nobody but who runs there
  addrspace::Fence instruction{};
};

/// What an instruction means on a core that runs under these tags.
FenceRequest request_of(const addrspace::Fence& fence, u16 vmid, u16 asid);

/// x86: bits 51:12 of the EPTP (EP4TA), or of nCR3.
constexpr u64 root_of(u64 root_register) {
  return root_register & addrspace::low_mask(52) & ~addrspace::low_mask(12);
}

/// Removes from one core what the fence reaches; how many entries that were. Walks in flight there
/// begin again. `remember`: whatever is filled again counts as a refill.
u64 apply_fence(const FenceRequest& fence, Mmu& mmu, const Tags& tags, bool remember = false);

/// Who executes a fence.
enum class Reach : u8 {
  Own,         ///< the core; and all others, if the operation broadcasts
  Interrupts,  ///< the core, and each other one when an interrupt has reached it
};

/// Is told of the engine's instructions, in the cycle in which a core executes them.
class FenceWitness {
 public:
  virtual void executed(u32 core, const addrspace::Fence& fence) = 0;

 protected:
  FenceWitness() = default;
  FenceWitness(const FenceWitness&) = default;
  FenceWitness& operator=(const FenceWitness&) = default;
  ~FenceWitness() = default;
};

/// When a core is busy with the fences of an operation.
struct FenceSpan {
  u32 core = 0;
  Cycle begin = 0, end = 0;  ///< the same where a broadcast takes no time of the core
  bool interrupted = false;
};
/// Hears of the fences of each operation when they are issued.
class FenceListener {
 public:
  /// The first span is the issuer's, until it is through; those of the cores that the fences reach
  /// follow.
  virtual void on_fences(std::span<const FenceRequest> fences,
                         std::span<const FenceSpan> spans) = 0;

 protected:
  FenceListener() = default;
  FenceListener(const FenceListener&) = default;
  FenceListener& operator=(const FenceListener&) = default;
  ~FenceListener() = default;
};

/// On machines whose vCPUs have ASIDs of their own: fences name a guest by a number, and this says
/// which ASIDs it has on a core.
class CoreTags {
 public:
  /// The ASIDs of the guest's vCPUs that ran on the core. The first is that of the vCPU that ran
  /// last.
  virtual std::span<const u16> tags_of(u32 core, u16 guest) const = 0;
  /// The core executed a fence of the hypervisor under the first of them. It has to execute it
  /// under each of the others before a vCPU runs under that one.
  virtual void put_off(u32 core, u16 guest, const addrspace::Fence& fence) = 0;
  /// None of them may be used any more: each vCPU, the one that is running included, gets another.
  virtual void replace(u32 core, u16 guest) = 0;

 protected:
  CoreTags() = default;
  CoreTags(const CoreTags&) = default;
  CoreTags& operator=(const CoreTags&) = default;
  ~CoreTags() = default;
};

/// A core to interrupt, and what it does before it answers.
struct InterruptTarget {
  u32 core = 0;
  Cycle delay = 0;
};

class FenceUnit final : public Actor {
 public:
  explicit FenceUnit(Board& board) : board_(board) { pending_.reserve(16); }

  /// Issues a fence now. `owner` runs with `what` when it is complete on every core that it
  /// reaches; in the next cycle if it is posted.
  void issue(u32 core, const FenceRequest& fence, Reach reach, Actor& owner, u32 what);

  struct Sequence {
    Cycle own = 0;     ///< the issuer is through with it
    Cycle others = 0;  ///< it knows that all are that were interrupted; 0 if there are none
    std::span<const Cycle> each;  ///< what each of them spent, until the next operation
    u32 interrupts = 0;
    Cycle end() const { return own > others ? own : others; }
  };
  /// Issues the fences of one operation, one after the other: on the issuer, and once more on each
  /// core that `interrupts` names if one of them does not broadcast. A barrier waits for what its
  /// core broadcast or posted before; the others are not waited for if they can be. `owner` runs
  /// with `what` when all are through. `fences` may be gone by then.
  Sequence issue_all(u32 core, std::span<const FenceRequest> fences,
                     std::span<const InterruptTarget> interrupts, Actor& owner, u32 what);
  void watch(FenceWitness* witness) { witness_ = witness; }
  void tell(FenceListener& listener) { listener_ = &listener; }
  /// From here on, the VMID of a fence is the number of a guest, as in CoreTags.
  void know_guests_by(CoreTags& tags) { tags_ = &tags; }
  u64 dropped() const { return dropped_; }
  /// The core executes it now.
  void execute(u32 core, const FenceRequest& fence) { act(core, {fence, true, true}); }

  void on_cycle(u32 event) override;

 private:
  struct Pending {
    FenceRequest fence;
    bool acts;
    bool tells;
  };
  u32 take_place();
  Cycle& posted(u32 core);
  Cycle run_on(u32 core, Cycle start, bool issuer, std::span<const FenceRequest> fences);
  void act(u32 core, const Pending& pending);
  void tell_of(std::span<const FenceRequest> fences, FenceSpan issuer,
               std::optional<Cycle> broadcast);
  void put(const FenceRequest& fence, u32 core, Cycle at, bool acts, bool tells);

  Board& board_;
  std::vector<Pending> pending_;
  std::vector<u32> free_;      ///< places
  std::vector<Cycle> posted_;  ///< by core: until all has acted that nobody waited for
  std::vector<Cycle> each_;    ///< of the last operation
  FenceWitness* witness_ = nullptr;
  FenceListener* listener_ = nullptr;
  std::vector<FenceSpan> interrupted_;   ///< of the last operation
  std::optional<Cycle> last_broadcast_;  ///< of the last operation: when it acts
  CoreTags* tags_ = nullptr;
  u64 dropped_ = 0;
};

}  // namespace nestwalk::models
