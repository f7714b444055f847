// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Obligations in an order in which everybody looks at each once: a fence for all of a VM, however
// often it comes, does not look again at what it met before.
#pragma once

#include <map>
#include <memory>
#include <unordered_map>

#include "obligation.hpp"

namespace nestwalk::checker {

class Agenda {
 public:
  void add(u64 seat, Obligation& each) { seats_.emplace_hint(seats_.end(), seat, &each); }
  void remove(u64 seat) { seats_.erase(seat); }
  bool empty() const { return seats_.empty(); }
  Obligation* find(u64 seat) const {
    const auto found = seats_.find(seat);
    return found == seats_.end() ? nullptr : found->second;
  }
  /// Calls visit(Obligation&) for each obligation that was added since the last call with the same
  /// `who`. `visit` may neither add nor remove any.
  template <class Visit>
  void for_each_new(u64 who, Visit&& visit) {
    if (seats_.empty()) return;
    u64& seen = seen_[who];
    for (auto at = seats_.upper_bound(seen); at != seats_.end(); ++at) visit(*at->second);
    seen = seats_.rbegin()->first;
  }

 private:
  std::map<u64, Obligation*> seats_;   ///< numbers that grow
  std::unordered_map<u64, u64> seen_;  ///< the last of them, by who asked
};

/// An agenda for each tag, and one for all.
class Agendas {
 public:
  /// What has a seat already gets a later one, and is looked at again.
  void seat(Obligation& each, Look look, u64 tag) {
    unseat(each, look, tag);
    u64& seat = each.seats[static_cast<unsigned>(look)];
    seat = ++last_;
    std::unique_ptr<Agenda>& agenda = of(look)[tag];
    if (!agenda) agenda = std::make_unique<Agenda>();
    agenda->add(seat, each);
    all(look).add(seat, each);
  }
  void unseat(Obligation& each, Look look, u64 tag) {
    u64& seat = each.seats[static_cast<unsigned>(look)];
    if (seat == 0) return;
    const auto agenda = of(look).find(tag);
    agenda->second->remove(seat);
    if (agenda->second->empty()) of(look).erase(agenda);
    all(look).remove(seat);
    seat = 0;
  }
  /// Null: nothing is there.
  Agenda* with(Look look, u64 tag) {
    const auto found = of(look).find(tag);
    return found == of(look).end() ? nullptr : found->second.get();
  }
  Agenda& all(Look look) { return all_[static_cast<unsigned>(look)]; }

 private:
  using ByTag = std::unordered_map<u64, std::unique_ptr<Agenda>>;
  ByTag& of(Look look) { return by_tag_[static_cast<unsigned>(look)]; }

  ByTag by_tag_[kLooks];
  Agenda all_[kLooks];
  u64 last_ = 0;
};

}  // namespace nestwalk::checker
