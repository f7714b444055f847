// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How sure a comparison is: its runs are made again with other values for the guesses of the
// machines. A draw of a machine's guesses is the same one under every policy; draws of two machines
// are independent.
#pragma once

#include "comparisons/cases.hpp"
#include "comparisons/draws.hpp"
#include "comparisons/spread.hpp"

namespace nestwalk::sim {

struct SureWanted {
  struct Machine {
    std::string name;
    Configuration configuration;  ///< without a policy
    std::vector<Plan> policies;   ///< the same ones on every machine
  };
  std::vector<Machine> machines;
  std::vector<std::string> statistics;  ///< all, if none is named
  unsigned draws;
  addrspace::u64 seed;
};

struct Sure {
  struct Varied {
    Guess guess;
    std::vector<addrspace::u64> values;  ///< by draw, as the machine permits them under each policy
    std::vector<double> correlations;    ///< with each `effect`; not a number: of other machines
  };
  struct Machine {
    std::string name;
    Guesses guesses;
    std::vector<Varied> varied;
  };
  struct Statistic {
    std::string name;
    bool is_count;  ///< not a fraction
    Spread spread;
  };
  struct Runs {
    Case own;
    std::size_t machine;
    std::vector<Statistic> statistics;
  };
  /// Of two runs, in the order of the presets' own values.
  struct Order {
    std::size_t less, more;  ///< places in `runs`
    bool is_tie;
    const char* statistic;
    unsigned holds;  ///< in so many draws
    Spread ratio;    ///< of more to less
  };
  /// Something that guesses may move.
  struct Effect {
    std::string name;
    std::vector<double> values;  ///< by draw
    std::vector<std::size_t> machines;
  };
  unsigned draws;
  addrspace::u64 seed;
  std::vector<Machine> machines;
  std::vector<Runs> runs;
  std::vector<Order> orders;
  std::vector<Effect> effects;  ///< the time of each of `runs`, then the ratio of each order
};

/// Throws NoResult unless every run is whole.
Sure find_how_sure(const SureWanted& wanted, unsigned at_a_time);

Json as_json(const Sure& found);
/// As a "table" in columns, "markdown" or "csv".
std::string formatted(const Sure& found, const std::string& format);

}  // namespace nestwalk::sim
