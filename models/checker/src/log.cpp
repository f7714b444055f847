// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/log.hpp"

#include <algorithm>
#include <charconv>

#include "nestwalk/checker/tables.hpp"
#include "nestwalk/models/base/hex.hpp"

namespace nestwalk::checker {

using models::hex;
using models::Words;

namespace {

using addrspace::Capabilities;
using addrspace::Geometry;

/// What the VM's root would have to be; empty: it may be this one.
std::string root_of(const Geometry& shape, u64 root) {
  const u64 alignment = addrspace::kFrameBytes << shape.root_order();
  const unsigned bits = shape.output_bits;
  if (root % alignment == 0 && root >> bits == 0) return "";
  return "a root of " + std::to_string(bits) + " bits, a multiple of " + std::to_string(alignment);
}

/// The same of its EPTP, VTTBR_EL2 or hgatp, which differs from the engine's in options alone.
std::string register_of(const models::LogFormat::Made& made, const Vm& vm) {
  const models::Extension& extension = made.format->extension();
  const u64 engines = made.root_register(vm.nested.root, vm.vmid);
  if (extension.may_differ(vm.root_register ^ engines)) return "";
  return "register=" + hex(engines) + extension.register_note;
}

unsigned most_gpa_bits(const Vm& vm) { return vm.nested.format->isa().most_gpa_bits; }

/// "a, b or c"
std::string one_of(const Words& words) {
  std::string text;
  for (std::size_t n = 0; n < words.size(); ++n) {
    if (n != 0) text += n + 1 == words.size() ? " or " : ", ";
    text += words[n];
  }
  return text;
}

constexpr const char* kFirstLine = "nestwalk-fence-log 1";

}  // namespace

/// The words of one line, from left to right.
class LogReader::Line {
 public:
  Line(const std::string& name, u64 number, const std::string& text)
      : name_(&name), number_(number), text_(&text), end_(text.size()) {}

  bool at_end() {
    at_ = std::min(text_->find_first_not_of(" \t\r", at_), end_);
    return at_ == end_;
  }
  std::string rest() {
    std::string all = at_end() ? "" : text_->substr(at_, end_ - at_);
    while (!all.empty() && (all.back() == '\r' || all.back() == ' ')) all.pop_back();
    at_ = end_;
    return all;
  }
  /// What stands behind the last `@`, if that begins the last word; the line ends before it then.
  std::string take_site() {
    const std::size_t last = text_->find_last_not_of(" \t\r");
    const std::size_t at = text_->find_last_of(" \t", last) + 1;
    if (at < at_ || (*text_)[at] != '@') return "";
    end_ = at;
    std::string site = text_->substr(at + 1, last - at);
    if (site.empty()) fail("a place behind @", quoted("@"));
    return site;
  }
  std::string word(const char* expected) {
    if (at_end()) fail(expected, "the end of the line");
    const std::size_t end = std::min(text_->find_first_of(" \t\r", at_), end_);
    last_ = text_->substr(at_, end - at_);
    at_ = end;
    return last_;
  }
  u64 number(const char* expected) { return number_in(word(expected), expected); }
  u64 number_in(const std::string& text, const char* expected) {
    const bool hex = text.rfind("0x", 0) == 0;
    const char* const end = text.data() + text.size();
    u64 value = 0;
    const auto [stop, error] =
        std::from_chars(text.data() + (hex ? 2 : 0), end, value, hex ? 16 : 10);
    if (error != std::errc() || stop != end) fail(expected, quoted(text));
    return value;
  }
  u64 address(unsigned bits, const std::string& expected) {
    const u64 value = number(expected.c_str());
    if ((value & ~addrspace::low_mask(bits)) != 0) {
      fail(expected + " of " + std::to_string(bits) + " bits", quoted(last_));
    }
    return value;
  }
  u64 below(u64 limit, const char* expected) {
    const u64 value = number(expected);
    if (value >= limit) fail(expected, quoted(last_));
    return value;
  }
  u64 multiple(u64 of, const char* expected) {
    const u64 value = number(expected);
    if (value % of != 0) fail(expected, quoted(last_));
    return value;
  }
  void end() {
    if (!at_end()) fail("the end of the line", quoted(rest()));
  }

