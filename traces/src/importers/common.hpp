// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What every importer includes: its interface, and the list of them.
#pragma once

#include <memory>

#include "input.hpp"
#include "nestwalk/traces/importer.hpp"
#include "output.hpp"

namespace nestwalk::traces {

class Importer {
 public:
  virtual ~Importer() = default;
  Importer() = default;
  Importer(const Importer&) = delete;
  Importer& operator=(const Importer&) = delete;

  /// Takes a line or record and writes what it says; false at the end of the input.
  virtual bool step() = 0;
};

template <class T>
std::unique_ptr<Importer> make_importer(ImportInput& input, const ImportValues& values,
                                        ImportOutput& output) {
  return std::make_unique<T>(input, values, output);
}

inline Streams streams_are_inputs(const ImportValues&) { return Streams::Inputs; }
inline Streams streams_are_in_records(const ImportValues&) { return Streams::Records; }

inline Access gva_access(u64 address, u64 size, AccessKind kind, u32 instructions = 0) {
  return {Gva(address), {}, {}, instructions, static_cast<u16>(size), kind, kGvaKnown};
}
inline Access gpa_access(u64 address, u64 size, AccessKind kind) {
  return {{}, Gpa(address), {}, 0, static_cast<u16>(size), kind, kGpaKnown};
}

/// A format that records neither machine nor hypervisor.
inline constexpr u64 kUserOnly = kNoHpa | kNoSpaces | kNoFences | kNoHypervisor;

extern const ImportFormat kChampSim;
extern const ImportFormat kCloudSuite;
extern const ImportFormat kCsv;
extern const ImportFormat kDin;
extern const ImportFormat kDynamoRio;
extern const ImportFormat kGem5;
extern const ImportFormat kKvm;
extern const ImportFormat kLackey;
extern const ImportFormat kPerf;
extern const ImportFormat kPin;
extern const ImportFormat kRecording;

}  // namespace nestwalk::traces
