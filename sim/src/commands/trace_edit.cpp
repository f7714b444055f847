// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// cut, merge and split: traces out of traces.

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "commands/commands.hpp"
#include "commands/trace_part.hpp"
#include "nestwalk/traces/recorded_tables.hpp"
#include "nestwalk/traces/writer.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "replay/trace_input.hpp"

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
    std::vector<PartialStream> streams;
    for (u32 vcpu = 0; vcpu < reader->header().vcpus; ++vcpu) {
      streams.emplace_back(writer, first_vcpu + vcpu);
    }
    BeginRegisters registers;
    for_each_item(
        *reader,
        [&](const Chunk& chunk) {
          PartialStream& stream = streams[chunk.vcpu];
          if (stream.empty() && first_vcpu != 0) {
            registers.begin(chunk.vcpu, writer, first_vcpu + chunk.vcpu, stream);
          }
          stream.append(chunk);
        },
        [&](SideData side) {
          reader->side_data_place().expect_no(registers.add(side));
          side.vcpu += first_vcpu;
          reader->side_data_place().expect_no(rules.add(side));
          writer.append(side);
        });
    first_vcpu += reader->header().vcpus;
  }
  writer.finish();
  return kDone;
}

/// A write to page tables. They take effect in the order of their times, then of their vCPUs.
struct TimedWrite {
  u64 time;
  u32 vcpu;
  traces::TableWrite write;

  std::pair<u64, u32> key() const { return {time, vcpu}; }
};

/// What each part of a trace has to know of all of it.
struct Whole {
  std::vector<TimedWrite> writes;
  BeginRegisters registers;

  void add(const Chunk& chunk) {
    if (chunk.event == nullptr) return;
    const auto* const write = std::get_if<traces::TableWrite>(&chunk.event->detail);
    if (write == nullptr) return;
    u64 time = chunk.time;
    for (const Access& access : chunk.accesses) time = traces::time_after(time, access);
    writes.push_back({traces::time_after(time, *chunk.event), chunk.vcpu, *write});
  }
  void sort() {
    std::stable_sort(writes.begin(), writes.end(),
                     [](const TimedWrite& a, const TimedWrite& b) { return a.key() < b.key(); });
  }
};

/// The stream of one vCPU, with the table writes of the others where they took effect.
class Part {
 public:
  Part(std::unique_ptr<traces::ByteSink> sink, const Header& header, u32 vcpu)
      : sink_(std::move(sink)), writer_(*sink_, header), vcpu_(vcpu), stream_(writer_, 0) {}

  void add(const Chunk& chunk, Whole& whole) {
    if (stream_.empty() && vcpu_ != 0) whole.registers.begin(vcpu_, writer_, 0, stream_);
    stream_.move_to(chunk.time, chunk.root, chunk.asid);
    for (const Access& access : chunk.accesses) append(access, whole.writes);
    if (chunk.event != nullptr) append(*chunk.event, whole.writes);
  }
  void add(SideData side) {
    if (vcpu_ != side.vcpu) side.registers.clear();
    side.vcpu = 0;
    if (!side.registers.empty() || !side.pages.empty()) writer_.append(side);
  }

  void end(const Whole& whole) {
    for (; next_ < whole.writes.size(); ++next_) append_write(whole.writes[next_], 0);
    writer_.end();
  }
  void finish() { sink_->finish(); }

 private:
  // Writes before the record are among the instructions that it follows.
  template <class Record>
  void append(Record record, const std::vector<TimedWrite>& writes) {
    const std::pair key(traces::time_after(stream_.clock(), record), vcpu_);
    for (; next_ < writes.size() && writes[next_].key() < key; ++next_) {
      using Instructions = decltype(record.instructions);
      record.instructions -=
          static_cast<Instructions>(append_write(writes[next_], record.instructions));
    }
    stream_.append(record);
  }