  const std::string& last() const { return last_; }
  static std::string quoted(const std::string& text) {
    constexpr std::size_t kMost = 80;
    return "\"" + (text.size() > kMost ? text.substr(0, kMost) + "..." : text) + "\"";
  }
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw LogError(
        *name_, "line " + std::to_string(number_) + ": expected " + expected + ", found " + found);
  }

 private:
  const std::string* name_;
  u64 number_;
  const std::string* text_;
  std::size_t end_;
  std::size_t at_ = 0;
  std::string last_;
};

void LogReader::read(std::istream& in, const std::string& name, Events& events) {
  // An array bounds what is kept of a line before its end comes.
  const auto line = std::make_unique<std::array<char, kMostLineBytes + 1>>();
  for (std::string text;
       in.getline(line->data(), static_cast<std::streamsize>(line->size())) || in.gcount() != 0;) {
    const bool ended = !in.eof() && !in.fail();  // by an end of line, which counts
    text.assign(line->data(), static_cast<std::size_t>(in.gcount()) - (ended ? 1 : 0));
    if (in.fail()) {
      Line(name, line_ + 1, text)
          .fail("a line of at most " + std::to_string(kMostLineBytes) + " bytes", "a longer one");
    }
    read_line(text, name, events);
  }
  if (line_ == 0) Line(name, 1, {}).fail(Line::quoted(kFirstLine), "the end of the file");
  for (const Processor& each : processors_) expect_end(each.own, name);
  for (const auto& [id, each] : tasks_) expect_end(each, name);
}

/// What an operation owes is judged when it ends: one whose end is lost swallows all after it.
void LogReader::expect_end(const Nesting& nesting, const std::string& name) const {
  if (nesting.depth == 0) return;
  const std::string processor = std::to_string(nesting.processor);
  Line(name, nesting.begun, {})
      .fail("an end of the operation that processor " + processor + " begins here",
            "the end of the log");
}

LogReader::Nesting& LogReader::nesting_on(u32 number) {
  Processor& processor = processors_[number];
  return processor.task ? tasks_[*processor.task] : processor.own;
}

void LogReader::read_line(const std::string& text, const std::string& name, Events& events) {
  Line line(name, ++line_, text);
  if (line_ == 1) {
    const std::string first = line.rest();
    if (first != kFirstLine) line.fail(Line::quoted(kFirstLine), Line::quoted(first));
    return;
  }
  if (line.at_end() || text[text.find_first_not_of(" \t\r")] == '#') return;
  event(line, events);
}

LogReader::Known& LogReader::known_vm(Line& line) {
  const u64 id = line.number("the number of a VM");
  const auto found = vms_.find(static_cast<u32>(id));
  if (found == vms_.end() || found->first != id) {
    line.fail("the number of a VM that was created", Line::quoted(line.last()));
  }
  return found->second;
}

/// One that is entered, or faults: not any more after its end.
LogReader::Known& LogReader::living_vm(Line& line) {
  Known& known = known_vm(line);
  if (known.destroyed) line.fail("a VM that is there still", "one that was destroyed");
  return known;
}

void LogReader::expect_inside(Line& line, u32 processor, const Known& known) const {
  const Vm* const inside = processors_[processor].inside;
  if (inside == &known.vm || processors_[processor].may_be_in == &known.vm) return;
  line.fail("a processor that is in VM " + std::to_string(known.vm.id),
            inside == nullptr ? "one in no guest" : "one in VM " + std::to_string(inside->id));
}

void LogReader::event(Line& line, Events& events) {
  using Handler = void (LogReader::*)(Line&, const Moment&, Events&);
  struct Row {
    const char* name;
    Handler handler;
    bool has_site = false;
  };
  static constexpr Row kRows[] = {
      {"store", &LogReader::store, true}, {"fence", &LogReader::fence, true},
      {"access", &LogReader::access},     {"begin", &LogReader::begin},
      {"end", &LogReader::end},           {"enter", &LogReader::enter},
      {"exit", &LogReader::exit},         {"fault", &LogReader::fault},
      {"free", &LogReader::free, true},   {"destroy", &LogReader::destroy},
      {"alloc", &LogReader::alloc},       {"vm", &LogReader::vm},
      {"task", &LogReader::task},
  };
  Moment when;
  when.line = line_;
  when.cycle = line.number("a cycle");
  when.processor = static_cast<u32>(line.below(kMostProcessors, "a processor from 0 to 63"));
  const std::string what = line.word("an event");
  for (const Row& row : kRows) {
    if (what != row.name) continue;
    if (row.has_site) when.site = interned(line.take_site());
    try {
      return (this->*row.handler)(line, when, events);
    } catch (const TableError& error) {
      line.fail(error.expected, error.found);
    }
  }
  line.fail(
      "an event: vm, destroy, enter, exit, fault, task, begin, end, store, fence, free, alloc or "
      "access",
      Line::quoted(what));
}

