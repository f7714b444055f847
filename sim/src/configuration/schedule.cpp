// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/schedule.hpp"

#include <algorithm>

#include "nestwalk/models/base/nearest.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::Access;
using addrspace::u64;
using software::HostOperation;
using software::ScheduledOperation;

constexpr u64 kMostCycles = u64{1} << 60;
constexpr u64 kMostBytes = u64{1} << 47;
constexpr std::size_t kMostOperations = 4096;

const std::vector<std::string>& keys() {
  static const std::vector<std::string> kKeys = {"operation", "at",    "every", "times",
                                                 "gpa",       "bytes", "access"};
  return kKeys;
}

const std::vector<std::string>& operations() {
  static const std::vector<std::string> kWords = [] {
    std::vector<std::string> words;
    for (const auto& row : software::kOperations) words.emplace_back(row.word);
    return words;
  }();
  return kWords;
}

[[noreturn]] void fail(const std::string& where, const std::string& expected,
                       const std::string& found, const std::vector<std::string>& words = {}) {
  std::string hint;
  const std::string near = words.empty() ? "" : models::nearest(found, words);
  if (!near.empty()) hint.append("; did you mean ").append(near) += '?';
  throw UsageError(where + ": expected " + expected + ", found " + found + hint);
}

class Row {
 public:
  Row(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail(where_, "an object", json.dump());
    for (const auto& [key, value] : json.items()) {
      if (std::find(keys().begin(), keys().end(), key) == keys().end()) {
        fail(where_, "a key", key, keys());
      }
    }
  }
  bool has(const char* key) const { return json_.contains(key); }

  /// As a number, a size, or a hexadecimal address.
  u64 number(const char* key, u64 most, const char* what) const {
    const Json& value = member(key, what);
    std::optional<u64> found = size_of(value);
    if (value.is_string()) {
      const std::string text = value.get<std::string>();
      const bool hex = text.starts_with("0x") && text.size() > 2 && text.size() <= 18 &&
                       text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string::npos;
      if (hex) found = std::stoull(text, nullptr, 16);
    }
    if (!found || *found > most) {
      fail(place(key), std::string(what) + " up to " + std::to_string(most), value.dump());
    }
    return *found;
  }
  HostOperation::Kind operation() const {
    const Json& value = member("operation", "an operation");
    const std::string word = value.is_string() ? value.get<std::string>() : value.dump();
    for (const auto& row : software::kOperations) {
      if (word == row.word) return row.value;
    }
    fail(place("operation"), "an operation", word, operations());
  }
  Access access() const {
    const Json& value = json_["access"];
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    Access access = addrspace::kNoAccess;
    for (const char letter : text) {
      if (letter == 'r')
        access = access | addrspace::kRead;
      else if (letter == 'w')
        access = access | addrspace::kWrite;
      else if (letter == 'x')
        access = access | addrspace::kExecute;
      else
        fail(place("access"), "some of r, w and x", text);
    }
    return access;
  }

 private:
  std::string place(const char* key) const { return where_ + "." + key; }
  const Json& member(const char* key, const char* what) const {
    if (!json_.contains(key)) fail(where_, std::string(what) + " as " + key, "none");
    return json_[key];
  }
  const Json& json_;
  std::string where_;
};

bool names_memory(HostOperation::Kind kind) {
  using Kind = HostOperation::Kind;
  return kind != Kind::LogStart && kind != Kind::LogHarvest && kind != Kind::LogStop;
}

ScheduledOperation operation_of(const Row& row, const std::string& where) {
  ScheduledOperation scheduled;
  scheduled.operation.kind = row.operation();
  scheduled.at = row.number("at", kMostCycles, "cycles");
  if (row.has("every")) scheduled.every = row.number("every", kMostCycles, "cycles");
  if (scheduled.every != 0) scheduled.times = kMostCycles;
  if (row.has("times")) scheduled.times = row.number("times", kMostCycles, "a number");
  if (scheduled.times == 0) fail(where + ".times", "a number above 0", "0");
  if (scheduled.every == 0 && scheduled.times > 1) fail(where, "cycles as every", "none");
  const bool memory = names_memory(scheduled.operation.kind);
  if (!memory && (row.has("gpa") || row.has("bytes"))) {
    fail(where, "an operation on memory", "gpa or bytes for the dirty log, which is of all");
  }
  if (memory) {
    scheduled.operation.gpa = addrspace::Gpa(row.number("gpa", kMostBytes, "an address"));
    scheduled.operation.bytes = row.number("bytes", kMostBytes, "a size");
  }
  if (scheduled.operation.kind == HostOperation::Kind::Protect) {
    if (!row.has("access")) fail(where, "what stays permitted as access", "none");
    scheduled.operation.access = row.access();
  } else if (row.has("access")) {
    fail(where, "access for protect only", "it");
  }
  return scheduled;
}

}  // namespace

std::vector<ScheduledOperation> parse_schedule(const Json& json, const std::string& where) {
  if (json.size() > kMostOperations) {
    fail(where, "at most " + std::to_string(kMostOperations) + " operations",
         std::to_string(json.size()));
  }
  std::vector<ScheduledOperation> schedule;
  for (std::size_t n = 0; n < json.size(); ++n) {
    const std::string place = where + "." + std::to_string(n);
    schedule.push_back(operation_of(Row(json[n], place), place));
  }
  return schedule;
}

Json schedule_schema() {
  const Json number = {{"type", {"integer", "string"}}, {"minimum", 0}};
  return {{"type", "array"},
          {"maxItems", kMostOperations},
          {"items",
           {{"type", "object"},
            {"additionalProperties", false},
            {"required", {"operation", "at"}},
            {"properties",
             {{"operation", {{"enum", operations()}}},
              {"at", number},
              {"every", number},
              {"times", number},
              {"gpa", number},
              {"bytes", number},
              {"access", {{"type", "string"}, {"pattern", "^[rwx]*$"}}}}}}}};
}

}  // namespace nestwalk::sim
