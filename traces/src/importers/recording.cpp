// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/recording.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <unordered_map>

#include "importers/recording_folder.hpp"
#include "importers/recording_stream.hpp"
#include "isa/isa.hpp"
#include "nestwalk/traces/recorded_tables.hpp"
#include "nestwalk/traces/rules.hpp"

namespace nestwalk::traces {
namespace {

namespace fs = std::filesystem;
using recording::EventKind;
using recording::Operand;
using recording::RawAccess;
using recording::RawEvent;
using recording::RecordingFolder;

constexpr std::size_t kMostKnownPages = std::size_t{1} << 16;

// What the header of a stream says there is, by the events that need it. Fences are not among them:
// a program may execute a barrier.
constexpr struct {
  EventKind kind;
  recording::Flag flag;
  const char* name;
} kNeeds[] = {{EventKind::Switch, recording::kSystem, "a switch"},
              {EventKind::GuestEntry, recording::kGuestOnly, "a guest entry"},
              {EventKind::GuestExit, recording::kGuestOnly, "a guest exit"},
              {EventKind::ExitState, recording::kGuestOnly, "an exit state"},
              {EventKind::Table, recording::kTables, "a table"},
              {EventKind::Entry, recording::kTables, "an entry of a table"},
              {EventKind::Time, recording::kOrdered, "a time"}};

// What a vCPU runs. Where it was when the recording began follows from what it does first.
enum class World : u8 { Unknown, Guest, Hypervisor };

/// What was read and has no place in the trace.
struct Dropped {
  u64 events = 0;       ///< of kinds that only a newer recorder writes
  u64 codes = 0;        ///< events about registers or fences that only a newer recorder writes
  u64 exit_states = 0;  ///< behind a record that follows their exit
  u64 host_writes = 0;  ///< of registers of the second stage, of which the value is lost
};

class Converter : public recording::Visitor {
 public:
  Converter(fs::path folder, const recording::StreamHeader& stream, ByteSink& sink,
            const Writer::Options& options);

  void access(u32 vcpu, const RawAccess& access) override;
  void event(u32 vcpu, const RawEvent& event) override;
  /// A stream that was cut off ends before the moment of which the folder has registers and tables.
  Totals finish(bool cut_off, const recording::OnCut& lose);

 private:
  struct Vcpu {
    Registers registers;
    StageRoots roots;
    u64 clock = 0;   ///< of its last record, in the stream
    u64 passed = 0;  ///< instructions since the last record that was written
    u64 records = 0;
    World world = World::Unknown;
    bool left = false;  ///< by an exit that is not written yet: what explains it may follow
    std::unordered_map<u64, u64> exit_state;
    std::unordered_map<u64, std::optional<u64>> known;  ///< guest-physical pages
  };

  Header header() const;
  bool followed() const { return stream_.has(recording::kTables); }
  void load(When when);
  void append_side(const SideData& side);
  void expect_guest(Vcpu& vcpu, const char* what, u64 offset) const;
  void forget_translations();
  std::optional<u64> guest_physical(Vcpu& vcpu, u64 address, AccessKind kind);
  void append_piece(u32 index, const RawAccess& access, u64 bytes, bool continues);
  void append(u32 index, EventDetail detail);
  template <class Row>
  const Row* find_row(std::span<const Row> TracedIsa::*rows, u64 code, const Place& place);
  void on_switch(u32 index, ByteReader& from, const Place& place);
  void on_guest_entry(u32 index, ByteReader& from, const Place& place);
  void on_guest_exit(u32 index, const Place& place);
  void on_exit_state(u32 index, ByteReader& from, const Place& place);
  void on_fence(u32 index, ByteReader& from, const Place& place);
  void on_time(u32 index, u64 clock_before, u64 clock, const Place& place);
  Stage take_stage(ByteReader& from, const Place& place) const;
  void on_table(u32 index, ByteReader& from, const Place& place);
  void on_entry(u32 index, ByteReader& from, const Place& place);
  void write_exit(u32 index);
  void write_entry(u32 index, Stage stage, u64 address, u64 value);
  void switch_space(u32 index, const std::string& name, const Operand& value);
  void control_host(u32 index, const std::string& name, const Operand& value);

