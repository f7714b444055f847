// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Frames between the moment in which the engine gives them back and the cycle in which the
// simulated hypervisor does.

#include "nestwalk/software/work.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <set>

#include "world.hpp"

namespace nestwalk::software::work_test {
namespace {

class FreedFrames : public testing::Test, private models::Actor {
 protected:
  FreedFrames()
      : machine_(easy(Architecture::X86_64, 1), addrspace::kGiB),
        fences_(machine_),
        recording_(machine_.memory(), models::kVmx, addrspace::FencePolicy::Precise,
                   models::kVmx.capabilities(false)),
        worker_(machine_, fences_, 0, models::kVmx.entries,
                easy(Architecture::X86_64, 1).software) {}

  Hpa allocate(unsigned order) {
    const Hpa run = *memory().allocate(order);
    recording_.allocated(run.value(), kFrameBytes << order);
    return run;
  }
  void free(Hpa run, unsigned order) {
    recording_.freed(run.value(), kFrameBytes << order);
    memory().free(run, order);
  }
  void write(Hpa slot, u64 entry) {
    recording_.written(slot.value(), memory().load(slot), entry);
    memory().store(slot, entry);
  }
  bool is_in_use(Hpa at) {
    const models::FrameAllocator& all = memory().frames();
    return all.run_of((at - memory().base()) / kFrameBytes).order <= all.kMaxOrder;
  }
  u64 in_use() { return memory().frames().frames_in_use(); }
  /// Work that begins with an entry, so that it does not free anything in its first cycle.
  void begin() {
    recording_.begin(0, 0);
    write(entry_, memory().load(entry_) + 1);
  }
  /// Plays it; `meanwhile` is what others do in its first cycle.
  template <class Meanwhile>
  void end(Meanwhile&& meanwhile) {
    meanwhile_ = meanwhile;
    machine_.wheel().schedule(machine_.wheel().now(), *this, 0);
    work_.start(work());
    machine_.wheel().run();
    EXPECT_FALSE(meanwhile_);
    EXPECT_FALSE(work_.is_running());
  }
  models::HostMemory& memory() { return machine_.memory(); }

 private:
  void on_cycle(u32) override { std::exchange(meanwhile_, nullptr)(); }
  models::Task<> work() { co_await worker_.play(recording_.take()); }

  models::Machine machine_;
  models::FenceUnit fences_;
  Recording recording_;
  Worker worker_;
  models::Process work_;
  Hpa entry_ = *machine_.memory().allocate(0);
  std::function<void()> meanwhile_;
};

// A table that is cleared and freed: whoever takes a frame meanwhile does not get it, so the write
// that is still to come hits nobody's content.
TEST_F(FreedFrames, AreNobodyElsesUntilTheWorkGivesThemBack) {
  const Hpa table = *memory().allocate(0);
  memory().store(table, 7);
  begin();
  write(table, 0);
  free(table, 0);
  Hpa other(0);
  end([&] {
    other = *memory().allocate(0);
    memory().store(other, 9);
  });
  EXPECT_NE(other, table);
  EXPECT_EQ(memory().load(other), 9u);
  EXPECT_EQ(*memory().allocate(0), table);
}

// What the same work freed before, it may take again. Of a larger run only the rest is held.
TEST_F(FreedFrames, AreTakenAgainByTheSameWork) {
  for (const unsigned order : {0u, 1u, 2u}) (void)memory().allocate(order);  // all below it
  const Hpa run_of_eight = *memory().allocate(3);
  begin();
  free(run_of_eight, 3);
  EXPECT_EQ(allocate(1), run_of_eight);
  end([&] {
    EXPECT_EQ(in_use(), 8u + 8);
    EXPECT_NE(*memory().allocate(1), run_of_eight + 2 * kFrameBytes);
  });
  EXPECT_EQ(in_use(), 8u + 2 + 2);
  EXPECT_EQ(*memory().allocate(1), run_of_eight + 2 * kFrameBytes);
}

// Whatever it frees and takes: nothing that was in use before is free before the work is played.
TEST_F(FreedFrames, InUseBeforeStayInUseWhateverTheOrder) {
  std::mt19937_64 random(1);
  std::map<u64, unsigned> owned;  // orders by addresses
  const auto frames = [&] {
    std::set<u64> all;
    for (const auto& [first, order] : owned) {
      for (u64 n = 0; n < u64{1} << order; ++n) all.insert(first + n * kFrameBytes);
    }
    return all;
  };
  for (int round = 0; round < 500 && !HasFailure(); ++round) {
    std::set<u64> wanted = frames();
    begin();
    for (u64 n = random() % 12; n != 0; --n) {
      if (owned.empty() || random() % 2 == 0) {
        const unsigned order = static_cast<unsigned>(random() % 5);
        owned[allocate(order).value()] = order;
        wanted.merge(frames());
        continue;
      }
      const auto victim = std::next(owned.begin(), static_cast<long>(random() % owned.size()));
      auto [first, order] = *victim;
      owned.erase(victim);
      while (order != 0 && random() % 2 == 0) {  // only a part of it
        --order;
        const u64 half = kFrameBytes << order;
        owned[first + half] = order;
      }
      free(Hpa(first), order);
    }
    end([&] {
      EXPECT_EQ(in_use(), 1 + wanted.size());
      for (const u64 frame : wanted) EXPECT_TRUE(is_in_use(Hpa(frame))) << std::hex << frame;
    });
    ASSERT_EQ(in_use(), 1 + frames().size());
  }
}

}  // namespace
}  // namespace nestwalk::software::work_test
