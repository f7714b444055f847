// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "importers/recording_folder.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "importers/input.hpp"
#include "isa/isa.hpp"
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
  const Place place{path, 0};
  auto file = open_if_there(path);
  if (!file) place.fail("page tables, which a stream that follows them has", "no file");
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

std::string register_file(When when, u32 vcpu) {
  const std::string first = "registers." + std::string(kWhenNames[static_cast<u8>(when)]);
  return vcpu == 0 ? first : first + "." + std::to_string(vcpu);
}

std::string table_file(When when, Stage stage) {
  return "tables." + std::string(kWhenNames[static_cast<u8>(when)]) + "." +
         std::string(kStageNames[static_cast<u8>(stage)]);
}

}  // namespace

Notes RecordingFolder::provenance() const { return read_lines(path_ / "provenance"); }

RegisterList RecordingFolder::registers(When when, u32 vcpu) const {
  const fs::path file = path_ / register_file(when, vcpu);
  const RegisterList registers = read_registers(file, stream_.architecture);
  const Place place{file, 0};
  if (registers.empty()) place.fail("registers, which a recording of a whole machine has", "none");
  for (const StreamRegister& row : traced(stream_.architecture).registers) {
    // The second stage is that of one guest with one vCPU.
    const bool needed =
        row.stage == Stage::Guest || (row.stage == Stage::Host && stream_.nested() && vcpu == 0);
    if (!needed || std::any_of(registers.begin(), registers.end(),
                               [&](const auto& each) { return each.first == row.name; })) {
      continue;
    }
    place.fail("the register " + std::string(row.name) + ", which translation depends on", "none");
  }
  return registers;
}

std::vector<TablePage> RecordingFolder::tables(When when, Stage stage) const {
  return read_tables(path_ / table_file(when, stage),
                     stage == stream_.stage_of_machine() ? &stream_ : nullptr);
}

bool RecordingFolder::has(When when) const {
  const auto there = [&](const std::string& name) {
    std::error_code none;
    return fs::exists(fs::symlink_status(path_ / name, none));
  };
  for (u32 vcpu = 0; vcpu < stream_.vcpus; ++vcpu) {
    if (there(register_file(when, vcpu))) return true;
  }
  return there(table_file(when, Stage::Guest)) || there(table_file(when, Stage::Host));
}

void RecordingFolder::check() const {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(path_, none)) {
    check_registers(entry.path());
    check_tables(entry.path());
  }
}

// Registers of a vCPU that the stream does not have are of another recording, and so are all
// registers beside the stream of a program.
void RecordingFolder::check_registers(const fs::path& file) const {
  const std::string name = file.filename();
  for (const When when : {When::Begin, When::End}) {
    const std::string first = register_file(when, 0);
    const std::string begin = first + ".";
    if (name != first && !name.starts_with(begin)) continue;
    if (!stream_.system()) {
      const auto found = read_registers(file, stream_.architecture);
      if (found.empty()) continue;
      throw InputError(file, line_number(0) +
                                 "expected the recording of a program, without registers, found " +
                                 traces::quoted(found.front().first));
    }
    if (name == first) continue;
    const std::string number = name.substr(begin.size());
    u32 vcpu = 0;
    const char* const last = number.data() + number.size();
    const auto [end, error] = std::from_chars(number.data(), last, vcpu);
    if (end == last && error == std::errc() && vcpu > 0 && vcpu < stream_.vcpus) continue;
    throw InputError(file, "expected registers of one of " + std::to_string(stream_.vcpus) +
                               " vCPUs, found those of " + traces::quoted(number));
  }
}

void RecordingFolder::check_tables(const fs::path& file) const {
  const std::string name = file.filename();
  for (const When when : {When::Begin, When::End}) {
    for (const Stage stage : {Stage::Guest, Stage::Host}) {
      if (name != table_file(when, stage)) continue;
      const Place place{file, 0};
      place.expect_no(stream_.breach_without(kTables, "page tables"));
      if (stage == Stage::Guest) continue;
      place.expect_no(stream_.breach_without(kGuestOnly, "tables of a second stage"));
    }
  }
}

}  // namespace nestwalk::traces::recording
