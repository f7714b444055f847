// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/text.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "trace_command.hpp"
#include "trace_input.hpp"

namespace nestwalk::sim {
namespace {

namespace po = boost::program_options;
using traces::Reader;

constexpr const char* kText =
    "Prints a line for each record: vCPU, number of the record in its stream, the stream's clock\n"
    "after it, what it is, and its fields as key=value:\n"
    "  0 17 42 read gva=0x7f00 gpa=0x1f00 size=8 instructions=3 dependent\n"
    "Side data is printed as lines that begin with register or page.";

void print_in_file_order(const TraceInput& input, TextOutput& output) {
  Reader reader(input.open(), input.on_loss());
  input.check(reader.header());
  Progress progress;
  for (;;) {
    switch (reader.next()) {
      case Reader::Item::Records:
        if (input.wants(reader.chunk().vcpu)) append_text(output.buffer(), reader.chunk());
        break;
      case Reader::Item::SideData:
        append_text(output.buffer(), reader.side_data());
        break;
      case Reader::Item::End:
        return;
    }
    output.write_when_large();
    progress.update(reader.offset(), reader.size(), reader.totals().accesses);
  }
}

void print_in_time_order(const TraceInput& input, TextOutput& output) {
  traces::TimeOrderedReader reader([&] { return input.open(); }, input.on_loss());
  input.check(reader.header());
  traces::Chunk chunk;
  while (reader.next(chunk)) {
    if (input.wants(chunk.vcpu)) append_text(output.buffer(), chunk);
    output.write_when_large();
  }
}

}  // namespace

int run_trace_cat(const Arguments& arguments) {
  CommandLine line("nestwalk trace cat [OPTIONS] [FILE]", kText);
  TraceInput input;
  input.declare(line);
  line.flag("by-time", "all vCPUs in the order of their clocks; needs a file that can seek");
  if (!line.parse(arguments)) return kDone;
  input.take(line);

  TextOutput output;
  try {
    (line.has("by-time") ? print_in_time_order : print_in_file_order)(input, output);
  } catch (const traces::InputError&) {
    output.flush();  // Everything before the damage.
    throw;
  }
  output.flush();
  return kDone;
}

}  // namespace nestwalk::sim