/// The same text at the same place.
std::string_view LogReader::interned(const std::string& site) {
  return site.empty() ? std::string_view() : *sites_.insert(site).first;
}

/// Flags that a walk sets in an entry without that being told, where a VM's hardware does.
void LogReader::add_flags_of(const models::EntryFormat& format) {
  const models::Extension& extension = format.extension();
  const models::StageRules& rules = format.rules();
  if (rules.accessed == models::Upkeep::Updated) set_by_hardware_ |= extension.accessed_flag;
  if (rules.dirty == models::Upkeep::Updated) set_by_hardware_ |= extension.dirty_flag;
}

void LogReader::store(Line& line, const Moment& when, Events& events) {
  const u64 slot = line.multiple(8, "an entry's address, a multiple of 8");
  expect_host(line, slot);
  const u64 before = line.number("the entry before");
  const std::string said = line.last();
  const u64 after = line.number("the entry after");
  line.end();
  u64& entry = entries_[slot];
  const u64 flags = entry == 0 ? 0 : before & set_by_hardware_;
  if (((before ^ entry) & ~flags) != 0) {
    line.fail("what was stored there, " + hex(entry), Line::quoted(said));
  }
  entry = after;
  events.entry_stored(when, slot, before, after);
}

void LogReader::begin(Line& line, const Moment& when, Events& events) {
  const std::string name = line.rest();
  if (name.empty()) line.fail("an operation's name", "the end of the line");
  Nesting& nesting = nesting_on(when.processor);
  if (nesting.depth++ == 0) nesting.begun = line_, nesting.processor = when.processor;
  events.operation_begun(when, name);
}

void LogReader::end(Line& line, const Moment& when, Events& events) {
  line.end();
  u32& depth = nesting_on(when.processor).depth;
  if (depth == 0) line.fail("an operation that began", "the end of none");
  --depth;
  events.operation_ended(when);
}

void LogReader::task(Line& line, const Moment& when, Events& events) {
  const u64 task = line.number("the number of a task");
  line.end();
  processors_[when.processor].task = task;
  events.task_switched(when, task);
}

void LogReader::enter(Line& line, const Moment& when, Events& events) {
  Known& known = living_vm(line);
  line.end();
  Processor& processor = processors_[when.processor];
  if (processor.inside != nullptr) {
    line.fail("a processor that is in no guest",
              "one in VM " + std::to_string(processor.inside->id));
  }
  const Vm* const other = processor.may_be_in == &known.vm ? nullptr : processor.may_be_in;
  if (other != nullptr) events.vm_left(when, other->id);
  processor.now_in(&known.vm);
  events.vm_entered(when, known.vm.id);
}

void LogReader::exit(Line& line, const Moment& when, Events& events) {
  Known& known = living_vm(line);
  line.end();
  expect_inside(line, when.processor, known);
  processors_[when.processor].now_in(nullptr);
  events.vm_left(when, known.vm.id);
}

// The hypervisor may have left the guest when it tells of its fault.
void LogReader::fault(Line& line, const Moment& when, Events& events) {
  const Known& known = living_vm(line);
  const u32 vm = known.vm.id;
  if (processors_[when.processor].inside != nullptr) expect_inside(line, when.processor, known);
  // Above the tables' addresses, the guest faults.
  const u64 gpa = line.address(most_gpa_bits(known.vm), "a guest-physical address");
  addrspace::Access access{};
  if (!line.at_end()) {
    const std::string kind = line.word("read, write or execute");
    if (kind == "read") access = addrspace::kRead;
    if (kind == "write") access = addrspace::kWrite;
    if (kind == "execute") access = addrspace::kExecute;
    if (access == addrspace::Access{}) line.fail("read, write or execute", Line::quoted(kind));
  }
  line.end();
  events.vm_faulted(when, vm, gpa, access);
}

