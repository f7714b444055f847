// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Bugs that are known in public, as logs: cases/NAME.log, each with what is expected to be found.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "log_world.hpp"

namespace nestwalk::checker::cases_test {
namespace {

std::vector<std::filesystem::path> logs() {
  std::vector<std::filesystem::path> found;
  for (const auto& each : std::filesystem::directory_iterator(NESTWALK_CHECKER_CASES)) {
    found.push_back(each.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

class PublicCases : public testing::TestWithParam<std::filesystem::path> {};
INSTANTIATE_TEST_SUITE_P(All, PublicCases, testing::ValuesIn(logs()), [](const auto& made) {
  std::string name = made.param.stem().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// What is found in a bug's log is found because of the bug: the mended twin has nothing.
TEST_P(PublicCases, HaveAMendedTwin) {
  const std::string kFixed = "-fixed";
  std::ifstream in(GetParam());
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const bool silent = text.find("# expected: nothing\n") != std::string::npos;
  std::string name = GetParam().stem().string();
  const bool is_twin =
      name.size() > kFixed.size() && name.substr(name.size() - kFixed.size()) == kFixed;
  if (!is_twin && silent) return;  // right as it is: somebody took it for a bug
  EXPECT_EQ(is_twin, silent);
  is_twin ? name.resize(name.size() - kFixed.size()) : void(name += kFixed);
  EXPECT_TRUE(std::filesystem::exists(GetParam().parent_path() / (name + ".log"))) << name;
}

TEST_P(PublicCases, AreFound) {
  const std::string kExpected = "# expected: ";
  std::string text;
  std::string expected = "a line that begins with " + kExpected;
  std::ifstream in(GetParam());
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(kExpected, 0) == 0) expected = line.substr(kExpected.size());
    text += line + "\n";
  }
  const std::string found = check_text(text)->names();
  EXPECT_EQ(found.empty() ? "nothing" : found, expected);
}

}  // namespace
}  // namespace nestwalk::checker::cases_test
