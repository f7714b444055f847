// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "report.hpp"

#include <algorithm>

namespace nestwalk::sim {

using addrspace::u64;
using addrspace::u8;
using models::Cycle;
using models::Served;
using models::WalkReference;
using models::WalkTotals;
using software::Part;
using software::PartCycles;

namespace {

constexpr Served kSources[] = {Served::L1, Served::L2, Served::L3, Served::Memory};
constexpr const char* kSourceNames[] = {"none", "walk_cache", "nested_tlb", "l1",
                                        "l2",   "l3",         "memory"};
static_assert(std::size(kSourceNames) == WalkTotals::kSources);

constexpr const char* kReferencesSentence = "of walks to entries of these levels, served there";
constexpr const char* kReferenceCyclesSentence = "that they took";

const char* name_of(Served served) { return kSourceNames[static_cast<unsigned>(served)]; }

constexpr struct {
  const char* name;
  u64 software::ReplayCounts::*count;
  const char* unit;
  const char* sentence;
} kReplayRows[] = {
    {"replay.agreed", &software::ReplayCounts::agreed, "accesses",
     "that arrived where the trace says"},
    {"replay.wrong_page", &software::ReplayCounts::wrong_page, "accesses",
     "that arrived at another guest-physical page than the trace says"},
    {"replay.wrong_frame", &software::ReplayCounts::wrong_frame, "accesses",
     "that arrived at that page, but at another host frame"},
    {"replay.stale", &software::ReplayCounts::stale, "accesses",
     "that a TLB led elsewhere than the tables do by now, and the trace: nobody invalidated it"},
    {"replay.not_judged", &software::ReplayCounts::not_judged, "accesses",
     "for which the trace does not say it"},
    {"replay.not_known", &software::ReplayCounts::not_known, "accesses",
     "left out, since the trace does not say which tables translate"},
    {"replay.guest_faults", &software::ReplayCounts::guest_faults, "accesses",
     "left out, since the recorded tables of the guest refuse them"},
    {"replay.host_faults", &software::ReplayCounts::host_faults, "accesses",
     "left out, since the recorded tables of the second stage refuse them"},
    {"replay.repeated", &software::ReplayCounts::repeated, "accesses",
     "that were refused, and tried again, as after a fault that the recorded guest had"},
    {"replay.guest_stores", &software::ReplayCounts::guest_stores, "entries",
     "of the guest's tables that changed as recorded"},
    {"replay.host_stores", &software::ReplayCounts::host_stores, "entries",
     "of the second stage's, likewise"},
    {"replay.unplaced", &software::ReplayCounts::unplaced, "entries", "beyond the host's memory"},
    {"replay.fences", &software::ReplayCounts::fences, "fences",
     "that are not recorded, but must have been: entries that translated changed"},
};

double mean(u64 sum, u64 count) {
  return count == 0 ? 0.0 : static_cast<double>(sum) / static_cast<double>(count);
}

class Rows {
 public:
  explicit Rows(const Measured& run) : all_(run.totals), run_(run) {}

  Statistics collect() {
    time();
    accesses();
    latencies();
    translations();
    references();
    caches();
    exits();
    operations();
    guest();
    schedule();
    fences();
    memory();
    if (run_.replayed) replayed(*run_.replayed);
    return std::move(rows_);
  }

 private:
  void add(std::string name, auto value, const char* unit, const char* sentence) {
    rows_.push_back({std::move(name), value, unit, sentence});
  }
  void cycles(std::string name, Cycle value, const char* sentence) {
    add(std::move(name), value, "cycles", sentence);
  }
  void time();
  void accesses();
  void latencies();
  void translations();
  void references();
  void reference(u8 guest, u8 nested, bool update);
  void caches();
  void parts(const std::string& of, const PartCycles& cycles, std::initializer_list<Part> which);
  void exits();
  void operations();
  void guest();
  void schedule();
  void fences();
  void memory();
  void replayed(const software::ReplayCounts& counts);

