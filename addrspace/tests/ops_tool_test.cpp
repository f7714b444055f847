// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// addrspace-ops: what its operations print, what it says about malformed scripts, how it exits.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "ops_interpreter.hpp"

namespace nestwalk::addrspace::ops_tool_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

using Lines = std::vector<std::string>;

Lines lines_of(const std::string& text) {
  std::istringstream stream(text);
  Lines lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// What a script prints that must have no malformed line.
Lines answers(const std::string& script) {
  OpsInterpreter interpreter;
  Lines printed;
  for (const std::string& line : lines_of(script)) {
    if (const auto answer = interpreter.run(line)) printed.push_back(*answer);
  }
  return printed;
}

/// What a machine's first gigabytes answer to an operation after some others.
std::string last_answer(const std::string& operations) {
  return answers("space x86_64 4 0x0 0x100000000\n" + operations).back();
}

/// The message about a line, in a space of the first MiB.
std::string complaint(const std::string& line) {
  OpsInterpreter interpreter;
  interpreter.run("space x86_64 4 0x0 0x100000");
  try {
    interpreter.run(line);
  } catch (const MalformedLine& malformed) {
    return malformed.what();
  }
  return "no complaint";
}

// Scripts ----------------------------------------------------------------------------------------

TEST(OpsScript, prints_one_line_for_each_operation_and_none_for_comments_and_blanks) {
  EXPECT_THAT(answers("# a comment\n"
                      "\n"
                      "space x86_64 4 0x0 0x100000\n"
                      "   # an indented one\n"
                      " \t \n"
                      "  query\t0x1000  \r\n"
                      "clear\n"),
              ElementsAre("ok", "none", "ok"));
}

TEST(OpsScript, may_use_capital_digits_and_leading_zeros) {
  EXPECT_EQ(last_answer("map-linear 0xABC000 0x00000000000DEF000 0x1000 r\nquery 0xabcFFF"),
            "0xdeffff");
}

// Spaces -----------------------------------------------------------------------------------------

TEST(OpsSpaceOperation, makes_spaces_with_the_levels_that_an_architecture_has) {
  const auto levels_of = [](const std::string& architecture) {
    std::string found;
    for (const char level : {'0', '1', '2', '3', '4', '5', '6'}) {
      const Lines printed = answers("space " + architecture + ' ' + level + " 0x0 0x1000");
      if (printed.front() == "ok") found += level;
      if (printed.front() != "ok") {
        EXPECT_EQ(printed.front(), "error InvalidInput");
      }
    }
    return found;
  };
  EXPECT_EQ(levels_of("x86_64"), "45");
  EXPECT_EQ(levels_of("x86_64-svm"), "45");
  EXPECT_EQ(levels_of("aarch64"), "34");
  EXPECT_EQ(levels_of("riscv64"), "345");
}

TEST(OpsSpaceOperation, reaches_as_far_as_the_guest_physical_addresses_of_the_levels) {
  struct Case {
    const char* architecture_and_levels;
    unsigned gpa_bits;
  };
  for (const Case& row : {Case{"x86_64 4", 48}, Case{"x86_64 5", 57}, Case{"x86_64-svm 4", 48},
                          Case{"x86_64-svm 5", 57}, Case{"aarch64 3", 39}, Case{"aarch64 4", 48},
                          Case{"riscv64 3", 41}, Case{"riscv64 4", 50}, Case{"riscv64 5", 59}}) {
    SCOPED_TRACE(row.architecture_and_levels);
    const u64 limit = u64{1} << row.gpa_bits;
    const std::string last_page = hex(limit - 0x1000);
    const std::string space = std::string("space ") + row.architecture_and_levels + ' ';
    EXPECT_THAT(answers(space + last_page + " 0x1000\n" +                  //
                        "map-alloc " + last_page + " 0x1000 rw eager\n" +  //
                        "query " + last_page + "\n" + "query 0x0"),
                ElementsAre("ok", "ok", "frame+0x0", "none"));
    EXPECT_THAT(answers(space + last_page + " 0x2000"), ElementsAre("error InvalidInput"));
    EXPECT_THAT(answers(space + hex(limit) + " 0x1000"), ElementsAre("error InvalidInput"));
  }
}

TEST(OpsSpaceOperation, refuses_ranges_that_are_no_pages) {
  EXPECT_THAT(answers("space x86_64 4 0x0 0x0\nwhy"),
              ElementsAre("error InvalidInput", "empty range"));
  EXPECT_THAT(answers("space x86_64 4 0x1000 0xfffffffffffff000\nwhy"),
              ElementsAre("error InvalidInput", "out of range"));
  EXPECT_THAT(answers("space x86_64 4 0x2000 0xfffffffffffff000\nwhy"),
              ElementsAre("error InvalidInput", "address overflow"));
  EXPECT_THAT(answers("space x86_64 4 0x123 0x1000\nwhy"),
              ElementsAre("error InvalidInput", "not aligned to the page size"));
}

TEST(OpsSpaceOperation, replaces_the_space_before) {
  EXPECT_THAT(answers("space x86_64 4 0x0 0x100000\n"
                      "map-linear 0x1000 0x2000 0x1000 r\n"
                      "space riscv64 3 0x0 0x100000\n"
                      "query 0x1000"),
              ElementsAre("ok", "ok", "ok", "none"));
}

TEST(OpsSpaceOperation, leaves_the_space_before_alone_when_it_fails) {
  EXPECT_THAT(answers("space x86_64 4 0x0 0x100000\n"
                      "map-linear 0x1000 0x2000 0x1000 r\n"
                      "space x86_64 3 0x0 0x100000\n"
                      "query 0x1000"),
              ElementsAre("ok", "ok", "error InvalidInput", "0x2000"));
}

// Operations -------------------------------------------------------------------------------------

TEST(OpsOperation, queries_linear_memory_by_its_address_and_owned_memory_by_the_offset) {
  EXPECT_EQ(last_answer("map-linear 0x1000 0x7000 0x1000 r\nquery 0x1234"), "0x7234");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 r eager\nquery 0x1234"), "frame+0x234");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 r lazy\nquery 0x1234"), "none");
  EXPECT_EQ(last_answer("map-linear 0x200000 0x40000000 0x200000 r\nquery 0x23abcd"), "0x4003abcd");
  EXPECT_EQ(last_answer("query 0xffffffffffffffff"), "none");
}

