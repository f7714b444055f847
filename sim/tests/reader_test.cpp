// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The Python reader, which knows the format from its description only, prints what the program
// prints.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "../../traces/tests/random_trace.hpp"

namespace nestwalk::sim::reader_test {
namespace {

using namespace traces;

void expect_same_text(const std::vector<u8>& file, const std::string& name) {
  const std::filesystem::path path = std::filesystem::temp_directory_path() / name;
  const auto sink = create_sink(path.string());
  sink->write(file);
  sink->finish();
  const std::string command = "bash -c \"cmp <('" NESTWALK_PROGRAM "' trace cat '" + path.string() +
                              "') <('" NESTWALK_READER "' '" + path.string() + "')\"";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::filesystem::remove(path);
}

TEST(IndependentReader, PrintsEveryKindOfRecordAndSideData) {
  Random random(2026);
  std::vector<Stream> streams(3);
  for (Stream& stream : streams) stream = random_stream(random, 1500, 30);
  const std::vector<SideData> side = {
      {When::Begin, Stage::Guest, 2, {{"cr3", 0x1000}, {"a \"name\"", ~u64{0}}}, {}},
      {When::End, Stage::Host, 0, {}, {page_of(0x2000, 3), page_of(~u64{0xfff}, 0)}}};
  expect_same_text(file_of(streams, {.block_records = 700}, side), "nestwalk-reader-random.nwt");
}

TEST(IndependentReader, PrintsMoreShapesThanTokens) {
  Random random(7);
  Stream stream;
  for (u64 n = 0; n < 2000; ++n) {
    stream.emplace_back(Access{Gva(0x1000 + 8 * random.below(5000) / 8 * 8), Gpa(), Hpa(),
                               static_cast<u32>(random.below(600)), 8, AccessKind::Fetch,
                               kGvaKnown});
  }
  expect_same_text(file_of({stream}), "nestwalk-reader-shapes.nwt");
}

}  // namespace
}  // namespace nestwalk::sim::reader_test
