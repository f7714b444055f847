// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/report.hpp"

#include <algorithm>
#include <optional>

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

// Those from l1 on are caches and memory, which have rows of their own.
constexpr const char* kSourceNames[] = {"none", "walk_cache", "nested_tlb", "l1",
                                        "l2",   "l3",         "memory"};
static_assert(std::size(kSourceNames) == WalkTotals::kSources);

// Each is at most the next one.
constexpr Percentile kPercentiles[] = {
    {"latency.p50", 500, "that half of the accesses do not exceed"},
    {"latency.p90", 900, "that 90 % of the accesses do not exceed"},
    {"latency.p99", 990, "that 99 % of the accesses do not exceed"},
    {"latency.p99.9", 999, "that 99.9 % of the accesses do not exceed"}};

constexpr unsigned kFirstCache = static_cast<unsigned>(Served::L1);
std::string cache_name(unsigned source) { return std::string("cache.") + kSourceNames[source]; }

constexpr const char* kReferencesSentence = "of walks to entries of these levels, served there";
constexpr const char* kReferenceCyclesSentence = "that they took";

// Every statistic, in the order in which a run says them. A sum is followed by its parts, so that
// where a row stands says what it is a part of.
class Rows {
 public:
  explicit Rows(const Measured& run) : all_(run.totals), run_(run) {}

  std::vector<Row> collect() {
    time();
    accesses();
    latencies();
    translations();
    if (run_.of_vcpu) return of_vcpu();
    references();
    caches();
    exits();
    operations();
    guest();
    schedule();
    fences();
    memory();
    if (run_.replayed) replayed(*run_.replayed);
    end_parts();
    end_means();
    return std::move(rows_);
  }
  // Without what only the hypervisor has.
  std::vector<Row> of_vcpu() {
    end_parts();
    end_means();
    std::erase_if(rows_, [](const Row& row) { return row.name == "time.begin"; });
    for (Row& row : rows_) {
      if (row.name == "translation.walks") row.has_unsaid_parts = true;  // by level and source
    }
    return std::move(rows_);
  }

 private:
  Row& add(std::string name, auto value, const char* unit, const char* sentence) {
    rows_.push_back({{std::move(name), value, unit, sentence}, {}, "", {}, ""});
    return rows_.back();
  }
  // How things are, not what was counted.
  Row& state(std::string name, u64 value, const char* unit, const char* sentence) {
    Row& row = add(std::move(name), value, unit, sentence);
    row.over_time = false;
    return row;
  }
  // The sum of the rows `of` by the row `per`; it gets its value when all rows are there.
  void mean(std::string name, std::vector<std::string> of, std::string per, const char* unit,
            const char* sentence) {
    Row& row = add(std::move(name), 0.0, unit, sentence);
    row.mean_of = std::move(of);
    row.mean_per = std::move(per);
  }
  Row& cycles(std::string name, Cycle value, const char* sentence) {
    return add(std::move(name), value, "cycles", sentence);
  }
  // What the rows of part() and rest() that follow add up to, in the same unit. A sentence that
  // ends with "the sum of the next" is completed with their number.
  Row& sum(std::string name, u64 value, const char* unit, const char* sentence) {
    add(std::move(name), value, unit, sentence);
    begin_parts();
    return rows_.back();
  }
  Row& part(std::string name, u64 value, const char* sentence) {
    left_ -= value;
    ++parts_;
    Row& row = add(std::move(name), value, rows_[whole_].unit, sentence);
    row.part_of = {rows_[whole_].name};
    return row;
  }
  // What the other parts leave of the sum.
  void rest(std::string name, const char* sentence) {
    rest_ = rows_.size();
    part(std::move(name), 0, sentence);
  }
  void begin_parts();
  void end_parts();
  void end_means();