void LogReader::destroy(Line& line, const Moment& when, Events& events) {
  Known& known = living_vm(line);
  line.end();
  for (const Processor& each : processors_) {
    const bool inside = each.inside == &known.vm || each.may_be_in == &known.vm;
    if (inside) line.fail("a VM that every processor has left", "one that runs");
  }
  known.destroyed = true;
  events.vm_destroyed(when, known.vm.id);
}

// A log that tells of no `alloc` may free the same memory again: it was taken in between.
void LogReader::free(Line& line, const Moment& when, Events& events) {
  const auto [first, bytes] = frames(line);
  if (const auto known = freed_.find(first, bytes); known && tells_of_taken_) {
    line.fail("memory that is not free already", hex(*known));
  }
  freed_.add(first, bytes);
  taken_.remove(first, bytes);
  events.frames_freed(when, first, bytes);
}

void LogReader::alloc(Line& line, const Moment& when, Events& events) {
  const auto [first, bytes] = frames(line);
  if (const auto known = taken_.find(first, bytes)) {
    line.fail("memory that is not taken already", hex(*known));
  }
  tells_of_taken_ = true;
  taken_.add(first, bytes);
  freed_.remove(first, bytes);
  events.frames_allocated(when, first, bytes);
}

void LogReader::expect_host(Line& line, u64 last) {
  last_host_ = std::max(last_host_, last);
  if ((last & ~addrspace::low_mask(host_bits_)) == 0) return;
  line.fail("host memory of " + std::to_string(host_bits_) + " bits", hex(last));
}

/// Whose contents are not known any more.
LogReader::Frames LogReader::frames(Line& line) {
  const u64 first = line.multiple(4096, "an address, a multiple of 4096");
  const u64 bytes = line.multiple(4096, "a size, a multiple of 4096");
  if (bytes == 0 || first + (bytes - 1) < first) line.fail("a size", Line::quoted(line.last()));
  expect_host(line, first + (bytes - 1));
  line.end();
  const auto from = entries_.lower_bound(first);
  entries_.erase(from, entries_.upper_bound(first + (bytes - 1)));
  return {first, bytes};
}

void LogReader::vm(Line& line, const Moment& when, Events& events) {
  Vm vm;
  vm.id = static_cast<u32>(line.below(u64{1} << 32, "a number for the VM"));
  if (vms_.count(vm.id) != 0) line.fail("a number that no VM had", Line::quoted(line.last()));
  const std::string name = line.word("a table format");
  const models::LogFormat* row = nullptr;
  const models::Extension* extension = nullptr;
  Words known;
  for (const models::Extension* each : extensions_) {
    for (const models::LogFormat& format : each->log_formats) {
      known.push_back(format.name);
      if (name != format.name) continue;
      row = &format;
      extension = each;
    }
  }
  if (row == nullptr) line.fail(one_of(known), Line::quoted(name));
  Capabilities machine;
  machine.physical_bits = 52;
  machine.page_memory_types = true;
  machine.napot_pages = true;
  machine.leaf_levels = 0b11111;
  machine.most_levels = 5;
  u64 size = row->size;
  u64 vmid = 0;
  std::map<std::string, std::string> given;
  while (!line.at_end()) {
    const std::string word = line.word("a property");
    const std::size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    if (!given.emplace(key, word).second) line.fail("each property once", Line::quoted(word));
    const auto value = [&] {
      return line.number_in(equals == std::string::npos ? "" : word.substr(equals + 1),
                            "KEY=NUMBER");
    };
    if (key == "root") {
      vm.nested.root = value();
    } else if (key == "vmid") {
      vmid = value();
    } else if (key == "register") {
      vm.root_register = value();
    } else if (key == "processors") {
      vm.processors = value();
    } else if (row->size_key != nullptr && key == row->size_key) {
      size = value();
    } else if (word == "dirty") {
      machine.hardware_dirty = true;
    } else if (word == extension->log_flag) {
      static_cast<models::VmTraits&>(vm) = extension->flagged;
    } else {
      const std::string sized =
          row->size_key == nullptr ? "" : std::string(row->size_key).append("=, ");
      line.fail("a property of " + name + ": root=, vmid=, register=, processors=, " + sized +
                    "dirty or " + extension->log_flag,
                Line::quoted(word));
    }
  }
  if (given.count("root") == 0) line.fail("root=ADDRESS", "the end of the line");
  const auto made = row->make(size, machine);
  if (!made) line.fail("a shape that " + name + " has", std::to_string(size));
  formats_.push_back(made->format);
  vm.nested.format = made->format.get();
  vm.nested.geometry = made->geometry;
  if (first_format_ != nullptr && &first_format_->extension() != extension) {
    line.fail("a VM of the same virtualization extension as the first", Line::quoted(name));
  }
  const unsigned vmid_bits = extension->vmid_bits;
  if (vmid >> vmid_bits != 0) {
    line.fail("a VMID of " + std::to_string(vmid_bits) + " bits", Line::quoted(given["vmid"]));
  }
  vm.vmid = static_cast<u16>(vmid);
  const std::string root = root_of(made->geometry, vm.nested.root);
  if (!root.empty()) line.fail(root, Line::quoted(given["root"]));
  if (given.count("register") == 0) {
    vm.root_register = vm.nested.root;
  } else {
    const std::string root_register = register_of(*made, vm);
    if (!root_register.empty()) line.fail(root_register, Line::quoted(given["register"]));
  }
  if (first_format_ == nullptr) {
    first_format_ = vm.nested.format;
    host_bits_ = vm.nested.geometry.output_bits;
    expect_host(line, last_host_);
  }
  add_flags_of(*vm.nested.format);
  claim_processors(line, vms_.emplace(vm.id, Known{vm}).first->second.vm);
  events.vm_created(when, vm);
}