  const TracedIsa& isa() const { return traced(stream_.architecture); }

  recording::StreamHeader stream_;
  RecordingFolder folder_;
  std::vector<Vcpu> vcpus_;
  RecordedTables tables_[2];  ///< by stage
  Dropped dropped_;
  const Header header_;
  SideRules rules_;
  Writer writer_;
};

Header Converter::header() const {
  Header header;
  header.architecture = stream_.architecture;
  header.mode = stream_.nested() ? Mode::Nested : stream_.system() ? Mode::FullSystem : Mode::User;
  header.vcpus = stream_.vcpus;
  // What a hypervisor does to the second stage are table writes; its calls and fences are not seen.
  header.lacks = kNoDependence | kNoHypervisor;
  if ((stream_.flags & recording::kFetches) == 0) header.lacks |= kNoFetches;
  if (!stream_.system()) header.lacks |= kNoGpa | kNoSpaces | kNoFences;
  if (!stream_.nested()) header.lacks |= kNoHpa;
  const bool ordered = (stream_.flags & recording::kOrdered) != 0;
  if (stream_.vcpus > 1 && !ordered) header.lacks |= kNoOrder;
  header.provenance = folder_.provenance();
  for (const auto& [name, value] : header.provenance) {
    if (name == "command") header.command = value;
    if (name == "emulator") header.producer = value;
  }
  if (stream_.memory_bytes != 0) {
    header.memory.push_back(
        {stream_.stage_of_machine(), stream_.memory_base, stream_.memory_bytes, "ram"});
  }
  if (const auto breach = breach_of_notes(header)) {
    throw InputError(
        folder_.path() / "provenance",
        "expected " + breach->expected + ", as the stream says, found " + breach->found);
  }
  if (!stream_.system()) return header;
  const auto list = folder_.registers(When::Begin, 0);
  const Registers registers(list.begin(), list.end());
  const auto format = [&](Stage stage) {
    const StageTables tables = stage_tables(stream_.architecture, stage, registers);
    return tables.in_use ? format_name(tables.root) : "";
  };
  header.guest_tables = format(Stage::Guest);
  if (stream_.nested()) header.host_tables = format(Stage::Host);
  return header;
}

Converter::Converter(fs::path folder, const recording::StreamHeader& stream, ByteSink& sink,
                     const Writer::Options& options)
    : stream_(stream),
      folder_(std::move(folder), stream),
      vcpus_(stream.vcpus),
      tables_{RecordedTables(folder_.stream_name()), RecordedTables(folder_.stream_name())},
      header_(header()),
      rules_(header_),
      writer_(sink, header_, options) {
  load(When::Begin);
}

// Tables and registers of the begin or the end become side data; those of the begin are where the
// converter's own copy starts.
void Converter::load(When when) {
  folder_.check();
  if (!stream_.system()) return;
  for (u32 index = 0; index < vcpus_.size(); ++index) {
    SideData side{when, Stage::Guest, index, folder_.registers(when, index), {}};
    if (index == 0 && followed()) side.pages = folder_.tables(when, Stage::Guest);
    append_side(side);
    if (when == When::End) continue;
    Vcpu& vcpu = vcpus_[index];
    vcpu.registers = {side.registers.begin(), side.registers.end()};
    vcpu.roots = guest_roots(stream_.architecture, vcpu.registers);
  }
  if (stream_.nested() && followed()) {
    append_side({when, Stage::Host, 0, {}, folder_.tables(when, Stage::Host)});
  }
}

void Converter::append_side(const SideData& side) {
  if (const auto breach = rules_.add(side)) {
    throw InputError(folder_.path(), "expected " + breach->expected + ", found " + breach->found);
  }
  writer_.append(side);
  if (side.when == When::End) return;
  for (const TablePage& page : side.pages) tables_[static_cast<u8>(side.stage)].put(page);
}

void Converter::forget_translations() {
  for (Vcpu& vcpu : vcpus_) vcpu.known.clear();
}

std::optional<u64> Converter::guest_physical(Vcpu& vcpu, u64 address, AccessKind kind) {
  address = translation_rules(stream_.architecture, vcpu.registers).translated(address, kind);
  const u64 page = address >> kPageShift;
  if (vcpu.known.size() >= kMostKnownPages) vcpu.known.clear();
  const auto [found, is_new] = vcpu.known.try_emplace(page);
  const std::optional<TableRoot>& root = vcpu.roots.of(address);
  if (is_new && root) found->second = tables_[0].walk(*root, page << kPageShift).address;
  if (!found->second) return {};
  return *found->second | (address & (kPageBytes - 1));
}

void Converter::append_piece(u32 index, const RawAccess& access, u64 bytes, bool continues) {
  write_exit(index);
  Vcpu& vcpu = vcpus_[index];
  Access piece{};
  piece.gva = Gva(access.address);
  piece.size = static_cast<u16>(bytes);
  piece.kind = access.kind;
  piece.flags = static_cast<u8>(kGvaKnown | (continues ? kContinues : 0));
  const std::optional<u64> walked = stream_.nested() || !access.physical_known
                                        ? guest_physical(vcpu, access.address, access.kind)
                                        : std::nullopt;
  if (stream_.nested() && access.physical_known) {
    piece.hpa = Hpa(access.physical);
    piece.flags |= kHpaKnown;
  }
  if (walked || (!stream_.nested() && access.physical_known)) {
    piece.gpa = Gpa(walked.value_or(access.physical));
    piece.flags |= kGpaKnown;
  }
  const u64 most = continues ? 0 : std::numeric_limits<u32>::max();
  piece.instructions = static_cast<u32>(std::min(vcpu.passed, most));
  vcpu.passed -= piece.instructions;
  if (const auto breach = rules_.breach_of_access(index)) {
    Place{folder_.stream_name(), access.offset}.expect_no(breach);
  }
  ++vcpu.records;
  writer_.append(index, piece);
}

// The frame that the stream has is that of the first page; the tables have that of the second.
void Converter::access(u32 index, const RawAccess& access) {
  expect_guest(vcpus_[index], "an access", access.offset);
  vcpus_[index].passed += access.instructions;
  vcpus_[index].clock += access.instructions;
  const u64 offset = access.address % kPageBytes;
  const u64 first = std::min(access.bytes, kPageBytes - offset);
  append_piece(index, access, first, false);
  RawAccess rest = access;
  for (u64 done = first; done < access.bytes; done += kPageBytes) {
    rest.address = access.address + done;
    rest.physical_known = false;
    append_piece(index, rest, std::min(access.bytes - done, kPageBytes), true);
  }
}

// What a hypervisor does is not recorded.
void Converter::expect_guest(Vcpu& vcpu, const char* what, u64 offset) const {
  if (vcpu.world == World::Hypervisor) [[unlikely]] {
    Place{folder_.stream_name(), offset}.fail(std::string("a guest entry before ") + what, "none");
  }
  vcpu.world = World::Guest;
}

void Converter::append(u32 index, EventDetail detail) {
  write_exit(index);
  const Event event{std::exchange(vcpus_[index].passed, 0), std::move(detail)};
  rules_.follow(index, vcpus_[index].records++, event);
  writer_.append(index, event);
}

void Converter::event(u32 index, const RawEvent& event) {
  Vcpu& vcpu = vcpus_[index];
  const Place place{folder_.stream_name(), event.offset};
  ByteReader from(event.payload, place);
  const u64 clock_before = vcpu.clock;
  vcpu.passed += event.instructions;
  vcpu.clock += event.instructions;
  for (const auto& [kind, flag, name] : kNeeds) {
    if (kind == event.kind) place.expect_no(stream_.breach_without(flag, name));
  }
  switch (event.kind) {
    case EventKind::Switch:
      on_switch(index, from, place);
      break;
    case EventKind::Fence:
      on_fence(index, from, place);
      break;
    case EventKind::GuestEntry:
      on_guest_entry(index, from, place);
      break;
    case EventKind::GuestExit:
      on_guest_exit(index, place);
      break;
    case EventKind::ExitState:
      on_exit_state(index, from, place);
      break;
    case EventKind::Time:
      on_time(index, clock_before, from.take_varint("a clock"), place);
      break;
    case EventKind::Phase:
      expect_guest(vcpu, "a phase", event.offset);
      append(index, PhaseMarker{from.take_varint("a phase"), ""});
      break;
    case EventKind::Table:
      on_table(index, from, place);
      break;
    case EventKind::Entry:
      on_entry(index, from, place);
      break;
    default:
      ++dropped_.events;
      return;
  }
  from.expect_end("an event");
}

// ---- guests ----

void Converter::on_guest_entry(u32 index, ByteReader& from, const Place& place) {
  Vcpu& vcpu = vcpus_[index];
  recording::take_operand(from);
  if (vcpu.world == World::Guest) place.fail("a guest exit before another guest entry", "none");
  vcpu.world = World::Guest;
  append(index, VmEntry{isa().vmid(vcpu.registers)});
}

void Converter::on_guest_exit(u32 index, const Place& place) {
  Vcpu& vcpu = vcpus_[index];
  if (vcpu.world == World::Hypervisor) {
    place.fail("a guest entry before another guest exit", "none");
  }
  vcpu.world = World::Hypervisor;
  vcpu.left = true;
  vcpu.exit_state.clear();
}

void Converter::on_exit_state(u32 index, ByteReader& from, const Place& place) {
  Vcpu& vcpu = vcpus_[index];
  const u64 code = from.take_varint("a register");
  const u64 value = from.take_varint("its value");
  if (vcpu.world == World::Guest) place.fail("a guest exit before an exit state", "none");
  const StreamRegister* const found = find_row(&TracedIsa::registers, code, place);
  if (found == nullptr) return;
  const std::string name(found->name);
  if (!found->explains_exit) place.fail("a register that explains an exit", found->text(code));
  if (!vcpu.left) {
    ++dropped_.exit_states;
  } else if (!vcpu.exit_state.emplace(code, value).second) {
    place.fail("the exit state " + name + " once", "two");
  }
}

// An exit, when everything that explains it was read: before the vCPU's next record.
void Converter::write_exit(u32 index) {
  Vcpu& vcpu = vcpus_[index];
  if (std::exchange(vcpu.left, false)) append(index, isa().exit(vcpu.exit_state));
}

// ---- address spaces ----

// Null where only a newer recorder knows it.
template <class Row>
const Row* Converter::find_row(std::span<const Row> TracedIsa::*rows, u64 code,
                               const Place& place) {
  const auto row_in = [&](const TracedIsa& of) {
    const std::span<const Row> all = of.*rows;
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Row& row) { return row.has(code); });
    return found == all.end() ? nullptr : &*found;
  };
  if (const Row* const found = row_in(isa())) return found;
  for (const TracedIsa* const of : traced_isas()) {
    if (const Row* const found = row_in(*of)) {
      place.fail(Row::kWhat + std::string(" of ") + std::string(isa().name), found->text(code));
    }
  }
  ++dropped_.codes;
  return nullptr;
}