  void time();
  void accesses();
  void latencies();
  void translations();
  void references();
  void reference(u8 guest, u8 nested, bool update);
  void caches();
  void cache(Served source);
  void data_prefetches(unsigned level);
  void spent(const std::string& whole, const PartCycles& on, const char* sentence,
             std::initializer_list<Part> parts);
  void exits();
  void operations();
  void reservations(const std::string& whose, const models::FrameCounts& counts, u64 unused);
  void guest();
  void schedule();
  void fences();
  void memory();
  void replayed(const software::ReplayCounts& counts);

  const software::Totals& all_;
  const Measured& run_;
  std::vector<Row> rows_;
  WalkTotals::Cell walks_[WalkTotals::kSources];  ///< references of the rows so far, by source
  // The sum whose parts are added.
  std::size_t whole_ = 0;            ///< its place
  std::size_t parts_ = 0;            ///< how many it has so far
  u64 left_ = 0;                     ///< what they leave of it
  std::optional<std::size_t> rest_;  ///< the place of the part that is what the others leave
};

void Rows::begin_parts() {
  end_parts();
  whole_ = rows_.size() - 1;
  left_ = std::get<u64>(rows_[whole_].value);
  parts_ = 0;
  rest_.reset();
}

void Rows::end_parts() {
  constexpr const char* kNumbers[] = {"none", "one", "two",   "three", "four",
                                      "five", "six", "seven", "eight", "nine"};
  if (rest_) rows_[*rest_].value = left_;
  std::string& sentence = rows_[whole_].sentence;
  if (!sentence.ends_with("the sum of the next")) return;
  const bool has_word = parts_ < std::size(kNumbers);
  sentence.append(" ").append(has_word ? kNumbers[parts_] : std::to_string(parts_));
}

void Rows::end_means() {
  const auto value = [&](const std::string& name) {
    const auto row = std::find_if(rows_.begin(), rows_.end(),
                                  [&](const Row& each) { return each.name == name; });
    return std::get<u64>(row->value);
  };
  for (Row& row : rows_) {
    if (!row.mean_per.empty()) row.value = mean_of(row, value);
  }
}

void Rows::time() {
  const software::VcpuCounts& vcpus = all_.vcpus;
  cycles("time.cycles", all_.end, "from the start until the last vCPU was done").always = true;
  // For users: of two machines, cycles say nothing.
  state("time.ns", static_cast<u64>(run_.clock.nanoseconds(static_cast<double>(all_.end)) + 0.5),
        "nanoseconds", "from the start until the last vCPU was done, by the machine's clock")
      .in_ns = "time.cycles";
  state("time.first_access", all_.first_access == models::kNever ? 0 : all_.first_access, "cycles",
        "from the start until the guest's first access was over; 0 if it was before")
      .at_most = "time.cycles";
  cycles("time.begin", all_.begin.sum(), "before the vCPUs began, to give the guest its memory");
  Row& together =
      sum("time.vcpus", all_.vcpu_cycles, "cycles", "of all vCPUs together: the sum of the next");
  together.at_most = "time.cycles";
  together.of_vcpus = true;
  part("time.instructions", vcpus.instruction_cycles, "in the instructions between accesses");
  rest("time.accesses", "waiting for accesses, or for room in a store buffer");
  part("time.interrupted", vcpus.interrupted_cycles, "by fences of other vCPUs' hypervisor");
  for (const software::PauseKind& pause : software::kPauses) {
    part(std::string("time.") + pause.name, vcpus.*pause.cycles, pause.sentence);
  }
}

void Rows::accesses() {
  const software::VcpuCounts& vcpus = all_.vcpus;
  sum("access.total", vcpus.total(), "accesses", "that the vCPUs played").always = true;
  part("access.reads", vcpus.accesses[0], "that read");
  part("access.writes", vcpus.accesses[1], "that wrote");
  part("access.fetches", vcpus.accesses[2], "that fetched instructions");
  add("access.fetches.hidden", vcpus.hidden_fetches, "accesses",
      "of these, that took no time: instruction fetch runs ahead")
      .at_most = "access.fetches";
  add("access.writes.buffered", vcpus.buffered_stores, "accesses",
      "of the writes, that went into a store buffer: their lines are not waited for")
      .at_most = "access.writes";
  add("access.instructions", vcpus.instructions, "instructions", "between the accesses");
  add("access.emulated", vcpus.emulated, "accesses", "outside of the guest's memory: a device's");
  add("access.forbidden", vcpus.forbidden, "accesses", "that the hypervisor does not permit");
  add("access.untranslatable", vcpus.untranslatable, "accesses",
      "left out, since the guest's tables cannot have their addresses");
}

