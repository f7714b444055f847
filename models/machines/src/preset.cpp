// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/machines/preset.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/base/text_file.hpp"
#include "preset_reader.hpp"

namespace nestwalk::models {
namespace {

// A struct that is no more than its rows.
template <class Shape>
Shape read_rows(PresetReader in) {
  Shape shape;
  in.read(shape);
  in.finish();
  return shape;
}

// A coalesced entry is for neighbouring pages of the array's smallest size.
void check_coalesced(const PresetReader& in, const ArrayShape& array) {
  if (array.coalesced.empty() || in.describes()) return;
  const u8 page = *std::min_element(array.shifts.begin(), array.shifts.end());
  const unsigned most = page + ArrayShape::kMostDoubled;
  for (const u8 shift : array.coalesced) {
    if (shift > page && shift <= most) continue;
    in.fail("coalesced", "has a size of " + std::to_string(u64{1} << shift) +
                             " bytes; expected from two to eight times the smallest page, " +
                             std::to_string(u64{1} << page) + " bytes");
  }
}

// Several arrays may take a size, but not those of the second-level TLB as well.
void check_sizes(const PresetReader& in, const ArrayShape& array, std::set<u8> taken) {
  if (in.describes()) return;
  array.for_each_size([&](u8 shift) {
    if (taken.insert(shift).second) return;
    in.fail("sizes", "have the size of " + std::to_string(u64{1} << shift) +
                         " bytes twice; expected each size once, in_second_tlb included");
  });
}

constexpr auto kNoMore = [](PresetReader&, CacheShape&) {};

// `more`: reads what only this structure has.
template <class More = decltype(kNoMore)>
CacheShape read_translations(PresetReader in, More more = kNoMore) {
  CacheShape shape;
  in.read(shape);
  more(in, shape);
  const std::set<u8> elsewhere(shape.in_second_tlb.begin(), shape.in_second_tlb.end());
  std::set<u8> sizes = elsewhere;
  for (PresetReader& array : in.objects("arrays")) {
    shape.arrays.push_back(read_rows<ArrayShape>(array));
    const ArrayShape& read = shape.arrays.back();
    check_sizes(array, read, elsewhere);
    read.for_each_size([&](u8 shift) { sizes.insert(shift); });
    check_coalesced(array, read);
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
template <class More = decltype(kNoMore)>
CacheShape read_if_there(PresetReader& in, const char* key, More more = kNoMore) {
  return in.has(key) ? read_translations(in.object(key), more) : CacheShape{};
}

// Its entries are of tables. `index`: what it is looked up by, a member of the walker's.
CacheShape read_walk_cache(PresetReader& in, const char* key, WalkerShape& walker,
                           const IndexBy& index) {
  const std::string place = key;
  const auto policy = [&](PresetReader& cache, CacheShape& shape) {
    cache.read(shape, "walker.");
    cache.read(walker, place + ".");
  };
  CacheShape shape = read_if_there(in, key, policy);
  if (in.describes()) return shape;
  if (!shape.in_second_tlb.empty() && index != IndexBy::Address) {
    in.fail(place + ".in_second_tlb", "is of a TLB, which is looked up by addresses; index_by is " +
                                          std::string(word_of(kIndexes, index)));
  }
  if (coalesced_sizes_of(shape) != 0) {
    in.fail(place + ".arrays", "have coalesced sizes, which only TLBs have");
  }
  return shape;
}

void read_tlbs(PresetReader in, MmuShape& mmu) {
  in.read(mmu);
  mmu.fetch_tlb = read_if_there(in, "fetch");
  mmu.data_tlb = read_translations(in.object("data"));
  mmu.store_tlb = read_if_there(in, "store");
  mmu.second_tlb = read_if_there(in, "second");
  mmu.prefetch = read_rows<TlbPrefetchShape>(in.object("prefetcher"));
  in.finish();
}

// What has entries there needs it, and its array tells no more sizes apart than any structure.
void check_second_tlb(const PresetReader& in, const CacheShape& second_tlb,
                      const WalkerShape& walker) {
  const std::pair<const char*, const CacheShape&> guests[] = {
      {"guest_walk_cache.in_second_tlb", walker.guest_walk_cache},
      {"nested_walk_cache.in_second_tlb", walker.nested_walk_cache},
      {"nested_tlb.in_second_tlb", walker.nested_tlb}};
  std::size_t sizes = 0;
  if (!second_tlb.arrays.empty()) second_tlb.arrays.front().for_each_size([&](u8) { ++sizes; });
  for (const auto& [place, shape] : guests) {
    if (shape.in_second_tlb.empty()) continue;
    if (!second_tlb.present()) in.fail(place, "needs tlb.second, which is not there");
    sizes += shape.in_second_tlb.size();
    if (sizes <= CacheShape::kMostSizes) continue;
    in.fail(place, "makes " + std::to_string(sizes) +
                       " sizes in the first array of tlb.second; expected at most " +
                       std::to_string(CacheShape::kMostSizes) + " with that array's own");
  }
}

void read_walker(PresetReader in, MachineShape& shape) {
  WalkerShape& walker = shape.mmu.walker;
  in.read(walker);
  const CacheShape& second_tlb = shape.mmu.second_tlb;
  walker.guest_walk_cache = read_walk_cache(in, "guest_walk_cache", walker, walker.guest_index_by);
  walker.nested_walk_cache =
      read_walk_cache(in, "nested_walk_cache", walker, walker.nested_index_by);
  if (!in.describes() && walker.guest_index_by != IndexBy::Address &&
      walker.guest_yields != Yields::Guest) {
    in.fail("guest_walk_cache.yields",
            "is host; expected guest, which is what the entries hold "
            "that index_by " +
                std::string(word_of(kIndexes, walker.guest_index_by)) + " names");
  }
  walker.nested_tlb = read_if_there(in, "nested_tlb", [&](PresetReader& tlb, CacheShape& nested) {
    tlb.read(nested, "walker.");
    tlb.read(walker, "nested_tlb.");
  });
  if (!in.describes()) check_second_tlb(in, second_tlb, walker);
  in.read(shape, "walker.");
  in.finish();
}

// The machine's rows of one object, if that is there.
void read_own(PresetReader& in, const std::string& key, MachineShape& shape) {
  if (!in.has(key.c_str())) return;
  PresetReader object = in.object(key.c_str());
  object.read(shape, key + ".");
  object.finish();
}

enum class IsFirst : bool { No, Yes };

std::optional<DataCacheShape> read_cache(PresetReader& parent, const char* key, IsFirst is_first) {
  if (!parent.has(key)) return std::nullopt;
  PresetReader in = parent.object(key);
  DataCacheShape shape;
  in.read(shape);
  if (is_first == IsFirst::No) in.read(shape, "lower.");
  if (in.has("prefetchers")) {
    for (PresetReader& each : in.objects("prefetchers")) {
      shape.prefetchers.push_back(read_rows<DataPrefetchShape>(each));
    }
  }
  if (!shape.prefetchers.empty() && shape.ways > 32 && !in.describes()) {
    in.fail("ways", "is " + std::to_string(shape.ways) +
                        "; a cache with prefetchers has at most 32, so expected fewer");
  }
  in.finish();
  return shape;
}

// A latency counts from a load's first lookup, so it grows from level to level.
void check_latencies(const PresetReader& in, const MachineShape& shape) {
  if (in.describes()) return;
  const std::pair<const char*, const std::optional<DataCacheShape>&> levels[] = {
      {"l1d", shape.l1d}, {"l2", shape.l2}, {"l3", shape.l3}};
  std::string above;
  u32 latency = 0;
  for (const auto& [name, cache] : levels) {
    if (!cache) continue;
    if (cache->latency_cycles <= latency) {
      in.fail(std::string(name) + ".latency_cycles",
              "is " + std::to_string(cache->latency_cycles) + "; expected more than that of " +
                  above + ", " + std::to_string(latency) +
                  ": it counts from the first lookup of a load");
    }
    above = name;
    latency = cache->latency_cycles;
  }
}

void read_caches(PresetReader in, MachineShape& shape) {
  in.read(shape, "caches.");
  shape.l1i = read_cache(in, "l1i", IsFirst::Yes);
  shape.l1d = read_cache(in, "l1d", IsFirst::Yes);
  shape.l2 = read_cache(in, "l2", IsFirst::No);
  shape.l3 = read_cache(in, "l3", IsFirst::No);
  in.finish();
  check_latencies(in, shape);
  for (std::optional<DataCacheShape>* const cache :
       {&shape.l1i, &shape.l1d, &shape.l2, &shape.l3}) {
    if (!*cache) continue;
    for (DataPrefetchShape& each : (*cache)->prefetchers) each.page_lines = 4096 / shape.line_bytes;
  }
}

DramShape read_memory(PresetReader in) {
  const DramShape memory = read_rows<DramShape>(in);
  if (in.describes()) return memory;
  if (memory.banks % memory.bank_groups != 0) {
    in.fail("banks", "is " + std::to_string(memory.banks) +
                         "; expected a multiple of bank_groups, " +
                         std::to_string(memory.bank_groups));
  }
  return memory;
}

// Only operations that the machine has.
void read_fence_costs(PresetReader in, const Extension& extension, FenceShape& fence) {
  const auto read = [&](const FenceCost* cost) {
    if (cost == nullptr || fence.own.count(cost) != 0) return;
    if (in.has(cost->name)) fence.own[cost] = in.number({cost->name, ""}, 0, 1'000'000);
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
  in.read(fence);
  const FenceFeature* const own = extension.fence_feature;
  if (fence.batches != nullptr && fence.batches != own && !in.describes()) {
    in.fail("batches", "is " + std::string(fence.batches->name) + ", which " + extension.name +
                           " has not; expected none" +
                           (own == nullptr ? "" : std::string(" or ") + own->name));
  }
  if (in.has("cycles")) read_fence_costs(in.object("cycles"), extension, fence);
  in.finish();
  return fence;
}

/// The first that its architecture has, or the one that is named.
const Extension& read_extension(PresetReader& in) {
  std::vector<std::string> architectures;
  for (const Extension* each : extensions()) {
    if (&extension_of(each->isa->architecture) == each) architectures.emplace_back(each->isa->name);
  }
  const std::string architecture =
      architectures[in.choice({"architecture", "the instruction set"}, architectures)];
  std::vector<const Extension*> known;
  for (const Extension* each : extensions()) {
    if (architecture == each->isa->name || in.describes()) known.push_back(each);
  }
  if (!in.has("extension")) return *known.front();
  std::vector<std::string> names;
  for (const Extension* each : known) names.emplace_back(each->name);
  return *known[in.choice({"extension", "the virtualization extension"}, names)];
}

MachineShape read_machine(PresetReader in) {
  MachineShape shape;
  shape.name = in.text({"name", "the machine's name"});
  shape.about = in.text({"about", "what it is a model of"});
  shape.extension = &read_extension(in);
  in.read(shape);
  shape.core = read_rows<CoreShape>(in.object("core"));
  read_tlbs(in.object("tlb"), shape.mmu);
  read_walker(in.object("walker"), shape);
  read_caches(in.object("caches"), shape);
  shape.memory = read_memory(in.object("memory"));
  shape.fence = read_fence(in.object("fence"), *shape.extension);
  shape.software = read_rows<SoftwareShape>(in.object("software"));
  read_own(in, "paging", shape);
  read_own(in, "tags", shape);
  in.finish();
  return shape;
}

/// Presets of which each is like the next one.
constexpr unsigned kLongestChain = 8;

/// `chain`: those that are like the next one, up to this file.
Json whole_machine(const std::string& file, const std::vector<std::string>& folders,
                   std::vector<std::string> chain) {
  const auto expect = [&](bool good, const std::string& what) {
    if (!good) throw PresetError(file + ": " + what);
  };
  try {
    Json machine = parse_json(read_text(file, kMostWrittenBytes), file);
    expect(machine.is_object(), "is not an object");
    const auto like = machine.find("like");
    if (like == machine.end()) return machine;
    expect(like->is_string(), "like is " + like->dump() + ", not the name of a preset");
    const std::string name = like->get<std::string>();
    const auto again = [&](const std::string& base) {
      std::error_code none;
      return std::any_of(chain.begin(), chain.end(), [&](const std::string& each) {
        return std::filesystem::equivalent(each, base, none);
      });
    };
    expect(chain.size() + 1 < kLongestChain,
           "expected at most " + std::to_string(kLongestChain) +
               " presets of which each is like the next one, found more");
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
    chain.push_back(file);
    expect(!again(base), "like is \"" + name + "\", but " + base + " is like this preset itself");
    Json whole = whole_machine(base, folders, chain);
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
  schema["$defs"]["range"] = PresetReader::schema_of_ranges();
  return schema;
}

Json whole_preset(const std::string& file, const std::vector<std::string>& folders) {
  return whole_machine(file, folders, {});
}

Preset load_preset(const std::string& file) { return parse_preset(whole_preset(file), file); }

}  // namespace nestwalk::models
