// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Runs as a page of HTML, whole in one file. Its parts are in sim/report; it shows a document,
// which is made here of the same summaries and statistics that the text output shows.
#pragma once

#include <span>
#include <string>

#include "comparisons/cases.hpp"
#include "comparisons/page_inputs.hpp"

namespace nestwalk::sim {

/// A run, with what it was made by.
struct PageCase {
  Case run;
  Json configuration;  ///< config.resolved.json
  Json stats;          ///< stats.json
  Json record;         ///< run.json
};
/// Of a run's directory. Throws traces::InputError, as read_case does.
PageCase read_page_case(const std::string& directory);

/// Names as short as they can be and still differ: without the folders that all of them share.
std::vector<std::string> short_names(const std::vector<std::string>& directories);

/// The document that the page shows.
Json page_document(std::vector<PageCase> cases, const PageInputs& inputs = {});
std::string as_page(const Json& document);

}  // namespace nestwalk::sim
