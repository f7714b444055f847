// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/machines/preset.hpp"

#include <filesystem>
#include <set>

#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/base/text_file.hpp"
#include "preset_reader.hpp"

namespace nestwalk::models {
namespace {

ReplacementKind read_replacement(PresetReader& in) {
  const auto all = ReplacementKind::all();
  std::vector<const char*> names;
  for (const ReplacementKind::Row* each : all) names.push_back(each->name);
  return ReplacementKind(*all[in.choice("replacement", names)]);
}

ArrayShape read_array(PresetReader in) {
  ArrayShape array;
  array.sets = in.power_of_two("sets", 1, 1 << 16);
  array.ways = in.number("ways", 1, 4096);
  array.shifts = in.sizes("sizes");
  array.replacement = read_replacement(in);
  in.finish();
  return array;
}

CacheShape read_translations(PresetReader in) {
  CacheShape shape;
  shape.latency_cycles = in.number("latency_cycles", 0, 1000);
  std::set<u8> sizes;
  for (PresetReader& array : in.objects("arrays")) {
    shape.arrays.push_back(read_array(array));
    sizes.insert(shape.arrays.back().shifts.begin(), shape.arrays.back().shifts.end());
  }
  if (sizes.size() > CacheShape::kMostSizes) {
    in.fail("arrays", "have " + std::to_string(sizes.size()) +
                          " sizes together, and a structure at most " +
                          std::to_string(CacheShape::kMostSizes));
  }
  in.finish();
  return shape;
}

// A structure that a core may lack: no key, no structure.
CacheShape read_if_there(PresetReader& in, const char* key) {
  return in.has(key) ? read_translations(in.object(key)) : CacheShape{};
}

void read_tlbs(PresetReader in, MmuShape& mmu) {
  mmu.fetch_tlb = read_if_there(in, "fetch");
  mmu.data_tlb = read_translations(in.object("data"));
  mmu.second_tlb = read_if_there(in, "second");
  in.finish();
}

void read_walker(PresetReader in, MachineShape& shape) {
  WalkerShape& walker = shape.mmu.walker;
  walker.slots = in.number("slots", 1, 64);
  walker.guest_walk_cache = read_if_there(in, "guest_walk_cache");
  walker.nested_walk_cache = read_if_there(in, "nested_walk_cache");
  walker.nested_tlb = read_if_there(in, "nested_tlb");
  constexpr Served kEntries[] = {Served::L1, Served::L2, Served::L3, Served::Memory};
  shape.walks_enter_at = kEntries[in.choice("enters_at", {"l1d", "l2", "l3", "memory"})];
  in.finish();
}

std::optional<DataCacheShape> read_cache(PresetReader& parent, const char* key) {
  if (!parent.has(key)) return std::nullopt;
  PresetReader in = parent.object(key);
  DataCacheShape cache;
  cache.sets = in.power_of_two("sets", 1, 1 << 20);
  cache.ways = in.number("ways", 1, 64);
  cache.latency_cycles = in.number("latency_cycles", 1, 10000);
  cache.mshrs = in.number("mshrs", 1, 1024);
  cache.replacement = read_replacement(in);
  in.finish();
  return cache;
}

void read_caches(PresetReader in, MachineShape& shape) {
  shape.line_bytes = in.power_of_two("line_bytes", 16, 256);
  shape.l1i = read_cache(in, "l1i");
  shape.l1d = read_cache(in, "l1d");
  shape.l2 = read_cache(in, "l2");
  shape.l3 = read_cache(in, "l3");
  in.finish();
}

DramShape read_memory(PresetReader in) {
  DramShape memory;
  memory.channels = in.number("channels", 1, 64);
  memory.banks = in.number("banks", 1, 1024);
  memory.row_bytes = in.power_of_two("row_bytes", 256, 1 << 20);
  memory.row_hit_cycles = in.number("row_hit_cycles", 1, 100000);
  memory.row_empty_cycles = in.number("row_empty_cycles", 1, 100000);
  memory.row_conflict_cycles = in.number("row_conflict_cycles", 1, 100000);
  in.finish();
  return memory;
}

// Only operations that the machine has.
void read_fence_costs(PresetReader in, const Extension& extension, FenceShape& fence) {
  const auto read = [&](const FenceCost* cost) {
    if (cost == nullptr || fence.own.count(cost) != 0) return;
    if (in.has(cost->name)) fence.own[cost] = in.number(cost->name, 0, 1000000);
  };
  for (const Extension* each : extensions()) {
    if (each != &extension && !in.describes()) continue;
    for (const FenceOp op : each->fences) read(op->cost);
    for (const FenceOp op : each->isa->fences) read(op->cost);
  }
  read(&kKickCost);
  read(&kAcknowledgeCost);
  in.finish();
}

FenceShape read_fence(PresetReader in, const Extension& extension) {
  FenceShape fence;
  fence.local_cycles = in.number("local_cycles", 0, 1000000);
  fence.broadcast_cycles = in.number("broadcast_cycles", 0, 1000000);
  fence.ipi_cycles = in.number("ipi_cycles", 0, 1000000);
  fence.issue_cycles = in.number("issue_cycles", 0, 1000000);
  const unsigned batches = in.choice("batches", {"none", "tlbi-range", "svinval"});
  fence.tlbi_range = batches == 1;
  fence.svinval = batches == 2;
  if (in.has("cycles")) read_fence_costs(in.object("cycles"), extension, fence);
  in.finish();
  return fence;
}

SoftwareShape read_software(PresetReader in) {
  constexpr u32 kMost = 10'000'000;
  SoftwareShape software;
  software.instructions_per_1000_cycles = in.number("instructions_per_1000_cycles", 1, 32'000);
  software.exit_cycles = in.number("exit_cycles", 0, kMost);
  software.entry_cycles = in.number("entry_cycles", 0, kMost);
  software.handler_cycles = in.number("handler_cycles", 0, kMost);
  software.emulation_cycles = in.number("emulation_cycles", 0, kMost);
  software.frame_cycles = in.number("frame_cycles", 0, kMost);
  software.zero_cycles = in.number("zero_cycles", 0, kMost);
  software.guest_fault_cycles = in.number("guest_fault_cycles", 0, kMost);
  software.guest_switch_cycles = in.number("guest_switch_cycles", 0, kMost);
  software.host_switch_cycles = in.number("host_switch_cycles", 0, kMost);
  in.finish();
  return software;
}

/// The first that its architecture has, or the one that is named.
const Extension& read_extension(PresetReader& in) {
  std::vector<const char*> architectures;
  for (const Extension* each : extensions()) {
    if (&extension_of(each->isa->architecture) == each) architectures.push_back(each->isa->name);
  }
  const std::string architecture = architectures[in.choice("architecture", architectures)];
  std::vector<const Extension*> known;
  for (const Extension* each : extensions()) {
    if (architecture == each->isa->name || in.describes()) known.push_back(each);
  }
  if (!in.has("extension")) return *known.front();
  std::vector<const char*> names;
  for (const Extension* each : known) names.push_back(each->name);
  return *known[in.choice("extension", names)];
}

MachineShape read_machine(PresetReader in) {
  MachineShape shape;
  shape.name = in.text("name");
  shape.about = in.text("about");
  shape.extension = &read_extension(in);
  shape.cores = in.number("cores", 1, 1024);
  read_tlbs(in.object("tlb"), shape.mmu);
  read_walker(in.object("walker"), shape);
  read_caches(in.object("caches"), shape);
  shape.memory = read_memory(in.object("memory"));
  shape.fence = read_fence(in.object("fence"), *shape.extension);
  shape.software = read_software(in.object("software"));
  in.finish();
  return shape;
}

/// Presets of which each is like the next one.
constexpr unsigned kLongestChain = 8;

Json whole_machine(const std::string& file, const std::vector<std::string>& folders,
                   unsigned longest) {
  const auto expect = [&](bool good, const std::string& what) {
    if (!good) throw PresetError(file + ": " + what);
  };
  try {
    Json machine = parse_json(read_text(file, kMostWrittenBytes), file);
    expect(machine.is_object(), "is not an object");
    const auto like = machine.find("like");
    if (like == machine.end()) return machine;
    expect(like->is_string(), "like is " + like->dump() + ", not the name of a preset");
    expect(longest > 1, "expected at most " + std::to_string(kLongestChain) +
                            " presets of which each is like the next one, found more");
    const std::string name = like->get<std::string>();
    expect(name.find_first_of(std::string("/\0", 2)) == name.npos,
           "like is " + like->dump() + ", not the name of a preset");
    machine.erase("like");
    // Beside it, or among those of everybody.
    std::string base;
    const auto look_in = [&](const std::filesystem::path& folder) {
      const std::filesystem::path place = folder / (name + ".json");
      std::error_code none;
      if (base.empty() && std::filesystem::is_regular_file(place, none)) {
        base = place.string();
      }
    };
    look_in(std::filesystem::path(file).parent_path());
    for (const std::string& folder : folders) look_in(folder);
    expect(!base.empty(), "like is \"" + name + "\", but there is no preset of that name");
    Json whole = whole_machine(base, folders, longest - 1);
    whole.merge_patch(machine);
    return whole;
  } catch (const Json::exception& error) {
    throw PresetError(file + ": " + error.what());
  } catch (const TextError& error) {
    throw PresetError(error.what());
  }
}

}  // namespace

Preset parse_preset(const Json& machine, const std::string& name) {
  try {
    Preset preset;
    preset.shape = read_machine(PresetReader(machine, "", preset.sources));
    return preset;
  } catch (const Json::exception& error) {
    throw PresetError(name + ": " + error.what());
  } catch (const PresetError& error) {
    throw PresetError(name + ": " + error.what());
  }
}

Json preset_schema(SchemaOf what) {
  Json schema;
  (void)read_machine(PresetReader(schema, what));
  schema["$defs"]["source"] = PresetReader::schema_of_sources();
  return schema;
}

Json whole_preset(const std::string& file, const std::vector<std::string>& folders) {
  return whole_machine(file, folders, kLongestChain);
}

Preset load_preset(const std::string& file) { return parse_preset(whole_preset(file), file); }

}  // namespace nestwalk::models
