// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The program, run by a shell in a folder of the test's own.
#pragma once

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace nestwalk::sim {

struct Result {
  int exit_code = -1;
  std::string output;  // with what came on standard error, when the command said 2>&1
};

class Program : public testing::Test {
 protected:
  Program() : folder_(std::filesystem::temp_directory_path() / ("nestwalk-" + test_name())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~Program() override { std::filesystem::remove_all(folder_); }

  /// Runs a shell command in a folder of its own; `nestwalk` in it is the program.
  Result run(const std::string& command) {
    const std::string line = "cd '" + folder_.string() +
                             "' || exit; nestwalk() { '" NESTWALK_PROGRAM "' \"$@\"; }; " + command;
    Result result;
    FILE* const pipe = popen(("bash -c '" + quoted(line) + "'").c_str(), "r");
    char part[4096];
    for (std::size_t count = 0; (count = std::fread(part, 1, sizeof part, pipe)) != 0;) {
      result.output.append(part, count);
    }
    const int status = pclose(pipe);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return result;
  }
  void expect(const std::string& command, int exit_code, const std::string& output) {
    const Result result = run(command + " 2>&1");
    EXPECT_EQ(result.exit_code, exit_code) << command;
    EXPECT_EQ(result.output, output) << command;
  }
  std::filesystem::path folder() const { return folder_; }

 private:
  static std::string test_name() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  static std::string quoted(const std::string& text) {
    std::string result;
    for (const char letter : text)
      result += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
    return result;
  }

  std::filesystem::path folder_;
};

}  // namespace nestwalk::sim
