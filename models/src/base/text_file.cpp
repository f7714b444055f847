// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/base/text_file.hpp"

#include <cerrno>
#include <fstream>
#include <optional>
#include <set>
#include <system_error>
#include <vector>

#include "nestwalk/models/base/json.hpp"

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

namespace {

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

/// Stops at the first key that its object has already.
class TwiceGiven final : public nlohmann::json_sax<Json> {
 public:
  const std::optional<std::string>& found() const { return found_; }

  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return true;
  }
  bool key(std::string& name) override {
    if (!keys_.back().insert(name).second) found_ = name;
    return !found_;
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(Json::binary_t&) override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  std::vector<std::set<std::string>> keys_;
  std::optional<std::string> found_;
};

}  // namespace

void check_json(const std::string& json, const std::string& name) {
  check_nesting(json, name);
  TwiceGiven twice;
  (void)Json::sax_parse(json, &twice);
  if (twice.found())
    throw TextError(name, "expected each key once, found " + *twice.found() + " twice");
}

Json parse_json(const std::string& text, const std::string& name) {
  check_json(text, name);
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    throw TextError(name, error.what());
  }
}

}  // namespace nestwalk::models
