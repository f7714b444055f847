// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/draws.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "nestwalk/traces/random.hpp"

namespace nestwalk::sim {

using addrspace::u64;

namespace {

Guess guess_of(const models::PresetSource& source) {
  const auto& [value, least, most, power_of_two] = *source.number;
  Guess guess{source.path, value, 0, 0, power_of_two, source.range.has_value()};
  if (source.range) {
    guess.least = source.range->least;
    guess.most = source.range->most;
  } else {
    guess.least = std::clamp((value + 1) / 2, least, value);
    guess.most = std::clamp(2 * value, value, most);
  }
  if (power_of_two) {
    guess.least = std::bit_ceil(guess.least);
    guess.most = std::bit_floor(guess.most);
  }
  return guess;
}

// FNV-1a. Names, not places in lists: a preset's draws do not depend on what else is compared.
u64 hash_of(const std::string& text) {
  u64 hash = 0xcbf29ce484222325;
  for (const char letter : text) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  }
  return hash;
}

// Rounded to the nearest. The factors have 32 bits and kMostDraws * kStratumParts * 2 at most.
u64 scaled(u64 span, u64 part, u64 parts) { return (2 * span * part + parts) / (2 * parts); }

u64 place_in(u64 least, u64 value, u64 most, u64 part, u64 parts) {
  if (value == least || value == most) return least + (most - least + 1) * part / parts;
  if (2 * part < parts) return least + scaled(value - least, 2 * part, parts);
  return value + scaled(most - value, 2 * part - parts, parts);
}

bool is_refused(const Configuration& configuration) {
  try {
    configuration.check_machine();
    return false;
  } catch (const models::PresetError&) {
    return true;
  }
}

// The next one on the way to the guess itself.
u64 step(const Guess& guess, u64 value) {
  if (guess.power_of_two) return value < guess.value ? value * 2 : value / 2;
  return value < guess.value ? value + 1 : value - 1;
}

u64 exponent_of(u64 power) { return static_cast<u64>(std::countr_zero(power)); }

}  // namespace

unsigned Guesses::with_range() const {
  return static_cast<unsigned>(
      std::ranges::count_if(varied, [](const Guess& each) { return each.has_own_range; }));
}

Guesses guesses_of(const Configuration& configuration) {
  Guesses all;
  for (const models::PresetSource& source : configuration.machine().sources) {
    if (!source.is_guess()) continue;
    if (!source.number) {
      ++all.words;
    } else if (source.source == kGuessOfUser && !source.range) {
      ++all.of_user;
    } else if (source.number->value == 0 && !source.range) {
      ++all.zeros;
    } else {
      all.varied.push_back(guess_of(source));
    }
  }
  return all;
}

u64 value_at(const Guess& guess, u64 part, u64 parts) {
  if (!guess.power_of_two) return place_in(guess.least, guess.value, guess.most, part, parts);
  return u64{1} << place_in(exponent_of(guess.least), exponent_of(guess.value),
                            exponent_of(guess.most), part, parts);
}

std::vector<u64> permitted_values(const std::vector<Guess>& guesses, std::vector<u64> values,
                                  const Configuration& before,
                                  std::vector<Configuration> machines) {
  std::erase_if(machines, is_refused);
  // With so many of the values, and the guesses themselves for the others.
  const auto is_allowed = [&](std::size_t count) {
    std::vector<VariedNumber> numbers;
    for (std::size_t n = 0; n < guesses.size(); ++n) {
      numbers.push_back({guesses[n].path, n < count ? values[n] : guesses[n].value});
    }
    return std::ranges::none_of(machines, [&](Configuration& machine) {
      machine.vary_machine(numbers, before);
      return is_refused(machine);
    });
  };
  for (std::size_t allowed = 0; !is_allowed(values.size()) && allowed < values.size();) {
    std::size_t refused = values.size();
    while (refused - allowed > 1) {
      const std::size_t middle = allowed + (refused - allowed) / 2;
      (is_allowed(middle) ? allowed : refused) = middle;
    }
    allowed = refused;
    const Guess& guess = guesses[refused - 1];
    u64& value = values[refused - 1];
    while (value != guess.value && !is_allowed(refused)) value = step(guess, value);
  }
  return values;
}

std::vector<u64> places_of(const std::string& machine, const Guess& guess, unsigned draws,
                           u64 seed) {
  traces::Random random(seed ^ hash_of(machine + "/" + guess.path));
  std::vector<u64> places(draws);
  std::iota(places.begin(), places.end(), u64{0});
  for (u64 left = draws; left > 1; --left) std::swap(places[left - 1], places[random.below(left)]);
  for (u64& place : places) place = place * kStratumParts + random.below(kStratumParts);
  return places;
}

}  // namespace nestwalk::sim
