// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/generated_trace.hpp"

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
  write(*traces::create_sink(path()));
}

}  // namespace nestwalk::sim
