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

/// Formats of page tables in the header.
constexpr std::pair<traces::Stage, std::string Header::*> kFormats[] = {
    {traces::Stage::Guest, &Header::guest_tables}, {traces::Stage::Host, &Header::host_tables}};

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

// What is lost was reported.
traces::OnLoss on_known_loss(const TraceInput& input) {
  return input.on_loss() ? [](const std::string&) {} : traces::OnLoss{};
}

std::unique_ptr<Reader> open_again(const TraceInput& input) {
  return std::make_unique<Reader>(input.open(), on_known_loss(input));
}

/// Records by their numbers in each of some streams.
class Range {
 public:
  Range(const TraceInput& input, u64 from, u64 count)
      : input_(&input), from_(from), end_(count > ~u64{0} - from ? ~u64{0} : from + count) {}

  bool has(u32 vcpu, u64 record) const {
    return record >= from_ && record < end_ && input_->wants(vcpu);
  }

 private:
  const TraceInput* input_;
  u64 from_;
  u64 end_;
};

/// When a record was over, and of which vCPU it is: records take effect in this order.
using Moment = std::pair<u64, u32>;

// Of the last record of a range.
Moment last_moment(Reader& reader, const Range& range) {
  Moment last;
  for_each_item(
      reader,
      [&](const Chunk& chunk) {
        u64 record = chunk.first_record;
        u64 time = chunk.time;
        const auto pass = [&](const auto& each) {
          time = traces::time_after(time, each);
          if (range.has(chunk.vcpu, record++)) last = std::max(last, {time, chunk.vcpu});
        };
        for (const Access& access : chunk.accesses) pass(access);
        if (chunk.event != nullptr) pass(*chunk.event);
      },
      [](const SideData&) {});
  return last;
}

/// Keeps the records of a range, and what they need to know of the others.
class Cutter {
 public:
  /// Without `last`, the range's last moment, writes to page tables that are left out are held
  /// until their vCPU's next record that is kept. One vCPU holds the last one of each entry.
  Cutter(Writer& writer, u32 vcpus, std::string name, const Range& range,
         std::optional<Moment> last)
      : name_(std::move(name)), range_(range), last_(last) {
    for (u32 vcpu = 0; vcpu < vcpus; ++vcpu) streams_.emplace_back(PartialStream(writer, vcpu));
  }

  void add(const Chunk& chunk) {
    u64 record = chunk.first_record;
    u64 time = chunk.time;
    for (const Access& access : chunk.accesses) {
      const u64 before = std::exchange(time, traces::time_after(time, access));
      if (range_.has(chunk.vcpu, record++)) {
        keep(chunk, before, whole(streams_[chunk.vcpu], access));
      }
    }
    if (chunk.event == nullptr) return;
    if (range_.has(chunk.vcpu, record)) return keep(chunk, time, *chunk.event);
    leave_out(chunk.vcpu, *chunk.event, traces::time_after(time, *chunk.event));
  }

  /// Page tables at the end of the recording say nothing about the end of a part of it.
  bool keeps(const SideData& side) const { return side.when == traces::When::Begin; }

