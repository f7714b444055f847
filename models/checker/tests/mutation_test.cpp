// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine's precise sequences, spoilt instruction by instruction. Whether a mutant is wrong is
// for the adversary to say, which knows the rules from elsewhere.

#include <iostream>

#include "both.hpp"
#include "engine_log.hpp"
#include "log_world.hpp"

namespace nestwalk::checker::mutation_test {
namespace {

using Lines = std::vector<std::string>;

Lines lines_of(const std::string& text) {
  Lines lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

bool is(const std::string& line, const char* event) {
  return line.find(std::string(" ") + event + " ") != std::string::npos;
}

/// Small operations, each of which some fence follows.
template <class Shape>
Lines precise_log() {
  std::string text;
  std::size_t end = 0;
  {
    EngineLog<Shape> engine(FencePolicy::Precise, [&](const char* part) { text += part; });
    using namespace addrspace;
    const MappingFlags memory{kRead | kWrite};
    const auto edit = [&](const char* name, auto&& body) { engine.operation(name, body); };
    edit("map",
         [&](auto& s) { (void)s.map_alloc(Gpa(0x5000), 0x4000, memory, Backend::eager(0)); });
    edit("linear",
         [&](auto& s) { (void)s.map_linear(Gpa(0x200000), Hpa(u64{8} << 30), 0x400000, memory); });
    edit("protect", [&](auto& s) { (void)s.protect(Gpa(0x6000), 0x1000, {kRead}); });
    edit("permit", [&](auto& s) { (void)s.protect(Gpa(0x6000), 0x1000, memory); });
    edit("device", [&](auto& s) {
      (void)s.protect(Gpa(0x6000), 0x1000, {kRead, MemoryType::Device});
    });
    edit("split", [&](auto& s) { (void)s.protect(Gpa(0x210000), 0x1000, {kRead}); });
    edit("log", [&](auto& s) { (void)s.start_dirty_log(DirtyTracking::WriteProtection); });
    edit("unlog", [&](auto& s) { (void)s.stop_dirty_log(); });
    edit("unmap", [&](auto& s) { (void)s.unmap(Gpa(0x5000), 0x1000); });
    edit("tables", [&](auto& s) { (void)s.unmap(Gpa(0x200000), 0x200000); });
    edit("rest", [&](auto& s) { (void)s.unmap(Gpa(0x6000), 0x3000); });
    end = text.size();
  }
  return lines_of(text.substr(0, end));
}

struct Mutation {
  const char* name;
  Lines (*apply)(Lines lines, std::size_t fence);
};

Lines drop(Lines lines, std::size_t at) {
  lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(at));
  return lines;
}
/// Replaces the first text that is there; empty if none is.
Lines replace(Lines lines, std::size_t at,
              const std::vector<std::pair<const char*, const char*>>& rows) {
  for (const auto& [from, to] : rows) {
    const std::size_t found = lines[at].find(from);
    if (found == std::string::npos) continue;
    lines[at].replace(found, std::string(from).size(), to);
    return lines;
  }
  return {};
}
Lines other_kind(Lines lines, std::size_t at) {
  return replace(std::move(lines), at,
                 {{"invept single-context, 0x", "invlpg 0x"},
                  {"vmrun tlb_control=3, 0x", "invlpg 0x"},
                  {"invlpgb asid nested", "invlpgb asid"},
                  {"ipas2e1is", "vaae1is"},
                  {"ipas2le1is", "vae2is"},
                  {"vmalle1is", "alle2is"},
                  {"vmalls12e1is", "vmalle1is"},
                  {"hfence.gvma", "hfence.vvma"},
                  {"dsb ishst", "isb"},
                  {"dsb ish", "isb"}});
}
Lines other_tag(Lines lines, std::size_t at) {
  return replace(std::move(lines), at,
                 {{"single-context, 0x", "single-context, 0x7000"},
                  {"=3, 0x5", "=3, 0x6"},
                  {"nested, 0x5", "nested, 0x6"},
                  {", 5", ", 6"}});
}
Lines of_the_host(Lines lines, std::size_t at) {
  for (const char* const of_the_guest : {"invept", "vmrun", "invlpgb"}) {
    const std::size_t found = lines[at].find(of_the_guest);
    if (found == std::string::npos) continue;
    lines[at].replace(found, std::string::npos, "mov cr3");
    return lines;
  }
  return {};
}
Lines by_linear_address(Lines lines, std::size_t at) {
  return replace(std::move(lines), at,
                 {{"vmrun tlb_control=3, 0x5", "invlpga 0x5, 0x5000"},
                  {"invlpgb asid nested, 0x5", "invlpga 0x5, 0x5000"}});
}
Lines unshifted(Lines lines, std::size_t at) {
  const std::size_t zero = lines[at].rfind("0x");
  if (zero == std::string::npos || lines[at].find("ept") != std::string::npos) return {};
  const u64 value = std::stoull(lines[at].substr(zero), nullptr, 16);
  const bool arm = lines[at].find("tlbi") != std::string::npos;
  std::size_t end = lines[at].find(',', zero);
  if (end == std::string::npos) end = lines[at].size();
  lines[at].replace(zero, end - zero, hex(value << (arm ? 12 : 2)));
  return lines;
}
// FEAT_TTL: 4K granule, and a level in bits 45:44.
Lines hinted(Lines lines, std::size_t at, u64 level) {
  const std::size_t operand = lines[at].rfind("e1is, 0x");
  if (operand == std::string::npos) return {};
  const std::size_t number = operand + 6;
  const u64 value = std::stoull(lines[at].substr(number), nullptr, 16);
  lines[at].replace(number, std::string::npos, hex(value | (4 + level) << 44));
  return lines;
}
Lines hinted_as_page(Lines lines, std::size_t at) { return hinted(std::move(lines), at, 3); }
Lines hinted_as_large(Lines lines, std::size_t at) { return hinted(std::move(lines), at, 2); }
Lines local(Lines lines, std::size_t at) {
  return replace(std::move(lines), at,
                 {{"invlpgb asid nested", "vmrun tlb_control=3"},
                  {"ipas2e1is", "ipas2e1"},
                  {"ipas2le1is", "ipas2le1"},
                  {"vmalle1is", "vmalle1"},
                  {"vmalls12e1is", "vmalls12e1"}});
}
Lines leaf_only(Lines lines, std::size_t at) {
  return replace(std::move(lines), at, {{"ipas2e1is", "ipas2le1is"}, {"zero, 5", "0x1400, 5"}});
}
std::size_t back_to(const Lines& lines, std::size_t at, const char* event) {
  while (at != 0 && !is(lines[at], event)) --at;
  return at;
}
// To the begin of its operation: before all of its stores.
Lines before_the_store(Lines lines, std::size_t at) {
  const std::string fence = lines[at];
  const std::size_t begin = back_to(lines, at, "begin");
  lines = drop(std::move(lines), at);
  lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(begin) + 1, fence);
  return lines;
}
// To the end of its operation: after all that it frees.
Lines after_the_free(Lines lines, std::size_t at) {
  std::size_t end = at;
  while (lines[end].find(" end") == std::string::npos) ++end;
  const std::string fence = lines[at];
  lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(end), fence);
  return drop(std::move(lines), at);
}
// Behind the end of its operation: who is in the guest then has not flushed.
Lines after_the_return(Lines lines, std::size_t at) {
  std::size_t end = at;
  while (lines[end].find(" end") == std::string::npos) ++end;
  const std::string fence = lines[at];
  lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(end) + 1, fence);
  return drop(std::move(lines), at);
}
Lines wider(Lines lines, std::size_t at) {
  return replace(std::move(lines), at,
                 {{"vmrun tlb_control=3, 0x5", "vmrun tlb_control=1"},
                  {"ipas2le1is", "ipas2e1is"},
                  {"vmalle1is", "vmalls12e1is"},
                  {"dsb ishst", "dsb ish"},
                  {"dsb ish", "dsb sy"}});
}

