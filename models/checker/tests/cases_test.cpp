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
