// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/prefetch_queue.hpp"

#include <algorithm>

namespace nestwalk::models {

void PrefetchQueue::ask(const PrefetchRequest& request) {
  ++counts_.asked;
  if (waiting_.size() == most_) {  // the oldest is the least likely to be in time
    waiting_.pop_front();
    ++counts_.dropped;
  }
  waiting_.push_back(request);
  go_on();
}

bool PrefetchQueue::has(const Regime& regime, u64 address) const {
  const auto is_it = [&](const PrefetchRequest& each) { return each.is_for(regime, address); };
  return std::any_of(waiting_.begin(), waiting_.end(), is_it) ||
         std::any_of(under_way_.begin(), under_way_.end(), [&](const Prefetch& each) {
           return each.walk != nullptr && is_it(each.request);
         });
}

void PrefetchQueue::forget(const Regime& regime, u64 address) {
  counts_.dropped += std::erase_if(
      waiting_, [&](const PrefetchRequest& each) { return each.is_for(regime, address); });
}

std::vector<Signal*>* PrefetchQueue::walk_to_join(const Regime& regime, u64 address) {
  for (Prefetch& each : under_way_) {
    if (each.walk != nullptr && each.request.is_for(regime, address)) return &each.joining;
  }
  return nullptr;
}

// An event of its own: a walk's waits that are granted at once advance the time of whoever begins
// it.
void PrefetchQueue::go_on() {
  if (waiting_.empty() || begins_) return;
  begins_ = true;
  wheel_.schedule(wheel_.now(), *this, kBegin);
}

void PrefetchQueue::note_tags(std::vector<bool>& in_use) const {
  for (const PrefetchRequest& each : waiting_) each.regime.note_tags(in_use);
  for (const Prefetch& each : under_way_) {
    if (each.walk != nullptr) each.request.regime.note_tags(in_use);
  }
}

void PrefetchQueue::on_cycle(u32 event) {
  if (event != kBegin) return end(event);
  begins_ = false;
  if (!waiting_.empty() && walker_.has_free_slot()) begin();
}

void PrefetchQueue::begin() {
  const auto unused = std::find_if(under_way_.begin(), under_way_.end(),
                                   [](const Prefetch& each) { return each.walk == nullptr; });
  const u32 number = static_cast<u32>(unused - under_way_.begin());
  if (unused == under_way_.end()) under_way_.emplace_back();
  Prefetch& prefetch = under_way_[number];
  prefetch.request = waiting_.front();
  waiting_.pop_front();
  go_on();  // there may be another slot
  const PrefetchRequest& request = prefetch.request;
  prefetch.walk = &walker_.take(
      {&request.regime, request.address, request.access, request.user, false, nullptr, true});
  if (prefetch.walk->start(*this, number)) end(number);
}

void PrefetchQueue::end(u32 number) {
  Prefetch& prefetch = under_way_[number];
  Walker::Walk& walk = *std::exchange(prefetch.walk, nullptr);
  for (u32 n = 0; n < walk.record().count; ++n) {
    const WalkReference& each = walk.record().references[n];
    WalkTotals::Cell& cell = counts_.references[static_cast<unsigned>(each.served)];
    ++cell.references;
    cell.cycles += each.cycles;
  }
  const bool found = !walk.fault() && !walk.is_fenced_off();
  const Regime& regime = prefetch.request.regime;
  const Translation& translation = walk.translation();
  const u16 tag = found && translation.global ? regime.global : regime.combined;
  const bool filled =
      found && enter(buffer_, prefetch.request.address, tag, false, translation) != nullptr;
  ++(filled ? counts_.filled : counts_.dropped);
  walker_.give_back(walk);
  for (Signal* const joined : prefetch.joining) joined->wake(wheel_);
  prefetch.joining.clear();
  go_on();
}

}  // namespace nestwalk::models
