// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The text form of records: one line each, stable, made for grep. traces/FORMAT.md describes it.
#pragma once

#include <string>

#include "nestwalk/traces/header.hpp"
#include "nestwalk/traces/reader.hpp"

namespace nestwalk::traces {

/// Appends a line for each record of the chunk.
void append_text(std::string& to, const Chunk& chunk);
/// Appends lines for the registers and the pages.
void append_text(std::string& to, const SideData& side);

}  // namespace nestwalk::traces