TEST(OpsOperation, names_the_class_of_an_error) {
  EXPECT_EQ(last_answer("map-linear 0x1000 0x1234 0x1000 r"), "error InvalidInput");
  EXPECT_EQ(last_answer("map-linear 0x0 0x0 0x2000 r\nmap-alloc 0x1000 0x1000 r lazy"),
            "error AlreadyExists");
  constexpr u64 kFewFrames = 64;
  OpsInterpreter interpreter(kFewFrames);
  interpreter.run("space x86_64 4 0x0 0x100000");
  EXPECT_EQ(interpreter.run("map-alloc 0x0 0x40000 rw eager"), "error NoMemory");  // 64 pages
}

TEST(OpsOperation, refuses_what_is_device_and_uncached_at_once) {
  for (const char* operation : {"map-linear 0x1000 0x1000 0x1000 rdn",
                                "map-alloc 0x1000 0x1000 rnd lazy", "protect 0x1000 0x1000 dn"}) {
    EXPECT_EQ(last_answer(operation), "error InvalidInput") << operation;
  }
  EXPECT_EQ(last_answer("map-linear 0x1000 0x1000 0x1000 rd"), "ok");
  EXPECT_EQ(last_answer("map-linear 0x1000 0x1000 0x1000 rn"), "ok");
}

TEST(OpsOperation, takes_every_letter_and_none) {
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 rwxu lazy\nareas"),
            "map-alloc 0x1000 0x1000 rwxu lazy");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 - lazy\nareas"), "map-alloc 0x1000 0x1000 - lazy");
}

TEST(OpsOperation, unmaps_and_clears) {
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x3000 rw eager\nunmap 0x2000 0x1000\nquery 0x2000"),
            "none");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x3000 rw eager\nunmap 0x2000 0x1000\nquery 0x3000"),
            "frame+0x0");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x3000 rw eager\nclear\nquery 0x1000"), "none");
}

