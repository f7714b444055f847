// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "judge.hpp"

#include <cstdio>
#include <set>

#include "nestwalk/models/translation/fault_report.hpp"
#include "nestwalk/models/translation/lone_walk.hpp"

namespace nestwalk::baremetal {
namespace {

using models::AccessKind;

/// What is known, or was found, about one probe.
struct Answer {
  bool done = false;
  u64 value = 0;     ///< the host address; of a fault, the guest-physical one
  u64 syndrome = 0;  ///< of a fault
};

constexpr AccessKind kKinds[] = {AccessKind::Read, AccessKind::Write, AccessKind::Execute};

/// The models' walker, on memory that holds the image.
class Walk {
 public:
  Walk(const Trial& trial, Architecture architecture)
      : architecture_(architecture),
        memory_(kGiB, Hpa(trial.machine().map.ram)),
        hierarchy_(wheel_, models::DramShape{}, 64),
        walker_(wheel_, memory_, hierarchy_, hierarchy_.add_path({}), {}) {
    const std::vector<u8> image = trial.image();
    memory_.write(Hpa(trial.machine().map.image), image.data(), image.size());
    regime_.nested = {&trial.format(), trial.geometry(), trial.root()};
    regime_ = regime_.tagged(tags_);
  }

  Answer operator()(u64 address, AccessKind kind) {
    const models::LoneWalk walk(walker_, {&regime_, address, kind, false, false, nullptr});
    wheel_.run();
    const models::Fault& fault = walk->fault();
    const models::Translation& found = walk->translation();
    if (fault) return {false, fault.guest_physical, syndrome(fault)};
    return {true, found.host_of(address), 0};
  }

 private:
  u64 syndrome(const models::Fault& fault) const {
    const models::FaultReport report = regime_.report_of(fault);
    switch (architecture_) {
      case Architecture::X86_64: {
        constexpr u64 kViolation = 48, kMisconfiguration = 49, kNestedPageFault = 0x400;
        if (report.event == "nested page fault") {
          return kNestedPageFault | report["EXITINFO1"] << 16;
        }
        return report.event == "EPT violation" ? kViolation | report["exit qualification"] << 16
                                               : kMisconfiguration;
      }
      case Architecture::AArch64:
        return report["ESR_EL2"];
      case Architecture::RiscV64:
        return report["scause"];
    }
    return 0;
  }

  Architecture architecture_;
  models::Wheel wheel_;
  models::HostMemory memory_;
  models::MemoryHierarchy hierarchy_;
  models::Walker walker_;
  models::Tags tags_;
  models::Regime regime_;
};

/// The part of a syndrome that the architecture defines for every instruction.
u64 compared(Architecture architecture, u64 syndrome) {
  switch (architecture) {
    case Architecture::X86_64:
      // A misconfiguration leaves the qualification undefined. Of a violation: the access, what is
      // permitted, whether there is a linear address and whether it was translated to this one.
      // Of a nested page fault, all.
      if ((syndrome & 0xffff) == 0x400) return syndrome;
      return (syndrome & 0xffff) == 49 ? 49 : syndrome & 0x1bf'ffff;
    case Architecture::AArch64:
      return syndrome & (u64{0x3f} << 26 | 0x7f | 1 << 7);  // EC; S1PTW, WnR, fault status
    case Architecture::RiscV64:
      return syndrome;
  }
  return 0;
}

/// What the engine's query says; without a syndrome, which it does not know.
Answer engine_answer(const Expected& expected, Probe probe) {
  constexpr Access kNeeded[] = {kRead, kWrite, kExecute};
  const u64 address = address_of(probe);
  if (!expected.mapped || !expected.access.has(kNeeded[kind_of(probe)])) return {false, address, 0};
  return {true, expected.host, 0};
}

class Judge {
 public:
  Judge(const Trial& trial, Architecture architecture, std::span<Deviation> deviations)
      : trial_(trial),
        architecture_(architecture),
        deviations_(deviations),
        walk_(trial, architecture) {}

  Verdict run(std::span<const u64> words) {
    const std::vector<Probe>& probes = trial_.probes();
    if (words.size() < 2 * probes.size() + 2) throw std::runtime_error("too few answers");
    for (u64 n = 0; n < probes.size(); ++n) {
      judge(n, {words[2 * n] == 0, words[2 * n + 1], words[2 * n]});
    }
    judge_stores(words.subspan(2 * probes.size()));
    verdict_.plants_found = plants_found_.size();
    return verdict_;
  }

