// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The instruction sets and virtualization extensions that there are.
#pragma once

#include "nestwalk/models/translation/extension.hpp"

namespace nestwalk::models {

extern const Isa kX86_64, kAArch64, kRiscV64;
extern const Extension kVmx, kSvm, kStage2, kHext;

/// The row of the engine's side of an extension. One more needs one more of these.
inline const Extension& row_of(addrspace::vmx::Extension) { return kVmx; }
inline const Extension& row_of(addrspace::svm::Extension) { return kSvm; }
inline const Extension& row_of(addrspace::stage2::Extension) { return kStage2; }
inline const Extension& row_of(addrspace::hext::Extension) { return kHext; }

std::span<const Extension* const> extensions();
const Isa& isa_of(Architecture architecture);
/// The one that machines of this architecture have, where nothing else is said.
const Extension& extension_of(Architecture architecture);

}  // namespace nestwalk::models
