// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// cut, merge and split: traces out of traces.

#include <map>

#include "nestwalk/traces/writer.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "trace_command.hpp"
#include "trace_input.hpp"

namespace nestwalk::sim {
namespace {

namespace po = boost::program_options;
using addrspace::u32;
using addrspace::u64;
using traces::Access;
using traces::Chunk;
using traces::Event;
using traces::Header;
using traces::Reader;
using traces::SideData;
using traces::Writer;

// Reads all of a trace; calls on_chunk(chunk) and on_side(side data).
template <class OnChunk, class OnSide>
void for_each_item(Reader& reader, OnChunk&& on_chunk, OnSide&& on_side) {
  Progress progress;
  for (Reader::Item item = reader.next(); item != Reader::Item::End; item = reader.next()) {
    if (item == Reader::Item::SideData) {
      on_side(reader.side_data());
    } else {
      on_chunk(reader.chunk());
      progress.update(reader.offset(), reader.size(), reader.totals().accesses);
    }
  }
}

void append(Writer& writer, u32 vcpu, const Chunk& chunk) {
  for (const Access& access : chunk.accesses) writer.append(vcpu, access);
  if (chunk.event != nullptr) writer.append(vcpu, *chunk.event);
}

void declare_output(CommandLine& line) {
  line.option("output,o", po::value<std::string>()->default_value("-"), "the file to write");
}

std::string command_of(const char* verb, const Arguments& arguments) {
  std::string text = std::string("nestwalk trace ") + verb;
  for (const std::string& argument : arguments) text += " " + argument;
  return text;
}

/// Keeps the records of a range, and what they need to know of those before.
class Cutter {
 public:
  Cutter(Writer& writer, u32 vcpus, u64 from, u64 count)
      : writer_(&writer),
        before_(vcpus),
        from_(from),
        end_(count > ~u64{0} - from ? ~u64{0} : from + count) {}

  void add(const Chunk& chunk) {
    u64 record = chunk.first_record;
    u64 time = chunk.time;
    if (record >= end_) return;
    for (const Access& access : chunk.accesses) {
      if (wants(record++)) {
        begin(chunk, time);
        writer_->append(chunk.vcpu, access);
      }
      time = traces::time_after(time, access);
    }
    if (chunk.event == nullptr) return;
    if (wants(record)) {
      begin(chunk, time);
      writer_->append(chunk.vcpu, *chunk.event);
    } else if (record < from_) {
      remember(chunk.vcpu, *chunk.event);
    }
  }

  /// Page tables at the end of the recording say nothing about the end of a part of it.
  bool keeps(const SideData& side) const { return side.when == traces::When::Begin; }

 private:
  struct Before {
    bool begun = false;
    traces::Precision precision = traces::Precision::Exact;  ///< of the last space
    /// Entries of page tables that changed, by stage and address.
    std::map<std::pair<traces::Stage, u64>, u64> tables;
    std::map<std::string, u64> controls;
  };

  bool wants(u64 record) const { return record >= from_ && record < end_; }
  void remember(u32 vcpu, const Event& event) {
    if (const auto* space = std::get_if<traces::SpaceSwitch>(&event.detail)) {
      before_[vcpu].precision = space->precision;
    } else if (const auto* table = std::get_if<traces::TableWrite>(&event.detail)) {
      before_[vcpu].tables[{table->stage, table->address}] = table->value;
    } else if (const auto* control = std::get_if<traces::ControlWrite>(&event.detail)) {
      before_[vcpu].controls[control->name] = control->value;
    }
  }
  void begin(const Chunk& chunk, u64 time) {
    Before& before = before_[chunk.vcpu];
    if (std::exchange(before.begun, true)) return;
    if (time != 0) writer_->append(chunk.vcpu, Event{0, traces::TimeSync{time}});
    for (const auto& [entry, value] : std::exchange(before.tables, {})) {
      writer_->append(chunk.vcpu, Event{0, traces::TableWrite{entry.first, entry.second, value}});
    }
    for (const auto& [name, value] : std::exchange(before.controls, {})) {
      writer_->append(chunk.vcpu, Event{0, traces::ControlWrite{name, value}});
    }
    if (chunk.root == 0 && chunk.asid == 0) return;
    writer_->append(chunk.vcpu,
                    Event{0, traces::SpaceSwitch{chunk.root, chunk.asid, before.precision}});
  }