void Converter::on_switch(u32 index, ByteReader& from, const Place& place) {
  const u64 code = from.take_varint("a register");
  const Operand value = recording::take_operand(from);
  const StreamRegister* const found = find_row(&TracedIsa::registers, code, place);
  if (found == nullptr) return;
  const std::string name(found->name);
  if (found->explains_exit) place.fail("a register that is written", found->text(code));
  if (value.absent()) place.fail("the value that " + name + " gets", "none");
  if (!found->stage) return;
  if (found->stage == Stage::Host) return control_host(index, name, value);
  // A hypervisor has registers of the same names.
  if (vcpus_[index].world != World::Hypervisor) switch_space(index, name, value);
}

// Between guests a hypervisor has no second stage, or leaves the last one there.
void Converter::control_host(u32 index, const std::string& name, const Operand& value) {
  Vcpu& vcpu = vcpus_[index];
  if (stream_.nested() && value.lost()) ++dropped_.host_writes;
  if (!stream_.nested() || !value.exact() || value.value == 0) return;
  if (std::exchange(vcpu.registers[name], value.value) == value.value) return;
  append(index, ControlWrite{name, value.value});
}

void Converter::switch_space(u32 index, const std::string& name, const Operand& value) {
  Vcpu& vcpu = vcpus_[index];
  if (!value.exact()) {
    vcpu.roots = {};  // until the next switch, nothing is known
    vcpu.known.clear();
    return append(index, SpaceSwitch{0, 0, Precision::Widened});
  }
  const AddressSpaceTag before = isa().space(vcpu.registers);
  const u64 value_before = vcpu.registers[name];
  const RegisterWrite written = isa().write(vcpu.registers, name, value.value);
  vcpu.roots = guest_roots(stream_.architecture, vcpu.registers);
  vcpu.known.clear();
  const AddressSpaceTag space = isa().space(vcpu.registers);
  const u64 value_now = vcpu.registers[name];
  if (value_now != value_before && !written.in_space) append(index, ControlWrite{name, value_now});
  if (space != before || written.switches) {
    append(index, SpaceSwitch{space.root, space.asid, Precision::Exact});
  }
  if (written.flush) append(index, *written.flush);
}