void Rows::latencies() {
  const software::VcpuCounts& vcpus = all_.vcpus;
  const software::Distribution& all = all_.latencies;
  add("latency.mean", all.mean(), "cycles", "of an access, from its begin to its end").at_most =
      "latency.max";
  add("latency.mean_ns", run_.clock.nanoseconds(all.mean()), "nanoseconds",
      "of an access, from its begin to its end, by the machine's clock")
      .in_ns = "latency.mean";
  for (std::size_t n = 0; n < std::size(kPercentiles); ++n) {
    const auto& [name, permille, sentence] = kPercentiles[n];
    state(name, all.percentile(permille), "cycles", sentence).at_most =
        n + 1 == std::size(kPercentiles) ? "latency.max" : kPercentiles[n + 1].name;
  }
  state("latency.max", all.max(), "cycles", "of the slowest access").always = true;
  sum("latency.sum", all.sum() + vcpus.untranslatable_cycles + vcpus.unfinished_cycles, "cycles",
      "of all accesses, those left out included: the sum of the next");
  part("latency.translation", vcpus.translation_cycles, "in TLBs and walks");
  part("latency.data", vcpus.data_cycles(), "in caches and memory, for the data");
  part("latency.exits", vcpus.exit_cycles,
       "in exits of their own; guest.cycles.exits has the kernel's");
  part("latency.guest", vcpus.guest_cycles, "in the guest's kernel");
  part("latency.held", vcpus.held_cycles, "until all before an access that faults was over");
}

