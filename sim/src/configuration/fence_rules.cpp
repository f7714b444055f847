// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/fence_rules.hpp"

#include <algorithm>

#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/base/nearest.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::Changes;
using addrspace::FenceOp;
using addrspace::FenceRule;

struct ChangeName {
  const char* name;
  Changes changes;
};
namespace change = addrspace::change;
constexpr ChangeName kChanges[] = {
    {"reserved", change::kReserved},
    {"made_valid", change::kMadeValid},
    {"more_permission", change::kMorePermission},
    {"less_permission", change::kLessPermission},
    {"unmapped", change::kUnmapped},
    {"moved", change::kMoved},
    {"memory_type", change::kMemoryType},
    {"cleaned", change::kCleaned},
    {"resized", change::kResized},
    {"spurious", change::kSpurious},
};
constexpr const char* kTable = "table";

class RulesReader {
 public:
  RulesReader(const models::Extension& extension, std::string where) : where_(std::move(where)) {
    for (const FenceOp op : extension.fences) {
      if (!op->has(addrspace::fence::kForChanges)) continue;
      instructions_.push_back(op->name.c_str());
      ops_.push_back(op);
    }
    for (const ChangeName& row : kChanges) changes_.push_back(row.name);
    changes_.push_back(kTable);
  }

  FenceRule rule(const Json& json, const std::string& path) const {
    FenceRule rule;
    keys(json, path, {"when", "issue", "most", "beyond"});
    if (!json.contains("when") || json["when"].empty()) {
      throw UsageError(where_ + ": " + path + ".when: expected a list of changes, found " +
                       (json.contains("when") ? json["when"].dump() : "nothing"));
    }
    for (const std::string& word : words(json, path, "when")) {
      const auto row = std::find_if(std::begin(kChanges), std::end(kChanges),
                                    [&](const ChangeName& each) { return word == each.name; });
      if (row != std::end(kChanges)) {
        rule.changes = rule.changes | row->changes;
      } else if (word == kTable) {
        rule.tables = true;
      } else {
        fail(path + ".when", "a change", word, changes_);
      }
    }
    rule.issue = ops(json, path, "issue");
    rule.beyond = rule.issue;
    if (json.contains("beyond")) rule.beyond = ops(json, path, "beyond");
    if (json.contains("most")) {
      const Json& most = json["most"];
      if (!most.is_number_unsigned() || most.get<addrspace::u64>() > 1'000'000) {
        throw UsageError(where_ + ": " + path + ".most: expected a number up to 1000000, found " +
                         most.dump());
      }
      rule.most = most.get<addrspace::u32>();
    }
    return rule;
  }

  void keys(const Json& json, const std::string& path, std::vector<std::string> known) const {
    if (!json.is_object()) {
      throw UsageError(where_ + ": " + path + ": expected an object, found " + json.dump());
    }
    for (const auto& [key, value] : json.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        fail(path, "a key", key, known);
      }
    }
  }

 private:
  addrspace::FenceRule::Ops ops(const Json& json, const std::string& path, const char* key) const {
    addrspace::FenceRule::Ops found;
    const std::vector<std::string> listed = words(json, path, key);
    if (listed.size() > FenceRule::kMostOps) {
      throw UsageError(where_ + ": " + path + "." + key + ": expected at most " +
                       std::to_string(FenceRule::kMostOps) + " instructions, found " +
                       std::to_string(listed.size()));
    }
    for (const std::string& word : listed) {
      const auto at = std::find(instructions_.begin(), instructions_.end(), word);
      if (at == instructions_.end()) {
        fail(path + "." + key, "an instruction", word, instructions_);
      }
      found.ops[found.count++] = ops_[static_cast<std::size_t>(at - instructions_.begin())];
    }
    return found;
  }
  std::vector<std::string> words(const Json& json, const std::string& path, const char* key) const {
    const Json found = json.value(key, Json::array());
    const bool all = found.is_array() && std::all_of(found.begin(), found.end(),
                                                     [](const Json& w) { return w.is_string(); });
    if (!all) {
      throw UsageError(where_ + ": " + path + "." + key + ": expected a list of words, found " +
                       found.dump());
    }
    return found.get<std::vector<std::string>>();
  }
  [[noreturn]] void fail(const std::string& path, const std::string& expected,
                         const std::string& found, const std::vector<std::string>& known) const {
    const std::string similar = models::nearest(found, known);
    std::string there_are;
    for (const std::string& each : known)
      there_are.append(there_are.empty() ? "" : ", ").append(each);
    throw UsageError(
        where_ + ": " + path + ": expected " + expected + ", found '" + found + "'; " +
        (similar.empty() ? "there are " + there_are : "did you mean '" + similar + "'?"));
  }

  std::string where_;
  std::vector<std::string> instructions_;
  std::vector<FenceOp> ops_;
  std::vector<std::string> changes_;
};

bool flag(const Json& json, const char* key, bool standard, const std::string& where) {
  const Json found = json.value(key, Json(standard));
  if (!found.is_boolean()) {
    throw UsageError(where + ": " + key + ": expected true or false, found " + found.dump());
  }
  return found.get<bool>();
}

}  // namespace

const char* key_of(const models::Extension& extension) {
  const addrspace::Architecture architecture = extension.isa->architecture;
  const bool first = &models::extension_of(architecture) == &extension;
  return first ? to_string(architecture) : extension.name;
}

software::FenceRules parse_fence_rules(const Json& json, const models::Extension& extension,
                                       const std::string& where) {
  const RulesReader reader(extension, where);
  std::vector<std::string> keys = {"name", "interrupts", "deferred"};
  for (const models::Extension* each : models::extensions()) keys.push_back(key_of(*each));
  reader.keys(json, "rules", keys);
  if (json.contains("name") && !json["name"].is_string()) {
    throw UsageError(where + ": name: expected a text, found " + json["name"].dump());
  }
  software::FenceRules rules;
  rules.interrupts = flag(json, "interrupts", true, where);
  rules.deferred = flag(json, "deferred", false, where);
  const std::string key = key_of(extension);
  if (!json.contains(key) || !json[key].is_array()) {
    throw UsageError(where + ": " + key + ": expected a list of rules, found " +
                     (json.contains(key) ? json[key].dump() : "nothing"));
  }
  for (std::size_t n = 0; n < json[key].size(); ++n) {
    rules.rules.push_back(reader.rule(json[key][n], key + "." + std::to_string(n)));
  }
  return rules;
}

}  // namespace nestwalk::sim