TEST(OpsOperation, protects) {
  const std::string lazy = "map-alloc 0x1000 0x2000 r lazy\nprotect 0x2000 0x1000 rw\n";
  EXPECT_EQ(last_answer(lazy + "fault 0x1000 w"), "unhandled");
  EXPECT_EQ(last_answer(lazy + "fault 0x2000 w"), "handled");
}

TEST(OpsFault, is_handled_in_lazy_areas_only) {
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 rw lazy\nfault 0x1fff w"), "handled");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 rw lazy\nfault 0x1fff w\nfault 0x1000 r"),
            "handled");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 rw eager\nfault 0x1fff w"), "unhandled");
  EXPECT_EQ(last_answer("map-linear 0x1000 0x1000 0x1000 rw\nfault 0x1fff w"), "unhandled");
  EXPECT_EQ(last_answer("fault 0x1fff w"), "unhandled");
}

TEST(OpsFault, needs_every_letter_among_the_flags_of_the_area) {
  const auto fault = [](const std::string& area, const std::string& access) {
    return last_answer("map-alloc 0x1000 0x1000 " + area + " lazy\nfault 0x1000 " + access);
  };
  EXPECT_EQ(fault("rw", "x"), "unhandled");
  EXPECT_EQ(fault("rw", "rx"), "unhandled");
  EXPECT_EQ(fault("rw", "u"), "unhandled");
  EXPECT_EQ(fault("rw", "d"), "unhandled");
  EXPECT_EQ(fault("rw", "n"), "unhandled");
  EXPECT_EQ(fault("rwd", "rdn"), "unhandled");
  EXPECT_EQ(fault("rw", "rw"), "handled");
  EXPECT_EQ(fault("rw", "-"), "handled");
  EXPECT_EQ(fault("rwu", "ru"), "handled");
  EXPECT_EQ(fault("rwd", "rd"), "handled");
  EXPECT_EQ(fault("rwn", "rn"), "handled");
}

// Looking closer ---------------------------------------------------------------------------------

TEST(OpsLook, tells_the_outcome_that_the_engine_has_for_a_fault) {
  EXPECT_EQ(last_answer("outcome 0x1000 r"), "no area");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 r lazy\noutcome 0x1000 w"), "no permission");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 r lazy\noutcome 0x1000 r"), "mapped");
  EXPECT_EQ(last_answer("map-alloc 0x1000 0x1000 r eager\noutcome 0x1000 r"), "already mapped");
}

TEST(OpsLook, lists_areas_as_the_operations_that_make_them) {
  EXPECT_EQ(last_answer("areas"), "none");
  EXPECT_EQ(last_answer("map-linear 0x5000 0x9000 0x2000 rd\n"
                        "map-alloc 0x1000 0x1000 rw lazy\n"
                        "map-alloc 0x2000 0x1000 rw eager\n"
                        "areas"),
            "map-alloc 0x1000 0x1000 rw lazy; map-alloc 0x2000 0x1000 rw eager; "
            "map-linear 0x5000 0x9000 0x2000 rd");
}

TEST(OpsLook, lists_runs_of_mapped_memory) {
  EXPECT_EQ(last_answer("runs"), "none");
  EXPECT_EQ(last_answer("map-linear 0x5000 0x9000 0x2000 r\n"
                        "map-linear 0x7000 0xb000 0x1000 rx\n"
                        "runs"),
            "0x5000 0x9000 0x2000 r; 0x7000 0xb000 0x1000 rx");
}

TEST(OpsLook, adds_up_what_is_in_use) {
  // Tables: the root and one of each of the two levels below.
  EXPECT_THAT(answers("space riscv64 3 0x0 0x40000000\n"
                      "map-alloc 0x1000 0x2000 rw eager\n"
                      "map-alloc 0x5000 0x1000 rw lazy\n"
                      "usage")
                  .back(),
              AllOf(StartsWith("areas 2, area frames 1, tables 3, table bytes 0x"),
                    EndsWith(", owned bytes 0x2000")));
}