void Rows::translations() {
  const models::Mmu::Counts& mmu = all_.mmu.counts;
  constexpr const char* kKinds[] = {".reads", ".writes", ".fetches"};
  const auto of_kind = [&](unsigned kind) { return rows_[whole_].name + kKinds[kind]; };
  sum("tlb.first_hits", mmu.first_hits(), "lookups", "that hit the first-level TLB");
  for (unsigned kind = 0; kind < 3; ++kind) {
    part(of_kind(kind), mmu.inline_hits[kind] + mmu.later_hits[kind], "of these, of this kind");
  }
  sum("tlb.second_hits", mmu.second_hits(), "lookups", "that hit the second-level TLB");
  for (unsigned kind = 0; kind < 3; ++kind) {
    part(of_kind(kind), mmu.second_hits_of[kind], "of these, of this kind");
  }
  const models::PrefetchCounts& prefetches = all_.mmu.prefetches;
  add("tlb.prefetch.asked", prefetches.asked, "translations",
      "that the TLB prefetcher asked for, and the TLB did not have");
  add("tlb.prefetch.filled", prefetches.filled, "translations",
      "of these, that came into the prefetch buffer");
  add("tlb.prefetch.used", prefetches.used, "translations",
      "of these, that a miss of the last TLB level found there, and so needed no walk");
  add("tlb.prefetch.dropped", prefetches.dropped, "translations",
      "asked for, but not filled: no translation, a flag that a prefetch may not set, a fence "
      "or a switch of the address space, a full queue, or a miss that came first");
  sum("walk.count", mmu.walks(), "walks",
      "of the page-table walkers, the kernel's touches included, prefetches not");
  for (unsigned kind = 0; kind < 3; ++kind) {
    part(of_kind(kind), mmu.walks_of[kind], "of these, for this kind");
  }
  add("walk.merged", mmu.merged, "misses", "that waited for the walk of another one");
  add("walk.faults", mmu.faults, "translations", "that ended in a fault");
  add("walk.references", mmu.references, "references",
      "of walks: entries read or updated, and hits that spared some");
  add("walk.fetched_ahead", all_.mmu.fetched_ahead, "entries",
      "of the two lowest levels, whose lines a walk asked for before it came to them");
  mean("walk.references_mean", {"walk.references"}, "walk.count", "references", "of one walk");
  const WalkTotals& walks = all_.mmu.walks;
  mean("walk.cycles_mean", {"translation.walks"}, "walk.count", "cycles",
       "of one walk, with its wait for a free walker");
  sum("translation.cycles", all_.mmu.cycles, "cycles",
      "in all translations, the kernel's touches included: the sum of the next");
  rest("translation.tlbs", "in the TLBs, of hidden fetches as well");
  part("translation.merged", mmu.merged_cycles, "waiting for the walk of another one");
  part("translation.walks", walks.cycles(),
       "in walks: the sum of the rows walk.* that follow and the references");
  begin_parts();
  part("walk.waiting", walks.waiting(), "for a free walker, or lost to a fence");
  part("walk.missing", walks.missing(),
       "in walk caches and nested TLBs that did not have what was wanted");
  const auto part_that_was = [&](const char* name, Cycle cycles, const char* sentence) {
    part(name, cycles, sentence).omitted = cycles == 0;
  };
  part_that_was("walk.steps", walks.steps(),
                "in walkers themselves, for the entries that they read");
  part_that_was("walk.assists", walks.assists(),
                "in microcode that sets accessed and dirty flags of entries");
  part_that_was("walk.nested_waiting", walks.nested_waiting(),
                "for the walker of the second stage, which another walk had");
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
  const auto level = [](const char* name, u8 of) { return name + std::to_string(of); };
  const bool for_data = guest == WalkReference::kNoLevel;
  std::string place = "reference" + (for_data ? ".data" : level(".guest", guest));
  if (nested != WalkReference::kNoLevel) place += level(".nested", nested);
  if (update) place += ".update";
  for (unsigned source = 0; source < WalkTotals::kSources; ++source) {
    const WalkTotals::Cell& cell =
        all_.mmu.walks.of(guest, nested, static_cast<Served>(source), update);
    models::add(walks_[source], cell);
    const std::string name = place + "." + kSourceNames[source];
    Row& entries = add(name, cell.references, "references", kReferencesSentence);
    entries.part_of = {"walk.references"};
    if (source >= kFirstCache) entries.part_of.push_back(cache_name(source) + ".walks");
    entries.omitted = cell.references == 0;
    Row& took = cycles(name + ".cycles", cell.cycles, kReferenceCyclesSentence);
    took.part_of = {"translation.walks"};
    if (source >= kFirstCache) took.part_of.push_back(cache_name(source) + ".walks.cycles");
    took.omitted = cell.references == 0;
  }
}

void Rows::caches() {
  const WalkTotals::Cell& forwarded = all_.vcpus.data[0][static_cast<unsigned>(Served::None)];
  add("store_buffer.forwarded", forwarded.references, "references",
      "of reads, that the store buffer had")
      .at_most = "access.reads";
  cycles("store_buffer.forwarded.cycles", forwarded.cycles, "that they took").part_of = {
      "latency.data"};
  for (const Served source : {Served::L1, Served::L2, Served::L3, Served::Memory}) cache(source);
  if (!run_.machine) return;
  const models::DramCounts& dram = run_.machine->dram;
  add("dram.row_hits", dram.row_hits, "accesses", "of memory that found their row open");
  add("dram.row_empty", dram.row_empty, "accesses", "that found no row open");
  add("dram.row_conflicts", dram.row_conflicts, "accesses", "that found another row open");
  add("dram.write_backs", dram.write_backs, "accesses", "of these, for lines that caches gave up");
  cycles("dram.waiting", dram.waiting, "for banks and buses that were busy");
  for (unsigned level = 0; level < run_.machine->prefetches.size(); ++level) {
    data_prefetches(level);
  }
}

