// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Texts from outside, whose size and nesting are bounded before memory is.
#pragma once

#include <stdexcept>
#include <string>

namespace nestwalk::models {

/// what() is `file: problem`.
class TextError : public std::runtime_error {
 public:
  TextError(const std::string& file, const std::string& problem)
      : std::runtime_error(file + ": " + problem), problem_(problem) {}

  /// For a message that names the file itself: `expected ..., found ...`.
  const std::string& problem() const { return problem_; }

 private:
  std::string problem_;
};

/// Of a preset, a configuration, a suite or rules: what a person writes.
inline constexpr std::size_t kMostWrittenBytes = std::size_t{4} << 20;
/// Of statistics or a baseline: what a program writes.
inline constexpr std::size_t kMostResultBytes = std::size_t{64} << 20;
/// Arrays and objects of JSON within each other.
inline constexpr unsigned kDeepestJson = 64;

/// All of a file. Throws TextError if it cannot be read or has more bytes; std::system_error where
/// the process may open no more files, which is not the file's fault.
std::string read_text(const std::string& file, std::size_t most_bytes);
/// Throws TextError if JSON nests deeper than kDeepestJson: recursive code that visits the parsed
/// values could overflow the stack otherwise. Or if an object has a key twice: a parser would take
/// the last one without a word. Text that is no JSON passes.
void check_json(const std::string& json, const std::string& name);

}  // namespace nestwalk::models
