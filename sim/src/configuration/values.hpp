// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A configuration as a list of values, to compare two of them.
#pragma once

#include "nestwalk/models/base/json.hpp"

namespace nestwalk::sim {

/// All values of a resolved configuration, or of a machine, by path:
/// "machine.tlb.data.arrays.0.ways". Those of a machine come without where they are from.
models::Json values_of(const models::Json& configuration);
/// The document that has these values, without where those of a machine are from.
models::Json document_of(const models::Json& values);

}  // namespace nestwalk::sim
