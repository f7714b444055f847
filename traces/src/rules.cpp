// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/rules.hpp"

#include <algorithm>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <vector>

#include "isa/isa.hpp"
#include "nestwalk/traces/block.hpp"
#include "nestwalk/traces/recorded_tables.hpp"

namespace nestwalk::traces {
namespace {

bool is_format(std::string_view text, const TracedIsa& names) {
  for (unsigned levels = names.least_levels; levels <= names.most_levels; ++levels) {
    if (text == std::string(names.name) + "-" + std::to_string(levels)) return true;
  }
  return false;
}

std::string in_quotes(const std::string& text) { return "'" + text + "'"; }

std::optional<Breach> breach_of_tables(const std::string& text,
                                       const std::optional<Architecture>& architecture) {
  if (text.empty()) return {};
  bool known = false;
  for (const TracedIsa* each : traced_isas()) {
    if (architecture && *architecture != each->architecture) continue;
    known = known || is_format(text, *each);
  }
  if (known) return {};
  std::string expected = "a format of page tables";
  if (architecture) {
    const TracedIsa& names = traced(*architecture);
    expected += " from " + std::string(names.name) + "-" + std::to_string(names.least_levels) +
                " to " + std::string(names.name) + "-" + std::to_string(names.most_levels);
  }
  return Breach{expected, in_quotes(text)};
}

std::string text_of(const MemoryRange& range) {
  return std::to_string(range.bytes) + " bytes of " + in_quotes(range.kind) + " from " +
         in_hex(range.start) + " on";
}

std::optional<Breach> breach_of_memory(std::vector<MemoryRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const MemoryRange& a, const MemoryRange& b) {
    return std::tie(a.stage, a.start) < std::tie(b.stage, b.start);
  });
  const MemoryRange* furthest = nullptr;  // of those of the stage so far, what ends last
  for (const MemoryRange& range : ranges) {
    if (range.bytes == 0) return Breach{"a memory range with bytes", text_of(range)};
    if (furthest == nullptr || furthest->stage != range.stage) {
      furthest = &range;
      continue;
    }
    if (furthest->kind != range.kind && range.start - furthest->start < furthest->bytes) {
      return Breach{"one kind of memory at " + in_hex(range.start) + " of the " +
                        std::string(kStageNames[static_cast<u8>(range.stage)]),
                    text_of(*furthest) + " and " + text_of(range)};
    }
    const u64 distance = range.start - furthest->start;
    if (range.bytes > furthest->bytes || furthest->bytes - range.bytes < distance) {
      furthest = &range;
    }
  }
  return {};
}

using Note = std::pair<std::string, std::string>;

// What the header says, as notes. Numbers are decimal; of a note they may be hexadecimal, too.
std::vector<std::pair<std::string_view, std::string>> notes_of(const Header& header) {
  std::vector<std::pair<std::string_view, std::string>> notes = {
      {"nested", header.mode == Mode::Nested ? "yes" : "no"}};
  if (header.architecture) {
    notes.emplace_back("architecture", addrspace::to_string(*header.architecture));
  }
  return notes;
}

std::vector<std::pair<std::string_view, u64>> numbers_of(const Header& header) {
  std::vector<std::pair<std::string_view, u64>> numbers = {{"vcpus", header.vcpus}};
  if (header.memory.size() > 1) return numbers;
  const MemoryRange memory = header.memory.empty() ? MemoryRange{} : header.memory.front();
  numbers.emplace_back("memory_base", memory.start);
  numbers.emplace_back("memory_bytes", memory.bytes);
  return numbers;
}

bool by_address(FenceScope scope) {
  return scope == FenceScope::Address || scope == FenceScope::AddressAsid;
}

bool by_asid(FenceScope scope) {
  return scope == FenceScope::Asid || scope == FenceScope::AddressAsid;
}

}  // namespace

std::optional<Breach> breach_of(const Header& header) {
  for (const std::string* tables : {&header.guest_tables, &header.host_tables}) {
    if (auto breach = breach_of_tables(*tables, header.architecture)) return breach;
  }
  if (header.memory.size() > kMaxMemoryRanges) {
    return Breach{"at most " + std::to_string(kMaxMemoryRanges) + " memory ranges",
                  std::to_string(header.memory.size())};
  }
  if (auto breach = breach_of_memory(header.memory)) return breach;
  auto breach = breach_of_notes(header);
  if (breach) breach->expected = "a note on provenance, " + breach->expected + ", as the header";
  return breach;
}