Lines but_for_globals(Lines lines, std::size_t at) {
  return replace(std::move(lines), at, {{"tlb_control=3", "tlb_control=7"}});
}

constexpr Mutation kMutations[] = {
    {"drop", drop},
    {"other kind", other_kind},
    {"of the host", of_the_host},
    {"by linear address", by_linear_address},
    {"other tag", other_tag},
    {"unshifted", unshifted},
    {"local", local},
    {"hinted as a page", hinted_as_page},
    {"hinted as a large leaf", hinted_as_large},
    {"leaf only", leaf_only},
    {"before the store", before_the_store},
    {"after the free", after_the_free},
    {"after the return", after_the_return},
    {"wider", wider},
    {"but for globals", but_for_globals},
};

/// Of hundreds of alike instructions in a row, some will do.
bool is_one_of_many(const Lines& lines, std::size_t at) {
  constexpr std::size_t kMnemonic = 24;
  return at % 64 != 0 && lines[at].substr(0, kMnemonic) == lines[at - 1].substr(0, kMnemonic) &&
         lines[at].substr(0, kMnemonic) == lines[at - 2].substr(0, kMnemonic);
}

bool is_wrong(const Lines& lines, Both& both) {
  for (const std::string& line : lines) both.reader.read_line(line, "log", both.tee);
  both.checker.finish();
  return both.adversary.harmed();
}

