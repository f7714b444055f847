// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Every table format.
#pragma once

#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/format/long_mode.hpp"
#include "nestwalk/addrspace/format/npt.hpp"
#include "nestwalk/addrspace/format/sv.hpp"
#include "nestwalk/addrspace/format/vmsa.hpp"

namespace nestwalk::addrspace {

static_assert(NestedFormat<Ept>);
static_assert(NestedFormat<Npt> && NestedFormat<NptOf<51>>);
static_assert(NestedFormat<GStage>);
static_assert(NestedFormat<Stage2<Granule::k4K>> && NestedFormat<Stage2<Granule::k4K, Width::k52>>);
static_assert(NestedFormat<Stage2<Granule::k16K>>);
static_assert(NestedFormat<Stage2<Granule::k16K, Width::k52>>);
static_assert(NestedFormat<Stage2<Granule::k64K>>);
static_assert(NestedFormat<Stage2<Granule::k64K, Width::k52>>);
static_assert(Format<LongMode> && Format<Sv>);
static_assert(Format<Stage1<Granule::k4K>> && Format<Stage1<Granule::k4K, Width::k52>>);
static_assert(Format<Stage1<Granule::k16K>> && Format<Stage1<Granule::k16K, Width::k52>>);
static_assert(Format<Stage1<Granule::k64K>> && Format<Stage1<Granule::k64K, Width::k52>>);

}  // namespace nestwalk::addrspace
