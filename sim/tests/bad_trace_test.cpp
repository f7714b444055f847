// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Traces that cannot be, or contradict themselves.

#include <fstream>
#include <nlohmann/json.hpp>

#include "bad_input.hpp"
#include "nestwalk/traces/container.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::sim::bad_trace_test {
namespace {

using testing::HasSubstr;

TEST_F(BadInput, TruncatedTrace) {
  run("head -c -100 t.nwt > cut.nwt; head -c 20 t.nwt > head.nwt");
  for (const std::string& command :
       {std::string("run -p simple"), std::string("explain -p simple")}) {
    complains("nestwalk " + command + " cut.nwt", 4, "cut.nwt: at byte ");
    complains("nestwalk " + command + " head.nwt", 4, "head.nwt: at byte ");
  }
  complains("nestwalk run -p simple cut.nwt -o d", 4, "cut.nwt: at byte ");
  EXPECT_FALSE(there("d"));
  complains("nestwalk compare -p simple head.nwt", 4, "head.nwt: at byte ");
  const Result compared = run("nestwalk compare -p simple cut.nwt 2>error");
  EXPECT_EQ(compared.exit_code, 4);
  EXPECT_THAT(compared.output, HasSubstr("failed"));
  EXPECT_THAT(run("cat error").output, HasSubstr("lazy failed: cut.nwt: at byte "));
}

/// Copies a trace with a change to the payloads of its sections; the checksums are right.
template <class Change>
void copy_with(const std::filesystem::path& from, const std::filesystem::path& to,
               Change&& change) {
  const auto source = traces::open_source(from.string());
  const auto sink = traces::create_sink(to.string());
  traces::SectionReader sections(*source, {});
  traces::SectionWriter writer(*sink);
  traces::Section section;
  while (sections.next(section)) {
    std::vector<traces::u8> payload(section.payload.begin(), section.payload.end());
    change(section.type, payload);
    writer.write(section.type, payload);
  }
  writer.finish();
}

// An index that gives a block to another vCPU, or fewer records, would change what is replayed.
TEST_F(BadInput, IndexThatContradictsTheBlocks) {
  run("nestwalk trace gen smp vcpus=2 accesses=1000 -o two.nwt");
  struct Change {
    std::size_t offset;  // in the index's first entry
    unsigned char value;
    const char* message;
  };
  for (const Change& change : {Change{24, 1, "in the index, the vCPU of block 0 at byte "},
                               Change{28, 0, "in the index, the records of block 0 at byte "}}) {
    copy_with(folder() / "two.nwt", folder() / "bad.nwt", [&](auto type, auto& payload) {
      if (type == traces::kIndexSection) payload[change.offset] = change.value;
    });
    for (const char* const command :
         {"run -p simple bad.nwt", "run -p simple bad.nwt -o d", "explain -p simple bad.nwt",
          "trace info bad.nwt", "trace stats bad.nwt", "trace cut bad.nwt -o out.nwt",
          "trace cut --from 5 bad.nwt -o out.nwt", "trace merge bad.nwt -o out.nwt",
          "trace split bad.nwt --prefix out"}) {
      complains(std::string("nestwalk ") + command, 4, "bad.nwt: at byte ");
      complains(std::string("nestwalk ") + command, 4, change.message);
    }
    EXPECT_FALSE(there("d"));
    for (const char* const command : {"trace cat bad.nwt", "trace cat --by-time bad.nwt",
                                      "compare -p simple bad.nwt", "check bad.nwt"}) {
      const Result result = run(std::string("nestwalk ") + command + " 2>&1 >out");
      EXPECT_EQ(result.exit_code, 4) << command;
      EXPECT_THAT(result.output, HasSubstr(change.message)) << command;
    }
    std::ofstream(folder() / "s.json")
        << R"({"format": "nestwalk-suite", "version": 1, "baseline": "b.json", "cases":
               [{"name": "one", "trace": "bad.nwt", "preset": "simple"}]})";
    const Result gated = run("nestwalk gate s.json --update 2>&1");
    EXPECT_EQ(gated.exit_code, 4);
    EXPECT_THAT(gated.output, HasSubstr(change.message));
    EXPECT_FALSE(there("b.json"));
  }
}

