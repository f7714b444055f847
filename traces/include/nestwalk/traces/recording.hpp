// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Converts what scripts/record leaves behind: a folder with a stream and what belongs to it.
#pragma once

#include <functional>
#include <string>

#include "nestwalk/traces/writer.hpp"

namespace nestwalk::traces {

/// The stream may be a FIFO that is still written: the files of the region's end are looked for
/// after the end of the stream. `on_loss` is told what is missing.
Totals import_recording(
    const std::string& folder, ByteSink& sink,
    const std::function<void(const std::string&)>& on_loss, const Writer::Options& options = {},
    const OnProgress& progress = [](u64, u64, u64) {});
/// The same with a stream that lies elsewhere.
Totals import_recording(
    const std::string& folder, ByteSource& stream, ByteSink& sink,
    const std::function<void(const std::string&)>& on_loss, const Writer::Options& options = {},
    const OnProgress& progress = [](u64, u64, u64) {});

}  // namespace nestwalk::traces
