// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/fence_prices.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>

#include "program/exit_code.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u64;
using checker::FenceUse;
using checker::Use;
using models::FenceRow;
using models::MachineShape;
namespace fence = addrspace::fence;

u64 entries_of(const models::CacheShape& cache) {
  u64 entries = 0;
  for (const models::ArrayShape& array : cache.arrays) entries += u64{array.sets} * array.ways;
  return entries;
}

// Tables that were walked before lie in L2; where there is none, in the cache beside it.
u64 table_latency(const MachineShape& machine) {
  for (const auto* const cache : {&machine.l2, &machine.l3, &machine.l1d}) {
    if (*cache) return (*cache)->latency_cycles;
  }
  return 0;
}

/// The same by address: a fence for each entry, and one for what was merged, where no address
/// selects that.
struct ByAddress {
  const FenceRow* each = nullptr;
  const FenceRow* merged = nullptr;
};
ByAddress by_address(const models::Extension& extension, const FenceRow& row) {
  ByAddress found;
  if (!extension.names_addresses || row.by != models::By::Nothing) return found;
  if ((row.structures & fence::kSecond) == 0) return found;
  const bool broadcast = row.has(fence::kBroadcast);
  for (const models::FenceOp op : extension.fences) {
    const FenceRow& other = *op;
    if (other.has(fence::kBroadcast) != broadcast || other.has(fence::kPosted)) continue;
    if (!other.has(fence::kVmid) || other.has(fence::kAsid) || other.single != nullptr) continue;
    const bool addressed =
        other.by == models::By::GuestPhysical && (other.structures & fence::kNestedTlb) != 0;
    if (addressed && found.each == nullptr) found.each = &other;
    const bool merged = other.by == models::By::Nothing && other.structures == fence::kFirst;
    if (merged && extension.needs_barriers && found.merged == nullptr) found.merged = &other;
  }
  return found;
}

constexpr const char* kUseNames[] = {"needed", "over-broad", "excess"};
static_assert(std::size(kUseNames) == checker::kUses);

Json price_of(const checker::Checker& checker, const checker::FenceUses& uses, const FenceUse& use,
              Use which, const MachineShape& machine, const UnitPrices& units) {
  const FenceUse::Counts& counts = use.of(which);
  const FenceRow& row = *use.op;
  const u64 each = machine.fence.cycles(row.cost);
  const bool counted = uses.knows_accesses();
  const u64 refills = counted ? counts.refills : counts.emptied * units.entries + counts.pages;
  Json price = {{"use", kUseNames[static_cast<unsigned>(which)]},
                {"fence", row.name.c_str()},
                {"operation", checker.operation_name(use.operation)},
                {"first_cycle", use.first.cycle},
                {"fences", counts.fences},
                {"cycles_each", each},
                {"issue_cycles", counts.fences * each},
                {"interrupts", counts.interrupts},
                {"interrupt_cycles", counts.interrupts * units.interrupt},
                {"refills", refills},
                {"refills_are", counted ? "of accesses in the log" : "a bound"},
                {"refill_cycles", refills * units.refill},
                {"cycles", counts.fences * each + counts.interrupts * units.interrupt}};
  if (!use.first.site.empty()) price["site"] = use.first.site;
  if (use.first.line != 0) price["line"] = use.first.line;
  const ByAddress other = by_address(*machine.extension, row);
  if (which == Use::Needed || other.each == nullptr) return price;
  const u64 entries = which == Use::OverBroad ? counts.covered : counts.fences;
  u64 cycles = entries * machine.fence.cycles(other.each->cost);
  std::string name = other.each->name.c_str();
  if (other.merged != nullptr) {
    cycles += counts.fences * machine.fence.cycles(other.merged->cost);
    name.append(", ").append(other.merged->name.c_str());
  }
  price["by_address"] = {{"fences", name}, {"entries", entries}, {"cycles", cycles}};
  return price;
}

std::string grouped(u64 number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t n = 0; n < digits.size(); ++n) {
    if (n != 0 && (digits.size() - n) % 3 == 0) text += ',';
    text += digits[n];
  }
  return text;
}

std::string grouped(const Json& number) { return grouped(number.get<u64>()); }

// "flush+0x8 in unmap: 92,761 tlbi vmalls12e1is that nothing needed: 92,761,000 cycles"
std::string line_of(const Json& price) {
  const std::string use = price["use"];
  const std::string operation = price["operation"];
  std::string text = price.contains("site") ? printable(price["site"]) : "";
  if (!operation.empty()) text.append(text.empty() ? "" : " in ").append(printable(operation));
  if (text.empty()) text = "outside any operation";
  text.append(": ").append(grouped(price["fences"])).append(" ").append(price["fence"]);
  if (use == "excess") text += " that nothing needed";
  if (use == "over-broad") text += ", far more than had to go";
  text += ": " + grouped(price["issue_cycles"]) + " cycles";
  if (price["interrupts"] != 0) {
    text += ", and " + grouped(price["interrupt_cycles"]) + " of " + grouped(price["interrupts"]) +
            " interrupts";
  }
  const bool bound = price["refills_are"] == "a bound";
  text += std::string("; ") + (bound ? "at most " : "") + grouped(price["refills"]) +
          " refills, at most " + grouped(price["refill_cycles"]) + " cycles";
  if (price.contains("by_address")) {
    const Json& other = price["by_address"];
    text.append("; by address (").append(other["fences"]).append(") they would cost ");
    text += grouped(other["cycles"]) + " cycles";
  }
  return text + "\n";
}

}  // namespace

