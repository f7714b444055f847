// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What is made of the commands' declarations: help, completion, the manual; and the installation.

#include <sstream>

#include "program.hpp"

namespace nestwalk::sim::interface_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Interface : public Program {
 protected:
  /// What bash offers for the last of these words.
  std::string bash(const std::string& words, int last) {
    return run("source <(nestwalk completion bash); COMP_WORDS=(" + words +
               "); COMP_CWORD=" + std::to_string(last) + "; _nestwalk; echo \"${COMPREPLY[*]}\"")
        .output;
  }
  using Words = std::vector<std::string>;

  /// The commands that --help lists.
  Words commands_of(const std::string& path) {
    std::istringstream lines(run(path + " --help").output);
    Words words;
    for (std::string line; std::getline(lines, line) && line != "Exit codes:";) {
      if (line.starts_with("  ") && line.find("not supported") == std::string::npos) {
        words.push_back(line.substr(2, line.find(' ', 2) - 2));
      }
    }
    return words;
  }
};

TEST_F(Interface, EveryCommandHasHelpAndIsInTheManual) {
  const std::string manual = run("nestwalk man | MANWIDTH=200 man -l - 2>&1").output;
  Words commands;
  for (const std::string& name : commands_of("nestwalk")) {
    const std::string path = "nestwalk " + name;
    if (name != "trace" && name != "config") commands.push_back(path);
    if (name != "trace" && name != "config") continue;
    for (const std::string& inner : commands_of(path)) commands.push_back(path + " " + inner);
  }
  EXPECT_GE(commands.size(), 19u);
  for (const std::string& command : commands) {
    const Result help = run(command + " --help 2>&1");
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_THAT(help.output, StartsWith("usage: " + command + " [OPTIONS]"));
    EXPECT_THAT(manual, HasSubstr("\n       " + command + " [OPTIONS]")) << command;
  }
}

TEST_F(Interface, ManualIsGoodTroff) {
  expect("nestwalk man | groff -man -Tutf8 -ww -z", 0, "");
  // What was laid out stays as it is.
  EXPECT_THAT(run("nestwalk man | man -l - 2>&1").output,
              HasSubstr("{\"format\": \"nestwalk-suite\", \"version\": 1"));
}

TEST_F(Interface, BashCompletesCommandsOptionsAndValues) {
  EXPECT_EQ(bash("nestwalk tr", 1), "trace\n");
  EXPECT_EQ(bash("nestwalk trace ge", 2), "gen\n");
  EXPECT_EQ(bash("nestwalk trace gen zi", 3), "zipf\n");
  EXPECT_EQ(bash("nestwalk run --pre", 2), "--preset\n");
  EXPECT_EQ(bash("nestwalk run -p ze", 3), "zen3 zen4\n");
  EXPECT_EQ(bash("nestwalk compare t.nwt --format mark", 4), "markdown\n");
  EXPECT_EQ(bash("nestwalk run --set host.m", 3), "host.memory=\n");
  EXPECT_EQ(bash("nestwalk config schema st", 3), "stats\n");
  EXPECT_EQ(bash("nestwalk run t.n", 2), "\n");  // bash takes files then
}

TEST_F(Interface, ZshAndFishTakeTheirScripts) {
  expect("nestwalk completion zsh > _nestwalk; zsh -n _nestwalk", 0, "");
  expect(
      "nestwalk completion fish > n.fish; export HOME=$PWD; "
      "complete_() { fish -c \"source n.fish; complete -C '$1'\" | cut -f 1; }; "
      "complete_ 'nestwalk trace ge'; complete_ 'nestwalk run -p ze'; "
      "complete_ 'nestwalk compare --forma'",
      0, "gen\nzen3\nzen4\n--format\n");
  EXPECT_EQ(run("nestwalk completion tcsh 2>&1").output,
            "nestwalk completion: tcsh: not one of bash, zsh, fish\n");
}

