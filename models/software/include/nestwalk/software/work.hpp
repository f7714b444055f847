// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What an operation on page tables did, step by step, so that it can be done again in simulated
// time.
//
// The engine runs an operation at once. A Recording sees every entry that it reads and writes,
// every frame and every fence; then it takes the writes back, and a Worker repeats all of it, each
// step when it is due. So another processor finds an entry from the cycle on in which it is
// written, and not before; and gets a frame from the cycle on in which it is given back.
#pragma once

#include <variant>
#include <vector>

#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/models/memory/sim_hal.hpp"
#include "nestwalk/software/cycles.hpp"
#include "nestwalk/software/watcher.hpp"

namespace nestwalk::software {

namespace step {

/// Of an entry.
struct Read {
  u64 slot;
};
struct Write {
  u64 slot, before, after;
};
/// Of a run of frames.
struct Run {
  u64 start, bytes;
  u64 end() const { return start + bytes; }
};
struct Allocate : Run {};
struct Free : Run {};
struct Zero : Run {};
/// Some of Work::fences.
struct Fences {
  u64 first, count;
  bool alone;  ///< they concern no other core
};

}  // namespace step

using Step =
    std::variant<step::Read, step::Write, step::Allocate, step::Free, step::Zero, step::Fences>;

struct Work {
  /// Frames that a step frees: nobody else has them before it is done.
  struct Held {
    std::size_t step;
    Hpa first;
    unsigned order;
  };
  std::vector<Step> steps;
  std::vector<models::FenceRequest> fences;
  std::vector<Held> held;  ///< in the order of their steps

  void clear() {
    steps.clear();
    fences.clear();
    held.clear();
  }
};

/// What recorded operations did in all.
struct WorkCounts {
  u64 entries_read = 0;
  u64 entries_written = 0;
  u64 runs_allocated = 0;
  u64 frames_allocated = 0;  ///< in these
  u64 runs_freed = 0;
  u64 frames_freed = 0;
  u64 bytes_zeroed = 0;
  u64 fences = 0;
};

class Recording {
 public:
  /// `drop_fence`: the instruction that is left out, from 1, as a mistake for a checker to find.
  Recording(models::HostMemory& memory, const models::Extension& extension,
            addrspace::FencePolicy policy, const addrspace::Capabilities& machine,
            u64 drop_fence = 0, bool fresh_vmids = false)
      : memory_(memory),
        extension_(&extension),
        policy_(policy),
        machine_(machine),
        fences_to_drop_(drop_fence),
        fresh_vmids_(fresh_vmids) {}

  /// From here to take(), everything is recorded.
  void begin(u16 vmid, u16 asid) {
    vmid_ = vmid;
    asid_ = asid;
    work_.clear();
    on_ = true;
  }
  /// The work, with all its writes undone and what it frees still taken. Valid until the next
  /// begin().
  const Work& take();
  /// While it lives, nothing is recorded: somebody looks who is not a part of the work.
  class Pause {
   public:
    explicit Pause(Recording& recording) : recording_(recording), was_on_(recording.on_) {
      recording.on_ = false;
    }
    ~Pause() { recording_.on_ = was_on_; }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    Recording& recording_;
    bool was_on_;
  };

  const WorkCounts& counts() const { return counts_; }
  /// `drop_fence` came about.
  bool has_left_out_fence() const { return left_out_; }
  models::HostMemory& memory() { return memory_; }
  const models::Extension& extension() const { return *extension_; }
  const models::Isa& isa() const { return *extension_->isa; }
  const addrspace::Capabilities& machine() const { return machine_; }
  const addrspace::FencePolicy& policy() const { return policy_; }

  void read(u64 slot) {
    if (!on_) return;
    ++counts_.entries_read;
    work_.steps.push_back(step::Read{slot});
  }
  void written(u64 slot, u64 before, u64 after) {
    if (!on_) return;
    ++counts_.entries_written;
    work_.steps.push_back(step::Write{slot, before, after});
  }
  void allocated(u64 first, u64 bytes) {
    if (!on_) return;
    ++counts_.runs_allocated;
    counts_.frames_allocated += bytes / kFrameBytes;
    work_.steps.push_back(step::Allocate{{first, bytes}});
  }
  void freed(u64 first, u64 bytes) {
    if (!on_) return;
    ++counts_.runs_freed;
    counts_.frames_freed += bytes / kFrameBytes;
    work_.steps.push_back(step::Free{{first, bytes}});
  }
  void zeroed(u64 start, u64 bytes) {
    if (!on_) return;
    counts_.bytes_zeroed += bytes;
    work_.steps.push_back(step::Zero{{start, bytes}});
  }
  void fenced(const addrspace::Invalidation<Gpa>& change);
  /// Instructions that `emit` gives to the sink that it is called with: one step. Of
  /// `own_fences`, no other core is concerned.
  template <class Emit>
  void fences(Emit&& emit) {
    fence_step(std::forward<Emit>(emit), false);
  }
  template <class Emit>
  void own_fences(Emit&& emit) {
    fence_step(std::forward<Emit>(emit), true);
  }
  void fence(const models::FenceRequest& request);

