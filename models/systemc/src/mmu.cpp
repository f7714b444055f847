// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/systemc/mmu.hpp"

namespace nestwalk::systemc {

Mmu::Mmu(const sc_core::sc_module_name& name, const models::MachineShape& shape)
    : sc_module(name),
      fetch("fetch", models::AccessKind::Execute),
      data("data", models::AccessKind::Read),
      time("time"),
      hierarchy("hierarchy"),
      shape_(shape) {
  SC_METHOD(respond_to_fetches);
  sensitive << fetch.due();
  dont_initialize();
  SC_METHOD(respond_to_data);
  sensitive << data.due();
  dont_initialize();
}

// Made when it is first asked for: ports are bound by then, in whichever order modules elaborate.
models::Mmu& Mmu::core() {
  if (core_) return *core_;
  models::MemoryHierarchy& caches = hierarchy->hierarchy();
  models::HostMemory& memory = hierarchy->host_memory();
  paths_ = hierarchy->add_core();
  core_.emplace(time->wheel(), memory, caches, paths_.walks, shape_.mmu);
  core_->tell_of_revoked(*this);
  const auto begin = [&](AccessSocket& socket, models::MemoryHierarchy::PathId path,
                         const models::CacheShape& tlb,
                         const std::optional<models::DataCacheShape>& cache) {
    const u32 hit = tlb.latency_cycles + (cache ? cache->latency_cycles : 0);
    socket.begin({time[0], &*core_, &caches, &memory, path, hit});
  };
  const models::MmuShape& mmu = shape_.mmu;
  begin(fetch, paths_.fetches, mmu.fetch_tlb.present() ? mmu.fetch_tlb : mmu.data_tlb, shape_.l1i);
  begin(data, paths_.data, mmu.data_tlb, shape_.l1d);
  return *core_;
}

void Mmu::on_revoked(const models::Grant& grant) {
  fetch.revoke(grant);
  data.revoke(grant);
}

}  // namespace nestwalk::systemc
