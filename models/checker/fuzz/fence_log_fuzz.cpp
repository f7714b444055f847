// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for the fence log, and for the checker that it feeds. Lines are moved, doubled
// and removed, and their words are taken from each other.

#include <random>
#include <sstream>
#include <vector>

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/checker/log.hpp"
#include "nestwalk/machines/extensions.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace {

using Words = std::vector<std::string>;

Words split(const std::string& text, char at) {
  Words parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

std::string joined(const Words& parts, char with) {
  std::string text;
  for (const std::string& part : parts) text.append(part) += with;
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::checker;
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  LogReader reader(nestwalk::models::extensions());
  Checker checker;
  try {
    reader.read(in, "log", checker);
    checker.finish();
    for (const Finding& finding : checker.findings()) (void)describe(finding);
  } catch (const LogError&) {  // A line that makes no sense.
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  std::minstd_rand random(seed);
  Words lines = split(std::string(reinterpret_cast<const char*>(data), size), '\n');
  if (lines.size() < 3 || random() % 4 == 0) return LLVMFuzzerMutate(data, size, most);
  // Not the first one, which says what it is.
  const auto any = [&] { return 1 + random() % (lines.size() - 1); };
  const std::size_t at = any();
  const auto place = lines.begin() + static_cast<std::ptrdiff_t>(at);
  switch (random() % 4) {
    case 0:
      lines.insert(place, std::string(lines[any()]));
      break;
    case 1:
      lines.erase(place);
      break;
    case 2:
      std::swap(lines[at], lines[any()]);
      break;
    default: {
      Words to = split(lines[at], ' ');
      const Words from = split(lines[any()], ' ');
      if (to.empty() || from.empty()) break;
      to[random() % to.size()] = from[random() % from.size()];
      lines[at] = joined(to, ' ');
      lines[at].pop_back();
    }
  }
  const std::string text = joined(lines, '\n');
  if (text.size() > most) return LLVMFuzzerMutate(data, size, most);
  text.copy(reinterpret_cast<char*>(data), text.size());
  return text.size();
}
