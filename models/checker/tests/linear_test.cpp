// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Time grows with the length of the log, whatever stays open. Each shape is made of rounds; four
// times the rounds are to take about four times the processor time. One that looks at everything
// again in each round takes sixteen times.

#include <gtest/gtest.h>

#include <ctime>

#include "log_world.hpp"

namespace nestwalk::checker::linear_test {
namespace {

constexpr Architecture kX86 = Architecture::X86_64;
constexpr Architecture kArm = Architecture::AArch64;
constexpr Architecture kRiscV = Architecture::RiscV64;

/// Writes a log. Pages are numbered: page n is at GPA n * 4 KiB, and in a frame of its own. Their
/// tables, 512 pages each, are linked when they are needed.
class Writer {
 public:
  explicit Writer(Architecture architecture) : architecture_(architecture) {
    text_ = "nestwalk-fence-log 1\n";
  }

  Writer& line(const std::string& text) {
    text_ += "1 " + text + "\n";
    return *this;
  }
  /// Of its own root; VMID id % 60000.
  Writer& vm(u64 id, const std::string& properties = "") {
    constexpr const char* kFormats[] = {"ept", "stage2-4k ipa=39", "sv39x4"};
    return line("0 vm " + std::to_string(id) + " " +
                kFormats[static_cast<unsigned>(architecture_)] + " root=" + hex(root(id)) +
                " vmid=" + vmid(id) + " " + properties);
  }
  Writer& on(u64 processor, const std::string& text) {
    return line(std::to_string(processor) + " " + text);
  }
  Writer& map(u64 vm, u64 page, u64 frame, u64 processor = 0) {
    return set(vm, page, leaf_of(architecture_, 'L', frame), processor);
  }
  Writer& map(u64 vm, u64 page) { return map(vm, page, frame_of(page)); }
  Writer& unmap(u64 vm, u64 page, u64 processor = 0) { return set(vm, page, 0, processor); }
  Writer& set(u64 vm, u64 page, u64 entry, u64 processor = 0) {
    const u64 table = table_for(vm, page);
    return store(processor, table + page % 512 * 8, entry);
  }
  Writer& free(u64 page) { return line("0 free " + hex(frame_of(page)) + " 0x1000"); }

  /// All of the VM, on a processor; AArch64: of all, and waited for.
  Writer& fence_vm(u64 vm, u64 processor) {
    switch (architecture_) {
      case kX86:
        return on(processor, "fence - invept single-context, " + hex(root(vm)));
      case kArm:
        on(processor, "fence " + std::to_string(vm) + " dsb ishst");
        on(processor, "fence " + std::to_string(vm) + " tlbi vmalls12e1is");
        return on(processor, "fence " + std::to_string(vm) + " dsb ish");
      case kRiscV:
        return on(processor, "fence - hfence.gvma zero, " + vmid(vm));
    }
    return *this;
  }
  Writer& fence_all(u64 processor) {
    constexpr const char* kFences[] = {"invept all-context", "tlbi alle1is",
                                       "hfence.gvma zero, zero"};
    on(processor, std::string("fence - ") + kFences[static_cast<unsigned>(architecture_)]);
    return architecture_ == kArm ? on(processor, "fence - dsb ish") : *this;
  }
  Writer& fence_page(u64 vm, u64 page, u64 processor) {
    switch (architecture_) {
      case kX86:
        return fence_vm(vm, processor);
      case kArm:
        on(processor, "fence " + std::to_string(vm) + " dsb ishst");
        on(processor, "fence " + std::to_string(vm) + " tlbi ipas2e1is, " + hex(page));
        on(processor, "fence " + std::to_string(vm) + " dsb ish");
        on(processor, "fence " + std::to_string(vm) + " tlbi vmalle1is");
        return on(processor, "fence " + std::to_string(vm) + " dsb ish");
      case kRiscV:
        return on(processor, "fence - hfence.gvma " + hex(page << 10) + ", " + vmid(vm));
    }
    return *this;
  }
  const std::string& text() const { return text_; }
  Architecture architecture() const { return architecture_; }

  static u64 frame_of(u64 page) { return (u64{1} << 36) + (page << 12); }

 private:
  static std::string vmid(u64 id) { return std::to_string(id % 60000); }
  static u64 root(u64 id) { return (u64{1} << 34) + id * 0x10000; }