void Converter::on_fence(u32 index, ByteReader& from, const Place& place) {
  const u64 code = from.take_varint("a fence");
  const Operand first = recording::take_operand(from);
  const Operand second = recording::take_operand(from);
  const StreamFence* const found = find_row(&TracedIsa::fences, code, place);
  if (found == nullptr) return;
  const unsigned operands = second.absent() ? (first.absent() ? 0 : 1) : 2;
  if (operands > found->operands) {
    place.fail(
        "at most " + std::to_string(found->operands) + " operands of fence " + std::to_string(code),
        std::to_string(operands));
  }
  if (vcpus_[index].world == World::Hypervisor) return;
  const u64 asid = isa().space(vcpus_[index].registers).asid;
  const std::optional<GuestFence> fence = isa().fence(code, first, second, asid);
  if (!fence) return;
  if (!stream_.system()) place.fail("the recording of a program", "a fence of a kernel");
  append(index, *fence);
}

// The instructions of the event itself may have passed while another vCPU ran.
void Converter::on_time(u32 index, u64 clock_before, u64 clock, const Place& place) {
  if (stream_.vcpus == 1) place.fail("several vCPUs, which times order", "one");
  if (clock < clock_before) {
    place.fail("a clock of at least " + std::to_string(clock_before), std::to_string(clock));
  }
  vcpus_[index].clock = std::max(vcpus_[index].clock, clock);
  append(index, TimeSync{clock});
}

