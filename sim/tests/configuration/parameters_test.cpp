// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Parameters are rows beside structs: all of what a user may set, and read as they are written.

#include <gmock/gmock.h>

#include <set>

#include "configuration/configuration.hpp"
#include "configuration/parameter_rows.hpp"

namespace nestwalk::sim::parameters_test {
namespace {

namespace rule = models::parameter;

/// The members that rows name.
template <class Shape>
std::set<const void*> members_with_rows(const Shape& shape) {
  std::set<const void*> members;
  rule::for_each_row<Shape>([&](const auto& row) {
    EXPECT_TRUE(members.insert(&(shape.*row.member)).second) << row.name << ": has two rows";
  });
  return members;
}

/// Each member has a row, or is one of `others`, and not both.
template <class Shape>
void expect_rows(const Shape& shape, const std::set<const void*>& members,
                 const std::set<const void*>& others = {}) {
  std::set<const void*> all = members_with_rows(shape);
  for (const void* const each : others) EXPECT_TRUE(all.insert(each).second);
  EXPECT_EQ(all, members);
}

// Who adds a member has to add it here, too: these bindings name all of them, or do not compile.
TEST(Parameters, EveryMemberHasARowOrIsNotTheUsers) {
  const software::ProgramShape program;
  const auto& [dependences] = program;
  expect_rows(program, {&dependences});

  const software::GuestShape guest;
  const auto& [tables, placement, frames, fragmentation, guest_large, guest_levels, memory, seed,
               mmio, devices] = guest;
  expect_rows(guest,
              {&tables, &placement, &frames, &fragmentation, &guest_large, &guest_levels, &memory,
               &seed, &mmio, &devices},
              {&devices});  // the trace's

  const software::HypervisorShape hypervisor;
  const auto& [backing, around, large, levels, dirty, contiguous, fences, threshold, rules, drop,
               schedule] = hypervisor;
  expect_rows(hypervisor, {&backing, &around, &large, &levels, &dirty, &contiguous, &fences,
                           &threshold, &rules, &drop, &schedule});

  const software::VmShape vm;
  const auto& [vm_guest, vm_hypervisor, vcpus, ordered] = vm;
  expect_rows(vm, {&vm_guest, &vm_hypervisor, &vcpus, &ordered},
              {&vm_guest, &vm_hypervisor, &vcpus});  // which have rows; and the trace's

  const MeasuredPart part;
  const auto& [warmup, from, to, phases] = part;
  expect_rows(part, {&warmup, &from, &to, &phases});

  const RunShape run;
  const auto& [machine, vms, run_program, cores, slice, host_frames, vmids, vcpu_tags, bytes, limit,
               run_part] = run;
  expect_rows(run,
              {&machine, &vms, &run_program, &cores, &slice, &host_frames, &vmids, &vcpu_tags,
               &bytes, &limit, &run_part},
              {&machine, &vms, &run_program, &run_part});
}

// The parts of machines: what has no row here is a part of its own, or read beside the rows.
TEST(Parameters, EveryNumberOfAMachineHasARow) {
  const models::ArrayShape array;
  const auto& [sets, ways, shifts, replacement, coalesced, index] = array;
  expect_rows(array, {&sets, &ways, &shifts, &replacement, &coalesced, &index});

  const models::CacheShape cache;
  const auto& [arrays, latency, in_second_tlb] = cache;
  expect_rows(cache, {&arrays, &latency, &in_second_tlb}, {&arrays});

  const models::WalkerShape walker;
  const auto& [slots, guest_cache, nested_cache, nested_tlb, guest_index, yields, nested_index,
               step, assist, nested_slots, nested_tlb_holds, table_prefetch] = walker;
  expect_rows(walker,
              {&slots, &guest_cache, &nested_cache, &nested_tlb, &guest_index, &yields,
               &nested_index, &step, &assist, &nested_slots, &nested_tlb_holds, &table_prefetch},
              {&guest_cache, &nested_cache, &nested_tlb});

  const models::MmuShape mmu_shape;
  const auto& [fetch_tlb, data_tlb, second_tlb, mmu_walker, mmu_prefetch, store_tlb, fractured] =
      mmu_shape;
  expect_rows(
      mmu_shape,
      {&fetch_tlb, &data_tlb, &second_tlb, &mmu_walker, &mmu_prefetch, &store_tlb, &fractured},
      {&fetch_tlb, &data_tlb, &second_tlb, &mmu_walker, &mmu_prefetch, &store_tlb});

  const models::TlbPrefetchShape prefetch;
  const auto& [policy, degree, buffer_entries, table_rows] = prefetch;
  expect_rows(prefetch, {&policy, &degree, &buffer_entries, &table_rows});

  const models::DataCacheShape data;
  const auto& [data_sets, data_ways, data_latency, mshrs, data_replacement, inclusion,
               prefetchers] = data;
  expect_rows(
      data,
      {&data_sets, &data_ways, &data_latency, &mshrs, &data_replacement, &inclusion, &prefetchers},
      {&prefetchers});

  const models::DataPrefetchShape data_prefetch;
  const auto& [data_policy, data_degree, distance, rows, page_lines] = data_prefetch;
  expect_rows(data_prefetch, {&data_policy, &data_degree, &distance, &rows, &page_lines},
              {&page_lines});

  const models::DramShape dram;
  const auto& [channels, banks, groups, row_bytes, controller, cl, rcd, rp, ras, ccd, burst,
               timeout] = dram;
  expect_rows(dram, {&channels, &banks, &groups, &row_bytes, &controller, &cl, &rcd, &rp, &ras,
                     &ccd, &burst, &timeout});

  const models::FenceShape fence;
  const auto& [local, broadcast, ipi, issue, batches, own] = fence;
  expect_rows(fence, {&local, &broadcast, &ipi, &issue, &batches, &own}, {&own});

  const models::SoftwareShape software;
  const auto& [instructions, exit, entry, handler, emulation, frame, zero, clearing, fault,
               guest_switch, host_switch] = software;
  expect_rows(software, {&instructions, &exit, &entry, &handler, &emulation, &frame, &zero,
                         &clearing, &fault, &guest_switch, &host_switch});

  const models::CoreShape core_shape;
  const auto& [kind, width, window, load_queue, load_ports, store_buffer, store_ports, forward,
               fetch_hits] = core_shape;
  expect_rows(core_shape, {&kind, &width, &window, &load_queue, &load_ports, &store_buffer,
                           &store_ports, &forward, &fetch_hits});

  const models::MachineShape machine;
  const auto& [name, about, extension, cores, clock, core, mmu, line_bytes, l1i, l1d, l2, l3,
               enters_at, memory, base, fences, costs, sets_flags, napot, asid_bits, vmid_bits] =
      machine;
  expect_rows(machine,
              {&name,       &about,  &extension, &cores,      &clock, &core,      &mmu,
               &line_bytes, &l1i,    &l1d,       &l2,         &l3,    &enters_at, &memory,
               &base,       &fences, &costs,     &sets_flags, &napot, &asid_bits, &vmid_bits},
              {&name, &about, &extension, &core, &mmu, &l1i, &l1d, &l2, &l3, &memory, &base,
               &fences, &costs});
}

// ---- values ----

Json other_than(const Json& standard, const Parameter& row) {
  using Kind = Parameter::Kind;
  switch (row.kind) {
    case Kind::Flag:
      return standard == Json(false);
    case Kind::Choice:
      for (const char* const word : row.choices) {
        if (word != standard && word != Json(kAuto)) return word;
      }
      return {};
    case Kind::Number:
    case Kind::Size:
      return row.most;
    case Kind::Word:
      return "phase";
    case Kind::Ranges:
    case Kind::SizeOrRanges:
      return Json::array({"0+64M"});
    case Kind::Object:
      return standard;
    case Kind::List:
      return Json::parse(R"([{"operation": "log_start", "at": 3}])");
  }
  return {};
}

/// A document of all parameters.
template <class ValueOf>
Json document_of(ValueOf&& value_of) {
  Json document;
  for (const Parameter& row : parameters()) {
    const std::string path = row.path;
    const std::size_t dot = path.find('.');
    document[path.substr(0, dot)][path.substr(dot + 1)] = value_of(row);
  }
  return document;
}

// Of lists of objects, JSON has no value but the empty one.
template <class Row, class Shape>
std::string text_of(const Row& row, const Shape& shape) {
  const auto& value = shape.*row.member;
  std::string text = detail::json_of(row.rule, value).dump();
  if constexpr (requires { value.size(); }) text += std::to_string(value.size());
  return text;
}

template <class Shape>
class OfStruct : public testing::Test {};
using Structs =
    testing::Types<software::ProgramShape, software::GuestShape, software::HypervisorShape,
                   software::VmShape, RunShape, MeasuredPart>;
TYPED_TEST_SUITE(OfStruct, Structs);

TYPED_TEST(OfStruct, AValueThatNobodySetsIsTheMembersInitialiser) {
  const TypeParam plain;
  TypeParam read;
  read_parameters(document_of([](const Parameter& row) { return row.standard; }), read);
  rule::for_each_row<TypeParam>([&](const auto& row) {
    const bool may_be_auto = rule::kMayBeAuto<decltype(row.rule)>;
    const Json expected = may_be_auto ? "auto" : detail::json_of(row.rule, plain.*row.member);
    EXPECT_EQ(parameter_at(row.name)->standard, expected) << row.name;
    EXPECT_EQ(text_of(row, read), text_of(row, plain)) << row.name;
  });
}

TYPED_TEST(OfStruct, AValueThatIsSetChangesItsMemberAndNoOther) {
  rule::for_each_row<TypeParam>([](const auto& row) {
    const Parameter& set = *parameter_at(row.name);
    if (set.kind == Parameter::Kind::Object) return;  // read together with the machine
    const TypeParam plain;
    TypeParam read;
    const auto value_of = [&](const Parameter& each) {
      return &each == &set ? other_than(each.standard, each) : each.standard;
    };
    read_parameters(document_of(value_of), read);
    rule::for_each_row<TypeParam>([&](const auto& other) {
      const bool is_set = std::string_view(other.name) == row.name;
      EXPECT_EQ(text_of(other, read) != text_of(other, plain), is_set)
          << row.name << ", " << other.name;
    });
  });
}

TEST(Parameters, EachHasAPathOfItsOwnAndAValueThatItMayBe) {
  std::set<std::string> paths;
  for (const Parameter& row : parameters()) {
    EXPECT_TRUE(paths.insert(row.path).second) << row.path;
    EXPECT_NO_THROW(check(row, row.standard, row.path)) << row.path;
    EXPECT_NO_THROW(check(row, other_than(row.standard, row), row.path)) << row.path;
    EXPECT_STRNE(row.sentence, "");
  }
}

// A unit is said with the range, in help and messages, and with the sentence in the schema. Names
// that end in a unit are in that unit.
TEST(Parameters, SayTheUnitOfTheirValues) {
  const Parameter& slice = *parameter_at("host.time_slice");
  EXPECT_STREQ(slice.unit.name, "cycles");
  EXPECT_EQ(range_of(slice), "a number from 1 to 1099511627776, in cycles");
  EXPECT_EQ(schema_of(slice)["description"], std::string(slice.sentence) + " (cycles)");
  EXPECT_EQ(range_of(*parameter_at("hypervisor.fault_around")), "a number from 0 to 9");
  const auto expect_units = [](const auto& row) {
    const std::string_view name = row.name;
    if (name.starts_with("instructions_per")) return;
    EXPECT_EQ(name.ends_with("_cycles"), std::string_view(row.unit.name) == "cycles") << name;
    EXPECT_EQ(name.ends_with("_bytes"), std::string_view(row.unit.name) == "bytes") << name;
    EXPECT_EQ(name.ends_with("_ps"), std::string_view(row.unit.name) == "picoseconds") << name;
    EXPECT_EQ(name.ends_with("_mhz"), std::string_view(row.unit.name) == "MHz") << name;
  };
  rule::for_each_row<models::CacheShape>(expect_units);
  rule::for_each_row<models::DataCacheShape>(expect_units);
  rule::for_each_row<models::DramShape>(expect_units);
  rule::for_each_row<models::FenceShape>(expect_units);
  rule::for_each_row<models::MachineShape>(expect_units);
  rule::for_each_row<models::SoftwareShape>(expect_units);
}

// A row that permits what its member cannot hold is no constant.
TEST(Parameters, AMemberHoldsTheLargestValue) {
  struct Small {
    addrspace::u8 value = 0;
  };
  EXPECT_NO_THROW((void)rule::Row("small", &Small::value, rule::Number{0, 255}, "fits"));
  EXPECT_THROW((void)rule::Row("small", &Small::value, rule::Number{0, 256}, "does not"),
               std::logic_error);
}

TEST(Parameters, WordsAndValuesAreOneToOne) {
  const auto expect_pairs = [](const auto& list) {
    std::set<std::string> words;
    for (const auto& each : list) {
      EXPECT_TRUE(words.insert(each.word).second) << each.word;
      EXPECT_STREQ(word_of(list, each.value), each.word);
    }
  };
  expect_pairs(software::kGuestTables);
  expect_pairs(software::kPlacements);
  expect_pairs(software::kBackings);
  expect_pairs(software::kFencePolicies);
  expect_pairs(software::kOperations);
  expect_pairs(software::kOrders);
  expect_pairs(models::kFenceFeatures);
  expect_pairs(models::kWalkEntries);
}

}  // namespace
}  // namespace nestwalk::sim::parameters_test

// SystemC's library wants one; nothing is simulated here.
extern "C" int sc_main(int, char**) { return 0; }
