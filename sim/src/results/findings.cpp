// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/findings.hpp"

#include <algorithm>

#include "nestwalk/models/base/hex.hpp"
#include "program/output.hpp"
#include "results/fence_prices.hpp"
#include "results/sarif.hpp"

namespace nestwalk::sim {

using models::hex;

namespace {

using checker::Checker;
using checker::Finding;

/// Where an event stands: the line of the log, the function of the hypervisor, as far as known.
Json place_of(const checker::Moment& when) {
  Json json = {{"cycle", when.cycle}, {"processor", when.processor}};
  if (when.line != 0) json["line"] = when.line;
  if (!when.site.empty()) json["site"] = when.site;
  return json;
}

}  // namespace

Json finding_json(const Finding& finding) {
  const auto& failure = text_of(finding.failure);
  Json json = {{"finding", failure.name},        {"severity", to_string(failure.severity)},
               {"sentence", failure.sentence},   {"count", finding.count},
               {"operation", finding.operation}, {"processor", finding.when.processor},
               {"cycle", finding.when.cycle},    {"issued", finding.issued}};
  if (finding.when.line != 0) json["line"] = finding.when.line;
  if (!finding.site.empty()) json["site"] = finding.site;
  if (finding.because != finding.failure) json["because"] = text_of(finding.because).name;
  if (finding.change != checker::Change::None) {
    json.update({{"change", to_string(finding.change)},
                 {"vm", finding.vm},
                 {"gpa", finding.gpa},
                 {"bytes", finding.bytes},
                 {"level", finding.level},
                 {"before", finding.before},
                 {"after", finding.after},
                 {"processors", checker::processors_text(finding.processors)},
                 {"stored", place_of(finding.when)},
                 {"violated", place_of(finding.violated)}});
    json["violated"]["event"] = finding.violation;
  }
  if (!finding.reason.empty()) json["reason"] = finding.reason;
  if (!finding.issued.empty()) json["issued_at"] = place_of(finding.issued_when);
  if (finding.demand != nullptr) {
    json.update({{"demanded", finding.demand->fence},
                 {"manual", finding.demand->manual},
                 {"section", finding.demand->section}});
  }
  json["hits"] = finding.hits;
  if (finding.hits != 0) {
    json["first_hit"] = {{"position", finding.first_hit.position},
                         {"processor", finding.first_hit.when.processor},
                         {"gva", finding.first_hit.gva},
                         {"gpa", finding.first_hit.gpa}};
  }
  json["cycles"] = finding.cycles;
  return json;
}

namespace {

std::string json_text(const Checker& checker, const std::string& title, const Json& prices) {
  Json json = {{"format", "nestwalk-findings"},
               {"version", 1},
               {"checked", title},
               {"errors", checker.errors()},
               {"warnings", checker.warnings()},
               {"notes", checker.notes()},
               {"unlisted", checker.unlisted()},
               {"findings", findings_json(checker)}};
  if (!prices.empty()) json["prices"] = prices;
  return json_document(json);
}

}  // namespace

std::vector<const Finding*> by_severity(const Checker& checker) {
  std::vector<const Finding*> all;
  for (const Finding& finding : checker.findings()) all.push_back(&finding);
  std::stable_sort(all.begin(), all.end(), [](const Finding* a, const Finding* b) {
    if (a->severity() != b->severity()) return a->severity() < b->severity();
    return a->count > b->count;
  });
  return all;
}

namespace {

std::string table_text(const std::vector<const Finding*>& findings) {
  std::vector<std::vector<std::string>> table = {
      {"finding", "times", "operation", "change", "first GPA", "processors", "hits", "issued"}};
  const bool sites = std::any_of(findings.begin(), findings.end(),
                                 [](const Finding* each) { return !each->site.empty(); });
  const bool lines = std::any_of(findings.begin(), findings.end(),
                                 [](const Finding* each) { return each->when.line != 0; });
  if (sites) table[0].insert(table[0].begin() + 2, "at");
  if (lines) table[0].insert(table[0].begin() + 2, "line");
  for (const Finding* each : findings) {
    const bool of_entry = each->change != checker::Change::None;
    table.push_back({text_of(each->failure).name, std::to_string(each->count),
                     each->operation.empty() ? "-" : printable(each->operation),
                     of_entry ? to_string(each->change) : "-", of_entry ? hex(each->gpa) : "-",
                     of_entry ? checker::processors_text(each->processors) : "-",
                     std::to_string(each->hits), each->issued.empty() ? "nothing" : each->issued});
    auto& row = table.back();
    if (sites) row.insert(row.begin() + 2, each->site.empty() ? "-" : printable(each->site));
    if (lines) row.insert(row.begin() + 2, std::to_string(each->when.line));
  }
  std::vector<std::size_t> widths(table[0].size());
  for (const auto& row : table) {
    for (std::size_t n = 0; n < row.size(); ++n) widths[n] = std::max(widths[n], row[n].size());
  }
  std::string text;
  for (const auto& row : table) {
    for (std::size_t n = 0; n + 1 < row.size(); ++n) {
      text.append(row[n]).append(widths[n] - row[n].size() + 2, ' ');
    }
    text.append(row.back()).append("\n");
  }
  return text;
}

}  // namespace

Json findings_json(const Checker& checker) {
  Json all = Json::array();
  for (const Finding& finding : checker.findings()) all.push_back(finding_json(finding));
  return all;
}

std::string findings_text(const Checker& checker, const std::string& title,
                          const FindingsView& view, const Json& prices) {
  using Format = FindingsView::Format;
  if (view.format == Format::Json) return json_text(checker, title, prices);
  if (view.format == Format::Sarif) return json_document(sarif_of(checker, title));
  const auto findings = by_severity(checker);
  std::string text;
  if (view.format == Format::Details) {
    for (const Finding* each : findings) {
      Finding shown = *each;
      shown.operation = printable(shown.operation);
      text += describe(shown, printable(title)) + "\n";
    }
  } else if (!findings.empty()) {
    text = table_text(findings);
  }
  text += printable(title) + ": " + counted(checker.errors(), "error") + ", " +
          counted(checker.warnings(), "warning");
  if (checker.notes() != 0) text += ", " + counted(checker.notes(), "note");
  text += "\n";
  if (checker.unlisted() != 0) text += counted(checker.unlisted(), "finding") + " not listed\n";
  for (const Json& each : prices) text += prices_text(each);
  return text;
}

bool has_failed(const Checker& checker, bool strict) {
  return checker.errors() != 0 || (strict && checker.warnings() != 0);
}

}  // namespace nestwalk::sim
