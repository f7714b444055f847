// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Finds the fences that are missing, insufficient or wasted.
//
// A processor may cache, at any time while it runs a VM, whatever the VM's tables permit, and keep
// it. So each store after which such a copy would be wrong opens an obligation, held by every
// processor that has run the VM; fences discharge it; and what is not discharged when the operation
// returns is found, on the processors that are in the guest at that time or enter it later.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>

#include "nestwalk/checker/fence_uses.hpp"
#include "nestwalk/checker/finding.hpp"
#include "nestwalk/checker/tables.hpp"

namespace nestwalk::checker {

struct Obligation;
struct Effect;
struct Executed;
class Agendas;
class Attempts;
enum class Look : u8;
template <class T>
class RangeIndex;

/// What came of a fence.
struct Issued {
  std::shared_ptr<const Executed> fence;
  Cycle cycles;
  u32 operation;    ///< on its processor
  u64 stores;       ///< of entries, that its operation had made by then
  u32 number;       ///< among the fences whose uses are counted
  u64 covered = 0;  ///< how many obligations it helped to discharge
  u64 retired = 0;  ///< of these, for VMs that ended
  bool useful = false;
  bool whole = false;  ///< one of them was for a table, or all of a VM
};

/// Whose operation it is: a processor's, or a task's that goes from one to another.
struct Task {
  u32 depth = 0;
  u32 operation = 0;  ///< the name of the current one, or of the last
  u64 serial = 0;
  u64 began = 0;                  ///< the order of its begin
  u64 stores = 0;                 ///< of entries, in it
  std::list<Obligation*> opened;  ///< since its last operation returned
  std::vector<Issued> useless;
};

class Checker final : public Events {
 public:
  Checker();
  ~Checker() override;

  void vm_created(const Moment& when, const Vm& vm) override;
  void vm_destroyed(const Moment& when, u32 vm) override;
  void vm_entered(const Moment& when, u32 vm) override;
  void vm_left(const Moment& when, u32 vm) override;
  void vm_faulted(const Moment& when, u32 vm, u64 gpa, addrspace::Access access) override;
  void task_switched(const Moment& when, u64 task) override;
  void operation_begun(const Moment& when, std::string_view name) override;
  void operation_ended(const Moment& when) override;
  void entry_stored(const Moment& when, u64 slot, u64 before, u64 after) override;
  void frames_freed(const Moment& when, u64 first, u64 bytes) override;
  void frames_allocated(const Moment& when, u64 first, u64 bytes) override;
  void fence_issued(const Moment& when, const models::FenceRequest& request,
                    Cycle cycles = 0) override;
  void barrier_issued(const Moment& when, Barrier barrier) override;
  void accessed(const Access& access) override;
  /// The end: what is still open is judged.
  void finish();

  /// Those that are alike are one.
  const std::vector<Finding>& findings() const { return findings_; }
  u64 errors() const { return errors_; }
  u64 warnings() const { return warnings_; }
  u64 notes() const { return notes_; }
  /// Kinds of findings beyond the most that are kept.
  u64 unlisted() const { return unlisted_; }
  /// May some processor hold a copy that the tables contradict? A spurious fault does not count.
  bool is_open(u32 vm, u32 processor, u64 gpa) const;
  std::size_t open_obligations() const;
  /// From now on, tells these of each fence of the hypervisor, and whether it was needed.
  void count_in(FenceUses& uses) { uses_ = &uses; }
  const std::string& operation_name(u32 operation) const { return operations_[operation]; }
  /// From the first event to the last; and how many there were.
  struct Span {
    Cycle first, last;
    u64 events;
    u64 processors;  ///< bit n: processor n did something
  };
  const Span& span() const { return span_; }
  /// Of the second stage of the VMs: the most; 0: there was no VM.
  unsigned levels() const;
  /// Of the VMs; null: there was none.
  const models::Extension* extension() const;

  static constexpr std::size_t kMostFindings = 4096;

 private:
  using Found = Tables::Found;

