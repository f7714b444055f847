// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What GCC demands of every environment.

#include <cstddef>

// The loops below would be recognised as what they implement, and call themselves.
#pragma GCC optimize("no-tree-loop-distribute-patterns")

extern "C" {

void* memcpy(void* to, const void* from, std::size_t size);
void* memmove(void* to, const void* from, std::size_t size);
void* memset(void* to, int value, std::size_t size);
int memcmp(const void* a, const void* b, std::size_t size);

void* memcpy(void* to, const void* from, std::size_t size) {
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  for (std::size_t n = 0; n < size; ++n) out[n] = in[n];
  return to;
}

void* memmove(void* to, const void* from, std::size_t size) {
  if (to <= from) return memcpy(to, from, size);
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  for (std::size_t n = size; n-- != 0;) out[n] = in[n];
  return to;
}

// By words: zeroing frames is most of what the payloads do.
void* memset(void* to, int value, std::size_t size) {
  auto* out = static_cast<unsigned char*>(to);
  const auto byte = static_cast<unsigned char>(value);
  std::size_t n = 0;
  if (reinterpret_cast<std::size_t>(to) % 8 == 0) {
    const unsigned long word = byte * 0x0101010101010101ul;
    for (; n + 8 <= size; n += 8) *reinterpret_cast<unsigned long*>(out + n) = word;
  }
  for (; n < size; ++n) out[n] = byte;
  return to;
}

int memcmp(const void* a, const void* b, std::size_t size) {
  const auto* x = static_cast<const unsigned char*>(a);
  const auto* y = static_cast<const unsigned char*>(b);
  for (std::size_t n = 0; n < size; ++n) {
    if (x[n] != y[n]) return x[n] < y[n] ? -1 : 1;
  }
  return 0;
}

}  // extern "C"