// ---- page tables ----

void Converter::write_entry(u32 index, Stage stage, u64 address, u64 value) {
  if (!tables_[static_cast<u8>(stage)].put(address, value)) return;
  if (stage == Stage::Guest) forget_translations();
  append(index, TableWrite{stage, address, value});
}

Stage Converter::take_stage(ByteReader& from, const Place& place) const {
  const u8 stage = from.take<u8>("a stage");
  from.check_below(stage, std::size(kStageNames), "a stage");
  if (stage != 0) {
    place.expect_no(stream_.breach_without(recording::kGuestOnly, "tables of a second stage"));
  }
  return static_cast<Stage>(stage);
}

void Converter::on_entry(u32 index, ByteReader& from, const Place& place) {
  const Stage stage = take_stage(from, place);
  const u64 address = from.take_varint("the address of an entry");
  from.check_multiple(address, sizeof(u64), "the address of an entry");
  if (stage == stream_.stage_of_machine()) {
    stream_.check_in_memory(place, address, "an entry of a table");
  }
  write_entry(index, stage, address, from.take<u64>("an entry"));
}

// Only what differs from before is written: the page may have been a table already.
void Converter::on_table(u32 index, ByteReader& from, const Place& place) {
  constexpr u64 kEntries = kPageBytes / 8;
  const Stage stage = take_stage(from, place);
  const u64 page = from.take_varint("the address of a table");
  from.check_multiple(page, kPageBytes, "the address of a table");
  if (stage == stream_.stage_of_machine()) {
    stream_.check_in_memory(place, page, recording::kTablePage);
  }
  from.check_below(from.take<u8>("a level"), isa().most_levels, "a level");
  u64 entries[kEntries] = {};
  u64 next = 0;  // the first index that can follow
  for (u64 entry = 0; from.left() != 0; next = entry + 1) {
    entry += from.take_below(kEntries, "an index");
    from.check_below(entry, kEntries, "an index");
    if (entry < next) place.fail("each index of a table once", std::to_string(entry) + " twice");
    entries[entry] = from.take<u64>("an entry");
  }
  for (u64 entry = 0; entry < kEntries; ++entry) {
    write_entry(index, stage, page + entry * 8, entries[entry]);
  }
}

