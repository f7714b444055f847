// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Traces of other tools. An importer reads one format as a stream, in constant memory; what the
// format does not say goes to the header's `lacks`.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nestwalk/traces/header.hpp"
#include "nestwalk/traces/io.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::traces {

class Importer;
class ImportInput;
class ImportOutput;
struct ImportRequest;

struct ImportOption {
  std::string_view name;
  std::string_view value;  ///< unless the user gives another one
  std::string_view sentence;
};

/// The values of a format's options.
class ImportValues {
 public:
  explicit ImportValues(std::span<const ImportOption> options);

  /// Sets an option from "key=value", once. Throws RecordError.
  void set(std::string_view assignment);
  std::string_view operator[](std::string_view name) const;
  /// Every option as "key=value".
  std::vector<std::string> assignments() const;

 private:
  std::size_t index_of(std::string_view name) const;

  std::span<const ImportOption> options_;
  std::vector<std::string> values_;
  std::set<std::size_t> set_;  ///< by the user
};

/// Where the streams of vCPUs come from.
enum class Streams : u8 {
  Inputs,   ///< the n-th input is vCPU n
  Records,  ///< records say who made them; several inputs are parts of one recording
};

struct ImportFormat {
  std::string_view name;
  std::string_view sentence;
  u64 lacks;  ///< of Lack, as far as it is the same for every input
  Mode mode;
  std::string_view drops;  ///< what its records have and a trace has no place for
  std::span<const ImportOption> options;
  Streams (*streams)(const ImportValues& values);
  /// Whether input that begins like this has the format; null when nothing tells.
  bool (*detect)(std::string_view beginning);
  /// An importer for one input. It may change the output's header before the first record.
  std::unique_ptr<Importer> (*open)(ImportInput& input, const ImportValues& values,
                                    ImportOutput& output);
  /// Instead of `open`, for a format whose input is a folder: converts all of it.
  void (*import_folder)(const ImportRequest& request, ByteSink& sink) = nullptr;
};

std::span<const ImportFormat* const> import_formats();
/// Throws RecordError.
const ImportFormat& import_format_of(std::string_view name);

struct ImportRequest {
  const ImportFormat* format = nullptr;  ///< null: find out
  std::vector<std::string> inputs;       ///< names
  std::vector<std::string> options;      ///< "key=value"
  std::optional<Architecture> architecture;
  u32 vcpus = 0;      ///< 0: as many as the inputs turn out to have
  bool twice = true;  ///< the inputs can be read twice
  bool lenient = false;
  std::string producer = "nestwalk";
  std::string command;
  Writer::Options writer;
  std::function<std::unique_ptr<ByteSource>(const std::string& name)> open = open_source;
  /// Told, in a line each, what is not in the trace although the inputs have it.
  std::function<void(const std::string& line)> report = [](const std::string&) {};
  OnProgress progress = [](u64, u64, u64) {};  ///< in bytes of the inputs
};

/// Reads the inputs and writes a trace. Where records say who made them, the inputs are read twice,
/// first to count the vCPUs, unless `vcpus` says how many there are.
/// Throws InputError for the first line or record that makes no sense; when lenient, such lines and
/// records are left out and counted.
void import_trace(const ImportRequest& request, ByteSink& sink);

}  // namespace nestwalk::traces