template <class Shape>
class Mutations : public testing::Test {};
using Shapes = OnEach<testing::Types>;
TYPED_TEST_SUITE(Mutations, Shapes);

TYPED_TEST(Mutations, WrongOnesAreFoundAndAllowedOnesAreNot) {
  const Lines precise = precise_log<TypeParam>();
  u64 wrong = 0, found = 0, allowed = 0, accused = 0;
  for (const Mutation& mutation : kMutations) {
    for (std::size_t at = 0; at < precise.size(); ++at) {
      if (!is(precise[at], "fence") || is_one_of_many(precise, at)) continue;
      Lines mutant = mutation.apply(precise, at);
      if (mutant.empty()) continue;
      Both both;
      const bool harm = is_wrong(mutant, both);
      const bool error = both.checker.errors() != 0;
      wrong += harm ? 1 : 0;
      allowed += harm ? 0 : 1;
      found += harm && error ? 1 : 0;
      accused += !harm && error ? 1 : 0;
      EXPECT_EQ(harm, error) << mutation.name << ", line " << at + 1 << ": " << precise[at] << "\n"
                             << names_of(both.checker);
    }
  }
  EXPECT_GT(wrong, 10u);
  std::cout << TypeParam::kName << ": " << found << " of " << wrong << " wrong mutants found, "
            << accused << " of " << allowed << " allowed ones accused\n";
}

// The same instruction once more, and one for a page that nobody touched.
TYPED_TEST(Mutations, WastedOnesAreFound) {
  const Lines precise = precise_log<TypeParam>();
  const auto warnings_with = [&](const std::string& planted, std::size_t after) {
    Lines lines = precise;
    lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(after) + 1, planted);
    Both both;
    is_wrong(lines, both);
    return both.checker.warnings();
  };
  u64 planted = 0;
  for (std::size_t at = 0; at < precise.size(); ++at) {
    if (!is(precise[at], "fence") || is_one_of_many(precise, at)) continue;
    if (precise[at].find("dsb") != std::string::npos) continue;
    if (precise[at].find("isb") != std::string::npos) continue;
    if (precise[at].find("tlbsync") != std::string::npos) continue;
    EXPECT_EQ(warnings_with(precise[at], at), 1u) << "twice: " << precise[at];
    ++planted;
    std::string elsewhere = precise[at];
    const std::size_t operand = elsewhere.rfind(" 0x");
    const bool tagged = elsewhere.find("ept ") != std::string::npos ||
                        elsewhere.find("vmrun") != std::string::npos ||
                        elsewhere.find("invlpgb") != std::string::npos;
    if (tagged || operand == std::string::npos) continue;
    // GPA 0x7f000000 is none of the guest's.
    const bool arm = elsewhere.find("tlbi") != std::string::npos;
    elsewhere.replace(operand, std::string::npos, arm ? " 0x7f000" : " 0x1fc00000, 5");
    EXPECT_EQ(warnings_with(elsewhere, at), 1u) << elsewhere;
    ++planted;
  }
  EXPECT_GT(planted, 5u);
}

}  // namespace
}  // namespace nestwalk::checker::mutation_test
