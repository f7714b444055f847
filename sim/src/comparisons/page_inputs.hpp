// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What commands print as JSON and the page shows beside runs: the walks of `explain --json`, the
// curves of `validate --json`, the findings of `check --json`, the spreads of
// `compare --sure --format json`.
#pragma once

#include <string>

#include "configuration/configuration.hpp"

namespace nestwalk::sim {

struct PageInputs {
  Json stories = Json::array();
  Json agreements = Json::array();
  Json checks = Json::array();
  Json spreads = Json::array();
};

/// Adds what is in a file. Throws traces::InputError if it is none of these, or has fields of
/// another type than they have.
void add_page_input(PageInputs& inputs, const std::string& file);

}  // namespace nestwalk::sim
