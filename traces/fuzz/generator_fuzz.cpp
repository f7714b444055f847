// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for the parameters of generators, those of storms among them: the first byte
// chooses the generator, the rest is KEY=VALUE, separated by blanks. Keys are taken from the
// generator, and values from its bounds.

#include <random>
#include <sstream>

#include "nestwalk/traces/generator.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace nestwalk::traces {
namespace {

// The trace may be as long as the parameters say: so much of it is enough.
class ShortSink final : public ByteSink {
 public:
  void write(std::span<const u8> bytes) override {
    if ((bytes_ += bytes.size()) > 16 << 10) throw RecordError("enough");
  }

 private:
  std::size_t bytes_ = 0;
};

const Generator& generator_of(u8 choice) { return generators()[choice % generators().size()]; }

std::vector<std::string> words_of(std::span<const u8> text) {
  std::istringstream in(std::string(reinterpret_cast<const char*>(text.data()), text.size()));
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// In the bounds, at them, next to them, or a power of two.
u64 value_for(const Parameter& parameter, std::minstd_rand& random) {
  const u64 near = u64{random() % 3} - 1;
  switch (random() % 5) {
    case 0:
      return parameter.least + near;
    case 1:
      return parameter.most + near;
    case 2:
      return parameter.value + near;
    case 3:
      return u64{1} << random() % 64;
    default:
      return parameter.least + random() % 1000;
  }
}

void change(std::vector<std::string>& words, const Generator& generator, std::minstd_rand& random) {
  if (!words.empty() && random() % 4 == 0) {
    words.erase(words.begin() + static_cast<std::ptrdiff_t>(random() % words.size()));
    return;
  }
  const Parameter& parameter = generator.parameters[random() % generator.parameters.size()];
  std::string word(parameter.name);
  word += '=' + std::to_string(value_for(parameter, random));
  if (random() % 8 == 0) word += "KMGTx"[random() % 5];
  words.push_back(word);
}

}  // namespace
}  // namespace nestwalk::traces

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::traces;
  if (size == 0) return 0;
  const Generator& generator = generator_of(data[0]);
  Values values(generator.parameters);
  ShortSink sink;
  try {
    for (const std::string& word : words_of({data + 1, size - 1})) values.set(word);
    generate(generator, values, sink, {.level = -1, .block_records = 64});
  } catch (const RecordError&) {  // A parameter that makes no sense, or a trace that is long.
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  using namespace nestwalk::traces;
  std::minstd_rand random(seed);
  if (size == 0 || random() % 5 == 0) return LLVMFuzzerMutate(data, size, most);
  std::vector<std::string> words = words_of({data + 1, size - 1});
  change(words, generator_of(data[0]), random);
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : " ").append(word);
  if (text.size() + 1 > most) return LLVMFuzzerMutate(data, size, most);
  text.copy(reinterpret_cast<char*>(data) + 1, text.size());
  return text.size() + 1;
}
