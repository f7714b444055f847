// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// cut, merge and split: traces out of traces.

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "commands.hpp"
#include "nestwalk/traces/recorded_tables.hpp"
#include "nestwalk/traces/writer.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "trace_input.hpp"
#include "trace_part.hpp"

namespace nestwalk::sim {
namespace {

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

/// Keeps the records of a range, and what they need to know of the others.
class Cutter {
 public:
  Cutter(Writer& writer, u32 vcpus, const TraceInput& input, u64 from, u64 count)
      : input_(&input), from_(from), end_(count > ~u64{0} - from ? ~u64{0} : from + count) {
    for (u32 vcpu = 0; vcpu < vcpus; ++vcpu) streams_.emplace_back(PartialStream(writer, vcpu));
  }

  void add(const Chunk& chunk) {
    u64 record = chunk.first_record;
    u64 time = chunk.time;
    for (const Access& access : chunk.accesses) {
      const u64 before = std::exchange(time, traces::time_after(time, access));
      if (wants(chunk.vcpu, record++)) keep(chunk, before, whole(streams_[chunk.vcpu], access));
    }
    if (chunk.event == nullptr) return;
    if (wants(chunk.vcpu, record)) return keep(chunk, time, *chunk.event);
    leave_out(streams_[chunk.vcpu], *chunk.event, traces::time_after(time, *chunk.event));
  }

  /// Page tables at the end of the recording say nothing about the end of a part of it.
  bool keeps(const SideData& side) const { return side.when == traces::When::Begin; }

  /// Writes to page tables that are left out, but come before a record that is kept.
  void finish() {
    std::pair<u64, u32> latest;  // of the records that are kept
    for (u32 vcpu = 0; vcpu < streams_.size(); ++vcpu) {
      if (streams_[vcpu].begun) latest = std::max(latest, {streams_[vcpu].end, vcpu});
    }
    for (u32 vcpu = 0; vcpu < streams_.size(); ++vcpu) write_tables(streams_[vcpu], vcpu, latest);
  }

 private:
  struct Left {
    u64 time;  ///< when it was written
    u64 value;
  };
  struct Stream {
    explicit Stream(PartialStream to) : out(to) {}

    PartialStream out;
    bool begun = false;
    bool accessed = false;
    u64 end = 0;  ///< when the latest record that is kept was over
    // What was left out.
    std::optional<traces::SpaceSwitch> space;                    ///< the last one
    std::map<std::string, u64> controls;                         ///< values of registers
    bool space_replaced = false;                                 ///< by a register
    std::map<std::tuple<u64, traces::Stage, u64>, Left> tables;  ///< by number, stage and address
    u64 writes = 0;                                              ///< how many numbers there were
  };

  bool wants(u32 vcpu, u64 record) const {
    return record >= from_ && record < end_ && input_->wants(vcpu);
  }
  // Nobody else sees the tables change.
  bool alone() const { return streams_.size() == 1; }

  // What is left of an access whose beginning is cut off is one of its own.
  static Access whole(Stream& stream, Access access) {
    if (!std::exchange(stream.accessed, true)) access.flags &= kBegins;
    return access;
  }
  static constexpr addrspace::u8 kBegins = static_cast<addrspace::u8>(~traces::kContinues);

  template <class Record>
  void keep(const Chunk& chunk, u64 time, const Record& record) {
    Stream& stream = streams_[chunk.vcpu];
    if (!stream.begun || !stream.tables.empty()) begin(stream, chunk.vcpu, time);
    stream.out.move_to(time, chunk.root, chunk.asid);
    stream.out.append(record);
    stream.end = stream.out.clock();
  }

  void leave_out(Stream& stream, const Event& event, u64 time) {
    if (const auto* table = std::get_if<traces::TableWrite>(&event.detail)) {
      // Of one entry the last value would do, if no other vCPU had an access in between.
      const u64 number = alone() ? 0 : stream.writes++;
      stream.tables[{number, table->stage, table->address}] = {time, table->value};
    } else if (const auto* space = std::get_if<traces::SpaceSwitch>(&event.detail)) {
      stream.space = *space;
      stream.space_replaced = false;
    } else if (const auto* control = std::get_if<traces::ControlWrite>(&event.detail)) {
      stream.controls[control->name] = control->value;
      stream.space_replaced = stream.space_replaced || traces::replaces_space(control->name);
    }
  }

  // The state of the vCPU before the first record that is kept.
  void begin(Stream& stream, u32 vcpu, u64 time) {
    if (alone()) stream.out.move_to(time);
    write_tables(stream, vcpu, {~u64{0}, ~u32{0}});
    if (std::exchange(stream.begun, true)) return;
    stream.out.move_to(time);
    if (stream.space && stream.space_replaced) stream.out.append(*stream.space);
    for (const auto& [name, value] : stream.controls) {
      stream.out.append(traces::ControlWrite{name, value});
    }
    if (stream.space && !stream.space_replaced) stream.out.append(*stream.space);
  }

