// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine against the original: operation scripts and what axaddrspace 0.3.0 answered to them.
//
// Answers do not show which frame backs a page. FrameChecker looks, after every operation: all
// memory of the engine's own is allocated and used once, and a page keeps its frame, hence its
// content, until a script unmaps it. Each fault comes twice, as from two processors of the guest;
// the scripts avoid that, because the original then takes another frame and loses the first.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "ops_interpreter.hpp"

namespace nestwalk::addrspace::parity_test {
namespace {

class FrameChecker {
 public:
  using Uses = std::vector<MemoryUse>;

  /// Looks at what the tables point to after an operation, and says what is wrong with it. `line`
  /// is the operation, `answer` what it printed.
  std::string after(const std::string& line, const std::string& answer, const Uses& uses) {
    if (std::string fault = check_used_once(uses); !fault.empty()) return fault;
    Pages now = owned_pages(uses);
    forget_what_ends(line, answer);
    std::string fault = check_kept(now);
    pages_ = std::move(now);
    return fault;
  }

 private:
  using Pages = std::map<u64, u64>;  ///< guest page -> its frame

  static std::string check_used_once(const Uses& uses) {
    std::map<u64, const MemoryUse*> users;
    for (const MemoryUse& use : uses) {
      if (use.kind == MemoryUse::Kind::Linear) continue;
      for (u64 at = 0; at < use.bytes; at += kFrameBytes) {
        const u64 frame = use.start.value() + at;
        const auto [other, is_new] = users.emplace(frame, &use);
        if (!is_new) {
          return hex(frame) + " serves " + hex(other->second->gpa.value()) + " and " +
                 hex(use.gpa.value());
        }
      }
    }
    return {};
  }

  static Pages owned_pages(const Uses& uses) {
    Pages pages;
    for (const MemoryUse& use : uses) {
      if (use.kind != MemoryUse::Kind::Owned) continue;
      for (u64 at = 0; at < use.bytes; at += kFrameBytes) {
        pages[use.gpa.value() + at] = use.start.value() + at;
      }
    }
    return pages;
  }

  // Takes out of `pages_` what the operation takes away.
  void forget_what_ends(const std::string& line, const std::string& answer) {
    ended_ = GpaRange();
    if (answer != "ok") return;
    std::istringstream words(line);
    std::string operation;
    std::string gpa;
    std::string size;
    words >> operation >> gpa >> size;
    if (operation == "clear" || operation == "space") pages_.clear();
    if (operation != "unmap") return;
    ended_ = *GpaRange::make(Gpa(std::stoull(gpa, nullptr, 16)), std::stoull(size, nullptr, 16));
    std::erase_if(pages_, [&](const auto& page) { return ended_.contains(Gpa(page.first)); });
  }

  std::string check_kept(const Pages& now) const {
    for (const auto& [page, frame] : pages_) {
      const auto found = now.find(page);
      if (found == now.end()) return hex(page) + " lost its frame " + hex(frame);
      if (found->second != frame) {
        return hex(page) + " moved from " + hex(frame) + " to " + hex(found->second);
      }
    }
    for (const auto& [page, frame] : now) {
      if (ended_.contains(Gpa(page))) return hex(page) + " was unmapped and has " + hex(frame);
    }
    return {};
  }

