// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a user may have meant by a key that there is not.
#pragma once

#include <string>
#include <vector>

namespace nestwalk::models {

/// The known word with the fewest edits to this one; empty if none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& known);

}  // namespace nestwalk::models