  // Those before a time, each when it was.
  void write_tables(Stream& stream, u32 vcpu, std::pair<u64, u32> end) {
    for (const auto& [entry, left] : std::exchange(stream.tables, {})) {
      if (std::pair(left.time, vcpu) >= end) continue;
      stream.out.move_to(left.time);
      stream.out.append(traces::TableWrite{std::get<1>(entry), std::get<2>(entry), left.value});
    }
  }

  const TraceInput* input_;
  std::vector<Stream> streams_;
  u64 from_;
  u64 end_;
};

void declare_cut(CommandLine& line) {
  line.about(
      "Keeps a range of the records of each vCPU, by their numbers in its stream. If\n"
      "there were records before, time, table, control and space records say at the\n"
      "beginning where the clock, the page tables and the address space stood. Where\n"
      "there are several vCPUs, all their writes to page tables before the last record\n"
      "that is kept are there, at their times, whatever the range and --vcpu say. Side\n"
      "data of the recording's end is left out.");
  TraceInput::declare(line);
  declare_trace_output(line);
  line.option("from", po::value<u64>()->default_value(0)->value_name("N"), "the first record")
      .option("count", po::value<u64>()->default_value(~u64{0}, "all")->value_name("N"),
              "how many at most");
}

int run_cut(const CommandLine& line) {
  const TraceInput input(line);
  Reader reader(input.open(), input.on_loss());
  input.check(reader.header());
  Header header = reader.header();
  header.provenance.emplace_back("cut", line.command());
  const auto sink = create_trace(line.get<std::string>("output"), std::span(&input.path(), 1));
  Writer writer(*sink, header);
  Cutter cutter(writer, header.vcpus, input, line.get<u64>("from"), line.get<u64>("count"));
  for_each_item(
      reader, [&](const Chunk& chunk) { cutter.add(chunk); },
      [&](const SideData& side) {
        if (cutter.keeps(side)) writer.append(side);
      });
  cutter.finish();
  writer.finish();
  return kDone;
}

void declare_merge(CommandLine& line) {
  line.about(
      "Joins traces into one whose vCPUs are those of the first file, then those of\n"
      "the second, and so on. The header is the first file's; it lacks what any of\n"
      "them lacks, and has the memory of all. Clocks stay as they are. Files that\n"
      "contradict each other about memory or page tables are refused.");
  declare_trace_output(line);
  line.flag("salvage", "pass over damage, and say what is lost")
      .operand("files", "FILE...", po::value<Words>()->required(), -1);
}

int run_merge(const CommandLine& line) {
  std::vector<std::unique_ptr<Reader>> readers;
  u64 vcpus = 0;
  u64 lacks = 0;
  Header header;
  std::set<std::tuple<traces::Stage, u64, u64, std::string>> known;  // ranges of memory
  const auto& files = line.get<Words>("files");
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
    for (const traces::MemoryRange& range : own.memory) {
      const bool is_new = known.emplace(range.stage, range.start, range.bytes, range.kind).second;
      if (is_new) header.memory.push_back(range);
    }
    traces::Place{file, sizeof(traces::Preamble)}.expect_no(traces::breach_of(header));
  }
  // Nobody ever saw those clocks side by side.
  if (files.size() > 1) lacks |= traces::kNoOrder;
  std::vector<traces::MemoryRange> memory = std::move(header.memory);
  header = readers.front()->header();
  header.vcpus = static_cast<u32>(vcpus);
  header.lacks = lacks;
  header.memory = std::move(memory);
  header.provenance.emplace_back("merge", line.command());
  const auto sink = create_trace(line.get<std::string>("output"), files);
  Writer writer(*sink, header);
  u32 first_vcpu = 0;
  traces::SideRules rules(header);
  for (const std::unique_ptr<Reader>& reader : readers) {
    for_each_item(
        *reader, [&](const Chunk& chunk) { append(writer, first_vcpu + chunk.vcpu, chunk); },
        [&](SideData side) {
          side.vcpu += first_vcpu;
          reader->side_data_place().expect_no(rules.add(side));
          writer.append(side);
        });
    first_vcpu += reader->header().vcpus;
  }
  writer.finish();
  return kDone;
}

void declare_split(CommandLine& line) {
  line.about(
      "Makes a trace for each vCPU: PREFIX.0.nwt, PREFIX.1.nwt, ... Each has the page\n"
      "tables of all, and the registers of its own.");
  TraceInput::declare(line);
  line.option("prefix", po::value<std::string>()->required()->value_name("PREFIX"),
              "how the names of the files begin");
}

int run_split(const CommandLine& line) {
  const TraceInput input(line);
  Reader reader(input.open(), input.on_loss());
  input.check(reader.header());
  Header header = reader.header();
  header.provenance.emplace_back("split", line.command());
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
  // Only when all are written do they get their names.
  for (const Part& part : parts) {
    if (part.writer) part.writer->end();
  }
  for (const Part& part : parts) {
    if (part.sink) part.sink->finish();
  }
  return kDone;
}

}  // namespace

constexpr Command kTraceCut = {"cut", "keeps a range of records", declare_cut, run_cut};
constexpr Command kTraceMerge = {"merge", "joins traces of different CPUs", declare_merge,
                                 run_merge};
constexpr Command kTraceSplit = {"split", "makes a trace for each vCPU", declare_split, run_split};

}  // namespace nestwalk::sim