UnitPrices unit_prices(const MachineShape& machine, unsigned levels) {
  UnitPrices units;
  units.interrupt = machine.fence.ipi_cycles +
                    machine.fence.cycles_or(models::kKickCost, machine.software.exit_cycles) +
                    machine.fence.cycles(&models::kAcknowledgeCost);
  // Each of the guest's entries, and the page itself, is found by a walk of the second stage; the
  // page is no reference of the walk.
  units.references = u64{levels + 1} * (levels + 1) - 1;
  units.refill = units.references * table_latency(machine);
  units.entries = entries_of(machine.mmu.fetch_tlb) + entries_of(machine.mmu.data_tlb) +
                  entries_of(machine.mmu.store_tlb) + entries_of(machine.mmu.second_tlb);
  return units;
}

Json prices_of(const checker::Checker& checker, const checker::FenceUses& uses,
               const MachineShape& machine) {
  const models::Extension* const extension = checker.extension();
  if (extension != nullptr && extension != machine.extension) {
    throw UsageError("nestwalk check: the log is of " + std::string(extension->name) + ", and " +
                     machine.name + " has " + machine.extension->name);
  }
  const UnitPrices units = unit_prices(machine, checker.levels());
  Json rows = Json::array();
  u64 wasted = 0, needed = 0;
  for (const FenceUse& use : uses.uses()) {
    for (const Use which : {Use::Excess, Use::OverBroad, Use::Needed}) {
      if (use.of(which).fences == 0) continue;
      rows.push_back(price_of(checker, uses, use, which, machine, units));
      (which == Use::Excess ? wasted : needed) += rows.back()["cycles"].get<u64>();
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) {
    const bool in_vain = a["use"] != "needed";
    if (in_vain != (b["use"] != "needed")) return in_vain;
    return a["cycles"].get<u64>() > b["cycles"].get<u64>();
  });
  Json prices = {{"machine", machine.name},
                 {"interrupt_cycles", units.interrupt},
                 {"refill", {{"references", units.references}, {"cycles", units.refill}}},
                 {"tlb_entries", units.entries},
                 {"cycles", {{"excess", wasted}, {"others", needed}}},
                 {"fences", std::move(rows)}};
  // Numbers that grow by one a line count lines. Cycles that are less than the fences alone would
  // take are none of this machine.
  const checker::Checker::Span& span = checker.span();
  const u64 cycles = span.last - span.first;
  const auto processors = static_cast<u64>(std::popcount(span.processors));
  if (span.last > span.first && cycles > span.events && wasted + needed <= cycles * processors) {
    prices["logged"] = {
        {"cycles", cycles},
        {"processors", processors},
        {"excess_share", static_cast<double>(wasted) / static_cast<double>(cycles * processors)}};
  }
  return prices;
}

std::string prices_text(const Json& prices) {
  const Json& rows = prices["fences"];
  std::string text = "\non " + printable(prices["machine"]) + ":\n";
  for (const Json& row : rows) text += "  " + line_of(row);
  if (rows.empty()) return text + "  no fences\n";
  const Json& sums = prices["cycles"];
  text += "  in all: " + grouped(sums["excess"]) + " cycles of fences that nothing needed, " +
          grouped(sums["others"]) + " of the others\n";
  if (prices.contains("logged")) {
    char share[32];
    std::snprintf(share, sizeof share, "%.2f%%",
                  100 * prices["logged"]["excess_share"].get<double>());
    text += std::string("  the former are ") + share +
            " of the logged time: " + grouped(prices["logged"]["cycles"]) + " cycles of each of " +
            grouped(prices["logged"]["processors"]) + " processors\n";
  }
  const bool bound = rows[0]["refills_are"] == "a bound";
  text += "  a refill: " + grouped(prices["refill"]["references"]) +
          " references without walk caches, from L2: " + grouped(prices["refill"]["cycles"]) +
          " cycles. ";
  if (!bound) return text + "They are of the log's accesses, with TLBs that lose nothing else\n";
  return text +
         "The log has no accesses: each fence of all may cost a processor that was in the "
         "guest before all of its TLBs, " +
         grouped(prices["tlb_entries"]) + " entries\n";
}

}  // namespace nestwalk::sim