 private:
  void judge(u64 number, const Answer& found) {
    const Probe probe = trial_.probes()[number];
    const Expected expected = trial_.query(address_of(probe));
    Answer engine = engine_answer(expected, probe);
    Answer walked = walk_(address_of(probe), kKinds[kind_of(probe)]);
    verdict_.faults += found.done ? 0 : 1;
    if (engine.done != walked.done || engine.value != walked.value) {
      ++verdict_.engine_and_models;
      tell(number, "engine", engine, "models", walked);
    }
    if (deviates(probe, expected, engine)) {
      engine = {false, address_of(probe), 0};
      walked = {false, address_of(probe), found.syndrome};
    }
    if (engine.done && kind_of(probe) == kStores) stores_[engine.value] = number + 1;

    const bool as_engine = agrees(probe, number, engine, found);
    if (!as_engine) {
      ++verdict_.engine_wrong;
      note_plant(probe);
      tell(number, "engine", engine, "emulator", found);
    }
    const bool same_syndrome =
        compared(architecture_, walked.syndrome) == compared(architecture_, found.syndrome);
    if (!agrees(probe, number, walked, found) || !same_syndrome) {
      ++verdict_.models_wrong;
      if (as_engine) tell(number, "models", walked, "emulator", found);
    }
  }

  bool deviates(Probe probe, const Expected& expected, const Answer& engine) {
    if (!engine.done) return false;
    for (Deviation& deviation : deviations_) {
      if (!deviation.applies(trial_.geometry(), probe, expected)) continue;
      ++deviation.met;
      return true;
    }
    return false;
  }

  // What a load, a store and a jump bring back, see image.hpp.
  bool agrees(Probe probe, u64 number, const Answer& expected, const Answer& found) const {
    if (expected.done != found.done) return false;
    if (!expected.done) return expected.value == found.value;
    if (address_of(probe) < kFirmwareBytes) return true;  // code, not data
    switch (kind_of(probe)) {
      case kLoads:
        return found.value == expected.value;
      case kStores:
        return found.value == number + 1;
      default:
        return found.value == expected.value >> kFrameShift;
    }
  }

  // Each word holds the last store to it.
  void judge_stores(std::span<const u64> words) {
    u64 at = 0;
    for (; at + 1 < words.size() && words[at] != 0; at += 2) {
      const auto expected = stores_.find(words[at]);
      const bool right = expected != stores_.end() && expected->second == words[at + 1];
      if (!right) ++verdict_.stores_wrong;
      if (expected != stores_.end()) stores_.erase(expected);
    }
    if (at + 1 >= words.size() || words[at + 1] != ImageHeader::kMagic) {
      throw std::runtime_error("the answers have no end");
    }
    verdict_.stores_wrong += stores_.size();
    // Stores that went elsewhere.
    for (const auto& [where, number] : stores_) note_plant(trial_.probes()[number - 1]);
  }

  void note_plant(Probe probe) {
    const u64 page = align_down(address_of(probe), trial_.geometry().page_bytes());
    for (const Trial::Plant& plant : trial_.plants()) {
      if (plant.page == page) plants_found_.insert(page);
    }
  }

  void tell(u64 number, const char* one, const Answer& a, const char* other, const Answer& b) {
    if (++told_ > 8) return;
    const char* const kinds[] = {"load", "store", "jump"};
    const auto print = [](const char* who, const Answer& answer) {
      std::printf("  %s: %s 0x%llx, syndrome 0x%llx\n", who, answer.done ? "reaches" : "faults at",
                  static_cast<unsigned long long>(answer.value),
                  static_cast<unsigned long long>(answer.syndrome));
    };
    const Probe probe = trial_.probes()[number];
    std::printf("probe %llu, %s 0x%llx\n", static_cast<unsigned long long>(number),
                kinds[kind_of(probe)], static_cast<unsigned long long>(address_of(probe)));
    print(one, a);
    print(other, b);
  }

  const Trial& trial_;
  Architecture architecture_;
  std::span<Deviation> deviations_;
  Walk walk_;
  Verdict verdict_;
  std::map<u64, u64> stores_;
  std::set<u64> plants_found_;
  unsigned told_ = 0;
};

}  // namespace

Verdict judge(const Trial& trial, Architecture architecture, std::span<const u64> words,
              std::span<Deviation> deviations) {
  return Judge(trial, architecture, deviations).run(words);
}

}  // namespace nestwalk::baremetal