/// A trace without records.
void write_side(const std::filesystem::path& path, const traces::SideData& side,
                const std::vector<traces::MemoryRange>& memory = {}) {
  traces::Header header;
  header.memory = memory;
  const auto sink = traces::create_sink(path.string());
  traces::Writer writer(*sink, header);
  writer.append(side);
  writer.finish();
}

TEST_F(BadInput, TracesThatAreMergedAndContradictEachOther) {
  using namespace traces;
  const auto page_of = [](u8 fill) {
    return TablePage{0x4000, std::vector<u8>(traces::kPageBytes, fill)};
  };
  write_side(folder() / "a.nwt", {When::Begin, Stage::Guest, 0, {{"CR3", 1}}, {page_of(1)}},
             {{Stage::Guest, 0, 0x8000, "ram"}});
  // Registers are those of another vCPU in the merged trace.
  write_side(folder() / "b.nwt", {When::Begin, Stage::Guest, 0, {{"CR3", 2}}, {page_of(1)}},
             {{Stage::Guest, 0, 0x8000, "ram"}, {Stage::Guest, 0x8000, 0x1000, "rom"}});
  write_side(folder() / "page.nwt", {When::Begin, Stage::Guest, 0, {}, {page_of(2)}});
  write_side(folder() / "rom.nwt", {When::Begin, Stage::Guest, 0, {}, {page_of(1)}},
             {{Stage::Guest, 0x1000, 0x1000, "rom"}});
  // Behind 16 bytes of preamble, and a header of 32 and 10 of its fields, all of one byte.
  complains("nestwalk trace merge a.nwt b.nwt page.nwt -o out.nwt", 4,
            "page.nwt: at byte 58: expected the page at 0x4000 of the guest's tables at the begin, "
            "as it was given before, found other contents");
  complains("nestwalk trace merge a.nwt b.nwt rom.nwt -o out.nwt", 4,
            "rom.nwt: at byte 16: expected one kind of memory at 0x1000 of the guest, found 32768 "
            "bytes of ");
  EXPECT_FALSE(there("out.nwt"));
  EXPECT_EQ(run("nestwalk trace merge a.nwt b.nwt -o out.nwt").exit_code, 0);
  const auto header = Reader(open_source((folder() / "out.nwt").string())).header();
  EXPECT_EQ(header.memory, (std::vector<MemoryRange>{{Stage::Guest, 0, 0x8000, "ram"},
                                                     {Stage::Guest, 0x8000, 0x1000, "rom"}}));
}

// The rest would continue nothing.
TEST_F(BadInput, CutWithinAnAccess) {
  run("printf \"kind,gva,size\\nread,0x1ffc,8\\n\" | nestwalk trace import --from csv -o c.nwt -; "
      "nestwalk trace cut --from 1 c.nwt -o d.nwt");
  EXPECT_THAT(run("nestwalk trace cat c.nwt").output, HasSubstr(" continues"));
  const Result cut = run("nestwalk trace cat d.nwt 2>&1");
  EXPECT_EQ(cut.exit_code, 0) << cut.output;
  EXPECT_THAT(cut.output, HasSubstr("read gva=0x2000 size=4"));
  EXPECT_EQ(cut.output.find("continues"), std::string::npos);
}

TEST_F(BadInput, TraceWithoutVcpus) {
  copy_with(folder() / "t.nwt", folder() / "none.nwt", [](auto type, auto& payload) {
    if (type == traces::kHeaderSection) payload[2] = 0;
  });
  for (const char* const command :
       {"run -p simple none.nwt", "run -p simple none.nwt --set host.cores=1",
        "explain -p simple none.nwt", "check none.nwt", "compare -p simple none.nwt",
        "trace info none.nwt", "trace cat none.nwt", "trace verify none.nwt"}) {
    const Result result = run(std::string("nestwalk ") + command + " 2>&1");
    EXPECT_EQ(result.exit_code, 4) << command;
    EXPECT_THAT(result.output, HasSubstr("none.nwt: at byte 16: expected a number of vCPUs from 1 "
                                         "to 4096, found 0\n"))
        << command;
  }
}

