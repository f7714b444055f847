// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <set>

#include "nestwalk/traces/reader.hpp"

namespace nestwalk::traces {

u64 time_after(u64 time, const Event& event) {
  time += event.instructions;
  const auto* sync = std::get_if<TimeSync>(&event.detail);
  return sync != nullptr ? std::max(time, sync->time) : time;
}

namespace {

// Moves the first record of `from`, and those after it that come before `bound`, to `run`.
void take_run(Chunk& from, u64 bound, Chunk& run) {
  run = from;
  if (from.accesses.empty()) {
    from.event = nullptr;
    return;
  }
  std::size_t count = 0;
  u64 next_time = time_after(from.time, from.accesses[0]);
  do {
    from.time = next_time;
    ++count;
    if (count == from.accesses.size()) break;
    next_time = time_after(from.time, from.accesses[count]);
  } while (next_time < bound);
  run.accesses = from.accesses.first(count);
  run.event = nullptr;
  from.accesses = from.accesses.subspan(count);
  from.first_record += count;
}

// The reader of each vCPU comes across the same damage.
OnLoss once(const OnLoss& on_loss) {
  constexpr std::size_t kRemembered = 4096;
  if (!on_loss) return {};
  return [on_loss, said = std::make_shared<std::set<std::string>>()](const std::string& message) {
    if (said->size() >= kRemembered) said->clear();
    if (said->insert(message).second) on_loss(message);
  };
}

}  // namespace

TimeOrderedReader::TimeOrderedReader(const Open& open, const OnLoss& on_loss) {
  const OnLoss lose = once(on_loss);
  Reader reader(open(), lose);
  header_ = reader.header();
  auto streams = by_vcpu(reader.read_index());
  index_damage_ = reader.index_damage();
  for (auto& [vcpu, blocks] : streams) {
    Cursor cursor{std::make_unique<StreamReader>(open(), std::move(blocks), lose), {}};
    if (cursor.fill()) cursors_.push_back(std::move(cursor));
  }
}

bool TimeOrderedReader::Cursor::fill() {
  return !chunk.accesses.empty() || chunk.event != nullptr || reader->next(chunk);
}

u64 TimeOrderedReader::Cursor::next_time() const {
  return chunk.accesses.empty() ? time_after(chunk.time, *chunk.event)
                                : time_after(chunk.time, chunk.accesses.front());
}

// Takes records from the earliest stream for as long as it stays the earliest.
bool TimeOrderedReader::next(Chunk& chunk) {
  std::erase_if(cursors_, [](Cursor& cursor) { return !cursor.fill(); });
  if (cursors_.empty()) {
    if (index_damage_) throw *index_damage_;
    return false;
  }
  Cursor* first = &cursors_.front();
  for (Cursor& cursor : cursors_) {
    if (cursor.next_time() < first->next_time()) first = &cursor;
  }
  u64 bound = ~u64{0};
  for (const Cursor& cursor : cursors_) {
    if (&cursor != first) bound = std::min(bound, cursor.next_time());
  }
  take_run(first->chunk, bound, chunk);
  return true;
}

std::optional<TimeOrderedReader::Coming> TimeOrderedReader::coming(u32 vcpu) const {
  const auto found =
      std::lower_bound(cursors_.begin(), cursors_.end(), vcpu,
                       [](const Cursor& cursor, u32 number) { return cursor.chunk.vcpu < number; });
  if (found == cursors_.end() || found->chunk.vcpu != vcpu) return {};
  const Chunk& chunk = found->chunk;
  return Coming{chunk.time, chunk.accesses.empty() ? chunk.event->instructions
                                                   : chunk.accesses.front().instructions};
}

}  // namespace nestwalk::traces
