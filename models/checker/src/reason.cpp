// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "reason.hpp"

#include <bit>

#include "nestwalk/models/base/hex.hpp"

namespace nestwalk::checker {
namespace {

using models::By;
using models::Extension;
using models::FenceOrder;
using models::FenceRequest;
using models::FenceRow;
using models::hex;
using Need = Demand::Need;

std::string on(u64 processors) {
  return (std::popcount(processors) == 1 ? "processor " : "processors ") +
         processors_text(processors);
}

std::string title_of(const FenceRequest& request) { return to_text(request.instruction).c_str(); }

/// The first instruction of the extension that is so; empty: there is none.
template <class Is>
std::string name_of(const Extension& extension, Is&& is) {
  for (const models::FenceOp op : extension.fences) {
    if (is(*op)) return op->name.c_str();
  }
  return "";
}

std::string broadcasting(const Extension& extension, const FenceRow& row) {
  const auto scope = [](const FenceRow& each) {
    return each.scope & ~(fence::kBroadcast | fence::kForChanges);
  };
  return name_of(extension, [&](const FenceRow& each) {
    return each.has(fence::kBroadcast) && each.structures == row.structures && each.by == row.by &&
           each.operand == row.operand && scope(each) == scope(row);
  });
}

/// What orders stores before fences, or before walks.
std::string store_barrier(const Extension& extension) {
  return name_of(extension, [](const FenceRow& row) {
    return row.order == FenceOrder::Stores || row.order == FenceOrder::Begin;
  });
}

/// What waits for fences of this kind.
std::string completion(const Extension& extension) {
  return name_of(extension, [](const FenceRow& row) {
    return row.order == FenceOrder::All || row.order == FenceOrder::End;
  });
}

std::string range_text(u64 start, u64 bytes) {
  return hex(start) + " to " + hex(start + bytes - 1);
}

/// Everything about it, in words.
class Explanation {
 public:
  Explanation(const Obligation& obligation, const Vm& vm, const Executed* fence, u64 processors)
      : obligation_(obligation),
        vm_(vm),
        extension_(vm.nested.format->extension()),
        fence_(fence),
        processors_(processors) {}

  std::string of(Failure why) const {
    if (why == Failure::NotCompleted && obligation_.need == Need::Visible) {
      return "no barrier makes the store visible to the walks of " + on(processors_) + ": " +
             store_barrier(extension_) + " has to follow it";
    }
    if (fence_ == nullptr) {
      return why == Failure::Missing ? "no fence follows the store, and " + still()
                                     : text_of(why).sentence;
    }
    switch (why) {
      case Failure::WrongKind:
        return wrong_kind();
      case Failure::WrongTag:
        return wrong_tag();
      case Failure::WrongOperand:
      case Failure::Unshifted:
        return wrong_operand();
      case Failure::RangeTooSmall:
        return title() + " covers GPA " + range_text(request().address, request().bytes) +
               ", and the entry GPA " + range_text(obligation_.start, obligation_.bytes);
      case Failure::WrongLevel:
        return "the operand of " + title() + " has a hint of another granule or level than " +
               level() + ", so that this entry may stay";
      case Failure::LeafOnly:
        return title() + " removes leaves alone, and what changed is a table at level " +
               std::to_string(obligation_.level) + ": cached copies of the table stay";
      case Failure::WrongProcessors:
        return wrong_processors();
      case Failure::NotCompleted:
        return "nothing waits until " + title() + " is carried out: " + completion(extension_) +
               " has to follow on " + on(bit(fence_->when.processor)) + ", which issued it";
      case Failure::TooEarly:
        return too_early();
      default:
        return text_of(why).sentence;
    }
  }

  std::string still() const { return on(processors_) + " may use the old entry"; }

 private:
  const FenceRequest& request() const { return fence_->request; }
  const FenceRow& row() const { return *request().op; }
  std::string title() const { return title_of(request()); }
  std::string level() const {
    return (obligation_.table ? "the table at level " : "the leaf at level ") +
           std::to_string(obligation_.level);
  }

  std::string wrong_kind() const {
    if (row().has(fence::kHost)) {
      return title() + " acts on the hypervisor's own translations (VPID or ASID 0), and on " +
             "nothing of the guest's";
    }
    if (row().structures == 0) {
      return title() + " acts on the hypervisor's own translations, and on nothing of the guest's";
    }
    if (row().by == By::Virtual || row().has(fence::kAsid)) {
      return title() + " selects by what the guest's own tables translate, and no such address " +
             "or ASID names all that the second-stage entry left in the caches";
    }
    const bool second = (row().structures & fence::kSecond) != 0;
    if (!second) {
      return title() + " removes what the guest's own tables translate; the second-stage entry " +
             "stays cached, and is merged again";
    }
    const std::string merged = name_of(extension_, [](const FenceRow& each) {
      return each.structures == fence::kFirst && each.by == By::Nothing &&
             each.has(fence::kBroadcast) && each.has(fence::kVmid) && each.has(fence::kGlobals);
    });
    std::string text = title() + " removes second-stage entries; what was merged with the " +
                       "guest's own translation stays";
    return merged.empty() ? text : text + ": " + merged + " has to follow";
  }

