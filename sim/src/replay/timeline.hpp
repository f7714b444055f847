// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A run to look at: what its vCPUs, walkers, locks and fences did when, as a Perfetto trace in
// simulated time. It is made of what the models tell their listeners.
#pragma once

#include <functional>

#include "program/perfetto.hpp"
#include "replay/causes.hpp"
#include "replay/simulation.hpp"

namespace nestwalk::sim {

/// Rows of one kind, so many that what overlaps has one each. Spans come in the order in which they
/// end; the row whose last span ended last takes the next, so that there are never more than spans
/// at a time.
class TimelineRows {
 public:
  using Track = PerfettoTrace::Track;
  explicit TimelineRows(std::function<Track(std::size_t row)> make) : make_(std::move(make)) {}

  /// A row that is free from `begin` on, and taken until `end`.
  Track take(models::Cycle begin, models::Cycle end);
  /// The first row, for what overlaps with nothing.
  Track take_first(models::Cycle end);

 private:
  struct Row {
    Track track;
    models::Cycle end;
  };
  Row& add();

  std::function<Track(std::size_t)> make_;
  std::vector<Row> rows_;
};

class Timeline final : private models::FenceListener {
 public:
  /// Of a simulation that has not begun, of these traces.
  Timeline(PerfettoTrace& trace, Simulation& simulation, const std::vector<std::string>& traces);
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;
  ~Timeline();

  /// The run is over.
  void finish();
  /// When it was, in nanoseconds.
  addrspace::u64 end() const { return end_; }

 private:
  class Vm;
  class OfVcpu;
  class OfWalker;

  addrspace::u64 ns(models::Cycle at) const;
  bool wants() const { return !trace_.is_full() && simulation_.is_measuring(); }
  /// Commits what was said, with a sample of the counters when one is due.
  void commit();
  void count(models::Cycle now);
  void on_fences(std::span<const models::FenceRequest> fences,
                 std::span<const models::FenceSpan> spans) override;

  PerfettoTrace& trace_;
  Simulation& simulation_;
  PerfettoTrace::Track machine_;
  PerfettoTrace::Track first_misses_, last_misses_, walks_;
  std::vector<std::unique_ptr<Vm>> vms_;
  std::vector<std::unique_ptr<OfWalker>> walkers_;  ///< by core, as the next
  std::vector<TimelineRows> fences_;
  addrspace::u64 flows_ = 0;
  models::Cycle next_count_ = 0;
  addrspace::u64 end_ = 0;
};

}  // namespace nestwalk::sim