TEST(OpsLook, shows_what_the_hardware_must_be_told) {
  EXPECT_THAT(answers("space riscv64 3 0x0 0x40000000\nconfig").back(),
              AllOf(StartsWith("levels 3, gpa bits 41, root 0x"), HasSubstr(", root bytes 0x4000,"),
                    HasSubstr(", root register 0x8000"), EndsWith(", control register 0x0")));
}

TEST(OpsLook, shows_the_fences_of_the_last_change_under_each_policy) {
  const auto fences = [](const std::string& policy) {
    return answers(
               "space aarch64 4 0x0 0x40000000\n"
               "map-linear 0x4000 0x9000 0x2000 r\n"
               "unmap 0x5000 0x1000\n"
               "query 0x4000\n"
               "fences " +
               policy)
        .back();
  };
  EXPECT_EQ(fences("precise"),
            "dsb ishst; tlbi ipas2le1is, 0x5; dsb ish; tlbi vmalle1is; dsb ish; isb");
  EXPECT_EQ(fences("context"), "dsb ishst; tlbi vmalls12e1is; dsb ish; isb");
  EXPECT_EQ(fences("original-0.3.0"), "tlbi vae2is, 0x5000; dsb sy; isb");
  EXPECT_EQ(fences("original-0.5.17"), "tlbi vae2is, 0x5000; dsb sy; isb");
}

TEST(OpsLook, shows_no_fences_of_an_operation_that_was_refused) {
  EXPECT_EQ(last_answer("map-linear 0x4000 0x9000 0x1000 r\n"
                        "unmap 0x4000 0x1000\n"
                        "unmap 0x4000 0x123\n"
                        "fences precise"),
            "none");
}

TEST(OpsLook, tells_why_the_last_operation_failed) {
  EXPECT_EQ(last_answer("unmap 0x4000 0x123\nwhy"), "not aligned to the page size");
  EXPECT_EQ(last_answer("unmap 0x4000 0x123\nquery 0x0\nwhy"), "not aligned to the page size");
  EXPECT_EQ(last_answer("unmap 0x4000 0x123\nunmap 0x4000 0x1000\nwhy"), "none");
}

// Malformed lines --------------------------------------------------------------------------------

constexpr const char* kPolicies =
    "precise, context, batched, range, svinval, deferred, original-0.3.0 or original-0.5.17";

TEST(OpsMalformed, unknown_operations_are_named_beside_the_known_ones) {
  EXPECT_EQ(complaint("frob 0x1"),
            "expected an operation (space map-linear map-alloc unmap protect clear fault query "
            "outcome areas runs usage config fences why), found 'frob'");
}

TEST(OpsMalformed, numbers_are_hexadecimal_and_fit_into_64_bits) {
  for (const char* number : {"1000", "0X1000", "0x", "0x1g", "-0x1", "0x-1", "0x+1", "0x1,",
                             "0x10000000000000000", "x1000"}) {
    EXPECT_EQ(
        complaint(std::string("query ") + number),
        "expected a guest-physical address (a 64-bit number in hexadecimal, with 0x), found '" +
            std::string(number) + "'");
  }
  EXPECT_EQ(complaint("query 0xffffffffffffffff"), "no complaint");
}

TEST(OpsMalformed, missing_operands_are_named) {
  const auto missing = [](const std::string& line, const std::string& what) {
    EXPECT_EQ(complaint(line), "expected " + what + ", found the end of the line") << line;
  };
  const std::string number = " (a 64-bit number in hexadecimal, with 0x)";
  missing("space", "x86_64, x86_64-svm, aarch64 or riscv64");
  missing("space x86_64", "a number of levels");
  missing("space x86_64 4", "a guest-physical address" + number);
  missing("space x86_64 4 0x0", "a size" + number);
  missing("map-linear 0x0", "a host-physical address" + number);
  missing("map-linear 0x0 0x0 0x1000", "flags (letters of rwxudn, or -)");
  missing("map-alloc 0x0 0x1000 rw", "eager or lazy");
  missing("unmap 0x0", "a size" + number);
  missing("fault 0x0", "flags (letters of rwxudn, or -)");
  missing("query", "a guest-physical address" + number);
  missing("fences", kPolicies);
}

