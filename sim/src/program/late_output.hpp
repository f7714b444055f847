// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A file that is written after long work.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "nestwalk/traces/io.hpp"

namespace nestwalk::sim {

/// Whether it can be written is known from the begin on; until the end it stays as it was. Without
/// a name, standard output. Throws traces::OutputError.
class LateOutput {
 public:
  explicit LateOutput(const std::string& file = "-") : sink_(traces::create_sink(file)) {}
  void write(std::string_view text);

 private:
  std::unique_ptr<traces::ByteSink> sink_;
};

}  // namespace nestwalk::sim
