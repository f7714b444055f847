// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/base/digest.hpp"

#include <gmock/gmock.h>

namespace nestwalk::models::digest_test {
namespace {

// The basis; and the published test vectors of FNV-1a of 128 bits.
TEST(Digest, IsFnv1a) {
  EXPECT_EQ(Digest().text(), "6c62272e07bb014262b821756295c58d");
  EXPECT_EQ(Digest().add("a").text(), "d228cb696f1a8caf78912b704e4a8964");
  EXPECT_EQ(Digest().add("foobar").text(), "343e1662793c64bf6f0d3597ba446f18");
}

TEST(Digest, IsTheSameHoweverItsBytesWereAdded) {
  EXPECT_EQ(Digest().add("foo").add("").add("bar").text(), Digest().add("foobar").text());
}

}  // namespace
}  // namespace nestwalk::models::digest_test