TEST(OpsMalformed, operands_too_many_are_shown) {
  for (const char* operation :
       {"space x86_64 4 0x0 0x1000", "map-linear 0x0 0x0 0x1000 r", "map-alloc 0x0 0x1000 r lazy",
        "unmap 0x0 0x1000", "protect 0x0 0x1000 r", "clear", "fault 0x0 r", "query 0x0",
        "outcome 0x0 r", "areas", "runs", "usage", "config", "fences precise", "why"}) {
    EXPECT_EQ(complaint(std::string(operation) + " 0x1 # two"),
              "expected the end of the line, found '0x1 # two'");
  }
}

TEST(OpsMalformed, words_that_are_none_of_the_choices_are_shown) {
  EXPECT_EQ(complaint("space mips 4 0x0 0x1000"),
            "expected x86_64, x86_64-svm, aarch64 or riscv64, found 'mips'");
  EXPECT_EQ(complaint("space x86_64 four 0x0 0x1000"), "expected a number of levels, found 'four'");
  EXPECT_EQ(complaint("space x86_64 99999999999 0x0 0x1000"),
            "expected a number of levels, found '99999999999'");
  EXPECT_EQ(complaint("map-alloc 0x0 0x1000 rw soon"), "expected eager or lazy, found 'soon'");
  EXPECT_EQ(complaint("fences loose"), std::string("expected ") + kPolicies + ", found 'loose'");
}

TEST(OpsMalformed, flags_have_known_letters_only) {
  for (const char* flags : {"rwz", "R", "r-", "--", "r,w"}) {
    EXPECT_EQ(complaint(std::string("fault 0x0 ") + flags),
              "expected flags (letters of rwxudn, or -), found '" + std::string(flags) + "'");
  }
}

TEST(OpsMalformed, operations_come_after_a_space) {
  OpsInterpreter interpreter;
  EXPECT_THROW(interpreter.run("query 0x0"), MalformedLine);
  EXPECT_EQ(interpreter.run("space x86_64 3 0x0 0x1000"), "error InvalidInput");
  try {
    interpreter.run("query 0x0");
    ADD_FAILURE() << "there is no space yet";
  } catch (const MalformedLine& malformed) {
    EXPECT_STREQ(malformed.what(), "expected a 'space' first, found 'query'");
  }
}

TEST(OpsMalformed, long_and_binary_words_are_shown_in_part_and_in_print) {
  EXPECT_THAT(complaint("query " + std::string(50, 'x')),
              EndsWith("found '" + std::string(40, 'x') + "...'"));
  EXPECT_THAT(complaint("query \x1b[2J\xff"), EndsWith("found '?[2J?'"));
}

TEST(OpsMalformed, lines_change_nothing) {
  OpsInterpreter interpreter;
  interpreter.run("space x86_64 4 0x0 0x100000");
  interpreter.run("map-alloc 0x1000 0x1000 rw eager");
  for (const char* line : {"unmap 0x1000 0x1000 0x1000", "clear now", "space riscv64 3 0x0",
                           "map-alloc 0x5000 0x1000 rw eagerly"}) {
    EXPECT_THROW(interpreter.run(line), MalformedLine) << line;
  }
  EXPECT_EQ(interpreter.run("areas"), "map-alloc 0x1000 0x1000 rw eager");
}

TEST(OpsMalformed, lines_end_a_script_that_has_printed_until_there) {
  std::istringstream script("space x86_64 4 0x0 0x1000\n\nquery 0x0\nquery\nquery 0x0\n");
  std::ostringstream output;
  std::ostringstream errors;
  EXPECT_FALSE(run_script(script, "some.ops", output, errors));
  EXPECT_EQ(output.str(), "ok\nnone\n");
  EXPECT_EQ(errors.str(),
            "some.ops:4: expected a guest-physical address (a 64-bit number in hexadecimal, with "
            "0x), found the end of the line\n");
}

// The program ------------------------------------------------------------------------------------

struct Finished {
  int exit_code;
  std::string output;
  std::string errors;
};