// Every command, with names that are not UTF-8, have an escape sequence, and a second line.
// What says two things is not taken for one of them.
TEST_F(BadInput, FilesThatContradictThemselves) {
  const auto write = [&](const std::string& file, const std::string& text) {
    std::ofstream(folder() / file) << text;
  };
  write("twice.json", R"({"run": {"limit": 10}, "run": {"limit": 20}})");
  complains("nestwalk run t.nwt --config twice.json", 2,
            "twice.json: expected each key once, found run twice");
  complains(R"(nestwalk run -p simple t.nwt --set 'hypervisor.schedule=[{"operation": "zap", )"
            R"("operation": "map", "at": 1}]')",
            2, "expected each key once, found operation twice");

  run("nestwalk run -p simple t.nwt -o whole; nestwalk run -p simple t.nwt -o other");
  const auto say = [&](const std::string& pattern, const std::string& file) {
    EXPECT_EQ(run("cp -r whole bad; sed -i '" + pattern + "' bad/" + file).exit_code, 0);
    const Result result = run("nestwalk compare bad other 2>&1");
    EXPECT_EQ(result.exit_code, 4) << pattern;
    run("rm -r bad");
    return result.output;
  };
  const std::string agree =
      "bad/run.json: and stats.json do not agree whether the run ended early\n";
  EXPECT_THAT(say("s/\"ended_early\": \"\"/\"ended_early\": \"why\"/", "stats.json"),
              HasSubstr(agree));
  for (const std::string file : {"run.json", "stats.json"}) {
    for (const std::string value : {"false", "\"no\""}) {
      EXPECT_THAT(say("s/\"complete\": true/\"complete\": " + value + "/", file), HasSubstr(agree));
    }
  }
  run("nestwalk run t.nwt -p zen4 -o third; cp -r whole mixed; cp third/stats.json mixed");
  complains("nestwalk compare mixed other", 4,
            "mixed/run.json: is of another run than stats.json, of ");
  // However it is laid out. Older versions did not say it, but that of another machine has another
  // core.
  EXPECT_EQ(run("cp whole/stats.json mixed; sed -i 's/^ *//' mixed/stats.json; "
                "nestwalk compare mixed other")
                .exit_code,
            0);
  run("cp third/stats.json mixed; sed -i '/stats_checksum/d' mixed/run.json");
  complains("nestwalk compare mixed other", 4,
            "mixed/run.json: core: expected that of stats.json, \"out of order, ");
  EXPECT_THAT(say("s/\"core\": \"in order/\"core\": \"out of order/", "run.json"),
              HasSubstr("bad/run.json: core: expected that of stats.json, \"in order"));
  // The configuration of another run.
  run("nestwalk run -p simple t.nwt --set guest.seed=2 -o seed; cp -r whole swapped; "
      "cp seed/config.resolved.json swapped");
  for (const char* const command :
       {"compare swapped other", "report swapped", "report whole swapped",
        "gate swapped --baseline b.json --update"}) {
    complains(std::string("nestwalk ") + command, 4,
              "swapped/run.json: is of another run than config.resolved.json, of which "
              "configuration_checksum would be ");
  }
  EXPECT_THAT(say("s/\"seed\": 1/\"seed\": 2/", "run.json"),
              HasSubstr("bad/run.json: seed: expected that of config.resolved.json, 1, found 2\n"));
  // However it is laid out.
  EXPECT_EQ(run("cp whole/config.resolved.json swapped; sed -i 's/^ *//' "
                "swapped/config.resolved.json; nestwalk compare swapped other")
                .exit_code,
            0);
  // What a version said that had no checksums. The clock of `simple` is 1 GHz: cycles are ns.
  EXPECT_EQ(run("sed -i '/_checksum/d' whole/run.json").exit_code, 0);
  EXPECT_THAT(say("s/\"time.ns\": .*,/\"time.ns\": 7,/", "stats.json"),
              HasSubstr("bad/stats.json: time.ns is 7, not time.cycles, "));
  EXPECT_THAT(say("s/\"latency.mean_ns\": .*,/\"latency.mean_ns\": 7.5,/", "stats.json"),
              HasSubstr("bad/stats.json: latency.mean_ns is 7.5, not latency.mean, "));
  EXPECT_THAT(say("/clock_mhz/,+1s/1000/2000/", "config.resolved.json"),
              HasSubstr(", by the clock of config.resolved.json\n"));
  EXPECT_EQ(run("cp -r whole alone; rm alone/config.resolved.json; nestwalk compare alone other")
                .exit_code,
            0);
  EXPECT_THAT(say("s/nestwalk-run/other/", "run.json"),
              HasSubstr("bad/run.json: is not a nestwalk-run\n"));
  EXPECT_THAT(say("s/nestwalk-stats/other/", "stats.json"),
              HasSubstr("bad/stats.json: is not a nestwalk-stats of version 1\n"));
  EXPECT_THAT(say("s/\"version\": 1/\"version\": 2/", "stats.json"),
              HasSubstr("bad/stats.json: is not a nestwalk-stats of version 1\n"));

  const std::string suite = R"({"format": "nestwalk-suite", "version": 1, "baseline": "b.json",
    "cases": [{"name": "a", "trace": "t.nwt", "preset": "simple"})";
  write("two.json", suite + R"(, {"name": "a", "trace": "t.nwt", "preset": "zen4"}]})");
  complains("nestwalk gate two.json --update", 4, "two.json: two cases are called a");
  write("keys.json", suite + R"(], "tolerance_percent": {}})");
  complains("nestwalk gate keys.json --update", 4,
            "keys.json: there is no key \"tolerance_percent\" in suites");
  write("set.json",
        suite.substr(0, suite.size() - 1) + R"(, "set": {"x": "core.dependences=all"}}]})");
  complains("nestwalk gate set.json --update", 4, "set.json: a: \"set\" is not a list of texts");
  write("s.json", suite + "]}");
  EXPECT_EQ(run("nestwalk gate s.json --update").exit_code, 0);
  run("sed -i 's/\"version\": 1/\"version\": 99/' b.json");
  complains("nestwalk gate s.json", 4, "b.json: is not a nestwalk-baseline of version 1");
}

