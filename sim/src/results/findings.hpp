// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a checker found, as text.
#pragma once

#include <string>
#include <vector>

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/models/base/json.hpp"

namespace nestwalk::sim {

using models::Json;

struct FindingsView {
  enum class Format { Table, Details, Json, Sarif };
  Format format = Format::Table;
};

/// `title` says what was checked.
/// `prices`: on which machines, what for; may be empty.
std::string findings_text(const checker::Checker& checker, const std::string& title,
                          const FindingsView& view, const Json& prices = Json::array());

/// Its findings as a list.
Json findings_json(const checker::Checker& checker);
Json finding_json(const checker::Finding& finding);
/// Errors first, then warnings; of each, what was found most often first.
std::vector<const checker::Finding*> by_severity(const checker::Checker& checker);

/// Are there errors? `strict`: or warnings?
bool has_failed(const checker::Checker& checker, bool strict);

}  // namespace nestwalk::sim
