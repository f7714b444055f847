// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What keeps an extension in its own files.

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <regex>

namespace nestwalk {
namespace {

namespace fs = std::filesystem;

// The rows themselves, files of traces that say of which architecture they are, and programs that
// are tests.
bool may_name_one(const std::string& path) {
  static const std::regex kMay(
      "addrspace/include/nestwalk/addrspace/(format|extension)/.*|"
      "addrspace/include/nestwalk/addrspace/geometry\\.hpp|addrspace/src/geometry\\.cpp|"
      "addrspace/baremetal/.*|models/machines/.*|traces/src/isa/.*|traces/src/header_codec\\.cpp|"
      "traces/src/importers/(dynamorio|kvm)\\.cpp|.*/(tests|testing|fuzz)/.*");
  return std::regex_match(path, kMay);
}

TEST(Seams, NobodyElseAsksWhichArchitectureItIs) {
  const fs::path source = NESTWALK_SOURCE;
  const std::regex asks("\\bArchitecture::(X86_64|AArch64|RiscV64)\\b");
  std::vector<std::string> found;
  unsigned files = 0;
  for (const char* folder : {"addrspace", "models", "traces", "sim"}) {
    for (const auto& each : fs::recursive_directory_iterator(source / folder)) {
      const std::string path = fs::relative(each.path(), source).string();
      const bool code = path.ends_with(".cpp") || path.ends_with(".hpp");
      if (!code || may_name_one(path)) continue;
      ++files;
      std::ifstream in(each.path());
      std::string line;
      for (unsigned number = 1; std::getline(in, line); ++number) {
        if (std::regex_search(line, asks)) found.push_back(path + ":" + std::to_string(number));
      }
    }
  }
  EXPECT_GT(files, 150u);
  EXPECT_THAT(found, testing::IsEmpty());
}

}  // namespace
}  // namespace nestwalk