// No statistics come of levels that the guest does not have, whether its tables are replayed or
// not.
TEST_F(BadInput, AHeaderWithOtherPageTablesThanTheRegistersIsRefused) {
  traces::Header header;
  header.architecture = traces::Architecture::X86_64;
  header.mode = traces::Mode::FullSystem;
  header.guest_tables = "x86_64-4";
  const auto sink = traces::create_sink((folder() / "levels.nwt").string());
  traces::Writer writer(*sink, header);
  // CR0.PG, and CR4.LA57 for five levels.
  writer.append(traces::SideData{traces::When::Begin,
                                 traces::Stage::Guest,
                                 0,
                                 {{"CR0", 0x80000000}, {"CR3", 0x1000}, {"CR4", 0x1000}},
                                 {}});
  writer.append(0, traces::Access{addrspace::Gva(0x7000),
                                  addrspace::Gpa(0x1000),
                                  {},
                                  1,
                                  8,
                                  traces::AccessKind::Read,
                                  traces::kGvaKnown | traces::kGpaKnown});
  writer.finish();
  for (const char* const command :
       {"run -p simple", "run -p simple --set guest.tables=replayed", "explain -p simple",
        "trace verify", "trace info", "trace cut -o o.nwt"}) {
    complains(std::string("nestwalk ") + command + " levels.nwt", 4,
              "to say what the header does, 'x86_64-4' for the guest's page tables, found "
              "'x86_64-5'");
  }
}

