// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "importers/recording_folder.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "importers/input.hpp"
#include "nestwalk/traces/recorded_tables.hpp"
#include "nestwalk/traces/rules.hpp"

namespace nestwalk::traces::recording {
namespace {

namespace fs = std::filesystem;
using Notes = RecordingFolder::Notes;
using RegisterList = RecordingFolder::RegisterList;

std::string line_number(std::size_t lines_before) {
  return "line " + std::to_string(lines_before + 1) + ": ";
}

// Some recordings have no such file; one that is there must not be taken for missing.
std::optional<std::ifstream> open_if_there(const fs::path& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  const int number = errno;
  if (file.is_open()) return file;
  if (number != ENOENT) throw_cannot_be_opened(path, number);
  return std::nullopt;
}

/// Of a file of lines: what recorders write has some kilobytes. What lies there may have no end.
constexpr std::size_t kMostTextBytes = std::size_t{1} << 20;

// A line for each: name, a space, value.
Notes read_lines(const fs::path& path) {
  Notes lines;
  auto file = open_if_there(path);
  if (!file) return lines;
  std::string text(kMostTextBytes + 1, '\0');
  file->read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file->gcount()));
  if (text.size() > kMostTextBytes) {
    throw InputError(path,
                     "expected at most " + std::to_string(kMostTextBytes) + " bytes, found more");
  }
  std::set<std::string> names;
  std::istringstream rest(std::move(text));
  for (std::string line; std::getline(rest, line);) {
    const std::size_t space = line.find(' ');
    if (space == std::string::npos) {
      throw InputError(path, line_number(lines.size()) + "expected a name and a value, found " +
                                 traces::quoted(line));
    }
    lines.emplace_back(line.substr(0, space), line.substr(space + 1));
    if (!names.insert(lines.back().first).second) {
      throw InputError(path, line_number(lines.size() - 1) + "expected each name once, found " +
                                 traces::quoted(lines.back().first) + " twice");
    }
  }
  return lines;
}

RegisterList read_registers(const fs::path& path, Architecture architecture) {
  RegisterList registers;
  for (const auto& [name, text] : read_lines(path)) {
    if (const auto breach = breach_of_register(architecture, name)) {
      throw InputError(path, line_number(registers.size()) + "expected " + breach->expected +
                                 ", found " + breach->found);
    }
    const std::string digits = text.substr(text.starts_with("0x") ? 2 : 0);
    u64 value = 0;
    const char* const last = digits.data() + digits.size();
    const auto [end, error] = std::from_chars(digits.data(), last, value, 16);
    if (error != std::errc() || end != last) {
      throw InputError(path, line_number(registers.size()) + "expected a hexadecimal number for " +
                                 traces::quoted(name) + ", found " + traces::quoted(text));
    }
    registers.emplace_back(name, value);
  }
  return registers;
}

// All lie in the memory of the machine, if it is given.
std::vector<TablePage> read_tables(const fs::path& path, const StreamHeader* machine) {
  struct Head {
    char magic[8];
    u32 version, pages;
  };
  std::vector<TablePage> pages;
  auto file = open_if_there(path);
  if (!file) return pages;
  const Place place{path, 0};
  // So much of the file as there is.
  std::vector<u8> bytes;
  const auto next = [&](std::size_t most) -> ByteReader {
    bytes.resize(most);
    file->read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(most));
    bytes.resize(static_cast<std::size_t>(file->gcount()));
    return {bytes, place};
  };
  ByteReader from = next(sizeof(Head));
  const auto head = from.take<Head>("the head of the tables");
  if (std::memcmp(head.magic, "nwtables", sizeof head.magic) != 0) {
    place.fail("page tables (nwtables)", "something else");
  }
  if (head.version != 1) place.fail("tables of version 1", std::to_string(head.version));
  if (head.pages > RecordedTables::kMaxPages) {
    place.fail("at most " + std::to_string(RecordedTables::kMaxPages) + " pages of tables",
               std::to_string(head.pages));
  }
  std::set<u64> addresses;
  for (from = next(sizeof(u64) + kPageBytes); from.left() != 0;
       from = next(sizeof(u64) + kPageBytes)) {
    if (pages.size() == head.pages) {
      place.fail(std::to_string(head.pages) + " pages of tables", "more");
    }
    const u64 address = from.take<u64>("the address of a page");
    from.check_multiple(address, kPageBytes, "a page's address");
    if (machine != nullptr) machine->check_in_memory(place, address, kTablePage);
    if (!addresses.insert(address).second) {
      place.fail("each page of tables once", in_hex(address) + " twice");
    }
    const std::span<const u8> page = from.take_bytes(kPageBytes, "a page");
    pages.push_back({address, {page.begin(), page.end()}});
  }
  if (head.pages != pages.size()) {
    place.fail(std::to_string(head.pages) + " pages of tables", std::to_string(pages.size()));
  }
  return pages;
}

