// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/recording.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <unordered_map>

#include "importers/input.hpp"
#include "importers/recording_folder.hpp"
#include "importers/recording_stream.hpp"
#include "isa/isa.hpp"
#include "nestwalk/traces/recorded_tables.hpp"

namespace nestwalk::traces {
namespace {

namespace fs = std::filesystem;
using recording::EventKind;
using recording::Operand;
using recording::RawAccess;
using recording::RawEvent;
using recording::RecordingFolder;

constexpr u64 kMostCodes = 64;  // of registers
constexpr std::size_t kMostKnownPages = std::size_t{1} << 16;

// Fences are not among them: a program may execute a barrier.
bool is_of_machine(EventKind kind) {
  return kind == EventKind::Switch || kind == EventKind::GuestEntry ||
         kind == EventKind::GuestExit || kind == EventKind::ExitState || kind == EventKind::Table ||
         kind == EventKind::Entry;
}

class Converter : public recording::Visitor {
 public:
  Converter(fs::path folder, const recording::StreamHeader& stream, ByteSink& sink,
            const Writer::Options& options);

  void access(u32 vcpu, const RawAccess& access) override;
  void event(u32 vcpu, const RawEvent& event) override;
  Totals finish();
  /// That only a newer recorder writes.
  u64 unknown_events() const { return unknown_events_; }

 private:
  struct Vcpu {
    Registers registers;
    StageRoots roots;
    u64 clock = 0;               ///< of its last record, in the stream
    u64 passed = 0;              ///< instructions since the last record that was written
    bool in_guest = true;        ///< what is recorded is the guest's
    std::optional<VmExit> exit;  ///< not written yet: what explains it may follow
    std::unordered_map<u64, u64> exit_state;
    std::unordered_map<u64, std::optional<u64>> known;  ///< guest-physical pages
  };