std::optional<Breach> breach_of_notes(const Header& header) {
  const auto& all = header.provenance;
  const auto others = std::find_if(all.rbegin(), all.rend(), [](const Note& note) {
    return note.first == "merge" || note.first == "split";
  });
  const auto texts = notes_of(header);
  const auto numbers = numbers_of(header);
  for (auto note = others.base(); note != all.end(); ++note) {
    const auto& [name, value] = *note;
    for (const auto& [known, expected] : texts) {
      if (name == known && value != expected)
        return Breach{name + " " + expected, in_quotes(value)};
    }
    for (const auto& [known, expected] : numbers) {
      const std::string decimal = std::to_string(expected);
      if (name != known || value == decimal || value == in_hex(expected)) continue;
      return Breach{name + " " + decimal, in_quotes(value)};
    }
  }
  return {};
}

std::optional<Breach> breach_of_register(const std::optional<Architecture>& architecture,
                                         const std::string& name) {
  if (!architecture) return {};
  const auto has = [&](const TracedIsa& isa) {
    return std::find(isa.controls.begin(), isa.controls.end(), name) != isa.controls.end();
  };
  const auto all = traced_isas();
  const bool known = std::any_of(all.begin(), all.end(), [&](auto* isa) { return has(*isa); });
  if (!known || has(traced(*architecture))) return {};
  return Breach{"a register of " + std::string(traced(*architecture).name), in_quotes(name)};
}

MemoryMap::MemoryMap(const Header& header) {
  for (const MemoryRange& range : header.memory) {
    const bool is_device = range.kind == "mmio";
    auto& ranges = (is_device ? devices_ : ranges_)[static_cast<u8>(range.stage)];
    if (range.bytes == 0) continue;
    u64 start = range.start, end = range.start + range.bytes;
    if (end < start) end = ~u64{0};
    auto at = ranges.upper_bound(start);
    if (at != ranges.begin() && std::prev(at)->second >= start) --at;
    while (at != ranges.end() && at->first <= end) {
      start = std::min(start, at->first);
      end = std::max(end, at->second);
      at = ranges.erase(at);
    }
    ranges[start] = end;
  }
}

bool MemoryMap::holds(Stage stage, u64 address) const {
  const auto is_in = [&](const std::map<u64, u64>& ranges) {
    const auto after = ranges.upper_bound(address);
    return after != ranges.begin() && address < std::prev(after)->second;
  };
  const auto& ranges = ranges_[static_cast<u8>(stage)];
  return (ranges.empty() || is_in(ranges)) && !is_in(devices_[static_cast<u8>(stage)]);
}

RecordRules::RecordRules(const Header& header)
    : architecture_(header.architecture), memory_(header), system_(header.mode != Mode::User) {}

std::optional<Breach> RecordRules::breach(const Event& event) const {
  return std::visit([&](const auto& detail) { return breach_of(detail); }, event.detail);
}

std::optional<Breach> RecordRules::asid_breach(u64 asid) const {
  const unsigned bits = system_ && architecture_ ? traced(*architecture_).asid_bits : 64;
  if (bits == 64 || asid >> bits == 0) return {};
  return Breach{"an ASID of " + std::to_string(bits) + " bits", in_hex(asid)};
}

std::optional<Breach> RecordRules::breach(u64 root, u64 asid) const {
  const bool whole_pages = architecture_ && traced(*architecture_).roots_are_pages;
  if (whole_pages && root % kPageBytes != 0) {
    return Breach{"an address space's root, a multiple of 4096", in_hex(root)};
  }
  return asid_breach(asid);
}

std::optional<Breach> RecordRules::breach_of(const SpaceSwitch& space) const {
  return breach(space.root, space.asid);
}

std::optional<Breach> RecordRules::breach_of(const GuestFence& fence) const {
  constexpr u64 kFlags = kFenceGlobal | kFenceLeaf | kFenceBroadcast;
  if ((fence.flags & ~kFlags) != 0) return Breach{"flags of a fence below 8", in_hex(fence.flags)};
  const std::string scope =
      "a fence of scope " + std::string(kFenceScopeNames[static_cast<u8>(fence.scope)]);
  if (!by_address(fence.scope) && (fence.address.value() | fence.bytes) != 0) {
    return Breach{scope + " without an address",
                  in_hex(fence.bytes) + " bytes from " + in_hex(fence.address.value()) + " on"};
  }
  if (!by_asid(fence.scope) && fence.asid != 0) {
    return Breach{scope + " without an ASID", in_hex(fence.asid)};
  }
  return asid_breach(fence.asid);
}

