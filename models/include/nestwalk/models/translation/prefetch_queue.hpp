// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Walks for pages that a TLB prefetcher asked for: in the background, by the core's own walker.
//
// A prefetch waits here until a slot of the walker is free, so it begins after the miss that caused
// it, and a demand walk waits for none that has not begun. What it finds goes into the prefetch
// buffer, as in Kandiraju and Sivasubramaniam (ISCA 2002), so that wrong guesses evict nothing from
// the TLB; demand walks come first in later work, too (Vavouliotis et al., "Exploiting Page Table
// Locality for Agile TLB Prefetching", ISCA 2021).
//
// Translations are cached for the tables and ids that the processor has at that time (Intel SDM
// vol. 3C, "Creating and Using Cached Translation Information"). So a prefetch belongs to the
// address space that asked for it, and ends when the processor leaves that, or at a fence.
#pragma once

#include <deque>

#include "nestwalk/models/translation/walker.hpp"

namespace nestwalk::models {

struct PrefetchCounts {
  u64 asked = 0;
  u64 filled = 0;   ///< of these, into the buffer
  u64 used = 0;     ///< of these, by a miss
  u64 dropped = 0;  ///< asked for, and not filled
  /// References of their walks, by where they were served.
  std::array<WalkTotals::Cell, WalkTotals::kSources> references{};
};

/// A page that is to be translated before it is missed.
struct PrefetchRequest {
  Regime regime;
  u64 address = 0;
  AccessKind access = AccessKind::Read;
  bool user = false;

  bool is_for(const Regime& other, u64 page) const {
    return regime.combined == other.combined && same_page(address, page, other.page_shift_of(page));
  }
};

class PrefetchQueue final : private Actor {
 public:
  PrefetchQueue(Wheel& wheel, Walker& walker, TranslationCache<Translation>& buffer, u32 most)
      : wheel_(wheel), walker_(walker), buffer_(buffer), most_(most) {}

  /// In this cycle, after what is due in it already; or when a slot is free.
  void ask(const PrefetchRequest& request);
  /// Is it waiting, or under way?
  bool has(const Regime& regime, u64 address) const;
  /// A demand walk does it.
  void forget(const Regime& regime, u64 address);
  /// Whom the end of the walk for that page wakes; null if none is under way.
  std::vector<Signal*>* walk_to_join(const Regime& regime, u64 address);
  /// Ends the prefetches whose regimes match, waiting or under way: they fill nothing.
  template <class Match>
  void end_if(Match&& match) {
    counts_.dropped +=
        std::erase_if(waiting_, [&](const PrefetchRequest& each) { return match(each.regime); });
    for (Prefetch& each : under_way_) {
      if (each.walk != nullptr && match(each.request.regime)) each.walk->request_restart();
    }
  }
  /// A slot of the walker may be free.
  void go_on();
  void count_use() { ++counts_.used; }
  const PrefetchCounts& counts() const { return counts_; }
  void note_tags(std::vector<bool>& in_use) const;

 private:
  struct Prefetch {
    PrefetchRequest request;
    Walker::Walk* walk = nullptr;  ///< none: not in use
    std::vector<Signal*> joining;
  };
  static constexpr u32 kBegin = ~u32{0};  ///< of an event; else the walk of that number has ended

  void on_cycle(u32 event) override;
  void begin();
  void end(u32 number);

  Wheel& wheel_;
  Walker& walker_;
  TranslationCache<Translation>& buffer_;
  u32 most_;  ///< that wait
  std::deque<PrefetchRequest> waiting_;
  std::deque<Prefetch> under_way_;  ///< they stay where they are
  bool begins_ = false;             ///< that event is on the wheel
  PrefetchCounts counts_;
};

}  // namespace nestwalk::models
