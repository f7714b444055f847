// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/causes.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "nestwalk/software/cycles.hpp"

namespace nestwalk::sim {

using models::Cycle;
using models::StepKind;
using models::WitnessStep;
using software::Part;

namespace {

bool is_of_software(const StepKind* kind) {
  const StepKind* const first = std::begin(software::kPartSteps);
  return !std::less<>()(kind, first) && std::less<>()(kind, first + software::kParts);
}
bool is(const StepKind* kind, Part part) {
  return kind == &software::kPartSteps[static_cast<std::size_t>(part)];
}

}  // namespace

Cycle CauseCycles::sum() const { return std::accumulate(cycles_.begin(), cycles_.end(), Cycle{0}); }

Cause CauseCycles::most() const {
  return static_cast<Cause>(std::max_element(cycles_.begin(), cycles_.end()) - cycles_.begin());
}

void CauseCycles::add(const CauseCycles& other) {
  for (std::size_t n = 0; n < kCauses; ++n) cycles_[n] += other.cycles_[n];
}

// An exit lasts from the step that leaves the guest to the one that is back in it, whoever caused
// it. The guest's kernel begins with a step of software outside of an exit, and has the
// translations of its own touches.
CauseCycles causes_of(const software::AccessStory& story) {
  CauseCycles causes;
  bool in_exit = false, in_kernel = false;
  for (const WitnessStep& step : story.steps) {
    const StepKind* const kind = step.kind;
    if (is(kind, Part::Exit)) in_exit = true;
    if (!in_exit && (is_of_software(kind) || kind == &models::step::kTouch)) in_kernel = true;
    const Cause cause = in_exit                        ? Cause::Exits
                        : in_kernel                    ? Cause::Guest
                        : kind == &models::step::kHeld ? Cause::Held
                        : kind == &models::step::kData ? Cause::Data
                                                       : Cause::Translation;
    causes[cause] += step.cycles;
    if (is(kind, Part::Entry)) in_exit = false;
    if (kind == &models::step::kReturn) in_kernel = false;
  }
  return causes;
}

}  // namespace nestwalk::sim
