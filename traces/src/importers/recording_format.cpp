// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Recordings as a row of the table of formats.

#include "common.hpp"
#include "nestwalk/traces/recording.hpp"

namespace nestwalk::traces {
namespace {

void import_folder(const ImportRequest& request, ByteSink& sink) {
  if (request.inputs.size() != 1) throw RecordError("a recording is one folder");
  import_recording(request.inputs[0], sink, request.report, request.writer, request.progress);
}

}  // namespace

// What it lacks and its mode are said in the recording.
const ImportFormat kRecording = {"recording",
                                 "a folder of scripts/record; its stream may be a FIFO",
                                 0,
                                 Mode::FullSystem,
                                 "",
                                 {},
                                 streams_are_in_records,
                                 nullptr,
                                 nullptr,
                                 import_folder};

}  // namespace nestwalk::traces