std::optional<Breach> RecordRules::breach_of(const HypervisorOperation& operation) const {
  constexpr u64 kFlags = kPermitRead | kPermitWrite | kPermitExecute;
  if ((operation.flags & ~kFlags) == 0) return {};
  return Breach{"flags of a hypervisor's operation below 8", in_hex(operation.flags)};
}

std::optional<Breach> RecordRules::breach_of(const ControlWrite& write) const {
  if (!architecture_) return {};
  const TracedIsa& names = traced(*architecture_);
  if (std::find(names.controls.begin(), names.controls.end(), write.name) != names.controls.end()) {
    return {};
  }
  return Breach{"a register that controls the translation of " + std::string(names.name),
                in_quotes(write.name)};
}

std::optional<Breach> RecordRules::breach_of(const TableWrite& write) const {
  if (write.address % 8 != 0) {
    return Breach{"the address of an entry, a multiple of 8", in_hex(write.address)};
  }
  if (memory_.holds(write.stage, write.address)) return {};
  return Breach{"the address of an entry in the memory that the header tells of",
                in_hex(write.address)};
}

namespace {

// As a set of Lack. A space that was inferred is no record of a switch; what order there is, no
// record says.
u64 knowledge_of(const Access& access) {
  u64 known = access.instructions != 0 ? u64{kNoInstructions} : 0;
  if (access.has(kGvaKnown)) known |= kNoGva;
  if (access.has(kGpaKnown)) known |= kNoGpa;
  if (access.has(kHpaKnown)) known |= kNoHpa;
  if (access.has(kDependent)) known |= kNoDependence;
  if (access.size != 0) known |= kNoSize;
  if (access.kind == AccessKind::Fetch) known |= kNoFetches;
  return known;
}

u64 knowledge_of(const Event& event) {
  u64 known = event.instructions != 0 ? u64{kNoInstructions} : 0;
  const auto* const space = std::get_if<SpaceSwitch>(&event.detail);
  if (space != nullptr && space->precision == Precision::Exact) known |= kNoSpaces;
  if (std::holds_alternative<GuestFence>(event.detail)) known |= kNoFences;
  if (std::holds_alternative<HypervisorOperation>(event.detail)) known |= kNoHypervisor;
  return known;
}

}  // namespace

void LackRules::add(const Chunk& chunk) {
  const u64 open = lacks_ & ~has_[chunk.vcpu];
  if (open == 0) return;
  // Nearly always nothing is new, which all accesses together tell soonest.
  Access all{};
  for (const Access& access : chunk.accesses) {
    all.flags |= access.flags;
    all.instructions |= access.instructions;
    all.size |= access.size;
    if (access.kind == AccessKind::Fetch) all.kind = access.kind;
  }
  u64 known = knowledge_of(all);
  if (chunk.event != nullptr) known |= knowledge_of(*chunk.event);
  if ((known & open) == 0) return;
  u64 record = chunk.first_record;
  for (const Access& access : chunk.accesses) {
    note(knowledge_of(access) & lacks_, chunk.vcpu, record++);
  }
  if (chunk.event != nullptr) note(knowledge_of(*chunk.event) & lacks_, chunk.vcpu, record);
}

void LackRules::note(u64 known, u32 vcpu, u64 record) {
  const u64 is_new = known & ~has_[vcpu];
  if (is_new == 0) return;
  has_[vcpu] |= is_new;
  for (std::size_t bit = 0; bit < std::size(kLackNames); ++bit) {
    if ((is_new >> bit & 1) == 0 || ++vcpus_with_[bit] != has_.size() || breach_) continue;
    breach_ =
        Breach{"record " + std::to_string(record) + " of vCPU " + std::to_string(vcpu) +
                   " to have no '" + std::string(kLackNames[bit]) + "', which the header lacks" +
                   (vcpu == 0 && has_.size() == 1 ? "" : " and all other vCPUs have"),
               "some"};
  }
}

void LackRules::check(const Chunk& chunk, const std::string& name, const OnLoss& on_loss) {
  if (breach_) return;
  add(chunk);
  if (!breach_) return;
  const InputError error(name, "expected " + breach_->expected + ", found " + breach_->found);
  if (!on_loss) throw error;
  on_loss(error.what());
}

Registers SideRules::controls_of(u32 vcpu) const {
  const auto& known = registers_[static_cast<u8>(When::Begin)];
  Registers registers;
  for (const std::string_view name : traced(*architecture_).controls) {
    const auto found = known.find({vcpu, std::string(name)});
    if (found != known.end()) registers.emplace(name, found->second);
  }
  return registers;
}

