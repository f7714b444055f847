// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// When a change needs a fence, which one suffices, and what is said of those that do not.

#include "log_world.hpp"

namespace nestwalk::checker::rules_test {
namespace {

using Lines = std::vector<std::string>;
constexpr Architecture kX86 = Architecture::X86_64;
constexpr Architecture kArm = Architecture::AArch64;
constexpr Architecture kRiscV = Architecture::RiscV64;
constexpr Architecture kAll[] = {kX86, kArm, kRiscV};

Lines operator+(Lines a, const Lines& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Both processors ran the guest.
const Lines kInvept = {"0 fence - invept single-context, 0x10000",
                       "1 fence - invept single-context, 0x10000"};
const Lines kByIpa = {"0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2le1is, 0x5",
                      "0 fence 1 dsb ish",   "0 fence 1 tlbi vmalle1is",
                      "0 fence 1 dsb ish",   "0 fence 1 isb"};
const Lines kUnderTable = {"0 fence 1 dsb ishst",
                           "0 fence 1 tlbi ipas2e1is, 0x5",
                           "0 fence 1 tlbi ipas2e1is, 0x6",
                           "0 fence 1 tlbi ipas2e1is, 0x7",
                           "0 fence 1 dsb ish",
                           "0 fence 1 tlbi vmalle1is",
                           "0 fence 1 dsb ish"};
const Lines kHfence = {"0 fence - hfence.gvma 0x1400, 5", "1 fence - hfence.gvma 0x1400, 5"};
const Lines kHfenceVmid = {"0 fence - hfence.gvma zero, 5", "1 fence - hfence.gvma zero, 5"};
const Lines kPublish = {"0 fence 1 dsb ishst", "0 fence 1 isb"};
const Lines kNothing = {};
// Break before make: the entry goes, is forgotten, and comes back.
const Lines kMakeMoved = {"0 store 0x23028 0 M5", "0 fence 1 dsb ishst"};
const Lines kMakeUncached = {"0 store 0x23028 0 U5", "0 fence 1 dsb ishst"};

/// One row of the table of changes: the stores, and what suffices on each architecture. `bare` is
/// what is found without any fence.
struct Row {
  const char* change;
  Lines stores[3];
  Lines fences[3];
  Lines makes;  ///< AArch64: after the fences
  const char* bare[3];
};
const Row kRows[] = {
    {"invalid -> valid",
     {{"0 store 0x23040 0 L8"}, {"0 store 0x23040 0 L8"}, {"0 store 0x23040 0 L8"}},
     {kNothing, kPublish, {"0 fence - hfence.gvma 0x2000, 5", "1 fence - hfence.gvma 0x2000, 5"}},
     {},
     {"", "not completed", ""}},
    {"more permission",
     {{"0 store 0x23048 0 R9", "0 store 0x23048 R9 L9"},
      {"0 store 0x23048 0 R9", "0 store 0x23048 R9 L9"},
      {"0 store 0x23048 0 R9", "0 store 0x23048 R9 L9"}},
     {kNothing,
      {"0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2le1is, 0x9", "0 fence 1 dsb ish",
       "0 fence 1 tlbi vmalle1is", "0 fence 1 dsb ish"},
      {"0 fence - hfence.gvma 0x2400, 5", "1 fence - hfence.gvma 0x2400, 5"}},
     {},
     {"", "not completed", ""}},
    {"valid -> invalid",
     {{"0 store 0x23028 L5 0"}, {"0 store 0x23028 L5 0"}, {"0 store 0x23028 L5 0"}},
     {kInvept, kByIpa, kHfence},
     {},
     {"missing", "missing", "missing"}},
    {"less permission",
     {{"0 store 0x23028 L5 R5"}, {"0 store 0x23028 L5 R5"}, {"0 store 0x23028 L5 R5"}},
     {kInvept, kByIpa, kHfence},
     {},
     {"missing", "missing", "missing"}},
    {"other output address",
     {{"0 store 0x23028 L5 M5"}, {"0 store 0x23028 L5 0"}, {"0 store 0x23028 L5 M5"}},
     {kInvept, kByIpa, kHfence},
     kMakeMoved,
     {"missing", "break before make, missing", "missing"}},
    {"other memory type",
     {{"0 store 0x23028 L5 U5"}, {"0 store 0x23028 L5 0"}, {"0 store 0x23028 L5 U5"}},
     {kInvept, kByIpa, kHfence},
     kMakeUncached,
     {"missing", "break before make, missing", "missing"}},
    {"dirty flag cleared",
     {{"0 store 0x23028 L5 C5"}, {"0 store 0x23028 L5 C5"}, {"0 store 0x23028 L5 C5"}},
     {kInvept, kByIpa, kHfence},
     {},
     {"missing", "missing", "missing"}},
    {"a table unlinked",
     {{"0 store 0x22000 T 0"}, {"0 store 0x22000 T 0"}, {"0 store 0x22000 T 0"}},
     {kInvept, kUnderTable, kHfenceVmid},
     {},
     {"missing", "missing", "missing"}},
};

TEST(Rules, EachChangeNeedsItsFenceAndNoMore) {
  for (const Row& row : kRows) {
    for (const Architecture architecture : kAll) {
      const auto n = static_cast<unsigned>(architecture);
      SCOPED_TRACE(std::string(row.change) + ", " + to_string(architecture));
      const Lines makes = architecture == kArm ? row.makes : kNothing;
      EXPECT_EQ(findings_of(architecture, row.stores[n] + row.fences[n] + makes), "");
      // A break that is never completed is found at the make, and at the end.
      std::string bare = row.bare[n];
      if (!makes.empty()) bare = "break before make, missing";
      EXPECT_EQ(findings_of(architecture, row.stores[n] + makes), bare);
    }
  }
}

TEST(Rules, EveryInstructionOfASequenceCounts) {
  for (const Row& row : kRows) {
    for (const Architecture architecture : kAll) {
      const auto n = static_cast<unsigned>(architecture);
      for (std::size_t drop = 0; drop < row.fences[n].size(); ++drop) {
        Lines fences = row.fences[n];
        const std::string dropped = fences[drop];
        SCOPED_TRACE(std::string(row.change) + " without " + dropped);
        fences.erase(fences.begin() + static_cast<std::ptrdiff_t>(drop));
        const std::string found = findings_of(architecture, row.stores[n] + fences);
        // ERET synchronises as ISB does; where a spurious fault does, the only thing that counts is
        // that the new entry can be seen, and each of the barriers sees to that.
        const bool tolerated =
            std::string(row.bare[n]) == "" || std::string(row.change) == "more permission";
        const bool needed = dropped.find("isb") == std::string::npos && !tolerated;
        EXPECT_EQ(found.empty(), !needed) << found;
      }
    }
  }
}

/// One fence, or a sequence, after `valid -> invalid` of GPA 0x5000 (or what `stores` says).
struct Spoilt {
  const char* what;
  Architecture architecture;
  Lines lines;
  const char* found;
};
const char* const kUnmap = "0 store 0x23028 L5 0";
Lines hinted(const char* operand, const char* store) {
  return {store,
          "0 fence 1 dsb ishst",
          std::string("0 fence 1 tlbi ipas2e1is, ") + operand,
          "0 fence 1 dsb ish",
          "0 fence 1 tlbi vmalle1is",
          "0 fence 1 dsb ish"};
}
const Spoilt kSpoilt[] = {
    // Kind
    {"INVLPG", kX86, {kUnmap, "0 fence - invlpg [0x5000]"}, "wrong kind"},
    {"CR3", kX86, {kUnmap, "0 fence - mov cr3"}, "wrong kind"},
    {"INVVPID, address",
     kX86,
     {kUnmap, "0 fence - invvpid individual-address, 5, 0x5000"},
     "wrong kind"},
    {"INVVPID", kX86, {kUnmap, "0 fence - invvpid single-context, 5"}, "wrong kind"},
    {"INVVPID, all", kX86, {kUnmap, "0 fence - invvpid all-context"}, "wrong kind"},
    {"INVVPID, not globals",
     kX86,
     {kUnmap, "0 fence - invvpid retaining-globals, 5"},
     "wrong kind"},
    {"EL2's",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi vae2is, 0x5", "0 fence 1 dsb ish"},
     "wrong kind"},
    {"EL2's, all",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi alle2is", "0 fence 1 dsb ish"},
     "wrong kind"},
    {"by VA",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi vaae1is, 0x5", "0 fence 1 dsb ish"},
     "wrong kind"},
    {"by ASID",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi aside1is, 0x0", "0 fence 1 dsb ish"},
     "wrong kind"},
    {"first stage only",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi vmalle1is", "0 fence 1 dsb ish"},
     "wrong kind"},
    {"second stage only",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2e1is, 0x5", "0 fence 1 dsb ish"},
     "wrong kind"},
    {"VVMA", kRiscV, {kUnmap, "0 fence - hfence.vvma zero, zero"}, "wrong kind"},
    {"VVMA by address", kRiscV, {kUnmap, "0 fence - hfence.vvma 0x5000, zero"}, "wrong kind"},
    // Tag
    {"another EPTP", kX86, {kUnmap, "0 fence - invept single-context, 0x77000"}, "wrong tag"},
    {"another VMID", kRiscV, {kUnmap, "0 fence - hfence.gvma 0x1400, 6"}, "wrong tag"},
    {"another VTTBR",
     kArm,
     {"0 vm 2 stage2-4k root=0x80000 vmid=6", kUnmap, "0 fence 1 dsb ishst",
      "0 fence 2 tlbi vmalls12e1is", "0 fence 1 dsb ish"},
     "wrong tag"},
    // Operand
    {"not shifted",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2e1is, 0x5000", "0 fence 1 dsb ish"},
     "unshifted operand"},
    {"not shifted", kRiscV, {kUnmap, "0 fence - hfence.gvma 0x5000, 5"}, "unshifted operand"},
    {"shifted by 12", kRiscV, {kUnmap, "0 fence - hfence.gvma 0x5, 5"}, "unshifted operand"},
    {"another page", kRiscV, {kUnmap, "0 fence - hfence.gvma 0xc00, 5"}, "wrong operand"},
    // Range
    {"one of two", kRiscV, Lines{kUnmap, "0 store 0x23030 L6 0"} + kHfence, "range too small"},
    {"two of three",
     kArm,
     // TG 4K, SCALE 0, NUM 0: two pages from 0x5.
     {kUnmap, "0 store 0x23030 L6 0", "0 store 0x23038 L7 0", "0 fence 1 dsb ishst",
      "0 fence 1 tlbi ripas2le1is, 0x400000000005", "0 fence 1 dsb ish", "0 fence 1 tlbi vmalle1is",
      "0 fence 1 dsb ish"},
     "range too small"},
    // Hints (FEAT_TTL): 4K granule, 1 in bits 47:46; the level in 45:44. The page is at level 3,
    // the
    // large leaf at level 2.
    {"hinted at its level", kArm, hinted("0x700000000005", kUnmap), ""},
    {"hinted at another level", kArm, hinted("0x600000000005", kUnmap), "wrong level"},
    {"hinted at another granule", kArm, hinted("0xb00000000005", kUnmap), "wrong level"},
    {"without a level", kArm, hinted("0x400000000005", kUnmap), ""},
    {"large, hinted at its level", kArm, hinted("0x600000000200", "0 store 0x22008 B 0"), ""},
    {"large, hinted as a page", kArm, hinted("0x700000000200", "0 store 0x22008 B 0"),
     "wrong level"},
    // A range of two pages: its level in bits 38:37.
    {"range, hinted at another level",
     kArm,
     {kUnmap, "0 store 0x23030 L6 0", "0 fence 1 dsb ishst",
      "0 fence 1 tlbi ripas2le1is, 0x404000000005", "0 fence 1 dsb ish", "0 fence 1 tlbi vmalle1is",
      "0 fence 1 dsb ish"},
     "wrong level"},
    // Leaf only
    {"last level",
     kArm,
     {"0 store 0x22000 T 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2le1is, 0x5",
      "0 fence 1 tlbi ipas2le1is, 0x6", "0 fence 1 tlbi ipas2le1is, 0x7", "0 fence 1 dsb ish",
      "0 fence 1 tlbi vmalle1is", "0 fence 1 dsb ish"},
     "leaf only"},
    {"by address", kRiscV,
     Lines{"0 store 0x22000 T 0"} + kHfence +
         Lines{"0 fence - hfence.gvma 0x1800, 5", "1 fence - hfence.gvma 0x1800, 5",
               "0 fence - hfence.gvma 0x1c00, 5", "1 fence - hfence.gvma 0x1c00, 5"},
     "leaf only"},
    // Processors
    {"here only", kX86, {kUnmap, kInvept[0]}, "wrong processors"},
    {"here only", kRiscV, {kUnmap, kHfence[0]}, "wrong processors"},
    {"not broadcast",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi vmalls12e1", "0 fence 1 dsb ish"},
     "over-broad, wrong processors"},
    {"half broadcast",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2e1is, 0x5", "0 fence 1 dsb ish",
      "0 fence 1 tlbi vmalle1", "0 fence 1 dsb ish"},
     "wrong processors"},
    // Completion
    {"no DSB at the end",
     kArm,
     {kUnmap, kByIpa[0], kByIpa[1], kByIpa[2], kByIpa[3]},
     "not completed"},
    {"no DSB between", kArm, {kUnmap, kByIpa[0], kByIpa[1], kByIpa[3], kByIpa[4]}, "not completed"},
    {"another's DSB",
     kArm,
     {kUnmap, kByIpa[0], kByIpa[1], kByIpa[2], kByIpa[3], "1 fence 1 dsb ish"},
     "not completed"},
    {"Svinval, no end",
     kRiscV,
     {kUnmap, "0 fence - sfence.w.inval", "0 fence - hinval.gvma 0x1400, 5",
      "1 fence - sfence.w.inval", "1 fence - hinval.gvma 0x1400, 5", "0 fence - sfence.inval.ir"},
     "not completed"},
    // Order
    {"before the store", kX86, kInvept + Lines{kUnmap}, "too early"},
    {"before the store", kRiscV, kHfence + Lines{kUnmap}, "too early"},
    {"before the store", kArm, kByIpa + Lines{kUnmap}, "too early"},
    {"store not visible",
     kArm,
     {kUnmap, "0 fence 1 tlbi vmalls12e1is", "0 fence 1 dsb ish"},
     "too early"},
    {"Svinval, no begin",
     kRiscV,
     {kUnmap, "0 fence - hinval.gvma 0x1400, 5", "0 fence - sfence.inval.ir"},
     "too early"},
    // Break before make
    {"in place", kArm, Lines{"0 store 0x23028 L5 M5"} + kByIpa, "break before make"},
    {"size in place", kArm,
     Lines{"0 store 0x22008 B T2", "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2e1is, 0x200",
           "0 fence 1 dsb ish", "0 fence 1 tlbi vmalle1is", "0 fence 1 dsb ish"},
     "break before make"},
    {"made too early", kArm, Lines{kUnmap, "0 store 0x23028 0 M5"} + kByIpa, "break before make"},
    {"made before DSB",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2le1is, 0x5", "0 fence 1 dsb ish",
      "0 fence 1 tlbi vmalle1is", "0 store 0x23028 0 M5", "0 fence 1 dsb ish"},
     "break before make"},
    // Use after free
    {"freed before", kX86, Lines{kUnmap, "0 free 0x95000 0x1000"} + kInvept, "use after free"},
    {"freed before", kArm, Lines{kUnmap, "0 free 0x95000 0x1000"} + kByIpa, "use after free"},
    {"freed before", kRiscV, Lines{kUnmap, "0 free 0x95000 0x1000"} + kHfence, "use after free"},
    {"table freed before", kRiscV,
     Lines{"0 store 0x22000 T 0", "0 free 0x23000 0x1000"} + kHfenceVmid, "use after free"},
    {"freed before unmapped", kX86, Lines{"0 free 0x95000 0x1000", kUnmap} + kInvept,
     "use after free"},
    {"never fenced", kX86, {kUnmap, "0 free 0x95000 0x1000"}, "missing, use after free"},
    {"freed while mapped", kX86, {"0 free 0x95000 0x1000"}, "use after free"},
    {"freed while mapped", kArm, {"0 free 0x95000 0x1000"}, "use after free"},
    {"a part of a large leaf", kRiscV, {"0 free 0x5ff000 0x1000"}, "use after free"},
    {"what no leaf names", kRiscV, {"0 free 0x600000 0x1000"}, ""},
    // What it said may be cached, and is not what its frame will say.
    {"table freed while linked", kRiscV, {"0 free 0x23000 0x1000"}, "missing, use after free"},
    {"table freed while linked, then fenced",
     kRiscV,
     {"0 free 0x23000 0x1000", "0 fence - hfence.gvma 0x1400, 5", "0 fence - hfence.gvma 0x1800, 5",
      "0 fence - hfence.gvma 0x1c00, 5", "1 fence - hfence.gvma 0x1400, 5",
      "1 fence - hfence.gvma 0x1800, 5", "1 fence - hfence.gvma 0x1c00, 5",
      "1 access 1 0x5000 0x5000 read"},
     "use after free"},
    // Wasted
    {"new entry", kX86, {"0 store 0x23040 0 L8", kInvept[0]}, "excess"},
    {"more permission",
     kX86,
     {"0 store 0x23048 0 R9", "0 store 0x23048 R9 L9", kInvept[0]},
     "excess"},
    {"new entry",
     kArm,
     {"0 store 0x23040 0 L8", "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2e1is, 0x8",
      "0 fence 1 dsb ish"},
     "excess"},
    {"twice", kX86, Lines{kUnmap} + kInvept + Lines{kInvept[0]}, "excess"},
    {"all contexts",
     kX86,
     {kUnmap, "0 fence - invept all-context", "1 fence - invept all-context"},
     "over-broad"},
    {"all of the VM",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi vmalls12e1is", "0 fence 1 dsb ish"},
     "over-broad"},
    {"all of the VM", kRiscV, Lines{kUnmap} + kHfenceVmid, "over-broad"},
    {"all VMs",
     kRiscV,
     {kUnmap, "0 fence - hfence.gvma zero, zero", "1 fence - hfence.gvma zero, zero"},
     "over-broad"},
    // Enough
    {"outer shareable",
     kArm,
     {kUnmap, "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2e1os, 0x5", "0 fence 1 dsb ish",
      "0 fence 1 tlbi vmalle1os", "0 fence 1 dsb ish"},
     ""},
    {"range",
     kArm,
     {kUnmap, "0 store 0x23030 L6 0", "0 fence 1 dsb ishst",
      "0 fence 1 tlbi ripas2le1is, 0x400000000005", "0 fence 1 dsb ish", "0 fence 1 tlbi vmalle1is",
      "0 fence 1 dsb ish"},
     ""},
    {"Svinval",
     kRiscV,
     {kUnmap, "0 fence - sfence.w.inval", "0 fence - hinval.gvma 0x1400, 5",
      "0 fence - sfence.inval.ir", "1 fence - sfence.w.inval", "1 fence - hinval.gvma 0x1400, 5",
      "1 fence - sfence.inval.ir"},
     ""},
    {"within the large leaf",
     kRiscV,
     {"0 store 0x22008 B 0", "0 fence - hfence.gvma 0x90000, 5",
      "1 fence - hfence.gvma 0x90000, 5"},
     ""},
    {"split alike", kX86, {"0 store 0x23028 L5 L5"}, ""},
};

TEST(Rules, EachWayToSpoilItHasItsName) {
  for (const Spoilt& row : kSpoilt) {
    SCOPED_TRACE(std::string(to_string(row.architecture)) + ": " + row.what);
    EXPECT_EQ(findings_of(row.architecture, row.lines), row.found);
  }
}

TEST(Rules, ProcessorsOutsideTheGuestMayWaitUntilTheyEnter) {
  // Processor 1 has left; its INVEPT comes before it enters again.
  const std::string start = preamble(kX86) + "1 1 exit 1\n1 0 begin unmap\n" +
                            with_entries(kX86, "1 0 store 0x23028 L5 0") +
                            "1 0 fence - invept single-context, 0x10000\n2 0 end\n";
  EXPECT_EQ(
      check_text(start + "3 1 fence - invept single-context, 0x10000\n3 1 enter 1\n")->names(), "");
  EXPECT_EQ(check_text(start + "3 1 enter 1\n")->names(), "wrong processors");
}

TEST(Rules, AProcessorThatNeverRanTheGuestNeedsNoFence) {
  const std::string start = "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000 vmid=5\n";
  EXPECT_EQ(check_text(start + "0 0 store 0x10000 0 0x21007\n1 0 begin x\n"
                               "1 0 store 0x10000 0x21007 0\n2 0 end\n3 0 enter 1\n")
                ->names(),
            "");
}

TEST(Rules, SvvptcNeedsNoFenceForNewEntriesAndASpuriousFaultMayHaveOne) {
  const std::string edit =
      with_entries(kRiscV, "1 0 store 0x23040 0 L8") + "1 0 fence - hfence.gvma 0x2000, 5\n";
  EXPECT_EQ(
      check_text(preamble(kRiscV, "svvptc") + "1 0 begin map\n" + edit + "2 0 end\n")->names(),
      "excess");
  const std::string late =
      "1 0 fault 1 0x5123\n1 0 begin fault\n"
      "1 0 fence - hfence.gvma 0x1400, 5\n2 0 end\n";
  EXPECT_EQ(check_text(preamble(kRiscV) + late)->names(), "");
}

TEST(Rules, AViolationRemovesWhatCausedItOnX86) {
  // Processor 0 holds the old entry, faults on it, and holds it no more.
  const std::string text = preamble(kX86) + "1 0 begin unmap\n" +
                           with_entries(kX86, "1 0 store 0x23028 L5 R5") +
                           "1 0 fault 1 0x5000\n1 1 fence - invept single-context, 0x10000\n"
                           "2 0 end\n3 0 enter 1\n";
  EXPECT_EQ(check_text(text)->names(), "");
}

// A processor may have cut a large leaf into pages: the violation takes the one that caused it.
TEST(Rules, AViolationLeavesTheOtherPagesOfALargeLeaf) {
  const auto after = [](const char* store, const char* gpa) {
    return check_text(preamble(kX86) + "1 0 begin edit\n" + with_entries(kX86, store) +
                      "1 0 fault 1 " + gpa +
                      "\n1 1 fence - invept single-context, 0x10000\n2 0 end\n3 0 enter 1\n" +
                      "4 0 access 1 0x200000 0x200000 read\n4 0 access 1 0x201000 0x201000 read\n");
  };
  EXPECT_EQ(after("1 0 store 0x23028 L5 0", "0x5000")->names(), "");
  const auto large = after("1 0 store 0x22008 B 0", "0x201000");
  EXPECT_EQ(large->names(), "wrong processors");
  // The page that it took is not hit, the other one is.
  EXPECT_EQ(large->checker.findings()[0].hits, 1u);
}

TEST(Rules, ATableThatIsLinkedTwiceTranslatesTwice) {
  // Under GPA 0 and under GPA 0x400000.
  const std::string twice =
      preamble(kRiscV) + with_entries(kRiscV, "1 0 store 0x22010 0 T") + "1 0 begin unmap\n" +
      with_entries(kRiscV, "1 0 store 0x23028 L5 0") +
      "1 0 fence - hfence.gvma 0x1400, 5\n1 1 fence - hfence.gvma 0x1400, 5\n";
  EXPECT_EQ(check_text(twice + "2 0 end\n3 0 enter 1\n")->names(), "range too small");
  const std::string other =
      "1 0 fence - hfence.gvma 0x101400, 5\n1 1 fence - hfence.gvma 0x101400, 5\n";
  EXPECT_EQ(check_text(twice + other + "2 0 end\n3 0 enter 1\n")->names(), "");
  // Unlinked once, it is there once.
  const std::string once = preamble(kRiscV) + with_entries(kRiscV, "1 0 store 0x22010 0 T") +
                           with_entries(kRiscV, "1 0 store 0x22010 T 0") +
                           "1 0 fence - hfence.gvma zero, 5\n1 1 fence - hfence.gvma zero, 5\n" +
                           "1 0 begin unmap\n" + with_entries(kRiscV, "1 0 store 0x23028 L5 0") +
                           "1 0 fence - hfence.gvma 0x1400, 5\n1 1 fence - hfence.gvma 0x1400, 5\n";
  EXPECT_EQ(check_text(once + "2 0 end\n3 0 enter 1\n")->names(), "");
}

TEST(Rules, ARootOfTwoVmsNeedsTheFencesOfBoth) {
  const std::string shared =
      preamble(kRiscV) + "1 0 vm 2 sv39x4 root=0x10000 vmid=6\n" +
      "1 2 enter 2\n1 0 begin unmap\n" + with_entries(kRiscV, "1 0 store 0x23028 L5 0") +
      "1 0 fence - hfence.gvma 0x1400, 5\n1 1 fence - hfence.gvma 0x1400, 5\n";
  EXPECT_NE(check_text(shared + "2 0 end\n")->names(), "");
  EXPECT_EQ(check_text(shared + "1 2 fence - hfence.gvma 0x1400, 6\n2 0 end\n")->names(), "");
}

TEST(Rules, ATagIsUsedAgainOnlyAfterItsFences) {
  struct Reuse {
    Architecture architecture;
    const char* format;
    Lines fences;
    const char* found;
  };
  const Reuse kReuses[] = {
      {kX86, "ept", {}, "tag reused"},
      {kX86, "ept", kInvept, "tag reused"},
      {kX86, "ept",
       kInvept +
           Lines{"0 fence - invvpid single-context, 5", "1 fence - invvpid single-context, 5"},
       ""},
      {kArm, "stage2-4k", {}, "tag reused"},
      {kArm, "stage2-4k", {"0 fence 1 tlbi vmalle1is", "0 fence 1 dsb ish"}, "tag reused"},
      {kArm, "stage2-4k", {"0 fence 1 tlbi vmalls12e1is"}, "tag reused"},
      {kArm, "stage2-4k", {"0 fence 1 tlbi vmalls12e1is", "0 fence 1 dsb ish"}, ""},
      {kRiscV, "sv39x4", kHfenceVmid, "tag reused"},
      {kRiscV, "sv39x4", kHfenceVmid + Lines{"0 fence 1 hfence.vvma", "1 fence 1 hfence.vvma"}, ""},
  };
  for (const Reuse& row : kReuses) {
    SCOPED_TRACE(row.format + std::to_string(row.fences.size()));
    std::string text = preamble(row.architecture) + "1 1 exit 1\n1 0 destroy 1\n1 0 begin retire\n";
    for (const std::string& line : row.fences) text += "1 " + line + "\n";
    text += std::string("2 0 end\n3 0 vm 2 ") + row.format + " root=0x10000 vmid=5\n";
    text += "4 0 enter 2\n5 1 enter 2\n";
    EXPECT_EQ(check_text(text)->names(), row.found);
  }
}

TEST(Rules, AFindingSaysAllThereIsToSay) {
  const auto checked = check_text(
      operation(kRiscV, {kUnmap, "0 fence - hfence.vvma zero, zero"}) +
      "7 1 access 1 0x7f0000005010 0x5010 write\n8 1 access 1 0x7f0000006010 0x6010 write\n");
  ASSERT_EQ(checked->checker.findings().size(), 1u);
  const Finding& finding = checked->checker.findings()[0];
  // 11 lines of preamble, then begin, store, fence, end and enter.
  EXPECT_EQ(describe(finding, "a.log"),
            "error: wrong kind in edit, cycle 1, processor 0, a.log:13\n"
            "  the fences do not touch what the entry left in the caches\n"
            "  hfence.vvma zero, zero removes what the guest's own tables translate; the "
            "second-stage entry stays cached, and is merged again\n"
            "  VM 1, GPA 0x5000 + 4 KiB, level 0: unmapped\n"
            "  was: leaf of 4 KiB at 0x95000, read write execute, write-back, dirty\n"
            "  is:  invalid\n"
            "  may be cached on processors 1\n"
            "  issued: hfence.vvma (VMID 0) (a.log:14)\n"
            "  violated when the operation returned (a.log:15)\n"
            "  demanded: HFENCE.GVMA for the address or the VMID, on every hart that ran it\n"
            "  RISC-V privileged spec, \"Hypervisor Memory-Management Fence Instructions\"\n"
            "  1 accesses hit it afterwards, the first at 17 (GVA 0x7f0000005010, GPA 0x5010, "
            "processor 1)\n");
}

}  // namespace
}  // namespace nestwalk::checker::rules_test
