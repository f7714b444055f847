// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: a half is taken of integers only

// A file of this folder in its smallest form.
#include <concepts>

template <class T>
constexpr T half(T value) {
  static_assert(std::integral<T>, "a half is taken of integers only");
  return value / 2;
}

static_assert(half(4) == 2);

#ifdef MUST_FAIL
constexpr double kQuarter = half(0.5);
#endif