// Of the caches of one level.
void Rows::data_prefetches(unsigned level) {
  const models::DataPrefetchCounts& counts = run_.machine->prefetches[level];
  const std::string place = "prefetch.l" + std::to_string(level + 1);
  const auto row = [&](const char* name, u64 value, const char* sentence) -> Row& {
    return add(place + name, value, "lines", sentence);
  };
  row(".issued", counts.issued, "that prefetchers of caches fetched");
  row(".used", counts.used, "likewise, that were used after they had come");
  row(".late", counts.late, "likewise, that were wanted while they were on their way");
  row(".from_memory", counts.from_memory, "likewise, that memory had");
  row(".dropped", counts.dropped, "not fetched, because all MSHRs were taken");
}

// Who had what: data, instructions, the walkers' entries and the software's.
void Rows::cache(Served source) {
  const unsigned n = static_cast<unsigned>(source);
  const struct {
    const char* name;
    const char* sentence;
    const WalkTotals::Cell& cell;
    std::vector<std::string> cycles_are_part_of;
  } users[] = {
      {"data", "for the guest's data", all_.vcpus.data[0][n], {"latency.data"}},
      {"fetches", "for its instructions", all_.vcpus.data[1][n], {"latency.data"}},
      {"walks", "for walkers", walks_[n], {}},
      {"prefetches", "for walks of TLB prefetches", all_.mmu.prefetches.references[n], {}},
      {"software", "for entries that software read or wrote", all_.entries[n], {}},
  };
  u64 all = 0;
  for (const auto& user : users) all += user.cell.references;
  const std::string place = cache_name(n);
  sum(place + ".served", all, "references", "that this had: the sum of the next");
  for (const auto& user : users) {
    const std::string name = place + "." + user.name;
    part(name, user.cell.references, user.sentence);
    cycles(name + ".cycles", user.cell.cycles, "that they took").part_of = user.cycles_are_part_of;
  }
  mean(place + ".tables_share", {place + ".walks", place + ".prefetches", place + ".software"},
       place + ".served", "ratio", "of what it served that were entries of tables");
}

void Rows::spent(const std::string& whole, const PartCycles& on, const char* sentence,
                 std::initializer_list<Part> parts) {
  static constexpr const char* kNames[software::kParts] = {
      "exit",   "waiting",   "handler", "tables",      "frames", "zeroing",
      "fences", "emulation", "entry",   "translation", "exits"};
  sum(whole, on.sum(), "cycles", sentence);
  for (const Part each : parts) {
    const auto n = static_cast<std::size_t>(each);
    Row& row = part(whole + "." + kNames[n], on[each], software::kPartSteps[n].sentence);
    if (each == Part::Fences && whole != "guest.cycles") row.part_of.push_back("fence.cycles");
  }
}

constexpr std::initializer_list<Part> kExitParts = {Part::Exit,   Part::Lock,      Part::Handler,
                                                    Part::Tables, Part::Frames,    Part::Zeroing,
                                                    Part::Fences, Part::Emulation, Part::Entry};

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
  sum("exit.total", exits.total(), "exits", "from the guest to the hypervisor");
  for (std::size_t n = 0; n < software::ExitCounts::kOutcomes; ++n) {
    part(kExits[n][0], exits.by_outcome[n], kExits[n][1]);
  }
  spent("exit.cycles", exits.cycles,
        "from leaving the guest to being back, of all vCPUs: the sum of the next", kExitParts);
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
  spent("operation.cycles", operations.cycles, "in operations: the sum of the next", kExitParts);
}

