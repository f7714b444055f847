// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/text.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "replay/trace_input.hpp"

namespace nestwalk::sim {
namespace {

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

void declare(CommandLine& line) {
  TraceInput::declare(line.about(kText));
  line.flag("by-time", "all vCPUs in the order of their clocks; needs a file that can seek");
}

int run(const CommandLine& line) {
  const TraceInput input(line);

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

}  // namespace

constexpr Command kTraceCat = {"cat", "prints the records as text", declare, run};

}  // namespace nestwalk::sim
