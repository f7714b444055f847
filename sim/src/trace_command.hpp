// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk trace ...`
#pragma once

#include "command_line.hpp"

namespace nestwalk::sim {

int run_trace_command(const Arguments& arguments);

int run_trace_cat(const Arguments& arguments);
int run_trace_cut(const Arguments& arguments);
int run_trace_gen(const Arguments& arguments);
int run_trace_import(const Arguments& arguments);
int run_trace_info(const Arguments& arguments);
int run_trace_merge(const Arguments& arguments);
int run_trace_split(const Arguments& arguments);
int run_trace_stats(const Arguments& arguments);
int run_trace_verify(const Arguments& arguments);

}  // namespace nestwalk::sim