// Of a frame allocation policy.
void Rows::reservations(const std::string& whose, const models::FrameCounts& counts, u64 unused) {
  add(whose + ".reserved.used", counts.used, "frames",
      "reserved frames taken by the page they were reserved for");
  add(whose + ".reserved.given_back", counts.given_back, "frames",
      "reserved frames released because no other frame was free");
  state(whose + ".reserved.unused", unused, "frames", "frames still reserved at the end");
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
  reservations("guest", guest.frames, run_.reserved_frames);
  PartCycles both = guest.fault_cycles;
  models::add(both, guest.switch_cycles);
  spent("guest.cycles", both, "in the guest's kernel, of all vCPUs: the sum of the next",
        {Part::Handler, Part::Lock, Part::Translation, Part::Exits, Part::Zeroing, Part::Tables,
         Part::Fences});
}

void Rows::schedule() {
  const software::ScheduleCounts& schedule = all_.schedule;
  add("host.departures", schedule.departures, "departures", "of vCPUs that gave up a core");
  add("host.vmid_rollovers", schedule.vmid_rollovers, "rollovers", "of VMIDs");
  spent("host.cycles", schedule.cycles,
        "in giving up cores, and in coming back: the sum of the next",
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
      {"fence.entries",
       "before VM entries, since a VMID was reused or another vCPU of the guest ran there last"}};
  for (std::size_t n = 0; n < software::FenceCounts::kCauses; ++n) {
    add(kCauses[n][0], fences.by_cause[n], "fences", kCauses[n][1]);
  }
  const software::VcpuCounts& vcpus = all_.vcpus;
  cycles("fence.cycles",
         all_.exits.cycles[Part::Fences] + all_.operations.cycles[Part::Fences] +
             all_.begin[Part::Fences] + all_.schedule.cycles[Part::Fences],
         "of the hypervisor until its fences were complete")
      .has_unsaid_parts = true;
  add("fence.interrupts", fences.interrupts, "interrupts", "of other cores, for their fences");
  sum("fence.lost", vcpus.interrupted_cycles + vcpus.unpaid_cycles, "cycles",
      "that guests lost to interrupts: the sum of the next");
  part("fence.lost.paid", vcpus.interrupted_cycles, "by vCPUs that went on later")
      .part_of.push_back("time.interrupted");
  part("fence.lost.unpaid", vcpus.unpaid_cycles, "by vCPUs that did not go on: that was their end");
  add("fence.refills", all_.mmu.refills, "entries",
      "of translations that fences removed and that were filled again");
}

void Rows::memory() {
  state("memory.backed", run_.memory.tables.owned_bytes, "bytes",
        "of the guest that have host frames")
      .part_of = {"memory.peak"};
  state("memory.tables", run_.memory.tables.table_bytes, "bytes", "of the hypervisor's page tables")
      .part_of = {"memory.peak"};
  if (run_.machine) {
    state("memory.peak", run_.machine->memory_peak, "bytes",
          "of the host, at most at a time, reserved frames included")
        .has_unsaid_parts = true;
    reservations("host", run_.machine->frames, run_.machine->reserved_frames);
  }
  const software::WorkCounts& work = run_.work;
  add("engine.entries_read", work.entries_read, "entries",
      "of tables that the engine read, for the hypervisor and for the guest");
  add("engine.entries_written", work.entries_written, "entries", "of tables that it wrote");
  add("engine.bytes_zeroed", work.bytes_zeroed, "bytes", "by the hypervisor");
  add("engine.fences", work.fences, "fences", "that it issued, barriers not counted");
}

