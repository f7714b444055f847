// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Makes images of tables and probes for an emulated machine, and judges its answers.
//
//   baremetal-volume make FORMAT SEED OUT [TRIAL]
//   baremetal-volume judge FORMAT SEED ANSWERS DEVIATIONS EMULATOR VERSION [TRIAL]
//
// TRIAL: plants=N, wrong leaves of which the judge's engine and models do not know; one-bit-wrong,
// tables in a format that has one. Status 3: the answers are wrong.

#include <cstdio>
#include <fstream>
#include <iterator>

#include "formats.hpp"
#include "judge.hpp"

namespace nestwalk::baremetal {
namespace {

constexpr int kUsage = 2, kWrong = 3, kBadInput = 4;

const FormatRow& format_named(const std::string& name) {
  for (const FormatRow& row : formats()) {
    if (row.name == name) return row;
  }
  std::string all;
  for (const FormatRow& row : formats()) all.append(" ").append(row.name);
  throw std::invalid_argument("no format " + name + "; there are" + all);
}

TrialOptions options_from(const std::string& seed, std::span<char*> rest) {
  TrialOptions options;
  options.seed = std::stoull(seed);
  for (const std::string word : rest) {
    if (word == "one-bit-wrong") {
      options.one_bit_wrong = true;
    } else if (word.rfind("plants=", 0) == 0) {
      options.plants = static_cast<unsigned>(std::stoul(word.substr(7)));
    } else {
      throw std::invalid_argument("no trial " + word);
    }
  }
  return options;
}

void make_image(const FormatRow& format, const TrialOptions& options, const std::string& out) {
  const std::unique_ptr<Trial> trial = format.make(options);
  const MemoryMap& map = trial->machine().map;
  std::vector<u8> image = trial->image();
  for (const Trial::Plant& plant : trial->plants()) {
    std::memcpy(&image[plant.slot - map.image], &plant.entry, sizeof(plant.entry));
  }
  std::ofstream file(out, std::ios::binary);
  // QEMU's file is the machine's memory; Bochs' ROM begins with the image.
  if (format.architecture != Architecture::X86_64) {
    file.seekp(static_cast<std::streamoff>(map.image - map.ram));
  }
  file.write(reinterpret_cast<const char*>(image.data()),
             static_cast<std::streamsize>(image.size()));
  if (!file.flush()) throw std::runtime_error(out + ": cannot be written");
}

std::vector<u64> read_answers(const FormatRow& format, const MemoryMap& map,
                              const std::string& name) {
  std::vector<u64> words;
  std::ifstream file(name, std::ios::binary);
  if (format.architecture == Architecture::X86_64) {
    for (std::string line; std::getline(file, line);) {
      if (!line.empty() && line[0] == '=')
        words.push_back(std::stoull(line.substr(1), nullptr, 16));
    }
    return words;
  }
  file.seekg(static_cast<std::streamoff>(map.answers - map.ram));
  constexpr u64 kMost = 400'000;
  words.resize(kMost);
  file.read(reinterpret_cast<char*>(words.data()), static_cast<std::streamsize>(kMost * 8));
  words.resize(static_cast<u64>(file.gcount()) / 8);
  return words;
}

int judge_answers(const FormatRow& format, const TrialOptions& options, std::span<char*> words) {
  const std::string answers = words[0], emulator = words[2], version = words[3];
  const std::unique_ptr<Trial> trial = format.make(options);
  std::vector<Deviation> deviations = read_deviations(words[1], emulator, version, format.name);
  const std::vector<u64> found = read_answers(format, trial->machine().map, answers);
  const Verdict verdict = judge(*trial, format.architecture, found, deviations);

  const auto number = [](u64 value) { return static_cast<unsigned long long>(value); };
  for (const Deviation& deviation : deviations) {
    std::printf("%s %s %s: %llu times, as known\n", emulator.c_str(), version.c_str(),
                deviation.name.c_str(), number(deviation.met));
  }
  std::printf(
      "%s: %llu probes, %llu faults; wrong for the engine %llu, for the models %llu, "
      "stores %llu; engine and models apart %llu",
      format.name, number(trial->probes().size()), number(verdict.faults),
      number(verdict.engine_wrong), number(verdict.models_wrong), number(verdict.stores_wrong),
      number(verdict.engine_and_models));
  if (options.plants != 0) {
    std::printf("; planted %u, found %llu", options.plants, number(verdict.plants_found));
  }
  std::printf("\n");
  const u64 wrong = verdict.engine_wrong + verdict.models_wrong + verdict.stores_wrong +
                    verdict.engine_and_models;
  return wrong == 0 ? 0 : kWrong;
}

int run(std::span<char*> words) {
  const std::string command = words.size() > 1 ? words[1] : "";
  if (command == "make" && words.size() >= 5) {
    const FormatRow& format = format_named(words[2]);
    make_image(format, options_from(words[3], words.subspan(5)), words[4]);
    return 0;
  }
  if (command == "judge" && words.size() >= 8) {
    const FormatRow& format = format_named(words[2]);
    return judge_answers(format, options_from(words[3], words.subspan(8)), words.subspan(4));
  }
  throw std::invalid_argument(
      "make FORMAT SEED OUT, or judge FORMAT SEED ANSWERS DEVIATIONS "
      "EMULATOR VERSION; then the trial");
}

}  // namespace
}  // namespace nestwalk::baremetal

int main(int count, char** words) {
  using namespace nestwalk::baremetal;
  try {
    const int code = run({words, static_cast<std::size_t>(count)});
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    throw std::runtime_error("standard output cannot be written");
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "baremetal-volume: %s\n", error.what());
    return kUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "baremetal-volume: %s\n", error.what());
    return kBadInput;
  }
}