  Writer& store(u64 processor, u64 slot, u64 entry) {
    u64& stored = stored_[slot];
    on(processor, "store " + hex(slot) + " " + hex(stored) + " " + hex(entry));
    stored = entry;
    return *this;
  }
  /// The table of level 0 for a page, which is linked.
  u64 table_for(u64 vm, u64 page) {
    u64 table = root(vm);
    for (unsigned level = architecture_ == kX86 ? 3 : 2; level != 0; --level) {
      const u64 index = page >> (9 * level);
      u64& below = tables_[{table, index}];
      if (below == 0) {
        below = next_table_ += 0x1000;
        store(0, table + index % 512 * 8, table_of(architecture_, below));
      }
      table = below;
    }
    return table;
  }

  Architecture architecture_;
  std::string text_;
  std::map<u64, u64> stored_;
  std::map<std::pair<u64, u64>, u64> tables_;
  u64 next_table_ = u64{1} << 35;
};

/// One VM with this many pages that processors 0 and 1 ran; 1 is in it.
void populate(Writer& writer, u64 pages, const std::string& properties = "") {
  writer.vm(1, properties);
  for (u64 page = 0; page < pages; ++page) writer.map(1, page);
  if (writer.architecture() == kArm) writer.line("0 fence - dsb ish");
  writer.line("0 enter 1").line("1 enter 1").line("0 exit 1");
}

struct Shape {
  const char* name;
  Architecture architecture;
  u64 rounds;
  void (*write)(Writer& writer, u64 rounds);
};

// Without begin and end, all of the log is one operation.
void pages_without_operations(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  for (u64 page = 0; page < rounds; ++page) {
    writer.unmap(1, page).fence_vm(1, 0);
    if (writer.architecture() != kArm) writer.fence_vm(1, 1);
    writer.free(page);
  }
}
void pages_in_one_operation(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  writer.line("0 begin unmap");
  for (u64 page = 0; page < rounds; ++page) {
    writer.unmap(1, page).fence_vm(1, 0);
    if (writer.architecture() != kArm) writer.fence_vm(1, 1);
  }
  writer.line("0 end");
}
void pages_by_address(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  writer.line("0 begin unmap");
  for (u64 page = 0; page < rounds; ++page) {
    writer.unmap(1, page).fence_page(1, page, 0);
    if (writer.architecture() != kArm) writer.fence_page(1, page, 1);
  }
  writer.line("0 end");
}
// One page again and again, without operations.
void one_page(Writer& writer, u64 rounds) {
  populate(writer, 1);
  for (u64 n = 0; n < rounds; ++n) {
    writer.unmap(1, 0).fence_page(1, 0, 0);
    if (writer.architecture() != kArm) writer.fence_page(1, 0, 1);
    writer.map(1, 0, Writer::frame_of(n));
  }
}
// Processor 1 is in the guest, and is forgotten.
void one_page_fenced_here_only(Writer& writer, u64 rounds) {
  populate(writer, 1);
  for (u64 n = 0; n < rounds; ++n) {
    writer.unmap(1, 0).on(0, "fence - hfence.gvma zero, 1").on(0, "fence - hfence.gvma 0x0, 1");
    writer.map(1, 0, Writer::frame_of(n));
  }
}
// Processor 2 ran the VM once, and owes all fences; processor 1 is kicked in each round.
void an_idle_processor(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  writer.line("2 enter 1").line("2 exit 1");
  for (u64 page = 0; page < rounds; ++page) {
    writer.line("1 exit 1").line("0 begin unmap").unmap(1, page).fence_page(1, page, 0);
    writer.free(page).line("0 end").fence_page(1, page, 1).line("1 enter 1");
  }
}
void nothing_is_fenced(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  for (u64 page = 0; page < rounds; ++page) {
    writer.line("1 exit 1").line("0 begin unmap").unmap(1, page);
    writer.free(page).line("0 end").line("1 enter 1");
    writer.line("1 access 1 " + hex(page << 12) + " " + hex(page << 12) + " read");
  }
}
void the_wrong_processor_fences(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  for (u64 page = 0; page < rounds; ++page) {
    writer.line("0 begin unmap").unmap(1, page).fence_vm(1, 0).fence_all(0).line("0 end");
  }
}
void the_wrong_address_is_fenced(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  for (u64 page = 0; page < rounds; ++page) {
    writer.line("0 begin unmap").unmap(1, page).fence_page(1, page + (1 << 20), 0).line("0 end");
  }
}
void the_operand_is_not_shifted(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  writer.line("0 begin unmap");
  for (u64 page = 0; page < rounds; ++page) {
    writer.unmap(1, page).fence_page(1, page << 12 & 0xfffffff, 0);
  }
  writer.line("0 end");
}
void nothing_is_waited_for(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  writer.line("0 begin unmap");
  for (u64 page = 0; page < rounds; ++page) {
    writer.unmap(1, page).line("0 fence 1 tlbi vmalls12e1is").line("0 fence 1 tlbi vmalle1is");
  }
  writer.line("0 end");
  writer.line("0 begin again");
  for (u64 page = 0; page < rounds; ++page) {
    writer.map(1, page).line("0 fence 1 dsb ishst").line("0 fence 1 tlbi ipas2e1is, " + hex(page));
    writer.line("0 fence 1 tlbi vmalle1is");
  }
  writer.line("0 end");
}
void the_first_stage_is_fenced(Writer& writer, u64 rounds) {
  constexpr const char* kFences[] = {"fence - invvpid single-context, 1", "fence 1 tlbi vmalle1is",
                                     "fence 1 hfence.vvma"};
  populate(writer, rounds);
  for (u64 page = 0; page < rounds; ++page) {
    writer.unmap(1, page).on(1, kFences[static_cast<unsigned>(writer.architecture())]);
    writer.on(0, kFences[static_cast<unsigned>(writer.architecture())]);
  }
}
void new_entries_without_barriers(Writer& writer, u64 rounds) {
  writer.vm(1).vm(2).map(2, 0);
  for (u64 page = 0; page < rounds; ++page) {
    writer.line("0 begin map").map(1, page).line("0 end").line("1 enter 2").line("1 exit 2");
  }
}
void new_entries_without_fences(Writer& writer, u64 rounds) {
  populate(writer, 1);
  for (u64 page = 1; page < rounds; ++page) {
    writer.line("0 begin map").map(1, page).line("0 end").fence_page(1, 0, 0).fence_vm(1, 0);
  }
}
void fences_without_stores(Writer& writer, u64 rounds) {
  populate(writer, 2);
  writer.unmap(1, 1);
  for (u64 n = 0; n < rounds; ++n) {
    writer.line("0 begin nothing").fence_vm(1, 1).fence_page(1, 0, 2).line("0 end");
  }
}
// Each is unmapped and its frame freed, as if it were its only one.
void one_frame_of_all_pages(Writer& writer, u64 rounds) {
  writer.vm(1);
  for (u64 page = 0; page < rounds; ++page) writer.map(1, page, Writer::frame_of(0));
  writer.line("0 enter 1").line("1 enter 1");
  for (u64 page = 0; page < rounds; ++page) {
    writer.line("0 begin unmap").unmap(1, page).line("0 end");
  }
  for (u64 page = 0; page < rounds; ++page) writer.free(0);
}
void large_frees(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  for (u64 n = 0; n < rounds; ++n) writer.line("0 free 0x100000000000 0x8000000000");
}
void many_vms(Writer& writer, u64 rounds) {
  for (u64 id = 1; id <= rounds; ++id) {
    const std::string name = std::to_string(id);
    writer.vm(id)
        .map(id, 0)
        .map(id, 1)
        .line("1 enter " + name)
        .line("1 access " + name + " 0 0 read");
    writer.line("0 begin unmap").unmap(id, 0).fence_page(id, 0, 1).line("0 end");
    writer.unmap(id, 1).line("1 exit " + name).line("0 destroy " + name).fence_vm(1, 0);
  }
}
void many_living_vms(Writer& writer, u64 rounds) {
  for (u64 id = 1; id <= rounds; ++id) {
    const std::string name = std::to_string(id);
    writer.vm(id).map(id, 0).line("1 enter " + name).line("1 exit " + name);
    writer.line("2 enter " + name).line("2 exit " + name);
    writer.line("0 begin unmap").unmap(id, 0).fence_all(1).line("0 end");
    writer.on(1, "fence - " + std::string(writer.architecture() == kX86 ? "invvpid all-context"
                                                                        : "hfence.vvma"));
  }
}
void many_processors(Writer& writer, u64 rounds) {
  populate(writer, rounds);
  for (u64 n = 2; n < 64; ++n) writer.on(n, "enter 1");
  for (u64 page = 0; page < rounds; ++page) {
    writer.line("0 begin unmap").unmap(1, page);
    for (u64 n = 0; n < 64; ++n) writer.fence_vm(1, n);
    writer.line("0 end");
  }
}

const Shape kShapes[] = {
    {"PagesWithoutOperations", kX86, 2000, pages_without_operations},
    {"PagesWithoutOperations", kArm, 2000, pages_without_operations},
    {"PagesWithoutOperations", kRiscV, 2000, pages_without_operations},
    {"PagesInOneOperation", kX86, 2000, pages_in_one_operation},
    {"PagesInOneOperation", kArm, 2000, pages_in_one_operation},
    {"PagesInOneOperation", kRiscV, 2000, pages_in_one_operation},
    {"PagesByAddress", kArm, 2000, pages_by_address},
    {"PagesByAddress", kRiscV, 2000, pages_by_address},
    {"OnePage", kX86, 2000, one_page},
    {"OnePage", kArm, 2000, one_page},
    {"OnePage", kRiscV, 2000, one_page},
    {"OnePageFencedHereOnly", kRiscV, 2000, one_page_fenced_here_only},
    {"AnIdleProcessor", kX86, 2000, an_idle_processor},
    {"AnIdleProcessor", kArm, 2000, an_idle_processor},
    {"AnIdleProcessor", kRiscV, 2000, an_idle_processor},
    {"NothingIsFenced", kX86, 2000, nothing_is_fenced},
    {"NothingIsFenced", kArm, 2000, nothing_is_fenced},
    {"NothingIsFenced", kRiscV, 2000, nothing_is_fenced},
    {"TheWrongProcessorFences", kX86, 2000, the_wrong_processor_fences},
    {"TheWrongProcessorFences", kRiscV, 2000, the_wrong_processor_fences},
    {"TheWrongAddressIsFenced", kArm, 2000, the_wrong_address_is_fenced},
    {"TheWrongAddressIsFenced", kRiscV, 2000, the_wrong_address_is_fenced},
    {"TheOperandIsNotShifted", kArm, 2000, the_operand_is_not_shifted},
    {"TheOperandIsNotShifted", kRiscV, 2000, the_operand_is_not_shifted},
    {"NothingIsWaitedFor", kArm, 2000, nothing_is_waited_for},
    {"TheFirstStageIsFenced", kX86, 2000, the_first_stage_is_fenced},
    {"TheFirstStageIsFenced", kArm, 2000, the_first_stage_is_fenced},
    {"TheFirstStageIsFenced", kRiscV, 2000, the_first_stage_is_fenced},
    {"NewEntriesWithoutBarriers", kArm, 2000, new_entries_without_barriers},
    {"NewEntriesWithoutFences", kRiscV, 2000, new_entries_without_fences},
    {"FencesWithoutStores", kX86, 2000, fences_without_stores},
    {"FencesWithoutStores", kRiscV, 2000, fences_without_stores},
    {"OneFrameOfAllPages", kX86, 2000, one_frame_of_all_pages},
    {"OneFrameOfAllPages", kRiscV, 2000, one_frame_of_all_pages},
    {"LargeFrees", kX86, 2000, large_frees},
    {"ManyVms", kX86, 1000, many_vms},
    {"ManyVms", kArm, 1000, many_vms},
    {"ManyVms", kRiscV, 1000, many_vms},
    {"ManyLivingVms", kX86, 1000, many_living_vms},
    {"ManyLivingVms", kRiscV, 1000, many_living_vms},
    {"ManyProcessors", kX86, 100, many_processors},
    {"ManyProcessors", kRiscV, 100, many_processors},
};

double seconds_for(const Shape& shape, u64 rounds) {
  Writer writer(shape.architecture);
  shape.write(writer, rounds);
  std::istringstream in(writer.text());
  const std::clock_t start = std::clock();
  LogReader reader(models::extensions());
  Checker checker;
  reader.read(in, "log", checker);
  checker.finish();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

class Linear : public testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(All, Linear, testing::ValuesIn(kShapes), [](const auto& made) {
  return std::string(made.param.name) + "_" + to_string(made.param.architecture);
});

TEST_P(Linear, TimeGrowsWithTheLog) {
  constexpr u64 kTimes = 4;
  constexpr double kSlack = 2.5;
  constexpr double kNoise = 0.01;  // seconds: what a short run may lose to the machine
#ifdef NESTWALK_SANITIZED
  constexpr u64 kPart = 4;
#else
  constexpr u64 kPart = 1;
#endif
  double ratio = 0;
  // Another look when the machine was disturbed.
  for (int attempt = 0; attempt < 3; ++attempt) {
    const double once = seconds_for(GetParam(), GetParam().rounds / kPart);
    const double more = seconds_for(GetParam(), kTimes * GetParam().rounds / kPart);
    ratio = more / (once + kNoise);
    if (ratio < kTimes * kSlack) return;
  }
  ADD_FAILURE() << kTimes << " times as long a log took " << ratio << " times as long";
}

}  // namespace
}  // namespace nestwalk::checker::linear_test