 private:
  template <class Emit>
  void fence_step(Emit&& emit, bool alone) {
    const u64 first = work_.fences.size();
    const auto take = [&](const addrspace::Fence& op) { put(op, alone); };
    emit(models::FenceSink(take));
    const u64 count = work_.fences.size() - first;
    if (count != 0) work_.steps.push_back(step::Fences{first, count, alone});
  }
  void put(const addrspace::Fence& op, bool alone);
  addrspace::Fence instead_of(const addrspace::Fence& op) const;
  void hold_freed();

  models::HostMemory& memory_;
  const models::Extension* extension_;
  addrspace::FencePolicy policy_;
  addrspace::Capabilities machine_;
  u64 fences_to_drop_;
  bool fresh_vmids_;
  bool left_out_ = false;
  u16 vmid_ = 0;
  u16 asid_ = 0;
  Work work_;
  WorkCounts counts_;
  bool on_ = false;
};

/// Lets a SimHal tell a Recording.
class RecordingObserver {
 public:
  explicit RecordingObserver(Recording& recording) : recording_(&recording) {}
  void entry_read(u64 slot) { recording_->read(slot); }
  void entry_written(u64 slot, u64 before, u64 after) { recording_->written(slot, before, after); }
  void allocated(u64 first, unsigned order) { recording_->allocated(first, kFrameBytes << order); }
  void freed(u64 first, unsigned order) { recording_->freed(first, kFrameBytes << order); }
  void zeroed(u64 start, u64 bytes) { recording_->zeroed(start, bytes); }
  void invalidated(const addrspace::Invalidation<Gpa>& change) { recording_->fenced(change); }

 private:
  Recording* recording_;
};

/// Knows on which other cores the engine's fences have to be executed, too, and is told what that
/// took.
class Shootdowns {
 public:
  virtual std::span<const models::InterruptTarget> targets(u32 core) = 0;
  virtual void sent(const models::FenceUnit::Sequence& sequence) = 0;

 protected:
  ~Shootdowns() = default;
};

/// Repeats work on a core, step after step.
class Worker {
 public:
  Worker(models::Board& board, models::FenceUnit& fences, u32 core,
         const models::TableEntries& entries, const models::SoftwareShape& costs,
         Shootdowns* shootdowns = nullptr)
      : board_(board),
        fences_(fences),
        core_(core),
        table_(entries),
        costs_(costs),
        shootdowns_(shootdowns) {}
  void watch(Watcher* watcher) { watcher_ = watcher; }

  /// Before a guest runs, its memory is cleared without looking at each line of it.
  enum class Clears : bool { ByLine, AtOnce };
  /// What it took, by Tables, Frames, Zeroing and Fences. Its end is an event. `work` may change
  /// once it has begun.
  models::Task<PartCycles> play(const Work& work, models::Witness* witness = nullptr,
                                Clears clears = Clears::ByLine);
  /// Of all that it played.
  const EntryCells& entries() const { return entries_; }

 private:
  struct Done {
    Cycle cycles;
    models::Served served = models::Served::None;
  };
  void count_entry(const Step& step, const Done& done);
  void give_back(std::size_t number);
  void issue(const step::Fences& step, models::Actor& owner);
  void tell(models::Witness& witness, const Step& step, const Done& done) const;
  std::span<const models::FenceRequest> fences_of(const step::Fences& step) const {
    return std::span(work_.fences).subspan(step.first, step.count);
  }
  void store(const step::Write& write, std::size_t number);

  models::Board& board_;
  models::FenceUnit& fences_;
  u32 core_;
  models::TableEntries table_;
  models::SoftwareShape costs_;
  Shootdowns* shootdowns_;
  Watcher* watcher_ = nullptr;
  Work work_;  ///< that is being played
  std::size_t next_held_ = 0;
  EntryCells entries_{};
};

}  // namespace nestwalk::software
