// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What keeps an extension in its own files, and includes in one direction.

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

namespace nestwalk::seams_test {
namespace {

namespace fs = std::filesystem;

// Calls `tell(path, number, line)` for each line of the code in a folder of the project that holds
// some text: regular expressions are slow.
template <class Tell>
void for_each_line(const std::string& folder, const char* text, Tell&& tell) {
  const fs::path source = NESTWALK_SOURCE;
  for (const auto& each : fs::recursive_directory_iterator(source / folder)) {
    const std::string path = fs::relative(each.path(), source).string();
    if (!path.ends_with(".cpp") && !path.ends_with(".hpp")) continue;
    std::ifstream in(each.path());
    std::string line;
    for (unsigned number = 1; std::getline(in, line); ++number) {
      if (number == 1 || line.find(text) != line.npos) tell(path, number, line);
    }
  }
}

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
  const std::regex asks("\\bArchitecture::(X86_64|AArch64|RiscV64)\\b");
  std::vector<std::string> found;
  std::set<std::string> files;
  for (const char* folder : {"addrspace", "models", "traces", "sim"}) {
    for_each_line(folder, "Architecture::",
                  [&](const std::string& path, unsigned number, const std::string& line) {
                    if (may_name_one(path)) return;
                    files.insert(path);
                    if (std::regex_search(line, asks))
                      found.push_back(path + ":" + std::to_string(number));
                  });
  }
  EXPECT_GT(files.size(), 150u);
  EXPECT_THAT(found, testing::IsEmpty());
}

// The lines of a folder that include a room which comes after their own in the order.
std::vector<std::string> against(const std::string& folder, const std::regex& include,
                                 const std::vector<std::string>& rooms, unsigned& seen) {
  const auto place = [&](const std::string& room) {
    return std::find(rooms.begin(), rooms.end(), room) - rooms.begin();
  };
  std::vector<std::string> found;
  for_each_line(folder, "#include",
                [&](const std::string& path, unsigned number, const std::string& line) {
                  std::smatch what;
                  if (!std::regex_search(line, what, include)) return;
                  ++seen;
                  const std::string rest = path.substr(folder.size() + 1);
                  const std::string room = rest.substr(0, rest.find('/'));
                  if (place(what[1]) > place(room))
                    found.push_back(path + ":" + std::to_string(number));
                });
  return found;
}

TEST(Seams, TheRoomsOfModelsIncludeOnlyThoseBelow) {
  const std::regex include("^#include \"nestwalk/models/([a-z]+)/");
  unsigned seen = 0;
  for (const char* folder : {"models/include/nestwalk/models", "models/src"}) {
    EXPECT_THAT(against(folder, include,
                        {"base", "time", "memory", "translation", "machine", "fences"}, seen),
                testing::IsEmpty());
  }
  EXPECT_GT(seen, 60u);
}

TEST(Seams, TheRoomsOfTheProgramIncludeOnlyThoseBelow) {
  const std::regex include("^#include \"([a-z]+)/[a-z_]+\\.hpp\"");
  unsigned seen = 0;
  EXPECT_THAT(against("sim/src", include,
                      {"program", "configuration", "results", "replay", "comparisons",
                       "calibration", "sweeps", "commands", "main.cpp"},
                      seen),
              testing::IsEmpty());
  EXPECT_GT(seen, 150u);
}

TEST(Seams, FoldersIncludeOnlyThoseBelow) {
  // Each with the folders that it may include, besides itself.
  const std::vector<std::pair<std::string, std::string>> may = {
      {"addrspace/include", ""},
      {"addrspace/src", ""},
      {"traces/include", "addrspace"},
      {"traces/src", "addrspace"},
      {"models/include", "addrspace"},
      {"models/src", "addrspace"},
      {"models/software/include", "addrspace|models"},
      {"models/software/src", "addrspace|models"},
      {"models/checker/include", "addrspace|models|software"},
      {"models/checker/src", "addrspace|models|software"},
      {"models/systemc/include", "addrspace|models"},
      {"models/systemc/src", "addrspace|models"},
      {"models/machines/include", "addrspace|models|software"},
      {"models/machines/src", "addrspace|models|software"},
  };
  for (const auto& [folder, others] : may) {
    const fs::path own = fs::path(folder).parent_path().filename();
    const std::regex other("^#include [\"<](?!nestwalk/(" + own.string() + "|" + others +
                           ")/)(nestwalk|systemc|boost|nlohmann/json_fwd)/");
    std::vector<std::string> found;
    for_each_line(folder, "#include",
                  [&](const std::string& path, unsigned number, const std::string& line) {
                    if (std::regex_search(line, other))
                      found.push_back(path + ":" + std::to_string(number));
                  });
    EXPECT_THAT(found, testing::IsEmpty()) << folder;
  }
}

}  // namespace
}  // namespace nestwalk::seams_test