// As many records as a block has, and then the registers.
TEST_F(BadInput, RegistersBehindRecordsAreComparedWithTheHeader) {
  traces::Header header;
  header.architecture = traces::Architecture::X86_64;
  header.mode = traces::Mode::FullSystem;
  header.guest_tables = "x86_64-4";
  const auto sink = traces::create_sink((folder() / "late.nwt").string());
  traces::Writer writer(*sink, header);
  for (unsigned n = 0; n < 1u << 20; ++n) {
    writer.append(0, traces::Access{addrspace::Gva(0x7000),
                                    addrspace::Gpa(0x1000),
                                    {},
                                    1,
                                    8,
                                    traces::AccessKind::Read,
                                    traces::kGvaKnown | traces::kGpaKnown});
  }
  writer.append(traces::SideData{traces::When::Begin,
                                 traces::Stage::Guest,
                                 0,
                                 {{"CR0", 0x80000000}, {"CR3", 0x1000}, {"CR4", 0x1000}},
                                 {}});
  writer.finish();
  for (const char* const command : {"run -p simple", "run -p simple --limit 10",
                                    "explain -p simple", "check -j 1", "trace info"}) {
    complains(std::string("nestwalk ") + command + " late.nwt", 4,
              "to say what the header does, 'x86_64-4' for the guest's page tables, found "
              "'x86_64-5'");
  }
}

// FORMAT.md, HEAD: of what the source lacks, the records of at least one vCPU have nothing; and
// accesses of mode guest-physical have no GVA.
TEST_F(BadInput, ATraceWhoseRecordsHaveWhatTheHeaderLacks) {
  constexpr addrspace::u8 kBoth = traces::kGvaKnown | traces::kGpaKnown;
  struct Case {
    traces::Mode mode;
    addrspace::u64 lacks;
    addrspace::u8 facts[2];  ///< of each vCPU's accesses
    bool is_right;
  };
  using traces::Mode;
  for (const Case& each : {Case{Mode::FullSystem, traces::kNoGva, {kBoth, kBoth}, false},
                           {Mode::FullSystem, traces::kNoGpa, {kBoth, kBoth}, false},
                           {Mode::GuestPhysical, 0, {kBoth, kBoth}, false},
                           {Mode::FullSystem, traces::kNoGpa, {traces::kGvaKnown, kBoth}, true}}) {
    traces::Header header;
    header.mode = each.mode;
    header.lacks = each.lacks;
    header.vcpus = 2;
    const auto sink = traces::create_sink((folder() / "more.nwt").string());
    traces::Writer writer(*sink, header);
    for (addrspace::u32 vcpu = 0; vcpu < 2; ++vcpu) {
      writer.append(vcpu, traces::Access{addrspace::Gva(0x7000),
                                         addrspace::Gpa(0x1000),
                                         {},
                                         0,
                                         0,
                                         traces::AccessKind::Read,
                                         each.facts[vcpu]});
    }
    writer.finish();
    for (const char* const command :
         {"run -p simple", "explain -p simple --access 0", "check -j 1"}) {
      const std::string whole = std::string("nestwalk ") + command + " more.nwt";
      if (each.is_right) {
        EXPECT_EQ(run(whole).exit_code, 0) << whole;
      } else {
        complains(whole, 4, "which the header lacks and all other vCPUs have, found some");
      }
    }
  }
}

// The header says that the records have virtual addresses, and none has one.
TEST_F(BadInput, ATraceOfWhichNoAccessCanBeTranslatedIsNoResult) {
  const auto sink = traces::create_sink((folder() / "none.nwt").string());
  traces::Writer writer(*sink, traces::Header());
  for (const addrspace::u64 gpa : {0x7000u, 0x8000u}) {
    writer.append(
        0, traces::Access{
               {}, addrspace::Gpa(gpa), {}, 1, 8, traces::AccessKind::Read, traces::kGpaKnown});
  }
  writer.finish();
  complains("nestwalk run -p simple none.nwt", 4,
            "none.nwt: expected accesses at addresses that can be translated, found none among 2");
}

}  // namespace
}  // namespace nestwalk::sim::bad_trace_test