  Writer* writer_;
  std::vector<Before> before_;
  u64 from_;
  u64 end_;
};

}  // namespace

int run_trace_cut(const Arguments& arguments) {
  CommandLine line(
      "nestwalk trace cut [OPTIONS] [FILE]",
      "Keeps a range of the records of each vCPU, by their numbers in its stream. If\n"
      "there were records before, time, table, control and space records say at the\n"
      "beginning where the clock, the page tables and the address space stood. Side data of the\n"
      "recording's end is left out.");
  TraceInput input;
  input.declare(line);
  declare_output(line);
  line.option("from", po::value<u64>()->default_value(0)->value_name("N"), "the first record")
      .option("count", po::value<u64>()->default_value(~u64{0}, "all")->value_name("N"),
              "how many at most");
  if (!line.parse(arguments)) return kDone;
  input.take(line);

  Reader reader(input.open(), input.on_loss());
  input.check(reader.header());
  Header header = reader.header();
  header.provenance.emplace_back("cut", command_of("cut", arguments));
  const auto sink = create_trace(line.get<std::string>("output"), std::span(&input.path(), 1));
  Writer writer(*sink, header);
  Cutter cutter(writer, header.vcpus, line.get<u64>("from"), line.get<u64>("count"));
  for_each_item(
      reader,
      [&](const Chunk& chunk) {
        if (input.wants(chunk.vcpu)) cutter.add(chunk);
      },
      [&](const SideData& side) {
        if (cutter.keeps(side)) writer.append(side);
      });
  writer.finish();
  return kDone;
}

int run_trace_merge(const Arguments& arguments) {
  CommandLine line("nestwalk trace merge [OPTIONS] FILE...",
                   "Joins traces into one whose vCPUs are those of the first file, then those of\n"
                   "the second, and so on. The header is the first file's; it lacks what any of\n"
                   "them lacks. Clocks stay as they are.");
  declare_output(line);
  line.flag("salvage", "pass over damage, and say what is lost")
      .operand("files", po::value<std::vector<std::string>>()->required(), -1);
  if (!line.parse(arguments)) return kDone;

  std::vector<std::unique_ptr<Reader>> readers;
  u64 vcpus = 0;
  u64 lacks = 0;
  const auto& files = line.get<std::vector<std::string>>("files");
  for (const std::string& file : files) {
    readers.push_back(
        std::make_unique<Reader>(traces::open_source(file), on_loss_when(line.has("salvage"))));
    const Header& first = readers.front()->header();
    const Header& own = readers.back()->header();
    if (own.architecture != first.architecture || own.mode != first.mode ||
        own.guest_tables != first.guest_tables || own.host_tables != first.host_tables) {
      throw UsageError("nestwalk trace merge: " + file + " is of another kind than " + files[0] +
                       " (architecture, mode or page tables)");
    }
    vcpus += own.vcpus;
    lacks |= own.lacks;
  }
  // Nobody ever saw those clocks side by side.
  if (files.size() > 1) lacks |= traces::kNoOrder;
  Header header = readers.front()->header();
  header.vcpus = static_cast<u32>(vcpus);
  header.lacks = lacks;
  header.provenance.emplace_back("merge", command_of("merge", arguments));
  const auto sink = create_trace(line.get<std::string>("output"), files);
  Writer writer(*sink, header);
  u32 first_vcpu = 0;
  for (const std::unique_ptr<Reader>& reader : readers) {
    for_each_item(
        *reader, [&](const Chunk& chunk) { append(writer, first_vcpu + chunk.vcpu, chunk); },
        [&](SideData side) {
          side.vcpu += first_vcpu;
          writer.append(side);
        });
    first_vcpu += reader->header().vcpus;
  }
  writer.finish();
  return kDone;
}

int run_trace_split(const Arguments& arguments) {
  CommandLine line(
      "nestwalk trace split [OPTIONS] [FILE]",
      "Makes a trace for each vCPU: PREFIX.0.nwt, PREFIX.1.nwt, ... Each has the page\n"
      "tables of all, and the registers of its own.");
  TraceInput input;
  input.declare(line);
  line.option("prefix", po::value<std::string>()->required()->value_name("PREFIX"),
              "how the names of the files begin");
  if (!line.parse(arguments)) return kDone;
  input.take(line);

  Reader reader(input.open(), input.on_loss());
  input.check(reader.header());
  Header header = reader.header();
  header.provenance.emplace_back("split", command_of("split", arguments));
  struct Part {
    std::unique_ptr<traces::ByteSink> sink;
    std::unique_ptr<Writer> writer;
  };
  std::vector<Part> parts(std::exchange(header.vcpus, 1));
  for (u32 vcpu = 0; vcpu < parts.size(); ++vcpu) {
    if (!input.wants(vcpu)) continue;
    Part& part = parts[vcpu];
    part.sink = create_trace(line.get<std::string>("prefix") + "." + std::to_string(vcpu) + ".nwt",
                             std::span(&input.path(), 1));
    part.writer = std::make_unique<Writer>(*part.sink, header);
  }
  for_each_item(
      reader,
      [&](const Chunk& chunk) {
        if (input.wants(chunk.vcpu)) append(*parts[chunk.vcpu].writer, 0, chunk);
      },
      [&](const SideData& side) {
        for (u32 vcpu = 0; vcpu < parts.size(); ++vcpu) {
          if (!input.wants(vcpu)) continue;
          SideData own = side;
          own.vcpu = 0;
          if (vcpu != side.vcpu) own.registers.clear();
          if (!own.registers.empty() || !own.pages.empty()) parts[vcpu].writer->append(own);
        }
      });
  for (const Part& part : parts) {
    if (part.writer) part.writer->finish();
  }
  return kDone;
}

}  // namespace nestwalk::sim
