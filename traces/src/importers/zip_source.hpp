// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The members of a zip archive, one after the other, as one stream.
#pragma once

#include <memory>

#include "nestwalk/traces/io.hpp"

namespace nestwalk::traces {

/// Reads the members front to back, without the archive's directory. What does not begin like a zip
/// archive is passed on as it is.
std::unique_ptr<ByteSource> unzipped(std::unique_ptr<ByteSource> source);

}  // namespace nestwalk::traces
