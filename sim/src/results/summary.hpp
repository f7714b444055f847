// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What mattered in a run, in few lines. It is made of the documents of a run's directory, so that
// it is the same wherever it is shown.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "program/output.hpp"

namespace nestwalk::sim {

/// A line: "TLB: first level misses 3.1 %", or one of a chart, which has a share.
struct SummaryLine {
  std::string label;
  std::string text;
  std::optional<double> share;  ///< of the time of all vCPUs
};
struct Summary {
  std::string incomplete;             ///< why; empty if the run was whole
  std::string title;                  ///< what ran on what
  std::vector<std::string> settings;  ///< what it ran under, and what differs from the defaults
  std::vector<SummaryLine> lines;
};

struct RunDocuments {
  const Json& configuration;  ///< config.resolved.json
  const Json& stats;          ///< stats.json
  const Json& record;         ///< run.json
};
Summary summary_of(const RunDocuments& run);

/// In lines of at most `width`, where no single word is wider. Shares are drawn where `bars` are.
std::string as_text(const Summary& summary, unsigned width, Bars bars);
/// Title and settings, as comments.
std::string as_comments(const Summary& summary);

/// "59,533,694"
std::string with_commas(addrspace::u64 number);
/// "16.1 ms": three digits and the unit that suits.
std::string duration_text(double nanoseconds);
/// "5.41 MiB"
std::string bytes_text(double bytes);

}  // namespace nestwalk::sim
