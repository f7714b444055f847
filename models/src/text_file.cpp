// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/text_file.hpp"

#include <cerrno>
#include <fstream>
#include <system_error>

namespace nestwalk::models {

std::string read_text(const std::string& file, std::size_t most_bytes) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  const int number = errno;
  if (!in.is_open() && (number == EMFILE || number == ENFILE || number == ENOMEM)) {
    throw std::system_error(number, std::generic_category(), file + ": cannot be opened");
  }
  std::string text;
  char part[1 << 16];
  while (in.read(part, sizeof part) || in.gcount() != 0) {
    text.append(part, static_cast<std::size_t>(in.gcount()));
    if (text.size() > most_bytes) {
      throw TextError(file,
                      "expected at most " + std::to_string(most_bytes) + " bytes, found more");
    }
  }
  if (!in.eof() || in.bad()) throw TextError(file, "cannot be read");
  return text;
}

void check_nesting(const std::string& json, const std::string& name) {
  unsigned depth = 0;
  bool quoted = false;
  for (std::size_t n = 0; n < json.size(); ++n) {
    const char letter = json[n];
    if (quoted) {
      if (letter == '\\') {
        ++n;
      } else if (letter == '"') {
        quoted = false;
      }
    } else if (letter == '"') {
      quoted = true;
    } else if (letter == '[' || letter == '{') {
      if (++depth > kDeepestJson) {
        throw TextError(name, "expected at most " + std::to_string(kDeepestJson) +
                                  " levels of nesting, found more");
      }
    } else if ((letter == ']' || letter == '}') && depth != 0) {
      --depth;
    }
  }
}

}  // namespace nestwalk::models