  Pages pages_;
  GpaRange ended_;
};

FrameChecker::Uses uses_of(const OpsSpace& space) {
  FrameChecker::Uses uses;
  space.for_each_memory_use([&](const MemoryUse& use) { uses.push_back(use); });
  return uses;
}

// What the space says that it holds, what its tables point to, and what the Hal gave it.
void expect_no_byte_unaccounted_for(const OpsSpace& space, const FrameChecker::Uses& uses) {
  u64 tables = 0;
  u64 owned_bytes = 0;
  for (const MemoryUse& use : uses) {
    if (use.kind == MemoryUse::Kind::Linear) continue;
    if (use.kind == MemoryUse::Kind::Table) ++tables;
    if (use.kind == MemoryUse::Kind::Owned) owned_bytes += use.bytes;
    EXPECT_TRUE(space.is_allocated(use.start)) << hex(use.start.value());
  }
  const SpaceUsage usage = space.usage();
  EXPECT_EQ(usage.tables.tables, tables);
  EXPECT_EQ(usage.tables.owned_bytes, owned_bytes);
  EXPECT_EQ(usage.tables.table_bytes + owned_bytes + usage.area_frames * kFrameBytes,
            space.allocated_bytes());
}

// The checker itself -----------------------------------------------------------------------------

constexpr MemoryUse kRoot{MemoryUse::Kind::Table, Gpa(0), Hpa(0x9000), 0x1000};

MemoryUse page(u64 gpa, u64 frame) {
  return {MemoryUse::Kind::Owned, Gpa(gpa), Hpa(frame), kFrameBytes};
}

TEST(FrameChecker, is_content_while_each_page_has_a_frame_of_its_own_and_keeps_it) {
  FrameChecker checker;
  EXPECT_EQ(checker.after("space", "ok", {kRoot}), "");
  EXPECT_EQ(checker.after("fault 0x1000 r", "handled", {kRoot, page(0x1000, 0x5000)}), "");
  EXPECT_EQ(checker.after("fault 0x2000 r", "handled",
                          {kRoot, page(0x1000, 0x5000), page(0x2000, 0x6000)}),
            "");
  EXPECT_EQ(checker.after("unmap 0x1000 0x1000", "ok", {kRoot, page(0x2000, 0x6000)}), "");
  EXPECT_EQ(checker.after("fault 0x3000 r", "handled",
                          {kRoot, page(0x2000, 0x6000), page(0x3000, 0x5000)}),
            "");
  EXPECT_EQ(checker.after("clear", "ok", {kRoot}), "");
}

TEST(FrameChecker, leaves_linear_memory_alone) {
  const MemoryUse one{MemoryUse::Kind::Linear, Gpa(0x1000), Hpa(0x5000), kFrameBytes};
  const MemoryUse alias{MemoryUse::Kind::Linear, Gpa(0x2000), Hpa(0x5000), kFrameBytes};
  EXPECT_EQ(FrameChecker().after("map-linear", "ok", {kRoot, one, alias}), "");
}

TEST(FrameChecker, objects_to_two_pages_in_one_frame) {
  EXPECT_EQ(FrameChecker().after("fault", "handled", {page(0x1000, 0x5000), page(0x2000, 0x5000)}),
            "0x5000 serves 0x1000 and 0x2000");
}

TEST(FrameChecker, objects_to_a_page_inside_a_larger_one) {
  const MemoryUse large{MemoryUse::Kind::Owned, Gpa(0x200000), Hpa(0x400000), 2 * kMiB};
  EXPECT_EQ(FrameChecker().after("fault", "handled", {large, page(0x1000, 0x5ff000)}),
            "0x5ff000 serves 0x200000 and 0x1000");
}

TEST(FrameChecker, objects_to_a_page_in_the_frame_of_a_table) {
  EXPECT_EQ(FrameChecker().after("fault", "handled", {kRoot, page(0x1000, 0x9000)}),
            "0x9000 serves 0x0 and 0x1000");
}

TEST(FrameChecker, objects_to_a_page_that_gets_another_frame) {
  FrameChecker checker;
  EXPECT_EQ(checker.after("fault", "handled", {page(0x1000, 0x5000)}), "");
  EXPECT_EQ(checker.after("fault", "handled", {page(0x1000, 0x6000)}),
            "0x1000 moved from 0x5000 to 0x6000");
}

TEST(FrameChecker, objects_to_a_page_that_goes_without_being_unmapped) {
  FrameChecker checker;
  EXPECT_EQ(checker.after("fault", "handled", {page(0x1000, 0x5000), page(0x2000, 0x6000)}), "");
  EXPECT_EQ(checker.after("unmap 0x2000 0x1000", "ok", {}), "0x1000 lost its frame 0x5000");
  EXPECT_EQ(checker.after("fault", "handled", {page(0x1000, 0x5000)}), "");
  EXPECT_EQ(checker.after("unmap 0x1000 0x1000", "error InvalidInput", {}),
            "0x1000 lost its frame 0x5000");
}

TEST(FrameChecker, objects_to_a_page_that_stays_after_it_was_unmapped) {
  FrameChecker checker;
  EXPECT_EQ(checker.after("fault", "handled", {page(0x1000, 0x5000)}), "");
  EXPECT_EQ(checker.after("unmap 0x0 0x2000", "ok", {page(0x1000, 0x5000)}),
            "0x1000 was unmapped and has 0x5000");
}

// The scripts ------------------------------------------------------------------------------------

namespace fs = std::filesystem;

std::vector<fs::path> scripts() {
  std::vector<fs::path> found;
  for (const auto& file : fs::directory_iterator(NESTWALK_PARITY_SCRIPTS)) {
    if (file.path().extension() == ".ops") found.push_back(file.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

class ParityScript : public testing::TestWithParam<fs::path> {};

TEST_P(ParityScript, gets_the_answers_of_the_original_and_owns_every_frame_once) {
  const std::vector<std::string> expected =
      lines_of(fs::path(GetParam()).replace_extension(".out"));
  OpsInterpreter interpreter;
  FrameChecker checker;
  std::size_t answers = 0;
  for (const std::string& line : lines_of(GetParam())) {
    SCOPED_TRACE("operation " + std::to_string(answers + 1) + ": " + line);
    ASSERT_LT(answers, expected.size());
    const unsigned times = line.starts_with("fault") ? 2 : 1;
    for (unsigned n = 0; n < times; ++n) {
      const std::optional<std::string> answer = interpreter.run(line);
      ASSERT_EQ(answer, expected[answers]);
      const FrameChecker::Uses uses = uses_of(*interpreter.space());
      ASSERT_EQ(checker.after(line, *answer, uses), "");
      expect_no_byte_unaccounted_for(*interpreter.space(), uses);
      ASSERT_FALSE(HasFailure());
    }
    ++answers;
  }
  EXPECT_EQ(answers, expected.size());
}

std::string name_of(const testing::TestParamInfo<fs::path>& script) {
  std::string name = script.param.stem();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(AxAddrSpace030, ParityScript, testing::ValuesIn(scripts()), name_of);

TEST(Parity, is_checked_on_eight_scripts_for_each_of_five_geometries) {
  EXPECT_EQ(scripts().size(), 8u * 5u);
}

}  // namespace
}  // namespace nestwalk::addrspace::parity_test
