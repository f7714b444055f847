// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "trace_command.hpp"

namespace nestwalk::sim {
namespace {

constexpr Command kCommands[] = {
    {"info", "says what is in a trace", run_trace_info},
    {"cat", "prints the records as text", run_trace_cat},
    {"stats", "counts, as JSON", run_trace_stats},
    {"cut", "keeps a range of records", run_trace_cut},
    {"merge", "joins traces of different CPUs", run_trace_merge},
    {"split", "makes a trace for each vCPU", run_trace_split},
    {"gen", "makes a synthetic trace", run_trace_gen},
    {"import", "converts what other tools record", run_trace_import},
    {"verify", "checks recorded addresses against recorded page tables", run_trace_verify},
};

}  // namespace

int run_trace_command(const Arguments& arguments) {
  return run_command(kCommands, "nestwalk trace", "Looks at, makes and changes traces (.nwt).",
                     arguments);
}

}  // namespace nestwalk::sim
