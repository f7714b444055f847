// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for the parameters of generators, those of storms among them: the first byte
// chooses the generator, the rest is KEY=VALUE, separated by blanks.

#include <sstream>

#include "nestwalk/traces/generator.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::traces {
namespace {

// The trace may be as long as the parameters say: so much of it is enough.
class ShortSink final : public ByteSink {
 public:
  void write(std::span<const u8> bytes) override {
    if ((bytes_ += bytes.size()) > 64 << 10) throw RecordError("enough");
  }

 private:
  std::size_t bytes_ = 0;
};

}  // namespace
}  // namespace nestwalk::traces

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::traces;
  if (size == 0) return 0;
  const Generator& generator = generators()[data[0] % generators().size()];
  Values values(generator.parameters);
  std::istringstream words(std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  ShortSink sink;
  try {
    for (std::string word; words >> word;) values.set(word);
    generate(generator, values, sink, {.level = -1, .block_records = 64});
  } catch (const RecordError&) {  // A parameter that makes no sense.
  }
  return 0;
}