  /// Writes to page tables that are left out, but come before a record that is kept.
  void finish() {
    Moment latest;  // of the records that are kept
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

  void leave_out(u32 vcpu, const Event& event, u64 time) {
    Stream& stream = streams_[vcpu];
    if (const auto* table = std::get_if<traces::TableWrite>(&event.detail)) {
      leave_out(stream, vcpu, *table, time);
    } else if (const auto* space = std::get_if<traces::SpaceSwitch>(&event.detail)) {
      stream.space = *space;
      stream.space_replaced = false;
    } else if (const auto* control = std::get_if<traces::ControlWrite>(&event.detail)) {
      stream.controls[control->name] = control->value;
      stream.space_replaced = stream.space_replaced || traces::replaces_space(control->name);
    }
  }

  void leave_out(Stream& stream, u32 vcpu, const traces::TableWrite& write, u64 time) {
    if (last_ && !alone()) {
      if (Moment(time, vcpu) < *last_) write_table(stream, time, write);
      return;
    }
    // Of one entry the last value would do, if no other vCPU had an access in between.
    const u64 number = alone() ? 0 : stream.writes++;
    stream.tables[{number, write.stage, write.address}] = {time, write.value};
    if (!alone() && ++held_ > kMostHeld) {
      throw traces::InputError(name_, "has several vCPUs and more than " +
                                          std::to_string(kMostHeld) +
                                          " writes to page tables that are left out: only a file "
                                          "that is not compressed can be cut");
    }
  }

  static void write_table(Stream& stream, u64 time, const traces::TableWrite& write) {
    stream.out.move_to(time);
    stream.out.append(write);
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
  void write_tables(Stream& stream, u32 vcpu, Moment end) {
    for (const auto& [entry, left] : std::exchange(stream.tables, {})) {
      if (Moment(left.time, vcpu) >= end) continue;
      write_table(stream, left.time, {std::get<1>(entry), std::get<2>(entry), left.value});
    }
  }

  static constexpr u64 kMostHeld = u64{1} << 20;  // some 100 MiB

  std::string name_;
  Range range_;
  std::optional<Moment> last_;
  u64 held_ = 0;
  std::vector<Stream> streams_;
};

void declare_cut(CommandLine& line) {
  line.about(
      "Keeps a range of the records of each vCPU, by their numbers in its stream. If\n"
      "there were records before, time, table, control and space records say at the\n"
      "beginning where the clock, the page tables and the address space stood. Where\n"
      "there are several vCPUs, all their writes to page tables before the last record\n"
      "that is kept are there, at their times, whatever the range and --vcpu say: a\n"
      "file is read twice for them; from a pipe at most 1048576 may be left out. Side\n"
      "data of the recording's end is left out.");
  TraceInput::declare(line);
  declare_trace_output(line);
  line.option("from", po::value<u64>()->default_value(0)->value_name("N"), "the first record")
      .option("count", po::value<u64>()->default_value(~u64{0}, "all")->value_name("N"),
              "how many at most");
}

int run_cut(const CommandLine& line) {
  const TraceInput input(line);
  auto source = input.open();
  const std::string name = source->name();
  auto reader = std::make_unique<Reader>(std::move(source), input.on_loss());
  input.check(reader->header());
  Header header = reader->header();
  header.provenance.emplace_back("cut", line.command());
  const auto sink = create_trace(line.get<std::string>("output"), std::span(&input.path(), 1));
  Writer writer(*sink, header);
  const Range range(input, line.get<u64>("from"), line.get<u64>("count"));
  std::optional<Moment> last;
  if (header.vcpus > 1 && reader->size() != 0) {
    last = last_moment(*reader, range);
    reader = open_again(input);
  }
  Cutter cutter(writer, header.vcpus, name, range, last);
  for_each_item(
      *reader, [&](const Chunk& chunk) { cutter.add(chunk); },
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
    const bool same_tables =
        std::all_of(std::begin(kFormats), std::end(kFormats), [&](const auto& format) {
          std::string& tables = header.*format.second;
          if (tables.empty()) tables = own.*format.second;
          return (own.*format.second).empty() || own.*format.second == tables;
        });
    if (own.architecture != first.architecture || own.mode != first.mode || !same_tables) {
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
  const Header together = std::exchange(header, readers.front()->header());
  header.vcpus = static_cast<u32>(vcpus);
  header.lacks = lacks;
  header.memory = together.memory;
  for (const auto& [stage, format] : kFormats) header.*format = together.*format;
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

/// The stream of one vCPU, with the table writes of the others where they took effect.
class Part {
 public:
  using Coming = traces::TimeOrderedReader::Coming;

  Part(std::unique_ptr<traces::ByteSink> sink, const Header& header, u32 vcpu)
      : sink_(std::move(sink)), writer_(*sink_, header), vcpu_(vcpu), stream_(writer_, 0) {}

  void add(const Chunk& chunk, BeginRegisters& registers) {
    begin(registers);
    stream_.move_to(chunk.time, chunk.root, chunk.asid);
    for (const Access& access : chunk.accesses) append(access);
    if (chunk.event != nullptr) append(*chunk.event);
  }
  void add(SideData side) {
    if (vcpu_ != side.vcpu) side.registers.clear();
    side.vcpu = 0;
    if (!side.registers.empty() || !side.pages.empty()) writer_.append(side);
  }

  /// Of another vCPU, before the record that is `coming`. Of equal times, this vCPU's comes first
  /// if its number is lower; so it does when parts are merged.
  void add_write(Moment moment, const traces::TableWrite& write,
                 const std::optional<Coming>& coming, BeginRegisters& registers) {
    begin(registers);
    const u64 time = moment.first + (moment.second > vcpu_ ? 1 : 0);
    // It falls among the instructions that the record follows, unless there is a gap before them.
    u64 instructions = 0;
    if (coming && coming->time <= time) {
      stream_.move_to(coming->time);
      instructions = coming->instructions - taken_;
    }
    const u64 taken = time > stream_.clock() ? std::min(instructions, time - stream_.clock()) : 0;
    taken_ += taken;
    if (stream_.clock() + taken >= time) {
      stream_.append(Event{taken, write});
    } else {
      stream_.append(Event{taken, traces::TimeSync{time}});
      stream_.append(write);
    }
  }

  void end() { writer_.end(); }
  void finish() { sink_->finish(); }

 private:
  void begin(BeginRegisters& registers) {
    if (stream_.empty() && vcpu_ != 0) registers.begin(vcpu_, writer_, 0, stream_);
  }
  template <class Record>
  void append(Record record) {
    record.instructions -= static_cast<decltype(record.instructions)>(std::exchange(taken_, 0));
    stream_.append(record);
  }

  std::unique_ptr<traces::ByteSink> sink_;
  Writer writer_;
  u32 vcpu_;
  PartialStream stream_;
  u64 taken_ = 0;  ///< of the instructions before the next record
};

/// The parts of a trace, by vCPU; those that nobody wants are empty.
class Parts {
 public:
  explicit Parts(std::vector<std::unique_ptr<Part>> parts) : parts_(std::move(parts)) {}

  void add(const Chunk& chunk) {
    if (parts_[chunk.vcpu]) parts_[chunk.vcpu]->add(chunk, registers_);
  }
  [[nodiscard]] std::optional<traces::Breach> add(const SideData& side) {
    if (auto breach = registers_.add(side)) return breach;
    for (const auto& part : parts_) {
      if (part) part->add(side);
    }
    return {};
  }
  /// All records, in the order of time.
  void add(traces::TimeOrderedReader& reader, u64 accesses) {
    Progress progress;
    u64 done = 0;
    for (Chunk chunk; reader.next(chunk); progress.update(done, accesses, done)) {
      add(chunk);
      done += chunk.accesses.size();
      const auto* const write = written_by(chunk);
      if (write == nullptr) continue;
      const Moment moment(traces::time_after(chunk.time, *chunk.event), chunk.vcpu);
      for (u32 vcpu = 0; vcpu < parts_.size(); ++vcpu) {
        if (vcpu == chunk.vcpu || !parts_[vcpu]) continue;
        parts_[vcpu]->add_write(moment, *write, reader.coming(vcpu), registers_);
      }
    }
  }
  static const traces::TableWrite* written_by(const Chunk& chunk) {
    return chunk.event == nullptr ? nullptr : std::get_if<traces::TableWrite>(&chunk.event->detail);
  }
  // Only when all are written do they get their names.
  void finish() {
    for (const auto& part : parts_) {
      if (part) part->end();
    }
    for (const auto& part : parts_) {
      if (part) part->finish();
    }
  }

 private:
  std::vector<std::unique_ptr<Part>> parts_;
  BeginRegisters registers_;
};

void declare_split(CommandLine& line) {
  line.about(
      "Makes a trace for each vCPU: PREFIX.0.nwt, PREFIX.1.nwt, ... Each has the page\n"
      "tables of all, the writes of all to them in the order of time, and the registers\n"
      "of its own; of a vCPU that does not translate at the begin, the header names no\n"
      "format of page tables. A trace of several vCPUs is read more than once; if they\n"
      "write page tables, or do not translate, it has to be a file.");
  TraceInput::declare(line);
  line.option("prefix", po::value<std::string>()->required()->value_name("PREFIX"),
              "how the names of the files begin");
}

/// What is known of a trace before its parts are written.
struct Outline {
  bool has_writes = false;  ///< to page tables, of several vCPUs
  traces::LackRules lacks;
  traces::SideRules sides;

  explicit Outline(const Header& header) : lacks(header), sides(header) {}
  void add(const Chunk& chunk, bool several) {
    has_writes = has_writes || (several && Parts::written_by(chunk) != nullptr);
    lacks.add(chunk);
  }
  // The reader has judged it.
  void add(const SideData& side) { (void)sides.add(side); }
};

bool lacks_a_stage(const Header& header, const Outline& outline, u32 vcpu) {
  return std::any_of(std::begin(kFormats), std::end(kFormats), [&](const auto& format) {
    return !(header.*format.second).empty() && outline.sides.not_in_use(vcpu, format.first);
  });
}

// From a pipe, parts are written before all is known.
void expect_to_be_split(const Header& header, const Outline& outline, u32 vcpu,
                        const std::string& name) {
  const char* what = nullptr;
  if (outline.has_writes) what = "has several vCPUs and writes to page tables";
  if (outline.lacks.found(vcpu) != 0) what = "has vCPUs that know more than its header says";
  if (lacks_a_stage(header, outline, vcpu)) what = "has vCPUs that do not translate at the begin";
  if (what == nullptr) return;
  throw traces::InputError(name,
                           std::string(what) + ": only a file that is not compressed can be split");
}

Parts create_parts(const CommandLine& line, const TraceInput& input, const Header& whole,
                   const Outline& outline) {
  std::vector<std::unique_ptr<Part>> parts(whole.vcpus);
  for (u32 vcpu = 0; vcpu < parts.size(); ++vcpu) {
    if (!input.wants(vcpu)) continue;
    Header header = whole;
    header.provenance.emplace_back("split", line.command());
    header.vcpus = 1;
    header.lacks &= ~outline.lacks.found(vcpu);
    for (const auto& [stage, format] : kFormats) {
      if (outline.sides.not_in_use(vcpu, stage)) (header.*format).clear();
    }
    auto sink = create_trace(line.get<std::string>("prefix") + "." + std::to_string(vcpu) + ".nwt",
                             std::span(&input.path(), 1));
    parts[vcpu] = std::make_unique<Part>(std::move(sink), header, vcpu);
  }
  return Parts(std::move(parts));
}

int run_split(const CommandLine& line) {
  const TraceInput input(line);
  auto source = input.open();
  const std::string name = source->name();
  auto reader = std::make_unique<Reader>(std::move(source), input.on_loss());
  const Header header = reader->header();
  input.check(header);
  const bool several = header.vcpus > 1;
  const bool twice = several && reader->size() != 0;
  Outline outline(header);
  if (twice) {
    for_each_item(
        *reader, [&](const Chunk& chunk) { outline.add(chunk, several); },
        [&](const SideData& side) { outline.add(side); });
    reader = open_again(input);
  }
  Parts parts = create_parts(line, input, header, outline);
  const bool ordered = outline.has_writes;
  for_each_item(
      *reader,
      [&](const Chunk& chunk) {
        if (!ordered) parts.add(chunk);
        if (!several || twice) return;
        outline.add(chunk, several);
        expect_to_be_split(header, outline, chunk.vcpu, name);
      },
      [&](const SideData& side) {
        reader->side_data_place().expect_no(parts.add(side));
        if (several && !twice) outline.add(side);
      });
  for (u32 vcpu = 0; several && !twice && vcpu < header.vcpus; ++vcpu) {
    if (input.wants(vcpu)) expect_to_be_split(header, outline, vcpu, name);
  }
  if (ordered) {
    traces::TimeOrderedReader records([&] { return input.open(); }, on_known_loss(input));
    parts.add(records, reader->totals().accesses);
  }
  parts.finish();
  return kDone;
}

}  // namespace

constexpr Command kTraceCut = {"cut", "keeps a range of records", declare_cut, run_cut};
constexpr Command kTraceMerge = {"merge", "joins traces of different CPUs", declare_merge,
                                 run_merge};
constexpr Command kTraceSplit = {"split", "makes a trace for each vCPU", declare_split, run_split};

}  // namespace nestwalk::sim