  std::string wrong_tag() const {
    if (row().has(fence::kRoot)) {
      return title() + " is for the root " + hex(models::root_of(request().root)) +
             ", and the VM's is " + hex(models::root_of(vm_.root_register));
    }
    return title() + " is for VMID " + std::to_string(request().vmid) + ", and the VM's is " +
           std::to_string(vm_.vmid);
  }

  std::string wrong_operand() const {
    std::string text = title() + " names GPA " + hex(request().address & ~vm_.operand_tag) +
                       ", and the entry is of GPA " + hex(obligation_.start);
    switch (row().operand) {
      case addrspace::FenceOperand::Ipa:
        return text + ": the operand of that is " + hex(obligation_.start >> 12 | vm_.operand_tag) +
               ", the IPA shifted right by 12" +
               (vm_.operand_tag == 0 ? "" : ", with bit 63 (NS) set");
      case addrspace::FenceOperand::Hart:
        return text + ": rs1 of that is " + hex(obligation_.start >> 2) +
               ", the address shifted right by 2";
      default:
        return text;
    }
  }

  std::string wrong_processors() const {
    const unsigned part = (obligation_.left[0] & processors_) != 0 ? 0 : 1;
    const u64 others = obligation_.left[0] | obligation_.left[1] | processors_;
    const u64 done = obligation_.sent[part] & ~others;
    std::string text = title() + " is right";
    if (part == 1 && (row().structures & fence::kSecond) == 0) {
      text += " for what was merged with the guest's own translation";
    }
    text += ", and was executed on " + on(done == 0 ? bit(fence_->when.processor) : done) +
            " alone; it acts on the processor that executes it, and " + on(processors_) +
            " ran the VM and may use the old entry";
    const std::string all = broadcasting(extension_, row());
    if (!all.empty()) return text + ": broadcasting is missing, as by " + all;
    return text + ": each of these has to execute it, too";
  }

  std::string too_early() const {
    if (fence_->order < obligation_.order) {
      return title() + " was executed before the store: afterwards, the old entry could be " +
             "cached again";
    }
    const std::string barrier = store_barrier(extension_);
    return "nothing orders the store before " + title() + ", which may be carried out while " +
           "walks see the old entry" + (barrier.empty() ? "" : ": " + barrier) +
           (barrier.empty() ? "" : " has to stand between them");
  }

  const Obligation& obligation_;
  const Vm& vm_;
  const Extension& extension_;
  const Executed* fence_;
  u64 processors_;
};

std::string counted(u64 count, const std::string& one, const std::string& many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

}  // namespace

std::string explain(const Obligation& obligation, const Vm& vm, Failure failure, Failure because,
                    const Executed* fence, u64 processors) {
  const Explanation explanation(obligation, vm, fence, processors);
  switch (failure) {
    case Failure::BreakBeforeMake:
      if (because == failure) {
        return "one store replaced the valid entry; it has to be made invalid, fenced, and only "
               "then written anew, while " +
               explanation.still();
      }
      return "the new entry was written while " + explanation.still() + ": " +
             explanation.of(because);
    case Failure::UseAfterFree:
      if (fence == nullptr && because == Failure::TooEarly) {
        return "the tables still lead to the memory, and " + on(processors) + " may walk them";
      }
      return "the memory was freed while " + explanation.still() + ": " + explanation.of(because);
    case Failure::TagReused:
      return on(processors) + " may hold translations of VM " + std::to_string(vm.id) +
             ", which ended, under the same tag: " + explanation.of(because);
    case Failure::RepeatedFault:
      return on(processors) + " faulted on the old entry, which the tables do not have any more, " +
             "and entered the guest with it: " + explanation.of(because);
    case Failure::WrongHit:
      return on(processors) + " used another translation than the tables have, and every fence " +
             "that this needs was executed";
    case Failure::FreedOutside:
      return on(processors) + " left the guest, and may walk through the freed table until it " +
             "fences";
    default:
      return explanation.of(because);
  }
}

std::string explain(const Issued& issued, Failure failure) {
  const std::string title = title_of(issued.fence->request);
  if (failure == Failure::OverBroad) {
    const bool one_vm =
        issued.fence->request.op->has(fence::kRoot) || issued.fence->request.op->has(fence::kVmid);
    return title + " removes everything of " + (one_vm ? "the VM" : "all VMs") + ", and " +
           counted(issued.covered, "entry needs a fence", "entries need a fence");
  }
  if (issued.stores == 0) {
    return "nothing that " + title + " removes had to go: its operation had changed no entry";
  }
  return "nothing that " + title + " removes had to go: of the " +
         counted(issued.stores, "entry", "entries") + " that its operation had changed, " +
         "none left anything in the caches that no fence had removed";
}

}  // namespace nestwalk::checker
