// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Importing samples and made-up input, and writing down what should come out.
#pragma once

#include <gmock/gmock.h>

#include "nestwalk/traces/importer.hpp"
#include "random_trace.hpp"

namespace nestwalk::traces {

struct Imported {
  Header header;
  std::vector<Stream> streams;
  std::string drops;  ///< what it says of all records
  std::vector<std::string> reports;

  const Stream& stream() const { return streams.at(0); }
};

inline ImportRequest request_for(const std::string& format) {
  ImportRequest request;
  if (!format.empty()) request.format = &import_format_of(format);
  return request;
}

inline Imported run_import(ImportRequest request) {
  Imported result;
  request.report = [&](const std::string& line) {
    const std::string_view every = "not in the trace, of any record: ";
    if (line.starts_with(every)) {
      result.drops = line.substr(every.size());
    } else {
      result.reports.push_back(line);
    }
  };
  MemorySink sink;
  import_trace(request, sink);
  const Contents contents = read_all(sink.bytes());
  EXPECT_EQ(contents.error, "");
  result.header = Reader(source_of(sink.bytes())).header();
  result.streams = contents.streams;
  return result;
}

/// Imports a file of samples/.
inline Imported import_sample(ImportRequest request, const std::string& file) {
  request.inputs = {NESTWALK_SAMPLES "/" + file};
  return run_import(std::move(request));
}

/// Imports texts, one for each input: input0, input1, ...
inline Imported import_texts(ImportRequest request, const std::vector<std::string>& texts) {
  for (std::size_t n = 0; n < texts.size(); ++n)
    request.inputs.push_back("input" + std::to_string(n));
  request.open = [&](const std::string& name) {
    const std::string& text = texts.at(std::stoul(name.substr(5)));
    return unpacked(std::make_unique<MemorySource>(
        std::span(reinterpret_cast<const u8*>(text.data()), text.size()), name));
  };
  return run_import(std::move(request));
}

inline Imported import_text(const std::string& format, const std::string& text,
                            const std::vector<std::string>& options = {}) {
  ImportRequest request = request_for(format);
  request.options = options;
  return import_texts(request, {text});
}

/// What the InputError says, "" when there is none.
inline std::string import_error(const std::string& format, const std::string& text,
                                const std::vector<std::string>& options = {}) {
  try {
    import_text(format, text, options);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

inline std::string read_sample(const std::string& file) {
  const auto source = open_source(NESTWALK_SAMPLES "/" + file);
  std::string text(1 << 16, '\0');
  std::size_t size = 0;
  for (;;) {
    const std::size_t count =
        source->read({reinterpret_cast<u8*>(text.data()) + size, text.size() - size});
    if (count == 0) break;
    size += count;
  }
  return text.substr(0, size);
}

// Records as a test writes them.
inline Access gva(AccessKind kind, u64 address, u16 size, u32 instructions = 0, u8 flags = 0) {
  return {Gva(address), {}, {}, instructions, size, kind, static_cast<u8>(kGvaKnown | flags)};
}
inline Access gpa(AccessKind kind, u64 address, u16 size) {
  return {{}, Gpa(address), {}, 0, size, kind, kGpaKnown};
}
inline Access both(AccessKind kind, u64 virtual_address, u64 physical, u16 size,
                   u32 instructions = 0) {
  return {Gva(virtual_address), Gpa(physical), {}, instructions, size, kind, kGvaKnown | kGpaKnown};
}
inline Event happens(EventDetail detail) { return {0, std::move(detail)}; }

inline constexpr AccessKind kRead = AccessKind::Read;
inline constexpr AccessKind kWrite = AccessKind::Write;
inline constexpr AccessKind kFetch = AccessKind::Fetch;

/// What no tool for user programs records.
inline constexpr u64 kUserLacks = kNoGpa | kNoHpa | kNoSpaces | kNoFences | kNoHypervisor;

}  // namespace nestwalk::traces