  // Returns how many instructions before it are taken of those that there are. Of equal times, this
  // vCPU's comes first if its number is lower; so it does when parts are merged.
  u64 append_write(const TimedWrite& write, u64 instructions) {
    if (write.vcpu == vcpu_) return 0;
    const u64 time = write.time + (write.vcpu > vcpu_ ? 1 : 0);
    const u64 taken = time > stream_.clock() ? std::min(instructions, time - stream_.clock()) : 0;
    if (stream_.clock() + taken >= time) {
      stream_.append(Event{taken, write.write});
    } else {
      stream_.append(Event{taken, traces::TimeSync{time}});
      stream_.append(write.write);
    }
    return taken;
  }

  std::unique_ptr<traces::ByteSink> sink_;
  Writer writer_;
  u32 vcpu_;
  PartialStream stream_;
  std::size_t next_ = 0;  ///< of all writes
};

void declare_split(CommandLine& line) {
  line.about(
      "Makes a trace for each vCPU: PREFIX.0.nwt, PREFIX.1.nwt, ... Each has the page\n"
      "tables of all, the writes of all to them in the order of time, and the registers\n"
      "of its own. A trace of several vCPUs that write page tables is read twice, so it\n"
      "has to be a file.");
  TraceInput::declare(line);
  line.option("prefix", po::value<std::string>()->required()->value_name("PREFIX"),
              "how the names of the files begin");
}

// To its end.
Whole read_whole(Reader& reader) {
  Whole whole;
  for_each_item(
      reader, [&](const Chunk& chunk) { whole.add(chunk); },
      [&](const SideData& side) { reader.side_data_place().expect_no(whole.registers.add(side)); });
  whole.sort();
  return whole;
}

int run_split(const CommandLine& line) {
  const TraceInput input(line);
  auto source = input.open();
  const std::string name = source->name();
  auto reader = std::make_unique<Reader>(std::move(source), input.on_loss());
  input.check(reader->header());
  Header header = reader->header();
  header.provenance.emplace_back("split", line.command());
  std::vector<std::unique_ptr<Part>> parts(std::exchange(header.vcpus, 1));
  for (u32 vcpu = 0; vcpu < parts.size(); ++vcpu) {
    if (!input.wants(vcpu)) continue;
    auto sink = create_trace(line.get<std::string>("prefix") + "." + std::to_string(vcpu) + ".nwt",
                             std::span(&input.path(), 1));
    parts[vcpu] = std::make_unique<Part>(std::move(sink), header, vcpu);
  }
  const bool several = parts.size() > 1;
  const bool twice = several && reader->size() != 0;
  Whole whole;
  if (twice) {
    whole = read_whole(*reader);
    // What is lost was reported.
    reader = std::make_unique<Reader>(
        input.open(), input.on_loss() ? [](const std::string&) {} : traces::OnLoss{});
  }
  for_each_item(
      *reader,
      [&](const Chunk& chunk) {
        if (parts[chunk.vcpu]) parts[chunk.vcpu]->add(chunk, whole);
        if (!several || twice) return;
        whole.add(chunk);
        if (!whole.writes.empty()) {
          throw traces::InputError(name,
                                   "has several vCPUs and writes to page tables: only a file that "
                                   "is not compressed can be split");
        }
      },
      [&](const SideData& side) {
        if (!twice) reader->side_data_place().expect_no(whole.registers.add(side));
        for (const auto& part : parts) {
          if (part) part->add(side);
        }
      });
  // Only when all are written do they get their names.
  for (const auto& part : parts) {
    if (part) part->end(whole);
  }
  for (const auto& part : parts) {
    if (part) part->finish();
  }
  return kDone;
}

}  // namespace

constexpr Command kTraceCut = {"cut", "keeps a range of records", declare_cut, run_cut};
constexpr Command kTraceMerge = {"merge", "joins traces of different CPUs", declare_merge,
                                 run_merge};
constexpr Command kTraceSplit = {"split", "makes a trace for each vCPU", declare_split, run_split};

}  // namespace nestwalk::sim
