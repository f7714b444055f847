// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/timeline.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

namespace nestwalk::sim {

using addrspace::u32;
using addrspace::u64;
using models::Cycle;
using models::WalkRecord;
using models::WalkReference;
using models::WitnessStep;
using Address = PerfettoTrace::Address;
using TraceArguments = PerfettoTrace::Arguments;
using Track = PerfettoTrace::Track;
using Unit = PerfettoTrace::Unit;

namespace {

/// Cycles between two samples of the counters.
constexpr Cycle kSampleCycles = 1000;
constexpr const char* kExit = "VM exit";
constexpr const char* kPageFault = "page fault";

// A hit of the first TLB and the first cache: most accesses, and nothing to see.
bool hits_first_levels(const software::AccessStory& story) {
  return std::all_of(story.steps.begin(), story.steps.end(), [](const WitnessStep& step) {
    if (step.kind == &models::step::kData) return step.served <= models::Served::L1;
    return step.kind == &models::step::kFirstTlb && step.hit;
  });
}

TraceArguments arguments_of(const WalkRecord& record, u64 address, models::AccessKind access,
                            const models::Fault& fault) {
  std::set<u64> first, second;
  u64 from_memory = 0;
  for (u32 n = 0; n < record.count; ++n) {
    const WalkReference& each = record.references[n];
    if (each.guest_level != WalkReference::kNoLevel) first.insert(each.guest_level);
    if (each.nested_level != WalkReference::kNoLevel) second.insert(each.nested_level);
    from_memory += each.served == models::Served::Memory;
  }
  TraceArguments arguments = {{"guest virtual address", Address{address}},
                              {"access", kAccessNames[static_cast<unsigned>(access)]},
                              {"cycles", record.end - record.begin},
                              {"references", u64{record.count}},
                              {"references from memory", from_memory},
                              {"first-stage levels", first.size()},
                              {"second-stage levels", second.size()}};
  if (record.begin != record.start) {
    arguments.push_back({"cycles before it began", record.begin - record.start});
  }
  if (record.restarts != 0) arguments.push_back({"restarts by fences", u64{record.restarts}});
  if (fault) {
    arguments.push_back({"fault", models::kFaultKindNames[static_cast<unsigned>(fault.kind)]});
  }
  return arguments;
}

}  // namespace

// Rows --------------------------------------------------------------------------------------------

Track TimelineRows::take(Cycle begin, Cycle end) {
  Row* free = nullptr;
  for (Row& row : rows_) {
    if (row.end <= begin && (free == nullptr || row.end > free->end)) free = &row;
  }
  if (free == nullptr) free = &add();
  free->end = end;
  return free->track;
}

Track TimelineRows::take_first(Cycle end) {
  if (rows_.empty()) add();
  rows_[0].end = end;
  return rows_[0].track;
}

TimelineRows::Row& TimelineRows::add() {
  rows_.push_back({make_(rows_.size()), 0});
  return rows_.back();
}

// Steps -------------------------------------------------------------------------------------------

namespace {

/// Slices within an access or a pause: exits, the guest's kernel, and what they are made of.
class Steps {
 public:
  /// `kernel`: what the guest's kernel does is called so; null: it has no slice around it.
  Steps(PerfettoTrace& trace, Track track, const char* kernel, std::function<u64(Cycle)> ns)
      : trace_(trace), track_(track), kernel_(kernel), ns_(std::move(ns)) {}

  void tell(std::span<const WitnessStep> steps) {
    for (const WitnessStep& step : steps) {
      place_.enter(step);
      if (step.fault) fault_ = &*step.fault;
      if (step.cycles != 0) put(step);
      const bool was_in_exit = place_.in_exit(), was_in_kernel = place_.in_kernel();
      place_.leave(step);
      if (was_in_exit && !place_.in_exit()) close(in_kernel() ? 1 : 0);
      if (was_in_kernel && !place_.in_kernel()) close(0);
    }
    close(0);
  }

