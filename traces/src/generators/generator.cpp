// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/generator.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>

#include "common.hpp"

namespace nestwalk::traces {
namespace {

// How many letters to insert, remove or replace.
std::size_t edits(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i] != to[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

template <class Rows>
[[noreturn]] void fail_unknown(const std::string& what, std::string_view name, const Rows& rows) {
  const auto best = std::min_element(rows.begin(), rows.end(), [&](const auto& a, const auto& b) {
    return edits(name, a.name) < edits(name, b.name);
  });
  throw RecordError(what + " '" + std::string(name) + "' is not known; did you mean '" +
                    std::string(best->name) + "'?");
}

// "64K": powers of 1024.
std::optional<unsigned> shift_of(std::string_view unit) {
  constexpr std::string_view kUnits[] = {"", "K", "M", "G", "T"};
  for (unsigned n = 0; n < std::size(kUnits); ++n) {
    if (unit == kUnits[n]) return 10 * n;
  }
  return std::nullopt;
}

// "1e6": powers of ten.
std::optional<unsigned> exponent_of(std::string_view text) {
  if (text.empty() || (text[0] != 'e' && text[0] != 'E')) return std::nullopt;
  unsigned exponent = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data() + 1, last, exponent);
  if (error != std::errc() || end != last) return std::nullopt;
  return exponent;
}

std::optional<u64> whole_number(std::string_view text) {
  u64 value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  if (const std::optional<unsigned> exponent = exponent_of(unit)) {
    for (unsigned n = 0; n < *exponent && value != 0; ++n) {
      if (value > ~u64{0} / 10) return std::nullopt;
      value *= 10;
    }
    return value;
  }
  const std::optional<unsigned> shift = shift_of(unit);
  if (!shift || value > ~u64{0} >> *shift) return std::nullopt;
  return value << *shift;
}

u64 number_of(std::string_view text) {
  if (const std::optional<u64> number = whole_number(text)) return *number;
  throw RecordError("expected a number such as 4096, 64K, 1G or 1e6, found " + std::string(text));
}

// Tells of each write: of blocks, so that nothing is paid per access.
class WatchedSink : public ByteSink {
 public:
  explicit WatchedSink(ByteSink& sink) : sink_(sink) {}
  void write(std::span<const u8> bytes) override {
    sink_.write(bytes);
    on_write();
  }
  void finish() override { sink_.finish(); }
  std::function<void()> on_write = [] {};

 private:
  ByteSink& sink_;
};

}  // namespace

Values::Values(std::span<const Parameter> parameters) : parameters_(parameters) {
  for (const Parameter& parameter : parameters) values_.push_back(parameter.value);
}

std::size_t Values::index_of(std::string_view name) const {
  const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                  [&](const Parameter& row) { return row.name == name; });
  if (found == parameters_.end()) fail_unknown("parameter", name, parameters_);
  return static_cast<std::size_t>(found - parameters_.begin());
}

void Values::set(std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == assignment.npos) {
    throw RecordError("expected key=value, found '" + std::string(assignment) + "'");
  }
  const std::size_t index = index_of(assignment.substr(0, equals));
  const Parameter& parameter = parameters_[index];
  const u64 value = number_of(assignment.substr(equals + 1));
  if (value < parameter.least || value > parameter.most) {
    throw RecordError(std::string(parameter.name) + " is from " + std::to_string(parameter.least) +
                      " to " + std::to_string(parameter.most) + ", not " + std::to_string(value));
  }
  if (!set_.insert(index).second) {
    throw RecordError(std::string(parameter.name) + " is there twice");
  }
  values_[index] = value;
}

u64 Values::operator[](std::string_view name) const { return values_[index_of(name)]; }

std::string Values::text() const {
  std::string text;
  for (std::size_t n = 0; n < values_.size(); ++n) {
    text += ' ';
    text += parameters_[n].name;
    text += '=';
    text += std::to_string(values_[n]);
  }
  return text;
}

std::span<const Generator> generators() {
  static const Generator kAll[] = {kSequential, kStrided,   kRandom,     kZipf, kChase,
                                   kGups,       kPhases,    kFirstTouch, kFork, kProcesses,
                                   kSmp,        kMigration, kUnmapStorm, kStorm};
  return kAll;
}

const Generator& generator_of(std::string_view name) {
  const std::span<const Generator> all = generators();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Generator& row) { return row.name == name; });
  if (found == all.end()) fail_unknown("generator", name, all);
  return *found;
}

void generate(const Generator& generator, const Values& values, ByteSink& sink,
              const Writer::Options& options, const OnProgress& progress) {
  Header header;
  header.lacks = generator.lacks;
  header.producer = "nestwalk";
  header.command = "nestwalk trace gen " + std::string(generator.name) + values.text();
  for (const Parameter& parameter : generator.parameters) {
    if (parameter.name == "vcpus") header.vcpus = static_cast<u32>(values["vcpus"]);
  }
  WatchedSink watched(sink);
  Writer writer(watched, header, options);
  const u64 total = generator.accesses(values);
  watched.on_write = [&] { progress(writer.totals().accesses, total, writer.totals().accesses); };
  generator.run(values, writer);
  writer.finish();
}

}  // namespace nestwalk::traces