// Registers may be spread over several sections: only all that decide a format do.
std::optional<StageTables> SideRules::tables_of(const Registers& registers, Stage stage) const {
  const auto& deciding = traced(*architecture_).deciding[static_cast<u8>(stage)];
  const bool decided = !deciding.empty() &&
                       std::all_of(deciding.begin(), deciding.end(), [&](std::string_view name) {
                         return registers.contains(std::string(name));
                       });
  if (!decided) return {};
  return stage_tables(*architecture_, stage, registers);
}

bool SideRules::not_in_use(u32 vcpu, Stage stage) const {
  if (!architecture_) return false;
  const std::optional<StageTables> tables = tables_of(controls_of(source_of(vcpu)), stage);
  return tables && !tables->in_use;
}

u32 SideRules::source_of(u32 vcpu) const {
  const auto& known = registers_[static_cast<u8>(When::Begin)];
  const auto own = known.lower_bound({vcpu, ""});
  return own != known.end() && own->first.first == vcpu ? vcpu : 0;
}

namespace {

std::string tables_text(const std::string& format, Stage stage) {
  return in_quotes(format) + " for the " + std::string(kStageNames[static_cast<u8>(stage)]) +
         "'s page tables";
}

}  // namespace

// Of a vCPU that has not started a stage does not translate yet, which leaves its format open.
std::optional<Breach> SideRules::breach_of_formats(const Registers& registers,
                                                   const std::string& of) const {
  for (const Stage stage : {Stage::Guest, Stage::Host}) {
    const std::string& format = format_of(stage);
    if (format.empty()) continue;
    const std::optional<StageTables> tables = tables_of(registers, stage);
    if (!tables || !tables->in_use || format_name(tables->root) == format) continue;
    return Breach{
        "registers of " + of + " to say what the header does, " + tables_text(format, stage),
        tables->root ? in_quotes(format_name(tables->root)) : "a format without a name"};
  }
  return {};
}

void SideRules::follow(u32 vcpu, u64 record, const Event& event) {
  const auto* const control = std::get_if<ControlWrite>(&event.detail);
  if (control == nullptr || !architecture_) return;
  const auto [found, is_new] = followed_.try_emplace(vcpu);
  Followed& now = found->second;
  if (is_new) now.registers = controls_of(source_of(vcpu));
  now.registers[control->name] = control->value;
  if (now.lost) return;
  now.breach = breach_of_formats(now.registers, "vCPU " + std::to_string(vcpu) + " behind record " +
                                                    std::to_string(record) + ", which writes " +
                                                    control->name + ",");
}

std::optional<Breach> SideRules::breach_of_access(u32 vcpu) const {
  if (followed_.empty()) return {};
  const auto found = followed_.find(vcpu);
  return found == followed_.end() ? std::nullopt : found->second.breach;
}

void SideRules::lose(u32 vcpu) { followed_[vcpu] = {{}, true, {}}; }

std::optional<Breach> SideRules::breach_of_use() const {
  if (!architecture_) return {};
  std::set<u32> vcpus;
  for (const auto& [key, value] : registers_[static_cast<u8>(When::Begin)]) vcpus.insert(key.first);
  for (const Stage stage : {Stage::Guest, Stage::Host}) {
    if (format_of(stage).empty()) continue;
    bool off = false, on = false;
    for (const u32 vcpu : vcpus) {
      const std::optional<StageTables> tables = tables_of(controls_of(vcpu), stage);
      if (tables) (tables->in_use ? on : off) = true;
    }
    if (on || !off) continue;
    return Breach{"a vCPU that translates at the begin, as the header has " +
                      tables_text(format_of(stage), stage),
                  "none"};
  }
  return {};
}

// A frame has one content, whichever addresses lead to it.
std::optional<Breach> SideRules::breach_of_frames(const TableRoot& host) const {
  const auto& pages = hashes_[static_cast<u8>(When::Begin)];
  const auto& of_host = pages[static_cast<u8>(Stage::Host)];
  struct Page {
    Stage stage;
    u64 address;
    std::size_t hash;
  };
  const auto text_of = [](const Page& page) {
    return "the " + std::string(kStageNames[static_cast<u8>(page.stage)]) + "'s at " +
           in_hex(page.address);
  };
  const auto& of_guest = pages[static_cast<u8>(Stage::Guest)];
  const std::map<u64, std::size_t> in_order(of_guest.begin(), of_guest.end());
  std::unordered_map<u64, Page> by_frame;
  for (const auto& [address, hash] : in_order) {
    const std::optional<u64> frame = host_.walk(host, address).address;
    if (!frame) continue;
    const Page page{Stage::Guest, address, hash};
    const auto table = of_host.find(*frame);
    const Page first =
        table == of_host.end() ? page : Page{Stage::Host, table->first, table->second};
    const Page& other = by_frame.try_emplace(*frame, first).first->second;
    if (other.hash == hash) continue;
    return Breach{"tables of the begin that lie in one host frame, " + in_hex(*frame) +
                      ", to have the same contents, " + text_of(other) + " and " + text_of(page),
                  "other contents"};
  }
  return {};
}