 private:
  bool in_kernel() const { return kernel_ != nullptr && place_.in_kernel(); }
  void put(const WitnessStep& step) {
    now_ = step.start;
    std::vector<const char*> path;
    if (in_kernel()) path.push_back(kernel_);
    if (place_.in_exit()) path.push_back(kExit);
    path.push_back(name_of_part(step));
    std::size_t same = 0;
    while (same < path.size() && same < open_.size() && path[same] == open_[same]) ++same;
    close(same);
    for (; same < path.size(); ++same) open(path[same]);
    now_ = step.start + step.cycles;
  }
  const char* name_of_part(const WitnessStep& step) const {
    if (is_of_software(step.kind)) return step.kind->name;
    StepPlace outside;
    return name_of(outside.cause_of(step));
  }
  void open(const char* name) {
    TraceArguments arguments;
    if (name == kExit) {
      const bool known = fault_ != nullptr && fault_->nested;
      arguments.push_back({"reason", known ? reason() : "operation"});
      if (known) arguments.push_back({"guest-physical address", Address{fault_->guest_physical}});
    } else if (name == kernel_ && fault_ != nullptr && !fault_->nested) {
      arguments = {{"reason", reason()}, {"address", Address{fault_->virtual_address}}};
    }
    trace_.begin(track_, ns_(now_), name, arguments);
    open_.push_back(name);
  }
  const char* reason() const {
    return models::kFaultKindNames[static_cast<unsigned>(fault_->kind)];
  }
  void close(std::size_t left) {
    for (; open_.size() > left; open_.pop_back()) trace_.end(track_, ns_(now_));
  }

  PerfettoTrace& trace_;
  Track track_;
  const char* kernel_;
  std::function<u64(Cycle)> ns_;
  StepPlace place_;
  const models::Fault* fault_ = nullptr;  ///< the last one
  std::vector<const char*> open_;
  Cycle now_ = 0;
};

}  // namespace

// Who tells ---------------------------------------------------------------------------------------

class Timeline::OfVcpu final : public software::AccessListener {
 public:
  OfVcpu(Timeline& timeline, const software::Vcpu& vcpu, Track process, const std::string& name)
      : timeline_(timeline),
        vcpu_(vcpu),
        thread_(timeline.trace_.thread(process, name)),
        rows_([this, name](std::size_t row) {
          return row == 0 ? thread_
                          : timeline_.trace_.track(thread_,
                                                   name + ", in flight " + std::to_string(row + 1));
        }) {}

  u64 next_wanted(u64 number) override { return timeline_.trace_.is_full() ? ~u64{0} : number; }

  void on_story(const software::AccessStory& story) override {
    if (!timeline_.wants() || hits_first_levels(story)) return timeline_.commit();
    const Cycle end = story.begin + story.latency;
    put(rows_.take(story.begin, end), story.begin, end,
        kAccessNames[static_cast<unsigned>(story.access.kind)],
        {{"address", Address{story.access.address}},
         {"access", story.number},
         {"cycles", story.latency}},
        story.steps, kPageFault);
  }

  void on_pause(const software::PauseStory& pause) override {
    if (!timeline_.wants() || pause.begin == pause.end) return;
    put(rows_.take_first(pause.end), pause.begin, pause.end, pause.kind.name,
        {{"cycles", pause.end - pause.begin}}, pause.steps, nullptr);
  }

 private:
  void put(Track track, Cycle begin, Cycle end, const char* name, const TraceArguments& arguments,
           std::span<const WitnessStep> steps, const char* kernel) {
    PerfettoTrace& trace = timeline_.trace_;
    const Cycle began = vcpu_.counts().begin;
    if (!std::exchange(has_begun_, true) && began != 0 && begin >= began) {
      trace.begin(thread_, 0, "before the vCPU began", {{"cycles", began}});
      trace.end(thread_, timeline_.ns(began));
    }
    trace.begin(track, timeline_.ns(begin), name, arguments);
    Steps(trace, track, kernel, [this](Cycle at) { return timeline_.ns(at); }).tell(steps);
    trace.end(track, timeline_.ns(end));
    timeline_.commit();
  }