Totals Converter::finish(bool cut_off, const recording::OnCut& lose) {
  const std::pair<const char*, u64> drops[] = {
      {"events of unknown kinds: ", dropped_.events},
      {"events about unknown registers or fences: ", dropped_.codes},
      {"exit states that do not follow their exit: ", dropped_.exit_states},
      {"writes of second-stage registers whose value is lost: ", dropped_.host_writes}};
  for (const auto& [what, count] : drops) {
    if (count != 0) lose(what + std::to_string(count));
  }
  for (u32 index = 0; index < vcpus_.size(); ++index) write_exit(index);
  const bool has_end = folder_.has(When::End);
  if (cut_off && has_end) {
    lose("the registers and page tables of the end are of a later moment: they are left out");
  }
  if (cut_off || !has_end) {
    folder_.check();
  } else {
    load(When::End);
  }
  writer_.finish();
  return writer_.totals();
}

}  // namespace

Totals import_recording(const std::string& folder, ByteSink& sink,
                        const std::function<void(const std::string&)>& on_loss,
                        const Writer::Options& options, const OnProgress& progress) {
  std::error_code none;
  if (fs::exists(folder, none) && !fs::is_directory(folder, none)) {
    throw InputError(folder, "expected the folder of a recording, found a file");
  }
  const std::unique_ptr<ByteSource> stream = open_source(folder + "/stream");
  return import_recording(folder, *stream, sink, on_loss, options, progress);
}

Totals import_recording(const std::string& folder, ByteSource& stream, ByteSink& sink,
                        const std::function<void(const std::string&)>& on_loss,
                        const Writer::Options& options, const OnProgress& progress) {
  const auto lose = [&](const std::string& line) { on_loss(stream.name() + ": " + line); };
  recording::StreamReader reader(stream);
  // Of a recording that is still made, the other files are there when the first chunk is.
  bool cut_off = false;
  const auto on_cut = [&](const std::string& line) {
    cut_off = true;
    lose(line);
  };
  bool more = reader.next(on_cut);
  Converter converter(folder, reader.header(), sink, options);
  const u64 size = stream.seekable_size();
  for (; more; more = reader.next(on_cut)) {
    reader.visit(converter);
    progress(stream.bytes_read(), size, reader.counts().records);
  }
  return converter.finish(cut_off, lose);
}

}  // namespace nestwalk::traces
