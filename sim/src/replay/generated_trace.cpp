// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/generated_trace.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/generator.hpp"

namespace nestwalk::sim {

namespace {

std::function<void(traces::ByteSink&)> writer_of(const std::string& name, const Words& parameters) {
  const traces::Generator& generator = traces::generator_of(name);
  traces::Values values(generator.parameters);
  for (const std::string& text : parameters) values.set(text);
  return
      [&generator, values](traces::ByteSink& sink) { traces::generate(generator, values, sink); };
}

}  // namespace

GeneratedTrace::GeneratedTrace(const std::string& generator, const Words& parameters)
    : GeneratedTrace(writer_of(generator, parameters)) {}

GeneratedTrace::GeneratedTrace(const std::function<void(traces::ByteSink&)>& write) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (error) throw UsageError("there is no folder for temporary files: " + error.message());
  std::string file = (folder / "nestwalk-XXXXXX").string();
  file_ = mkostemp(file.data(), O_CLOEXEC);
  if (file_ < 0) throw traces::OutputError(file, errno);
  unlink(file.c_str());
  path_ = "/proc/self/fd/" + std::to_string(file_);
  try {
    write(*traces::create_sink(path_));
  } catch (...) {
    close(file_);
    throw;
  }
}

GeneratedTrace::~GeneratedTrace() { close(file_); }

}  // namespace nestwalk::sim