  Header header() const;
  void load(When when);
  void forget_translations();
  std::optional<u64> guest_physical(Vcpu& vcpu, u64 address);
  void append_piece(u32 index, const RawAccess& access, u64 bytes, bool continues);
  void append(u32 index, EventDetail detail);
  const StreamRegister* find_register(u64 code, const Place& place) const;
  void on_switch(u32 index, ByteReader& from, const Place& place);
  void on_fence(u32 index, ByteReader& from, const Place& place);
  void on_time(u32 index, u64 clock_before, u64 clock, const Place& place);
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
  u64 unknown_events_ = 0;
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
  Registers registers;
  for (const auto& [name, value] : folder_.registers(When::Begin, 0)) registers[name] = value;
  header.guest_tables = format_name(guest_roots(stream_.architecture, registers).lower);
  if (stream_.nested())
    header.host_tables = format_name(host_root(stream_.architecture, registers));
  return header;
}

Converter::Converter(fs::path folder, const recording::StreamHeader& stream, ByteSink& sink,
                     const Writer::Options& options)
    : stream_(stream),
      folder_(std::move(folder), stream),
      vcpus_(stream.vcpus),
      tables_{RecordedTables(folder_.stream_name()), RecordedTables(folder_.stream_name())},
      writer_(sink, header(), options) {
  load(When::Begin);
}

// Tables and registers of the begin or the end become side data; those of the begin are where the
// converter's own copy starts.
void Converter::load(When when) {
  folder_.check_registers();
  const auto registers = folder_.registers(when, 0);
  if (registers.empty() && stream_.system() && when == When::Begin) {
    throw InputError(folder_.path() / "registers.begin", 0,
                     "registers, which a recording of a whole machine has", "none");
  }
  if (registers.empty()) return;
  writer_.append(SideData{when, Stage::Guest, 0, registers, folder_.tables(when, Stage::Guest)});
  for (u32 index = 1; index < vcpus_.size(); ++index) {
    const auto own = folder_.registers(when, index);
    if (!own.empty()) writer_.append(SideData{when, Stage::Guest, index, own, {}});
  }
  if (stream_.nested()) {
    writer_.append(SideData{when, Stage::Host, 0, {}, folder_.tables(when, Stage::Host)});
  }
  if (when == When::End) return;
  for (const Stage stage : {Stage::Guest, Stage::Host}) {
    for (const TablePage& page : folder_.tables(when, stage)) {
      tables_[static_cast<u8>(stage)].put(page);
    }
  }
  for (u32 index = 0; index < vcpus_.size(); ++index) {
    Vcpu& vcpu = vcpus_[index];
    const auto own = index == 0 ? registers : folder_.registers(when, index);
    vcpu.registers = {own.begin(), own.end()};
    vcpu.roots = guest_roots(stream_.architecture, vcpu.registers);
  }
}

void Converter::forget_translations() {
  for (Vcpu& vcpu : vcpus_) vcpu.known.clear();
}

std::optional<u64> Converter::guest_physical(Vcpu& vcpu, u64 address) {
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
                                        ? guest_physical(vcpu, access.address)
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
  writer_.append(index, piece);
}

// The frame that the stream has is that of the first page; the tables have that of the second.
void Converter::access(u32 index, const RawAccess& access) {
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

void Converter::append(u32 index, EventDetail detail) {
  write_exit(index);
  writer_.append(index, Event{std::exchange(vcpus_[index].passed, 0), std::move(detail)});
}

void Converter::event(u32 index, const RawEvent& event) {
  Vcpu& vcpu = vcpus_[index];
  const Place place{folder_.stream_name(), event.offset};
  ByteReader from(event.payload, place);
  const u64 clock_before = vcpu.clock;
  vcpu.passed += event.instructions;
  vcpu.clock += event.instructions;
  if (!stream_.system() && is_of_machine(event.kind)) {
    place.fail(
        "the recording of a program",
        "an event of a machine (kind " + std::to_string(static_cast<unsigned>(event.kind)) + ")");
  }
  switch (event.kind) {
    case EventKind::Switch:
      return on_switch(index, from, place);
    case EventKind::Fence:
      return on_fence(index, from, place);
    case EventKind::GuestEntry:
      vcpu.in_guest = true;
      return append(index, VmEntry{isa().vmid(vcpu.registers)});
    case EventKind::GuestExit:
      write_exit(index);
      vcpu.in_guest = false;
      vcpu.exit.emplace();
      return vcpu.exit_state.clear();
    case EventKind::ExitState: {
      const u64 code = from.take_varint("a register");
      const u64 value = from.take_varint("its value");
      find_register(code, place);
      if (code < kMostCodes) vcpu.exit_state[code] = value;
      return;
    }
    case EventKind::Time:
      return on_time(index, clock_before, from.take_varint("a clock"), place);
    case EventKind::Phase:
      return append(index, PhaseMarker{from.take_varint("a phase"), ""});
    case EventKind::Table:
      return on_table(index, from, place);
    case EventKind::Entry:
      return on_entry(index, from, place);
    default:
      ++unknown_events_;
  }
}

// An exit, when everything that explains it was read: before the vCPU's next record.
void Converter::write_exit(u32 index) {
  Vcpu& vcpu = vcpus_[index];
  if (!vcpu.exit) return;
  vcpu.exit.reset();
  append(index, isa().exit(vcpu.exit_state));
}

// ---- address spaces ----

// Null where only a newer recorder knows it.
const StreamRegister* Converter::find_register(u64 code, const Place& place) const {
  for (const TracedIsa* const of : traced_isas()) {
    const auto found = std::find_if(of->registers.begin(), of->registers.end(),
                                    [&](const StreamRegister& row) { return row.code == code; });
    if (found == of->registers.end()) continue;
    if (of != &isa()) {
      place.fail("a register of " + std::string(isa().name), traces::quoted(found->name));
    }
    return &*found;
  }
  return nullptr;
}

void Converter::on_switch(u32 index, ByteReader& from, const Place& place) {
  const u64 code = from.take_varint("a register");
  const Operand value = recording::take_operand(from);
  const StreamRegister* const found = find_register(code, place);
  if (found == nullptr || !found->stage) return;
  if (found->stage == Stage::Host) return control_host(index, std::string(found->name), value);
  // A hypervisor has registers of the same names.
  if (vcpus_[index].in_guest) switch_space(index, std::string(found->name), value);
}

// Between guests a hypervisor has no second stage, or leaves the last one there.
void Converter::control_host(u32 index, const std::string& name, const Operand& value) {
  Vcpu& vcpu = vcpus_[index];
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
  if (!vcpus_[index].in_guest) return;
  const u64 asid = isa().space(vcpus_[index].registers).asid;
  const std::optional<GuestFence> fence = isa().fence(code, first, second, asid);
  if (!fence) return;
  if (!stream_.system()) place.fail("the recording of a program", "a fence of a kernel");
  append(index, *fence);
}

// The instructions of the event itself may have passed while another vCPU ran.
void Converter::on_time(u32 index, u64 clock_before, u64 clock, const Place& place) {
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

void Converter::on_entry(u32 index, ByteReader& from, const Place& place) {
  const auto stage = static_cast<Stage>(from.take<u8>("a stage") & 1);
  const u64 address = from.take_varint("the address of an entry");
  if (stage == stream_.stage_of_machine())
    stream_.check_in_memory(place, address, "an entry of a table");
  write_entry(index, stage, address & ~u64{7}, from.take<u64>("an entry"));
}

// Only what differs from before is written: the page may have been a table already.
void Converter::on_table(u32 index, ByteReader& from, const Place& place) {
  constexpr u64 kEntries = kPageBytes / 8;
  const auto stage = static_cast<Stage>(from.take<u8>("a stage") & 1);
  const u64 page = from.take_varint("the address of a table") & ~(kPageBytes - 1);
  if (stage == stream_.stage_of_machine())
    stream_.check_in_memory(place, page, recording::kTablePage);
  from.take<u8>("a level");
  u64 entries[kEntries] = {};
  for (u64 entry = 0; from.left() != 0;) {
    entry += from.take_below(kEntries, "an index");
    from.check_below(entry, kEntries, "an index");
    entries[entry] = from.take<u64>("an entry");
  }
  for (u64 entry = 0; entry < kEntries; ++entry) {
    write_entry(index, stage, page + entry * 8, entries[entry]);
  }
}

Totals Converter::finish() {
  for (u32 index = 0; index < vcpus_.size(); ++index) write_exit(index);
  load(When::End);
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
  bool more = reader.next(lose);
  Converter converter(folder, reader.header(), sink, options);
  const u64 size = stream.seekable_size();
  for (; more; more = reader.next(lose)) {
    reader.visit(converter);
    progress(stream.bytes_read(), size, reader.counts().records);
  }
  if (converter.unknown_events() != 0) {
    lose("events of unknown kinds: " + std::to_string(converter.unknown_events()));
  }
  return converter.finish();
}

}  // namespace nestwalk::traces