  const software::Totals& all_;
  const Measured& run_;
  Statistics rows_;
};

void Rows::time() {
  const software::VcpuCounts& vcpus = all_.vcpus;
  cycles("time.cycles", all_.end, "from the start until the last vCPU was done");
  cycles("time.first_access", all_.first_access == models::kNever ? 0 : all_.first_access,
         "from the start until the guest's first access was over; 0 if it was before");
  cycles("time.begin", all_.begin.sum(), "before the vCPUs began, to give the guest its memory");
  cycles("time.vcpus", all_.vcpu_cycles, "of all vCPUs together: the sum of the next nine");
  const Cycle rest = vcpus.instruction_cycles + vcpus.interrupted_cycles + vcpus.switch_cycles +
                     vcpus.fence_cycles + vcpus.operation_cycles + vcpus.scheduling_cycles +
                     vcpus.waiting_cycles + vcpus.ordered_cycles;
  cycles("time.instructions", vcpus.instruction_cycles, "in the instructions between accesses");
  cycles("time.accesses", all_.vcpu_cycles - rest, "waiting for accesses");
  cycles("time.switches", vcpus.switch_cycles, "in switches of the guest's address space");
  cycles("time.fences", vcpus.fence_cycles, "in fences of the guest");
  cycles("time.operations", vcpus.operation_cycles, "in operations of the hypervisor");
  cycles("time.interrupted", vcpus.interrupted_cycles, "by fences of other vCPUs' hypervisor");
  cycles("time.scheduling", vcpus.scheduling_cycles, "giving up cores to others, and coming back");
  cycles("time.waiting", vcpus.waiting_cycles, "for cores that others had");
  cycles("time.ordered", vcpus.ordered_cycles, "for vCPUs that the trace has before them");
}

void Rows::accesses() {
  const software::VcpuCounts& vcpus = all_.vcpus;
  add("access.total", vcpus.total(), "accesses", "that the vCPUs played");
  add("access.reads", vcpus.accesses[0], "accesses", "that read");
  add("access.writes", vcpus.accesses[1], "accesses", "that wrote");
  add("access.fetches", vcpus.accesses[2], "accesses", "that fetched instructions");
  add("access.instructions", vcpus.instructions, "instructions", "between the accesses");
  add("access.emulated", vcpus.emulated, "accesses", "outside of the guest's memory: a device's");
  add("access.forbidden", vcpus.forbidden, "accesses", "that the hypervisor does not permit");
  add("access.untranslatable", vcpus.untranslatable, "accesses",
      "left out, since the guest's tables cannot have their addresses");
}

void Rows::latencies() {
  const software::VcpuCounts& vcpus = all_.vcpus;
  const software::Distribution& all = all_.latencies;
  add("latency.mean", all.mean(), "cycles", "of an access, from its begin to its end");
  cycles("latency.p50", all.percentile(500), "that half of the accesses do not exceed");
  cycles("latency.p90", all.percentile(900), "that 90 % of the accesses do not exceed");
  cycles("latency.p99", all.percentile(990), "that 99 % of the accesses do not exceed");
  cycles("latency.p99.9", all.percentile(999), "that 99.9 % of the accesses do not exceed");
  cycles("latency.max", all.max(), "of the slowest access");
  cycles("latency.sum", all.sum() + vcpus.untranslatable_cycles + vcpus.unfinished_cycles,
         "of all accesses, those left out included: the sum of the next five");
  cycles("latency.translation", vcpus.translation_cycles, "in TLBs and walks");
  cycles("latency.data", vcpus.data_cycles(), "in caches and memory, for the data");
  cycles("latency.exits", vcpus.exit_cycles,
         "in exits of their own; guest.cycles.exits has the kernel's");
  cycles("latency.guest", vcpus.guest_cycles, "in the guest's kernel");
  cycles("latency.held", vcpus.held_cycles, "until all before an access that faults was over");
}

void Rows::translations() {
  const models::Mmu::Counts& mmu = all_.mmu.counts;
  constexpr const char* kKinds[] = {"reads", "writes", "fetches"};
  add("tlb.first_hits", mmu.first_hits(), "lookups", "that hit the first-level TLB");
  for (unsigned kind = 0; kind < 3; ++kind) {
    add(std::string("tlb.first_hits.") + kKinds[kind], mmu.inline_hits[kind] + mmu.later_hits[kind],
        "lookups", "of these, of this kind");
  }
  add("tlb.second_hits", mmu.second_hits(), "lookups", "that hit the second-level TLB");
  for (unsigned kind = 0; kind < 3; ++kind) {
    add(std::string("tlb.second_hits.") + kKinds[kind], mmu.second_hits_of[kind], "lookups",
        "of these, of this kind");
  }
  add("walk.count", mmu.walks(), "walks",
      "of the page-table walkers, the kernel's touches included");
  for (unsigned kind = 0; kind < 3; ++kind) {
    add(std::string("walk.count.") + kKinds[kind], mmu.walks_of[kind], "walks",
        "of these, for this kind");
  }
  add("walk.merged", mmu.merged, "misses", "that waited for the walk of another one");
  add("walk.faults", mmu.faults, "translations", "that ended in a fault");
  add("walk.references", mmu.references, "references",
      "of walks: entries read or updated, and hits that spared some");
  add("walk.references_mean", mean(mmu.references, mmu.walks()), "references", "of one walk");
  const Cycle walking = all_.mmu.walks.cycles();
  add("walk.cycles_mean", mean(walking, mmu.walks()), "cycles", "of one walk");
  const Cycle lookups = all_.mmu.cycles - walking - mmu.merged_cycles;
  cycles("translation.cycles", all_.mmu.cycles,
         "in all translations, the kernel's touches included: the sum of the next three");
  cycles("translation.tlbs", lookups, "in the TLBs");
  cycles("translation.merged", mmu.merged_cycles, "waiting for the walk of another one");
  cycles("translation.walks", walking, "in walks: the sum of the next two and the references");
  cycles("walk.waiting", all_.mmu.walks.waiting(), "for a free walker, or lost to a fence");
  cycles("walk.missing", all_.mmu.walks.missing(),
         "in walk caches and nested TLBs that did not have what was wanted");
}

// The references of walks, by what they were for and who had them; those that there were.
void Rows::references() {
  constexpr u8 kNone = WalkReference::kNoLevel;
  constexpr u8 kLevels[] = {4, 3, 2, 1, 0, kNone};
  for (const u8 guest : kLevels) {
    for (const u8 nested : kLevels) {
      for (const bool update : {false, true}) reference(guest, nested, update);
    }
  }
}

void Rows::reference(u8 guest, u8 nested, bool update) {
  const auto level = [](u8 of) { return std::to_string(of); };
  const bool for_data = guest == WalkReference::kNoLevel;
  std::string place = for_data ? "reference.data" : "reference.guest" + level(guest);
  if (nested != WalkReference::kNoLevel) place.append(".nested").append(level(nested));
  if (update) place += ".update";
  for (unsigned source = 0; source < WalkTotals::kSources; ++source) {
    const WalkTotals::Cell& cell =
        all_.mmu.walks.of(guest, nested, static_cast<Served>(source), update);
    if (cell.references == 0) continue;
    const std::string name = place + "." + kSourceNames[source];
    add(name, cell.references, "references", kReferencesSentence);
    cycles(name + ".cycles", cell.cycles, kReferenceCyclesSentence);
  }
}

// Who had what: data, instructions, the walkers' entries and the software's.
void Rows::caches() {
  const WalkTotals& walks = all_.mmu.walks;
  for (const Served source : kSources) {
    const unsigned n = static_cast<unsigned>(source);
    WalkTotals::Cell tables;
    for (u8 guest = 0; guest < WalkTotals::kLevels; ++guest) {
      for (u8 nested = 0; nested < WalkTotals::kLevels; ++nested) {
        for (const bool update : {false, true}) {
          const auto& cell = walks.of(guest, nested, source, update);
          tables.references += cell.references;
          tables.cycles += cell.cycles;
        }
      }
    }
    const WalkTotals::Cell rows[] = {all_.vcpus.data[0][n], all_.vcpus.data[1][n], tables,
                                     all_.entries[n]};
    constexpr const char* kWho[][2] = {{"data", "for the guest's data"},
                                       {"fetches", "for its instructions"},
                                       {"walks", "for walkers"},
                                       {"software", "for entries that software read or wrote"}};
    u64 sum = 0;
    for (const WalkTotals::Cell& row : rows) sum += row.references;
    const std::string cache = std::string("cache.") + name_of(source);
    add(cache + ".served", sum, "references", "that this had: the sum of the next four");
    for (unsigned who = 0; who < std::size(rows); ++who) {
      add(cache + "." + kWho[who][0], rows[who].references, "references", kWho[who][1]);
      cycles(cache + "." + kWho[who][0] + ".cycles", rows[who].cycles, "that they took");
    }
    add(cache + ".tables_share", mean(rows[2].references + rows[3].references, sum), "ratio",
        "of what it served that were entries of tables");
  }
  if (!run_.machine) return;
  const models::DramCounts& dram = run_.machine->dram;
  add("dram.row_hits", dram.row_hits, "accesses", "of memory that found their row open");
  add("dram.row_empty", dram.row_empty, "accesses", "that found no row open");
  add("dram.row_conflicts", dram.row_conflicts, "accesses", "that found another row open");
  add("dram.write_backs", dram.write_backs, "accesses", "of these, for lines that caches gave up");
  cycles("dram.waiting", dram.waiting, "for banks that were busy");
}

void Rows::parts(const std::string& of, const PartCycles& from, std::initializer_list<Part> which) {
  static constexpr const char* kNames[software::kParts] = {
      "exit",   "waiting",   "handler", "tables",      "frames", "zeroing",
      "fences", "emulation", "entry",   "translation", "exits"};
  for (const Part part : which) {
    const auto n = static_cast<std::size_t>(part);
    cycles(of + "." + kNames[n], from[part], software::kPartSteps[n].sentence);
  }
}

constexpr std::initializer_list<Part> kExitParts = {Part::Exit,   Part::Lock,      Part::Handler,
                                                    Part::Tables, Part::Frames,    Part::Zeroing,
                                                    Part::Fences, Part::Emulation, Part::Entry};
constexpr std::initializer_list<Part> kKernelParts = {
    Part::Handler, Part::Lock,   Part::Translation, Part::Exits,
    Part::Zeroing, Part::Tables, Part::Fences};

void Rows::exits() {
  const software::ExitCounts& exits = all_.exits;
  static constexpr const char* kExits[software::ExitCounts::kOutcomes][2] = {
      {"exit.mapped", "that backed a page"},
      {"exit.made_writable", "that the dirty log wanted"},
      {"exit.already_mapped", "that found the page backed by somebody else"},
      {"exit.no_area", "for addresses without memory: a device's"},
      {"exit.no_permission", "for accesses that the hypervisor forbids"},
      {"exit.not_backed", "for memory that was taken away"},
      {"exit.out_of_memory", "for which the host had no frame"}};
  add("exit.total", exits.total(), "exits", "from the guest to the hypervisor");
  for (std::size_t n = 0; n < software::ExitCounts::kOutcomes; ++n) {
    add(kExits[n][0], exits.by_outcome[n], "exits", kExits[n][1]);
  }
  cycles("exit.cycles", exits.cycles.sum(),
         "from leaving the guest to being back, of all vCPUs: the sum of the next nine");
  parts("exit.cycles", exits.cycles, kExitParts);
}

void Rows::operations() {
  const software::OperationCounts& operations = all_.operations;
  static constexpr const char* kOperations[software::HostOperation::kKinds][2] = {
      {"operation.map", "that gave the guest new frames"},
      {"operation.zap", "that took frames away until they are touched"},
      {"operation.protect", "that changed what the guest may do"},
      {"operation.log_start", "that started the dirty log"},
      {"operation.log_harvest", "that read the dirty log"},
      {"operation.log_stop", "that stopped the dirty log"},
      {"operation.inflate", "that took frames away for good: a balloon's"},
      {"operation.deflate", "that promised them again"}};
  for (std::size_t n = 0; n < software::HostOperation::kKinds; ++n) {
    add(kOperations[n][0], operations.by_kind[n], "operations", kOperations[n][1]);
  }
  add("operation.refused", operations.refused, "operations", "that the engine refused");
  add("operation.bytes_dirty", operations.bytes_dirty, "bytes", "that the dirty log reported");
  cycles("operation.cycles", operations.cycles.sum(), "in operations: the sum of the next nine");
  parts("operation.cycles", operations.cycles, kExitParts);
}

void Rows::guest() {
  const software::GuestCounts& guest = all_.guest;
  add("guest.faults", guest.faults, "faults", "of the guest's own first stage");
  add("guest.large_pages", guest.large_pages, "faults", "of these, answered with 2M");
  add("guest.moved_pages", guest.moved_pages, "faults",
      "of these, where the trace has another page");
  add("guest.switches", all_.vcpus.switches, "switches", "between the guest's address spaces");
  add("guest.spaces", guest.spaces, "spaces", "that the guest made");
  add("guest.ended_spaces", guest.ended_spaces, "spaces",
      "of these, that ended when frames ran out: those that ran longest ago");
  add("guest.asid_rollovers", guest.asid_rollovers, "rollovers", "of the guest's ASIDs");
  add("guest.fences", all_.vcpus.fences, "fences", "that the guest issued");
  add("guest.table_frames", guest.table_frames, "frames",
      "that the guest's kernel took for tables");
  add("guest.bytes_zeroed", guest.bytes_zeroed, "bytes", "by the guest's kernel");
  PartCycles both = guest.fault_cycles;
  models::add(both, guest.switch_cycles);
  cycles("guest.cycles", both.sum(),
         "in the guest's kernel, of all vCPUs: the sum of the next seven");
  parts("guest.cycles", both, kKernelParts);
}

void Rows::schedule() {
  const software::ScheduleCounts& schedule = all_.schedule;
  add("host.departures", schedule.departures, "departures", "of vCPUs that gave up a core");
  add("host.vmid_rollovers", schedule.vmid_rollovers, "rollovers", "of VMIDs");
  cycles("host.cycles", schedule.cycles.sum(),
         "in giving up cores, and in coming back: the sum of the next five");
  parts("host.cycles", schedule.cycles,
        {Part::Exit, Part::Handler, Part::Lock, Part::Fences, Part::Entry});
}

void Rows::fences() {
  const software::FenceCounts& fences = all_.fences;
  static constexpr const char* kCauses[software::FenceCounts::kCauses][2] = {
      {"fence.map", "for operations that gave the guest new frames"},
      {"fence.zap", "for frames taken away until they are touched"},
      {"fence.protect", "for changed permissions"},
      {"fence.log_start", "for starts of the dirty log"},
      {"fence.log_harvest", "for harvests of the dirty log"},
      {"fence.log_stop", "for ends of the dirty log"},
      {"fence.inflate", "for the balloon"},
      {"fence.deflate", "for frames that it promised again"},
      {"fence.exits", "for exits"},
      {"fence.begin", "before the guest began"},
      {"fence.vmids", "since VMIDs were used again"}};
  for (std::size_t n = 0; n < software::FenceCounts::kCauses; ++n) {
    add(kCauses[n][0], fences.by_cause[n], "fences", kCauses[n][1]);
  }
  const software::VcpuCounts& vcpus = all_.vcpus;
  const auto part = software::Part::Fences;
  cycles("fence.cycles",
         all_.exits.cycles[part] + all_.operations.cycles[part] + all_.begin[part] +
             all_.schedule.cycles[part],
         "of the hypervisor until its fences were complete");
  add("fence.interrupts", fences.interrupts, "interrupts", "of other cores, for their fences");
  cycles("fence.lost", vcpus.interrupted_cycles + vcpus.unpaid_cycles,
         "that guests lost to interrupts: the sum of the next two");
  cycles("fence.lost.paid", vcpus.interrupted_cycles, "by vCPUs that went on later");
  cycles("fence.lost.unpaid", vcpus.unpaid_cycles,
         "by vCPUs that did not go on: that was their end");
  add("fence.refills", all_.mmu.refills, "entries",
      "of translations that fences removed and that were filled again");
}

void Rows::memory() {
  add("memory.backed", run_.memory.tables.owned_bytes, "bytes",
      "of the guest that have host frames");
  add("memory.tables", run_.memory.tables.table_bytes, "bytes", "of the hypervisor's page tables");
  if (run_.machine)
    add("memory.peak", run_.machine->memory_peak, "bytes", "of the host, at most at a time");
  const software::WorkCounts& work = run_.work;
  add("engine.entries_read", work.entries_read, "entries",
      "of tables that the engine read, for the hypervisor and for the guest");
  add("engine.entries_written", work.entries_written, "entries", "of tables that it wrote");
  add("engine.bytes_zeroed", work.bytes_zeroed, "bytes", "by the hypervisor");
  add("engine.fences", work.fences, "fences", "that it issued, barriers not counted");
}

void Rows::replayed(const software::ReplayCounts& counts) {
  for (const auto& row : kReplayRows) add(row.name, counts.*row.count, row.unit, row.sentence);
}

}  // namespace

void Measured::add(const Measured& later) {
  totals.add(later.totals);
  memory = later.memory;
  models::add(work, later.work);
  if (later.replayed) models::add(replayed ? *replayed : replayed.emplace(), *later.replayed);
  if (!later.machine) return;
  if (!machine) machine.emplace();
  models::add(machine->dram, later.machine->dram);
  machine->memory_peak = later.machine->memory_peak;
}

void Measured::take_away(const Measured& before) {
  totals.take_away(before.totals);
  models::take_away(work, before.work);
  if (before.replayed) models::take_away(*replayed, *before.replayed);
  if (before.machine) models::take_away(machine->dram, before.machine->dram);
}

Statistics statistics_of(const Measured& run) { return Rows(run).collect(); }

Histogram histogram_of(const Measured& run) {
  return {"latency", run.totals.latencies.bins(), "cycles",
          "accesses that took so long, from their begin to their end"};
}

Statistics statistics_of_nothing() { return statistics_of({{}, {}, {}, {}, MachineMeasured{}}); }

// As Rows::reference names them.
std::vector<StatisticFamily> statistic_families() {
  std::string sources;
  for (const char* const name : kSourceNames)
    sources.append(sources.empty() ? "" : "|").append(name);
  const std::string level = "[0-" + std::to_string(WalkTotals::kLevels - 2) + "]";
  const std::string cell = "^reference\\.(data|guest" + level + ")(\\.nested" + level +
                           ")?(\\.update)?\\.(" + sources + ")";
  std::vector<StatisticFamily> families = {
      {cell + "$", "references", kReferencesSentence},
      {cell + "\\.cycles$", "cycles", kReferenceCyclesSentence},
      {"^vm[0-9]+\\..+$", "as the other", "of one guest where there are several", "number"},
      {"^phase\\.[A-Za-z0-9_-]+\\..+$", "as the other",
       "of one phase, where the trace has markers; start: before the first", "number"}};
  for (const auto& row : kReplayRows) {
    families.push_back({std::string("^") + row.name + "$", row.unit, row.sentence});
  }
  return families;
}

}  // namespace nestwalk::sim
