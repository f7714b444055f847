// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/check_log.hpp"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "nestwalk/traces/error.hpp"

namespace nestwalk::sim {

void check_log(const std::string& file, checker::LogReader& reader, checker::Checker& checker) {
  std::ifstream in;
  const bool piped = file == "-";
  if (!piped) {
    errno = 0;
    in.open(file, std::ios::binary);
    if (!in) traces::throw_cannot_be_opened(file, errno);
    if (std::filesystem::is_directory(file)) throw traces::InputError(file, "is a directory");
  }
  const std::string name = piped ? "standard input" : file;
  std::istream& source = piped ? std::cin : in;
  try {
    reader.read(source, name, checker);
  } catch (const checker::LogError& error) {
    throw traces::InputError(name, error.problem());
  }
  if (source.bad()) throw traces::InputError(name, "cannot be read to its end");
  checker.finish();
}

}  // namespace nestwalk::sim