  Timeline& timeline_;
  const software::Vcpu& vcpu_;
  Track thread_;
  TimelineRows rows_;
  bool has_begun_ = false;
};

class Timeline::Vm final : public software::LockListener {
 public:
  Vm(Timeline& timeline, software::VirtualMachine& machine, const std::string& name)
      : timeline_(timeline),
        machine_(machine),
        process_(timeline.trace_.process(name)),
        memory_(timeline.trace_.counter(process_, "memory backed", Unit::Bytes)),
        lock_(timeline.trace_.track(process_, "hypervisor's lock")) {
    for (u32 n = 0; n < machine.vcpus(); ++n) {
      const std::string called = "vCPU " + std::to_string(n);
      vcpus_.push_back(std::make_unique<OfVcpu>(timeline, machine.vcpu(n), process_, called));
      machine.vcpu(n).tell(*vcpus_.back());
    }
    machine.hypervisor().tell(*this);
  }

  void on_lock(u32 core, Cycle asked, Cycle got, Cycle released) override {
    if (!timeline_.wants()) return;
    PerfettoTrace& trace = timeline_.trace_;
    trace.begin(lock_, timeline_.ns(got), "held",
                {{"core", u64{core}}, {"cycles", released - got}, {"cycles waited", got - asked}});
    trace.end(lock_, timeline_.ns(released));
    timeline_.commit();
  }
  void count(u64 at) const {
    timeline_.trace_.count(memory_, at, machine_.host_space().usage().tables.owned_bytes);
  }

 private:
  Timeline& timeline_;
  const software::VirtualMachine& machine_;
  Track process_, memory_, lock_;
  std::vector<std::unique_ptr<OfVcpu>> vcpus_;
};

class Timeline::OfWalker final : public models::WalkListener {
 public:
  OfWalker(Timeline& timeline, u32 core)
      : timeline_(timeline), rows_([&timeline, core](std::size_t row) {
          return timeline.trace_.track(timeline.machine_, "core " + std::to_string(core) +
                                                              ", walker " + std::to_string(row));
        }) {}

  void on_walk(u64 address, models::AccessKind access, const WalkRecord& record,
               const models::Fault& fault) override {
    if (!timeline_.wants()) return;
    const Track track = rows_.take(record.begin, record.end);
    PerfettoTrace& trace = timeline_.trace_;
    trace.begin(track, timeline_.ns(record.begin), "walk",
                arguments_of(record, address, access, fault));
    trace.end(track, timeline_.ns(record.end));
    timeline_.commit();
  }

