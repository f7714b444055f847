// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/sarif.hpp"

#include <algorithm>
#include <cctype>

#include "nestwalk/machines/extensions.hpp"
#include "program/output.hpp"
#include "results/findings.hpp"

namespace nestwalk::sim {
namespace {

using checker::Failure;
using checker::Finding;
using checker::Moment;
using checker::Severity;

constexpr const char* kSchema =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

std::string id_of(Failure failure) {
  std::string id = text_of(failure).name;
  std::replace(id.begin(), id.end(), ' ', '-');
  return "fence/" + id;
}

// "WrongProcessors", as 3.49.7 of the standard has names.
std::string name_of(Failure failure) {
  std::string name;
  bool begins = true;
  for (const char letter : std::string(text_of(failure).name)) {
    const bool is_letter = std::isalpha(static_cast<unsigned char>(letter)) != 0;
    if (is_letter) name += begins ? static_cast<char>(std::toupper(letter)) : letter;
    begins = !is_letter;
  }
  return name;
}

std::string sentence(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text + ".";
}

// What each extension's manual says.
std::string manuals_of(Failure failure) {
  std::string text;
  for (const models::Extension* extension : models::extensions()) {
    const bool arms = failure == Failure::BreakBeforeMake;
    if (arms && !extension->break_before_make) continue;
    const models::Demand& demand = extension->demands.of(text_of(failure).about);
    text.append("\n").append(extension->name).append(": ").append(demand.fence).append(" (");
    text.append(demand.manual).append(", \"").append(demand.section).append("\")");
  }
  return text;
}

Json rule_of(Failure failure) {
  const auto& text = text_of(failure);
  return {{"id", id_of(failure)},
          {"name", name_of(failure)},
          {"shortDescription", {{"text", sentence(text.name)}}},
          {"fullDescription", {{"text", sentence(text.sentence)}}},
          {"help", {{"text", text.help + manuals_of(failure)}}},
          {"defaultConfiguration", {{"level", to_string(text.severity)}}}};
}

/// A path as a URI: RFC 3986 leaves it letters, digits and a few signs.
std::string uri_of(const std::string& path) {
  constexpr const char* kHex = "0123456789ABCDEF";
  if (path == "-") return "stdin";
  std::string uri = path[0] == '/' ? "file://" : "";
  for (const char letter : path) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte < 128 &&
        (std::isalnum(byte) != 0 || std::string("-._~/").find(letter) != std::string::npos)) {
      uri += letter;
    } else {
      uri.append("%").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
    }
  }
  return uri;
}

Json location_of(const Moment& when, const std::string& uri) {
  Json location = {{"physicalLocation",
                    {{"artifactLocation", {{"uri", uri}, {"index", 0}}},
                     {"region", {{"startLine", std::max<checker::u64>(when.line, 1)}}}}}};
  if (!when.site.empty()) {
    const std::string site(when.site);
    location["logicalLocations"] = {{{"name", site.substr(0, site.find('+'))},
                                     {"fullyQualifiedName", site},
                                     {"kind", "function"}}};
  }
  return location;
}

Json related(int id, const Moment& when, const std::string& uri, const std::string& message) {
  Json location = location_of(when, uri);
  location["id"] = id;
  location["message"] = {{"text", message}};
  return location;
}

std::string message_of(const Finding& finding) {
  std::string text = text_of(finding.failure).name;
  if (!finding.operation.empty()) text.append(" in ").append(finding.operation);
  text += ": " + (finding.reason.empty() ? text_of(finding.failure).sentence : finding.reason);
  if (finding.demand != nullptr) {
    text.append(". Demanded: ").append(finding.demand->fence).append(" (");
    text.append(finding.demand->manual)
        .append(", \"")
        .append(finding.demand->section)
        .append("\")");
  }
  return sentence(std::move(text));
}

/// The same for a finding of the same code in another log: neither lines nor addresses.
std::string fingerprint_of(const Finding& finding) {
  std::string text = text_of(finding.failure).name;
  for (const std::string& part :
       {std::string(text_of(finding.because).name), std::string(to_string(finding.change)),
        finding.operation, finding.site.substr(0, finding.site.find('+')),
        finding.issued.substr(0, finding.issued.find(" ("))}) {
    text.append("|").append(part);
  }
  return text;
}

Json result_of(const Finding& finding, const std::string& uri) {
  const bool in_operation = finding.site.empty() && !finding.operation.empty();
  Json location = location_of(finding.when, uri);
  if (in_operation) {
    location["logicalLocations"] = {{{"name", finding.operation}, {"kind", "function"}}};
  }
  Json others = Json::array();
  const auto add = [&](const Moment& when, const std::string& message) {
    others.push_back(related(static_cast<int>(others.size()) + 1, when, uri, message));
  };
  if (finding.severity() != Severity::Warning) {
    if (!finding.issued.empty()) add(finding.issued_when, "issued: " + finding.issued);
    add(finding.violated, std::string("violated when ") + finding.violation);
  }
  Json result = {{"ruleId", id_of(finding.failure)},
                 {"ruleIndex", static_cast<unsigned>(finding.failure)},
                 {"level", to_string(finding.severity())},
                 {"message", {{"text", message_of(finding)}}},
                 {"locations", Json::array({location})},
                 {"occurrenceCount", finding.count},
                 {"partialFingerprints", {{"finding/v1", fingerprint_of(finding)}}},
                 {"properties", finding_json(finding)}};
  if (!others.empty()) result["relatedLocations"] = std::move(others);
  return result;
}

}  // namespace

Json sarif_of(const checker::Checker& checker, const std::string& file) {
  Json rules = Json::array();
  for (unsigned n = 0; n < checker::kFailureCount; ++n) {
    rules.push_back(rule_of(static_cast<checker::Failure>(n)));
  }
  const std::string uri = uri_of(file);
  Json results = Json::array();
  for (const Finding* each : by_severity(checker)) results.push_back(result_of(*each, uri));
  const Json driver = {
      {"name", "nestwalk"}, {"version", NESTWALK_VERSION}, {"rules", std::move(rules)}};
  const Json run = {{"tool", {{"driver", driver}}},
                    {"invocations", {{{"executionSuccessful", true}}}},
                    {"artifacts", {{{"location", {{"uri", uri}}}}}},
                    {"results", std::move(results)}};
  return {{"$schema", kSchema}, {"version", "2.1.0"}, {"runs", Json::array({run})}};
}

}  // namespace nestwalk::sim