TEST_F(Interface, ColoursAreForTerminalsOnly) {
  run("nestwalk trace gen random bytes=1M accesses=2000 -o t.nwt");
  const std::string command = " compare -p simple t.nwt --set guest.memory=16M";
  const auto in_terminal = [&](const std::string& environment) {
    return run("script -qec \"env " + environment + " '" NESTWALK_PROGRAM "'" + command +
               "\" /dev/null")
        .output;
  };
  EXPECT_THAT(in_terminal("TERM=xterm"), HasSubstr("\x1b[32m"));
  EXPECT_THAT(in_terminal("TERM=xterm NO_COLOR=1"), testing::Not(HasSubstr("\x1b[3")));
  EXPECT_THAT(in_terminal("TERM=dumb"), testing::Not(HasSubstr("\x1b[3")));
  EXPECT_THAT(run("nestwalk" + command).output, testing::Not(HasSubstr("\x1b")));
}

TEST_F(Interface, InstalledProgramFindsWhatWasInstalled) {
  const Result installed =
      run("cmake --install '" NESTWALK_BUILD "' --component simulator --prefix p 2>&1");
  ASSERT_EQ(installed.exit_code, 0) << installed.output;
  for (const char* const file :
       {"share/man/man1/nestwalk.1", "share/bash-completion/completions/nestwalk",
        "share/zsh/site-functions/_nestwalk", "share/fish/vendor_completions.d/nestwalk.fish",
        "share/nestwalk/schema/stats.json"}) {
    EXPECT_GT(std::filesystem::file_size(folder() / "p" / file), 0u) << file;
  }
  // A preset that only the installation has.
  expect(
      "cp p/share/nestwalk/presets/zen4.json p/share/nestwalk/presets/mine.json; "
      "p/bin/nestwalk config explain -p mine machine.name",
      0, "machine.name = \"zen4\"\n  range: text\n");
}

// Of each command and kind of input: every option that would be passed over.
TEST_F(Interface, RefusesWhatHasNoEffect) {
  ASSERT_EQ(run("nestwalk trace gen random accesses=10 -o t.nwt && nestwalk run -p simple t.nwt -o "
                "d 2>&1 && "
                "echo nestwalk-fence-log 1 > empty.log")
                .exit_code,
            0);
  const struct {
    const char* command;
    const char* where;
    std::vector<const char*> options;
  } kRows[] = {
      {"compare d",
       "on directories",
       {"--preset zen4", "--policy lazy", "--set guest.seed=2", "--config c.json", "--jobs 1"}},
      {"compare --break-even", "with --break-even", {"--all"}},
      {"compare --storm", "with --storm", {"--all", "--break-even"}},
      {"compare t.nwt", "without --storm", {"--vcpus 2"}},
      {"compare t.nwt --json", "with --json", {"--format csv", "--all"}},
      {"compare t.nwt --format json", "with --format json", {"--all"}},
      {"gate d --baseline b.json", "on directories", {"--jobs 1"}},
      {"gate d --baseline b.json --update",
       "with --update",
       {"--tolerance a=1", "--junit j.xml", "--markdown m.md", "--json"}},
      {"check empty.log", "on logs", {"--policy all", "--arch all", "--jobs 1"}},
      {"check empty.log", "on logs without --preset", {"--set guest.seed=2", "--config c.json"}},
      {"check t.nwt --preset zen4", "with --preset", {"--arch all"}},
      {"check t.nwt --json", "with --json", {"--details"}},
      {"run t.nwt", "without --output", {"--force"}},
  };
  for (const auto& row : kRows) {
    const std::string command = row.command;
    for (const std::string option : row.options) {
      const Result result = run("nestwalk " + command + " " + option + " 2>&1");
      EXPECT_EQ(result.exit_code, 2) << command << " " << option;
      EXPECT_EQ(result.output, "nestwalk " + command.substr(0, command.find(' ')) + ": " +
                                   option.substr(0, option.find(' ')) + " has no effect " +
                                   row.where + "\n");
    }
  }
  EXPECT_EQ(run("nestwalk compare d --all --format csv").exit_code, 0);
  EXPECT_EQ(run("nestwalk check empty.log --details --strict").exit_code, 0);
}

}  // namespace
}  // namespace nestwalk::sim::interface_test