std::string name_of(When when) { return std::string(kWhenNames[static_cast<u8>(when)]); }

}  // namespace

Notes RecordingFolder::provenance() const {
  Notes notes = read_lines(path_ / "provenance");
  for (const auto& [name, value] : notes) check_note(name, value);
  return notes;
}

// What the recorder told the plugin as well. Numbers are decimal or, after 0x, hexadecimal.
void RecordingFolder::check_note(const std::string& name, const std::string& value) const {
  const std::pair<std::string_view, std::string> texts[] = {
      {"architecture", addrspace::to_string(stream_.architecture)},
      {"nested", stream_.nested() ? "yes" : "no"}};
  const std::pair<std::string_view, u64> numbers[] = {{"vcpus", stream_.vcpus},
                                                      {"memory_base", stream_.memory_base},
                                                      {"memory_bytes", stream_.memory_bytes}};
  const auto fail = [&](const std::string& expected) {
    throw InputError(path_ / "provenance", "expected " + name + " " + expected +
                                               ", as the stream says, found " +
                                               traces::quoted(value));
  };
  for (const auto& [known, expected] : texts) {
    if (name == known && value != expected) fail(expected);
  }
  for (const auto& [known, expected] : numbers) {
    if (name == known && value != std::to_string(expected) && value != in_hex(expected)) {
      fail(std::to_string(expected));
    }
  }
}

RegisterList RecordingFolder::registers(When when, u32 vcpu) const {
  const std::string name = "registers." + name_of(when);
  return read_registers(path_ / (vcpu == 0 ? name : name + "." + std::to_string(vcpu)),
                        stream_.architecture);
}

// Registers of a vCPU that the stream does not have are of another recording, and so are all
// registers beside the stream of a program.
void RecordingFolder::check_registers() const {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(path_, none)) {
    const std::string name = entry.path().filename();
    for (const std::string_view moment : kWhenNames) {
      const std::string first = "registers." + std::string(moment);
      const std::string begin = first + ".";
      if (name != first && !name.starts_with(begin)) continue;
      if (!stream_.system()) {
        const auto found = read_registers(entry.path(), stream_.architecture);
        if (found.empty()) continue;
        throw InputError(entry.path(),
                         line_number(0) +
                             "expected the recording of a program, without registers, found " +
                             traces::quoted(found.front().first));
      }
      if (name == first) continue;
      const std::string number = name.substr(begin.size());
      u32 vcpu = 0;
      const char* const last = number.data() + number.size();
      const auto [end, error] = std::from_chars(number.data(), last, vcpu);
      if (end == last && error == std::errc() && vcpu > 0 && vcpu < stream_.vcpus) continue;
      throw InputError(entry.path(), "expected registers of one of " +
                                         std::to_string(stream_.vcpus) + " vCPUs, found those of " +
                                         traces::quoted(number));
    }
  }
}

std::vector<TablePage> RecordingFolder::tables(When when, Stage stage) const {
  const std::string name{kStageNames[static_cast<u8>(stage)]};
  return read_tables(path_ / ("tables." + name_of(when) + "." + name),
                     stage == stream_.stage_of_machine() ? &stream_ : nullptr);
}

}  // namespace nestwalk::traces::recording
