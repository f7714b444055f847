// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a user gives us that cannot be: one clear line, the right exit code, and nothing that looks
// whole and is not.
#pragma once

#include <algorithm>

#include "program.hpp"

namespace nestwalk::sim {

class BadInput : public Program {
 protected:
  void SetUp() override {
    EXPECT_EQ(run("nestwalk trace gen random bytes=1M accesses=20000 -o t.nwt").exit_code, 0);
  }
  /// One line that has this, and nothing else.
  void complains(const std::string& command, int exit_code, const std::string& part) {
    const Result result = run(command + " 2>&1");
    EXPECT_EQ(result.exit_code, exit_code) << command << "\n" << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << command << "\n"
                                                                               << result.output;
    EXPECT_THAT(result.output, testing::HasSubstr(part)) << command;
  }
  bool there(const std::string& file) const { return std::filesystem::exists(folder() / file); }
};

}  // namespace nestwalk::sim
