// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "observing_hal.hpp"

namespace nestwalk::addrspace {

template class AddressSpace<Ept, ObservingHal>;
template class AddressSpace<Npt, ObservingHal>;
template class AddressSpace<Stage2<Granule::k4K>, ObservingHal>;
template class AddressSpace<GStage, ObservingHal>;
template class PageTable<Ept, ObservingHal>;
template class PageTable<Npt, ObservingHal>;
template class PageTable<Stage2<Granule::k4K>, ObservingHal>;
template class PageTable<GStage, ObservingHal>;

}  // namespace nestwalk::addrspace