// Of each second stage that a vCPU begins with.
std::optional<Breach> SideRules::breach_of_frames() const {
  if (!nested_ || !architecture_) return {};
  std::map<u32, Registers> vcpus;
  for (const auto& [key, value] : registers_[static_cast<u8>(When::Begin)]) {
    vcpus[key.first].emplace(key.second, value);
  }
  std::set<u64> judged;
  for (const auto& [vcpu, registers] : vcpus) {
    const StageTables host = stage_tables(*architecture_, Stage::Host, registers);
    if (!host.in_use || !host.root || !judged.insert(host.root->address).second) continue;
    if (auto breach = breach_of_frames(*host.root)) return breach;
  }
  return {};
}

std::optional<Breach> SideRules::breach_at_end() const {
  if (!architecture_) return {};
  if (auto breach = breach_of_use()) return breach;
  if (auto breach = breach_of_frames()) return breach;
  const std::span<const std::string_view> controls = traced(*architecture_).controls;
  const auto controls_translation = [&](const std::string& name) {
    return std::find(controls.begin(), controls.end(), name) != controls.end();
  };
  const auto& begin = registers_[static_cast<u8>(When::Begin)];
  std::set<u32> known;
  for (const auto& [key, value] : begin) {
    if (controls_translation(key.second)) known.insert(key.first);
  }
  for (const auto& [key, value] : registers_[static_cast<u8>(When::End)]) {
    const auto& [vcpu, name] = key;
    if (!known.contains(vcpu) || !controls_translation(name) || begin.contains(key)) continue;
    return Breach{"the register " + name + " of vCPU " + std::to_string(vcpu) +
                      " at the begin, as there is at the end",
                  "none"};
  }
  return {};
}

std::optional<Breach> SideRules::add(const SideData& side) {
  const auto when = static_cast<u8>(side.when);
  const auto stage = static_cast<u8>(side.stage);
  const std::string moment = std::string(kWhenNames[when]) + ", as it was given before";
  for (const auto& [name, value] : side.registers) {
    if (auto breach = breach_of_register(architecture_, name)) return breach;
    const auto [found, is_new] = registers_[when].try_emplace({side.vcpu, name}, value);
    if (is_new || found->second == value) continue;
    return Breach{"the register " + name + " of vCPU " + std::to_string(side.vcpu) + " to be " +
                      in_hex(found->second) + " at the " + moment,
                  in_hex(value)};
  }
  if (side.when == When::Begin && !side.registers.empty() && architecture_) {
    const std::string of = "vCPU " + std::to_string(side.vcpu);
    if (auto breach = breach_of_formats(controls_of(side.vcpu), of)) return breach;
  }
  for (const TablePage& page : side.pages) {
    if (!memory_.holds(side.stage, page.address)) {
      return Breach{"a page of the " + std::string(kStageNames[stage]) +
                        "'s tables in the memory that the header tells of",
                    in_hex(page.address)};
    }
    const std::string_view bytes(reinterpret_cast<const char*>(page.bytes.data()),
                                 page.bytes.size());
    const std::size_t hash = std::hash<std::string_view>()(bytes);
    const auto [found, is_new] = hashes_[when][stage].try_emplace(page.address, hash);
    if (is_new && nested_ && side.stage == Stage::Host && side.when == When::Begin) {
      if (hashes_[when][stage].size() > RecordedTables::kMaxPages) {
        return Breach{"at most " + std::to_string(RecordedTables::kMaxPages) +
                          " pages of the host's tables at the begin",
                      "more"};
      }
      host_.put(page);
    }
    if (is_new || found->second == hash) continue;
    return Breach{"the page at " + in_hex(page.address) + " of the " +
                      std::string(kStageNames[stage]) + "'s tables at the " + moment,
                  "other contents"};
  }
  return {};
}

}  // namespace nestwalk::traces