 private:
  Timeline& timeline_;
  TimelineRows rows_;
};

// The timeline ------------------------------------------------------------------------------------

Timeline::Timeline(PerfettoTrace& trace, Simulation& simulation,
                   const std::vector<std::string>& traces)
    : trace_(trace),
      simulation_(simulation),
      machine_(trace.process("machine")),
      first_misses_(trace.counter(machine_, "first-level TLB misses", Unit::Count)),
      last_misses_(trace.counter(machine_, "last-level TLB misses", Unit::Count)),
      walks_(trace.counter(machine_, "walks in flight", Unit::Count)) {
  const u64 mhz = simulation.machine().clock().mhz;
  char rate[64] = "1 ns";
  if (mhz != 1000) {
    std::snprintf(rate, sizeof rate, "%.6f ns, rounded down where something begins or ends",
                  1000.0 / static_cast<double>(mhz));
  }
  trace.instant(machine_, 0, "about",
                {{"simulator", "nestwalk " NESTWALK_VERSION},
                 {"clock", "simulated time in ns, 0 is the begin of the run; a cycle of the " +
                               std::to_string(mhz) + " MHz clock is " + rate},
                 {"accesses", "those that missed the first TLB or the first cache"}});
  for (std::size_t n = 0; n < simulation.vms().size(); ++n) {
    const std::string name =
        "VM " + std::to_string(n) + ": " + std::filesystem::path(traces[n]).filename().string();
    vms_.push_back(std::make_unique<Vm>(*this, *simulation.vms()[n], name));
  }
  for (u32 core = 0; core < simulation.board().cores(); ++core) {
    walkers_.push_back(std::make_unique<OfWalker>(*this, core));
    simulation.board().core(core).mmu->tell(*walkers_.back());
    fences_.emplace_back([this, core](std::size_t) {
      return trace_.track(machine_, "core " + std::to_string(core) + ", fences");
    });
  }
  simulation.fences().tell(*this);
  trace.commit(0);
}

Timeline::~Timeline() = default;

u64 Timeline::ns(Cycle at) const {
  const u64 mhz = simulation_.machine().clock().mhz;
  return at / mhz * 1000 + at % mhz * 1000 / mhz;
}

void Timeline::commit() {
  const Cycle now = simulation_.now();
  if (trace_.is_full()) return;
  if (now >= next_count_ && simulation_.is_measuring()) count(now);
  trace_.commit(ns(now));
}

void Timeline::count(Cycle now) {
  next_count_ = now + kSampleCycles;
  u64 first = 0, last = 0, walks = 0;
  for (u32 core = 0; core < simulation_.board().cores(); ++core) {
    const models::Mmu& mmu = *simulation_.board().core(core).mmu;
    const u64 missed = mmu.counts().walks() + mmu.counts().merged + mmu.prefetch_counts().used;
    last += missed;
    first += missed + mmu.counts().second_hits();
    walks += mmu.walker().in_flight();
  }
  trace_.count(first_misses_, ns(now), first);
  trace_.count(last_misses_, ns(now), last);
  trace_.count(walks_, ns(now), walks);
  for (const auto& vm : vms_) vm->count(ns(now));
}

void Timeline::on_fences(std::span<const models::FenceRequest> fences,
                         std::span<const models::FenceSpan> spans) {
  if (!wants()) return;
  const auto named = std::find_if_not(fences.begin(), fences.end(),
                                      [](const auto& each) { return each.op->orders_only(); });
  const char* const name = (named == fences.end() ? fences.front() : *named).op->title();
  const models::FenceSpan& issuer = spans.front();
  PerfettoTrace::Flows flows;
  for (std::size_t n = 1; n < spans.size(); ++n) flows.out.push_back(++flows_);
  const Track track = fences_[issuer.core].take(issuer.begin, issuer.end);
  trace_.begin(track, ns(issuer.begin), name,
               {{"instructions", fences.size()},
                {"cores reached", spans.size() - 1},
                {"cycles", issuer.end - issuer.begin}},
               flows);
  trace_.end(track, ns(issuer.end));
  for (std::size_t n = 1; n < spans.size(); ++n) {
    const models::FenceSpan& span = spans[n];
    const PerfettoTrace::Flows in{{}, flows.out[n - 1]};
    const Track there = fences_[span.core].take(span.begin, span.end);
    trace_.begin(there, ns(span.begin), span.interrupted ? "shootdown" : "broadcast",
                 {{"from core", u64{issuer.core}}, {"cycles", span.end - span.begin}}, in);
    trace_.end(there, ns(span.end));
  }
  commit();
}

void Timeline::finish() {
  const Cycle now = simulation_.now();
  end_ = ns(now);
  if (trace_.is_full()) {
    trace_.instant(machine_, *trace_.full_at(), "the timeline ends here: the file is full",
                   {{"end of the run in ns", end_}});
  } else {
    count(now);
  }
  trace_.commit(end_);
  trace_.finish();
}

}  // namespace nestwalk::sim