  /// New entries that walkers may not find yet, by the processor that stored them: since its
  /// operation began, or outside of any; and those of operations that returned.
  struct Unseen {
    Unseen();
    ~Unseen();
    std::list<Obligation> fresh;
    std::list<Obligation> waiting;
  };
  /// A VM, and what is open for it: `live` until the operation returns, then `settled`.
  struct Guest {
    Guest();
    ~Guest();
    u64 inside = 0;          ///< processors that are in it
    u64 ran = 0;             ///< that may hold something of its second stage
    u64 linear = 0;          ///< that may hold something of its first stage
    u64 created = 0;         ///< its order
    u64 unjudged = ~u64{0};  ///< processors whose tags were not looked at since
    std::list<Obligation> live;
    std::list<Obligation> settled;
    u64 flights = 0;  ///< fences that were not waited for
    std::map<u32, Unseen> unseen;
    std::unique_ptr<RangeIndex<Obligation>> places;  ///< by guest-physical address
    bool has_open() const { return !live.empty() || !settled.empty(); }
  };
  struct Flight {
    Obligation* obligation;
    u8 part;
    u64 processors;
    bool broadcast;
  };
  struct Flush {
    u32 vm;
    u64 processors;
    bool second;
    bool first;
    u64 order;
    bool broadcast;
  };
  /// What has to be looked at again once the stores before are ordered.
  struct Again {
    Look look;
    u64 seat;
  };
  struct Processor {
    Processor();
    ~Processor();
    Task own;
    Task* task = &own;
    std::map<u32, const Task*> entered_as;  ///< by VM: whose vCPU it ran last
    bool has_fault = false;                 ///< the guest left because of one
    u32 fault_vm = 0;
    u64 fault_gpa = 0;
    addrspace::Access fault_access{};  ///< none: not known
    Found fault_found{};               ///< what the tables said there
    u32 guests = 0;                    ///< how many it is in: more than one if that is not told
    u64 entered = 0;                   ///< the order of its last entry
    u64 left = 0;                      ///< and exit
    u32 last_vm = 0;                   ///< that it entered or left
    u64 barrier = 0;                   ///< the order of its last barrier
    u64 own_barrier = 0;               ///< and of its last one for itself at least
    u64 waited = 0;                    ///< of its last DSB for loads as well
    u64 ordered = 0;                   ///< RISC-V: of its last SFENCE.W.INVAL
    std::set<u32> fresh;               ///< VMs of which it stored unseen entries since then
    std::set<u32> unseen;              ///< VMs of which there are any
    std::set<u32> ran;                 ///< VMs of whose second stage it may hold something
    std::set<u32> linear;              ///< and of whose first stage
    std::vector<Flight> flights;       ///< what it did not wait for
    std::vector<Flush> flushes;        ///< fences of whole VMs that it did not wait for
    std::vector<Again> unordered;      ///< fences that came before the stores of this one were seen
    std::vector<Again> posted;         ///< RISC-V: HINVAL without SFENCE.W.INVAL, of this one
  };

  /// What is told now, in words.
  void now(const Moment& when, const char* event);
  u32 count_use(const Moment& when, const models::FenceRequest& request, u64 reached);

  u32 number_of(u32 id) const;
  u32 operation_on(u32 processor) const;
  const Vm& vm_of(const Obligation& obligation) const;

  // Opening: changes.cpp
  Change compare(u32 vm, const Found& old, const Found& now) const;
  Change compare_with_table(u32 vm, const Found& old, const Found& table) const;
  bool was_cached(u32 vm, const models::Entry& entry) const;
  bool translates(u32 vm, const Found& entry) const;
  void changed(const Moment& when, u32 vm, const Found& old, const Found& now);
  void open(const Moment& when, u32 vm, const Found& old, const Found& now, Change change);
  void enlist(Obligation obligation);
  void replace_older(const Obligation& obligation);
  void check_broken(const Moment& when, u32 vm, const Found& old, const Found& now);
  void replaced(const Moment& when, u32 vm, const Found& old);
  bool may_walk_outside(u32 processor, u32 vm) const;
  void judge_freed(const Moment& when, Obligation& obligation);
  void check_used(const Moment& when, u64 first, u64 bytes);
  void report_used(const Moment& when, const Tables::Place& place, u64 entry, Change change,
                   u64 processors);
  void check_root(const Moment& when, u32 vm);
  void check_free_tables(const Moment& when);
  void judge_tags(const Moment& when, u32 vm, u64 processors);

