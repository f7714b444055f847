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

bool is(const StepKind* kind, Part part) {
  return kind == &software::kPartSteps[static_cast<std::size_t>(part)];
}

}  // namespace

bool is_of_software(const StepKind* kind) {
  const StepKind* const first = std::begin(software::kPartSteps);
  return !std::less<>()(kind, first) && std::less<>()(kind, first + software::kParts);
}

Cycle CauseCycles::sum() const { return std::accumulate(cycles_.begin(), cycles_.end(), Cycle{0}); }

Cause CauseCycles::most() const {
  return static_cast<Cause>(std::max_element(cycles_.begin(), cycles_.end()) - cycles_.begin());
}

void CauseCycles::add(const CauseCycles& other) {
  for (std::size_t n = 0; n < kCauses; ++n) cycles_[n] += other.cycles_[n];
}

void StepPlace::enter(const WitnessStep& step) {
  if (is(step.kind, Part::Exit)) in_exit_ = true;
  if (!in_exit_ && (is_of_software(step.kind) || step.kind == &models::step::kTouch)) {
    in_kernel_ = true;
  }
}
void StepPlace::leave(const WitnessStep& step) {
  if (is(step.kind, Part::Entry)) in_exit_ = false;
  if (step.kind == &models::step::kReturn) in_kernel_ = false;
}

Cause StepPlace::cause_of(const WitnessStep& step) const {
  return in_exit_                            ? Cause::Exits
         : in_kernel_                        ? Cause::Guest
         : step.kind == &models::step::kHeld ? Cause::Held
         : step.kind == &models::step::kData ? Cause::Data
                                             : Cause::Translation;
}

CauseCycles causes_of(const software::AccessStory& story) {
  CauseCycles causes;
  StepPlace place;
  for (const WitnessStep& step : story.steps) {
    place.enter(step);
    causes[place.cause_of(step)] += step.cycles;
    place.leave(step);
  }
  return causes;
}

}  // namespace nestwalk::sim
