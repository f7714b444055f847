// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What becomes of both stages' memory types.

#include <gtest/gtest.h>

#include "nestwalk/machines/extensions.hpp"

namespace nestwalk::models::memory_type_test {
namespace {

using addrspace::MemoryType;
using enum addrspace::MemoryType;

struct Row {
  MemoryType ept, pat, effective;
};

// Intel SDM vol. 3A, table 11-7, as it is printed, but for UC-, which is read as UC; the first
// column is the MTRRs', and EPT's here.
constexpr Row kTable[] = {
    {Device, Device, Device},
    {Device, WriteCombining, WriteCombining},
    {Device, WriteThrough, Device},
    {Device, WriteBack, Device},
    {Device, WriteProtected, Device},
    {WriteCombining, Device, Device},
    {WriteCombining, WriteCombining, WriteCombining},
    {WriteCombining, WriteThrough, Device},
    {WriteCombining, WriteBack, WriteCombining},
    {WriteCombining, WriteProtected, Device},
    {WriteThrough, Device, Device},
    {WriteThrough, WriteCombining, WriteCombining},
    {WriteThrough, WriteThrough, WriteThrough},
    {WriteThrough, WriteBack, WriteThrough},
    {WriteThrough, WriteProtected, WriteProtected},
    {WriteBack, Device, Device},
    {WriteBack, WriteCombining, WriteCombining},
    {WriteBack, WriteThrough, WriteThrough},
    {WriteBack, WriteBack, WriteBack},
    {WriteBack, WriteProtected, WriteProtected},
    {WriteProtected, Device, Device},
    {WriteProtected, WriteCombining, WriteCombining},
    {WriteProtected, WriteThrough, WriteThrough},
    {WriteProtected, WriteBack, WriteProtected},
    {WriteProtected, WriteProtected, WriteProtected},
};
static_assert(std::size(kTable) == 5 * 5);

TEST(MemoryTypes, OfVmxAreThoseOfTheManualsTable) {
  for (const auto& [ept, pat, effective] : kTable) {
    EXPECT_EQ(kVmx.combine(pat, ept), effective)
        << "EPT " << to_string(ept) << ", PAT " << to_string(pat);
  }
  // Uncached is UC, too; a reserved code of the PAT stays unknown.
  EXPECT_EQ(kVmx.combine(WriteThrough, Uncached), Device);
  EXPECT_EQ(kVmx.combine(Other, WriteBack), Other);
}

}  // namespace
}  // namespace nestwalk::models::memory_type_test