  // Discharging: checker.cpp
  bool is_visible(const Obligation& obligation, u32 issuer, bool broadcast) const;
  struct Sent {
    u32 issuer;
    bool waits, broadcast;
  };
  void remove(Obligation& obligation, unsigned part, u64 processors, const Sent& sent);
  u64 tag_of(const Obligation& obligation, Look look) const;
  void seat(Obligation& obligation, Look look);
  void unseat(Obligation& obligation, Look look);
  void seat_merged(Obligation& obligation);
  void look_again(std::vector<Again>& again);
  bool apply(const std::shared_ptr<const Executed>& fence, Obligation& obligation,
             const Effect& effect, u64 reached);
  bool meet(u32 processor, const models::FenceRequest& request);
  void meet_address(const models::FenceRequest& request);
  bool discharge(Issued& issued, u64 reached, bool fits);
  void miss(Obligation& obligation, Failure failure,
            const std::shared_ptr<const Executed>& fence) const;
  void flush(const Moment& when, const models::FenceRequest& request, u64 reached, bool posted);
  const std::set<u32>& with_tag(const models::FenceRequest& request,
                                const std::set<u32>& all) const;
  std::set<u32> flushed_vms(const models::FenceRequest& request, u64 reached) const;
  void finish_flush(const Flush& flush);
  void set_running(u32 vm, u32 processor);
  void complete(u32 processor, bool broadcast = true);
  void own_barrier(u32 processor, bool waits);
  void update(Obligation& obligation);
  void drop(Obligation& obligation);
  void drop_target(Obligation& obligation);
  void retire(const Moment& when, u32 vm);
  void update_retired(Obligation& obligation);
  void close(u32 vm);
  bool is_spurious(u32 processor, const models::FenceRequest& request) const;
  bool is_the_guests(u32 processor, const models::FenceRequest& request) const;
  bool is_for_another_vcpu(u32 processor, const models::FenceRequest& request) const;

  // Judging: judge.cpp
  /// Why something is owed still, and the fence that this says something about.
  struct Verdict {
    Failure why;
    std::shared_ptr<const Executed> fence{};
  };
  Verdict reason(Obligation& obligation, u64 bad) const;
  Verdict reached_too_few(const Obligation& obligation, u64 bad) const;
  void judge(Obligation& obligation, u64 bad);
  void judge_fault(u32 processor, u32 vm);
  void judge_operation(u32 processor, Task& task);
  void judge_unseen(u32 processor);
  void judge_all(std::list<Obligation>& unseen, u64 inside);
  void judge_opened(Task& task);
  void settle(Obligation& obligation);
  void judge_fences(Task& task);
  void excuse_fences(Task& task);
  void find_closest(Obligation& obligation) const;
  bool is_over_broad(const Issued& issued) const;
  void judge_fence(const Issued& issued, Failure failure);
  std::size_t report(const Obligation& obligation, Failure failure, const Verdict& verdict,
                     u64 processors);
  Finding finding_of(const Obligation& obligation, Failure failure, const Verdict& verdict,
                     u64 processors) const;
  std::size_t add(Finding finding, models::FenceOp op);
  bool is_first(std::size_t finding) const {
    return finding < findings_.size() && findings_[finding].count == 1;
  }
  void count_hits(u32 vm, const Access& access);
  void check_seen(u32 vm, const Access& access);

  Moment now_{};
  const char* event_ = "";
  Span span_{};
  FenceUses* uses_ = nullptr;
  Tables tables_;
  std::deque<Guest> guests_;
  std::map<u32, u32> numbers_;  ///< of VMs, by id
  std::array<Processor, kMostProcessors> processors_;
  std::map<u64, Task> tasks_;            ///< by what the feed calls them
  std::vector<std::string> operations_;  ///< their names; 0: none was told
  std::map<std::string, u32, std::less<>> operation_numbers_;
  u64 serial_ = 0;

  u64 order_ = 0;       ///< counts stores, fences and barriers
  u64 unreported_ = 0;  ///< open obligations that may be reported yet
  u32 operations_running_ = 0;
  /// One obligation for each destroyed VM whose tags may still be cached; found by VMID and root.
  std::list<Obligation> retired_;
  std::map<std::pair<u64, u64>, Obligation*> retired_vmids_;
  std::map<std::pair<u64, u64>, Obligation*> retired_roots_;
  std::unique_ptr<Agendas> agendas_;
  std::unordered_map<u64, std::set<u32>> vmids_;  ///< of VMs that are there
  std::unordered_map<u64, std::set<u32>> roots_;
  std::set<u32> open_guests_;
  /// Closed, and outside of any operation: the last ones, by order.
  std::map<u64, Obligation*> closed_;
  std::unique_ptr<RangeIndex<Obligation>> targets_;  ///< by host address
  /// Frames that walks reached when, or after, they were given back.
  std::set<u64> freed_tables_;
  std::unique_ptr<Attempts> attempts_;
  std::vector<Obligation*> met_;  ///< by the fence at hand

  std::vector<Finding> findings_;
  std::map<std::array<u64, 7>, std::size_t> alike_;
  u64 errors_ = 0;
  u64 warnings_ = 0;
  u64 notes_ = 0;
  u64 unlisted_ = 0;
};

}  // namespace nestwalk::checker
