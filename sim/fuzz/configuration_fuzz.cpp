// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for configurations, generated from their schema: what `run --config` reads, up
// to what is simulated; and the machine of what is accepted, with one entry in each structure.

#include "configuration/configuration.hpp"

#include "../../models/testing/json_mutator.hpp"
#include "commands/schema.hpp"
#include "memory_file.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/models/machine/machine.hpp"
#include "nestwalk/software/host_space.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {
namespace {

traces::Header header_of(std::optional<addrspace::Architecture> architecture, traces::Mode mode) {
  traces::Header header;
  header.architecture = architecture;
  header.mode = mode;
  header.vcpus = 2;
  header.memory = {{traces::Stage::Guest, 0, 64 << 20, "ram"}};
  return header;
}

// What a trace can be decides what a configuration may ask of it.
const std::vector<traces::Header>& headers() {
  using addrspace::Architecture;
  static const std::vector<traces::Header> kHeaders = {
      header_of({}, traces::Mode::User), header_of(Architecture::X86_64, traces::Mode::Nested),
      header_of(Architecture::AArch64, traces::Mode::FullSystem),
      header_of(Architecture::RiscV64, traces::Mode::GuestPhysical)};
  return kHeaders;
}

template <class Work>
bool makes_sense(Work&& work) {
  try {
    work();
    return true;
  } catch (const UsageError&) {
  } catch (const models::PresetError&) {
  } catch (const software::ShapeError&) {
  }
  return false;
}

// How large structures are does not decide whether they can be built, but how long that takes.
void build(models::MachineShape shape) {
  models::WalkerShape& walker = shape.mmu.walker;
  for (models::CacheShape* const each :
       {&shape.mmu.fetch_tlb, &shape.mmu.data_tlb, &shape.mmu.store_tlb, &shape.mmu.second_tlb,
        &walker.guest_walk_cache, &walker.nested_walk_cache, &walker.nested_tlb}) {
    for (models::ArrayShape& array : each->arrays) array.sets = array.ways = 1;
  }
  for (auto* const each : {&shape.l1i, &shape.l1d, &shape.l2, &shape.l3}) {
    if (*each) (*each)->sets = (*each)->ways = 1;
  }
  shape.cores = 1;
  (void)models::Machine(shape, addrspace::kGiB);
}

}  // namespace
}  // namespace nestwalk::sim

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::sim;
  static const Configuration kPlain(preset_file("simple"));
  static const MemoryFile kFile;
  kFile.hold({reinterpret_cast<const char*>(data), size});
  Configuration merged = kPlain;
  if (!makes_sense([&] { merged.merge_file(kFile.name()); })) return 0;
  for (const auto& header : headers()) {
    Configuration configuration = merged;
    RunShape shape;
    if (makes_sense([&] { shape = configuration.resolve({header, header}); })) build(shape.machine);
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  static const nestwalk::sim::Json kSchema = nestwalk::sim::configuration_schema();
  return nestwalk::models::JsonMutator(kSchema, seed).mutate(data, size, most);
}