void Rows::replayed(const software::ReplayCounts& counts) {
  add("replay.agreed", counts.agreed, "accesses", "that arrived where the trace says");
  add("replay.wrong_page", counts.wrong_page, "accesses",
      "that arrived at another guest-physical page than the trace says");
  add("replay.wrong_frame", counts.wrong_frame, "accesses",
      "that arrived at that page, but at another host frame");
  add("replay.stale", counts.stale, "accesses",
      "that a TLB led elsewhere than the tables do by now, and the trace: nobody invalidated it");
  add("replay.not_judged", counts.not_judged, "accesses", "for which the trace does not say it");
  add("replay.not_known", counts.not_known, "accesses",
      "left out, since the trace does not say which tables translate");
  add("replay.guest_faults", counts.guest_faults, "accesses",
      "left out, since the recorded tables of the guest refuse them");
  add("replay.host_faults", counts.host_faults, "accesses",
      "left out, since the recorded tables of the second stage refuse them");
  add("replay.repeated", counts.repeated, "accesses",
      "that a cached translation refused, and the tables did not: tried again without it");
  add("replay.guest_stores", counts.guest_stores, "entries",
      "of the guest's tables that changed as recorded");
  add("replay.host_stores", counts.host_stores, "entries", "of the second stage's, likewise");
  add("replay.unplaced", counts.unplaced, "entries", "beyond the host's memory");
  add("replay.fences", counts.fences, "fences",
      "that are not recorded, but must have been: entries that translated changed");
}

}  // namespace

void Measured::add(const Measured& later) {
  totals.add(later.totals);
  memory = later.memory;
  reserved_frames = later.reserved_frames;
  models::add(work, later.work);
  if (later.replayed) models::add(replayed ? *replayed : replayed.emplace(), *later.replayed);
  if (!later.machine) return;
  if (!machine) machine.emplace();
  models::add(machine->dram, later.machine->dram);
  models::add(machine->prefetches, later.machine->prefetches);
  models::add(machine->frames, later.machine->frames);
  machine->memory_peak = later.machine->memory_peak;
  machine->reserved_frames = later.machine->reserved_frames;
}

void Measured::take_away(const Measured& before) {
  totals.take_away(before.totals);
  models::take_away(work, before.work);
  if (before.replayed) models::take_away(*replayed, *before.replayed);
  if (!before.machine) return;
  models::take_away(machine->dram, before.machine->dram);
  models::take_away(machine->prefetches, before.machine->prefetches);
  models::take_away(machine->frames, before.machine->frames);
}

double mean_of(const Row& row, const std::function<u64(const std::string&)>& value) {
  u64 sum = 0;
  for (const std::string& name : row.mean_of) sum += value(name);
  const u64 count = value(row.mean_per);
  return count == 0 ? 0.0 : static_cast<double>(sum) / static_cast<double>(count);
}

std::vector<Row> rows_of(const Measured& run) { return Rows(run).collect(); }

const std::vector<Row>& rows_of_nothing() {
  static const std::vector<Row> kRows = rows_of({{}, {}, {}, {}, MachineMeasured{}});
  return kRows;
}

const std::vector<Row>& rows_of_any() {
  static const std::vector<Row> kRows =
      rows_of({{}, {}, {}, software::ReplayCounts{}, MachineMeasured{}});
  return kRows;
}

const std::vector<Row>& rows_of_vcpu() {
  static const std::vector<Row> kRows = [] {
    Measured nothing;
    nothing.of_vcpu = true;
    return rows_of(nothing);
  }();
  return kRows;
}

Statistics statistics_of(const Measured& run) {
  Statistics statistics;
  for (Row& row : rows_of(run)) {
    if (!row.omitted) statistics.push_back(std::move(row));
  }
  return statistics;
}

Histogram histogram_of(const Measured& run) {
  return {"latency",      run.totals.latencies.bins(),
          "cycles",       "accesses that took so long, from their begin to their end",
          "access.total", "latency.mean",
          "latency.max",  kPercentiles};
}

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
      {"^vcpu[0-9]+\\..+$", "as the other",
       "of one vCPU where there are several, counted through all guests", "number"},
      {"^phase\\.[A-Za-z0-9_-]+\\..+$", "as the other",
       "of one phase, where the trace has markers; start: before the first", "number"}};
  for (const Row& row : rows_of_any()) {
    if (!row.name.starts_with("replay.")) continue;
    families.push_back({"^" + row.name + "$", row.unit, row.sentence});
  }
  return families;
}

}  // namespace nestwalk::sim
