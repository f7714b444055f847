// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "row.hpp"

#include <charconv>
#include <sstream>

namespace nestwalk::models {

std::size_t words_in_front(const Words& words, const char* name) {
  // "hfence.gvma zero, zero" is written with commas.
  std::size_t count = 0;
  std::string expected;
  for (std::istringstream names(name); names >> expected; ++count) {
    if (expected.back() == ',') expected.pop_back();
    if (count == words.size() || words[count] != expected) return 0;
  }
  return count;
}

std::optional<u64> number_in(const std::string& word) {
  const bool hex = word.rfind("0x", 0) == 0;
  const char* const first = word.data() + (hex ? 2 : 0);
  const char* const last = word.data() + word.size();
  u64 value = 0;
  const auto [end, error] = std::from_chars(first, last, value, hex ? 16 : 10);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

std::optional<std::vector<u64>> numbers_after(const Words& words, std::size_t names) {
  std::vector<u64> values;
  for (std::size_t n = names; n < words.size(); ++n) {
    const auto value = number_in(words[n]);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  return values;
}

bool parse_x86(std::span<const FenceOp> fences, const Words& words, addrspace::Fence& fence) {
  using addrspace::FenceOperand;
  for (const FenceOp op : fences) {
    const std::size_t names = words_in_front(words, op->name.c_str());
    if (names == 0) continue;
    const bool linear = op->operand == FenceOperand::VpidLinear;
    const std::size_t operands = op->operand == FenceOperand::None ? 0 : linear ? 2 : 1;
    const auto values = numbers_after(words, names);
    if (!values || values->size() != operands) return false;
    if ((linear || op->operand == FenceOperand::Vpid) && values->front() > 0xffff) return false;
    fence.op = op;
    if (linear) fence.vmid = static_cast<u16>(values->front());
    if (!values->empty()) fence.operand = values->back();
    return true;
  }
  return false;
}

}  // namespace nestwalk::models