class OpsProgram : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "addrspace-ops-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    folder_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }
  std::string script(const std::string& text) const {
    std::ofstream(path("script.ops")) << text;
    return path("script.ops");
  }
  /// `arguments` as a shell reads them.
  Finished run(const std::string& arguments) const {
    const std::string command = std::string("'" NESTWALK_OPS_TOOL "' ") + arguments;
    const int status =
        std::system(("{ " + command + "; } >" + path("out") + " 2>" + path("err")).c_str());
    EXPECT_TRUE(WIFEXITED(status)) << command;
    return {WEXITSTATUS(status), content("out"), content("err")};
  }

 private:
  std::string content(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(path(name)).rdbuf();
    return text.str();
  }

  std::filesystem::path folder_;
};

constexpr const char* kGood = "space x86_64 4 0x0 0x1000\nquery 0x0\n";

TEST_F(OpsProgram, runs_a_file) {
  const Finished done = run(script(kGood));
  EXPECT_EQ(done.exit_code, 0);
  EXPECT_EQ(done.output, "ok\nnone\n");
  EXPECT_EQ(done.errors, "");
}

TEST_F(OpsProgram, reads_standard_input_without_a_file_or_with_a_dash) {
  for (const char* argument : {"", "-"}) {
    const Finished done = run(std::string(argument) + " <" + script(kGood));
    EXPECT_EQ(done.exit_code, 0);
    EXPECT_EQ(done.output, "ok\nnone\n");
    EXPECT_EQ(done.errors, "");
  }
}

TEST_F(OpsProgram, exits_with_4_at_a_malformed_line_and_names_the_place) {
  const std::string file = script(std::string(kGood) + "# next line\nquery zero\nquery 0x0\n");
  const Finished done = run(file);
  EXPECT_EQ(done.exit_code, 4);
  EXPECT_EQ(done.output, "ok\nnone\n");
  EXPECT_THAT(lines_of(done.errors),
              ElementsAre(AllOf(StartsWith(file + ":4: expected "), EndsWith(", found 'zero'"))));
  EXPECT_THAT(run("<" + file).errors, StartsWith("<stdin>:4: expected "));
}

TEST_F(OpsProgram, exits_with_4_when_the_script_cannot_be_read) {
  const Finished missing = run(path("no-such-file"));
  EXPECT_EQ(missing.exit_code, 4);
  EXPECT_EQ(missing.errors,
            path("no-such-file") + ": cannot be opened: No such file or directory\n");
  const Finished folder = run(path(""));
  EXPECT_EQ(folder.exit_code, 4);
  EXPECT_EQ(folder.errors, path("") + ": cannot be read\n");
}

TEST_F(OpsProgram, names_files_without_control_characters) {
  EXPECT_EQ(run("\"$(printf '" + path("") + "no\\033\\n\\377.ops')\"").errors,
            path("") + "no?\?\?.ops: cannot be opened: No such file or directory\n");
  EXPECT_THAT(run("\"$(printf -- '--\\033\\377')\"").errors, HasSubstr("found '--?\?'"));
}

TEST_F(OpsProgram, exits_with_2_when_it_is_called_wrongly) {
  const Finished option = run("--frob");
  EXPECT_EQ(option.exit_code, 2);
  EXPECT_EQ(option.errors,
            "addrspace-ops: expected a file or --help, found '--frob' (addrspace-ops --help says "
            "more)\n");
  const Finished two = run(script(kGood) + " another");
  EXPECT_EQ(two.exit_code, 2);
  EXPECT_EQ(two.output, "");
  EXPECT_THAT(two.errors, HasSubstr("expected one file at most, found 'another' as well"));
}

TEST_F(OpsProgram, prints_its_help_on_standard_output) {
  const Finished done = run("--help");
  EXPECT_EQ(done.exit_code, 0);
  EXPECT_THAT(done.output, StartsWith("usage: addrspace-ops [FILE]\n"));
  EXPECT_EQ(done.errors, "");
}

TEST_F(OpsProgram, exits_with_1_when_nobody_can_have_its_output) {
  for (const std::string& arguments : {script(kGood), std::string("--help")}) {
    const Finished done = run(arguments + " >/dev/full");
    EXPECT_EQ(done.exit_code, 1) << arguments;
    EXPECT_EQ(done.errors, "addrspace-ops: standard output cannot be written\n") << arguments;
  }
}

}  // namespace
}  // namespace nestwalk::addrspace::ops_tool_test
