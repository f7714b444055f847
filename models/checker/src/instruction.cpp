// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Assembler text of fences.

#include "nestwalk/checker/log.hpp"

namespace nestwalk::checker {
namespace {

models::Words words_of(const std::string& text) {
  models::Words words;
  std::string word;
  for (const char letter : text + " ") {
    const bool between =
        letter == ' ' || letter == ',' || letter == '\t' || letter == '[' || letter == ']';
    if (!between) {
      word += letter;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

}  // namespace

std::optional<addrspace::Fence> parse_instruction(const std::string& text,
                                                  const models::Extension& extension) {
  addrspace::Fence fence{};
  if (!extension.parse(words_of(text), fence)) return std::nullopt;
  return fence;
}

}  // namespace nestwalk::checker