void LogReader::claim_processors(Line& line, const Vm& vm) {
  for (u32 number = 0; number < kMostProcessors; ++number) {
    if ((vm.processors >> number & 1) == 0) continue;
    Processor& each = processors_[number];
    const std::string name = "processor " + std::to_string(number);
    if (each.told) line.fail("processors that entered and left no VM yet", name);
    if (each.may_be_in != nullptr) {
      line.fail("processors that are in no other VM",
                name + ", which may be in VM " + std::to_string(each.may_be_in->id));
    }
    each.may_be_in = &vm;
  }
}

void LogReader::fence(Line& line, const Moment& when, Events& events) {
  const Vm* selected = nullptr;
  Line ahead = line;
  if (ahead.word("the number of a VM, or -") == "-") {
    line = ahead;
  } else {
    selected = &known_vm(line).vm;
  }
  const std::string text = line.rest();
  if (first_format_ == nullptr) {
    // Nothing of any VM is cached yet: it removes nothing, and is none too many.
    const bool known = std::any_of(extensions_.begin(), extensions_.end(), [&](const auto* each) {
      return parse_instruction(text, *each).has_value();
    });
    if (!known) line.fail("an instruction that fences", Line::quoted(text));
    return;
  }
  const auto instruction = parse_instruction(text, first_format_->extension());
  if (!instruction) {
    line.fail(std::string("an instruction of ") + first_format_->extension().name + " that fences",
              Line::quoted(text));
  }
  tell(events, when, *instruction, selected == nullptr ? Vm() : *selected);
}

void LogReader::access(Line& line, const Moment& when, Events& events) {
  Access access;
  access.when = when;
  access.position = line_;
  const Known& known = living_vm(line);
  expect_inside(line, when.processor, known);
  processors_[when.processor].now_in(&known.vm);
  access.vm = known.vm.id;
  access.gva = line.number("a guest-virtual address");
  const Geometry& geometry = known.vm.nested.geometry;
  access.gpa = line.address(std::min<unsigned>(geometry.input_bits, most_gpa_bits(known.vm)),
                            "a guest-physical address");
  // No page is smaller.
  const auto ends_alike = [](u64 a, u64 b) { return (a ^ b) % addrspace::kFrameBytes == 0; };
  if (!ends_alike(access.gva, access.gpa)) {
    line.fail("a guest-physical address that ends like the guest-virtual one",
              Line::quoted(line.last()));
  }
  const std::string kind = line.word("read or write");
  if (kind != "read" && kind != "write") line.fail("read or write", Line::quoted(kind));
  access.write = kind == "write";
  if (!line.at_end()) {
    access.seen = line.address(geometry.output_bits, "a host address");
    if (!ends_alike(access.gpa, *access.seen)) {
      line.fail("a host address that ends like the guest-physical one", Line::quoted(line.last()));
    }
  }
  line.end();
  events.accessed(access);
}

}  // namespace nestwalk::checker
