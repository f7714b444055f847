// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Processes: when they run, in which order, and what becomes of their frames.

#include "nestwalk/models/time/process.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace nestwalk::models::process_test {
namespace {

class Processes : public testing::Test, public Actor {
 public:
  Task<> say(Cycle at, const char* text) {
    co_await Until(wheel, at);
    note(text);
  }
  void note(const std::string& text) { heard += text + "@" + std::to_string(wheel.now()) + " "; }
  void on_cycle(u32 what) override { note("actor" + std::to_string(what)); }

  Wheel wheel;
  std::string heard;
};

Task<u64> answer_at(Wheel& wheel, Cycle at) {
  co_await Until(wheel, at);
  co_return at * 2;
}

TEST_F(Processes, RunUpToTheirFirstWaitWhenTheyStart) {
  Process process;
  process.start([](Processes& self) -> Task<> {
    self.note("a");
    co_await EventAt(self.wheel, 5);
    self.note("b");
    self.note(std::to_string(co_await answer_at(self.wheel, 9)));
  }(*this));
  EXPECT_EQ(heard, "a@0 ");
  EXPECT_TRUE(process.is_running());
  wheel.run();
  EXPECT_EQ(heard, "a@0 b@5 18@9 ");
  EXPECT_FALSE(process.is_running());
}

// Events of one cycle run in the order in which they were scheduled, whoever waits for them.
TEST_F(Processes, TakeTheirTurnsWithOtherEvents) {
  Process first, second;
  wheel.schedule(6, *this, 0);
  wheel.schedule(7, *this, 1);
  first.start(say(7, "p"));
  wheel.schedule(7, *this, 2);
  second.start(say(6, "q"));
  wheel.run();
  EXPECT_EQ(heard, "actor0@6 q@6 actor1@7 p@7 actor2@7 ");
}

// Alone it is granted each wait at once, up to the last: no event. Beside an actor that is due in
// every cycle it never is. It does the same.
TEST_F(Processes, DoTheSameWhetherTheyWaitOrAreGrantedAtOnce) {
  const auto tick = [](Processes& self, std::string& trace) -> Task<> {
    Cycle step = 1;
    for (int n = 0; n < 100; ++n) {
      co_await Until(self.wheel, self.wheel.now() + step);
      trace += std::to_string(self.wheel.now()) + " ";
      step = step * 7 % 31;
    }
  };
  std::string alone, accompanied;
  Process process;
  process.start(tick(*this, alone));
  EXPECT_FALSE(process.is_running());
  EXPECT_EQ(wheel.events(), 0u);
  const Cycle end = wheel.now();

  struct Companion : Actor {
    Wheel* wheel;
    Cycle end;
    void on_cycle(u32) override {
      if (wheel->now() < end) wheel->schedule(wheel->now() + 1, *this, 0);
    }
  } companion;
  wheel = Wheel();
  companion.wheel = &wheel;
  companion.end = end;
  wheel.schedule(0, companion, 0);
  process.start(tick(*this, accompanied));
  EXPECT_EQ(accompanied, "");
  wheel.run();
  EXPECT_EQ(accompanied, alone);
}

// As an event it lets whoever began it go on first.
TEST_F(Processes, WaitForAnEventEvenWhereNothingElseIsDue) {
  Process process;
  process.start([](Processes& self) -> Task<> {
    co_await EventAt(self.wheel, 3);
    self.note("p");
  }(*this));
  note("beginner");
  wheel.run();
  EXPECT_EQ(heard, "beginner@0 p@3 ");
}

TEST_F(Processes, GetALockFirstComeFirstServed) {
  Lock lock(wheel);
  const auto hold = [](Processes& self, Lock& of, const char* name, Cycle from) -> Task<> {
    co_await EventAt(self.wheel, from);
    Lock::Turn turn(of);
    co_await turn;
    self.note(name);
    co_await Until(self.wheel, self.wheel.now() + 10);
  };
  Process a, b, c, d;
  a.start(hold(*this, lock, "a", 0));
  c.start(hold(*this, lock, "c", 2));
  b.start(hold(*this, lock, "b", 1));
  d.start(hold(*this, lock, "d", 50));
  wheel.run();
  EXPECT_EQ(heard, "a@0 b@10 c@20 d@50 ");
}

// What is due in the cycle already goes before whoever the lock is handed to.
TEST_F(Processes, HandALockOverAfterWhatIsDue) {
  Lock lock(wheel);
  const auto hold = [](Processes& self, Lock& of, const char* name) -> Task<> {
    Lock::Turn turn(of);
    co_await turn;
    self.note(name);
    co_await EventAt(self.wheel, self.wheel.now() + 5);
    turn.end();
    self.note(std::string(name) + "'");
  };
  Process a, b;
  a.start(hold(*this, lock, "a"));
  b.start(hold(*this, lock, "b"));
  wheel.schedule(5, *this, 1);
  wheel.run();
  EXPECT_EQ(heard, "a@0 a'@5 actor1@5 b@5 b'@10 ");
}

// Two hold it; the third and the fourth follow as these end, in the order in which they asked.
TEST_F(Processes, ShareALockAmongAFew) {
  Lock lock(wheel, 2);
  const auto hold = [](Processes& self, Lock& of, const char* name, Cycle cycles) -> Task<> {
    Lock::Turn turn(of);
    co_await turn;
    self.note(name);
    co_await EventAt(self.wheel, self.wheel.now() + cycles);
  };
  Process a, b, c, d;
  a.start(hold(*this, lock, "a", 10));
  b.start(hold(*this, lock, "b", 4));
  c.start(hold(*this, lock, "c", 1));
  d.start(hold(*this, lock, "d", 1));
  wheel.run();
  EXPECT_EQ(heard, "a@0 b@0 c@4 d@5 ");
}

TEST_F(Processes, WaitForSeveral) {
  Process process;
  process.start([](Processes& self) -> Task<> {
    TaskGroup group(self.wheel);
    co_await group;
    self.note("none");
    group.start(self.say(9, "slow"));
    group.start(self.say(4, "fast"));
    co_await group;
    self.note("both");
    group.start(self.say(12, "again"));
    co_await group;
  }(*this));
  wheel.run();
  EXPECT_EQ(heard, "none@0 fast@4 slow@9 both@9 again@12 ");
  EXPECT_FALSE(process.is_running());
}

// Jobs --------------------------------------------------------------------------------------------

template <class Owner>
struct Serve {
  Owner* owner;
  Task<> operator()() const { return owner->serve(); }
};

// Tells of each use, and of each of its waits.
class Work final : public Job<Serve<Work>> {
 public:
  Work(Processes& self, std::string name, std::vector<Cycle> waits)
      : Job(Serve<Work>{this}), self_(self), name_(std::move(name)), waits_(std::move(waits)) {}
  Work(Work& part, Processes& self, std::string name, std::vector<Cycle> waits)
      : Work(self, std::move(name), std::move(waits)) {
    part_ = &part;
  }

  Task<> serve() {
    for (;;) {
      for (const Cycle cycles : waits_) {
        self_.note(name_);
        if (part_ != nullptr) {
          Work& part = *part_;
          co_await part;
        }
        co_await Until(self_.wheel, self_.wheel.now() + cycles);
        if (cycles == 13) throw std::runtime_error("thirteen");
      }
      co_await over();
    }
  }

 private:
  Processes& self_;
  std::string name_;
  std::vector<Cycle> waits_;
  Work* part_ = nullptr;
};

// Whoever began it is not called where it is over within the call.
TEST_F(Processes, TellAnActorOfAJobThatIsOverLater) {
  Work work(*this, "work", {4});
  EXPECT_TRUE(work.start(*this, 1));  // nothing else is due: the wait is granted
  EXPECT_EQ(wheel.now(), 4u);
  wheel.schedule(6, *this, 9);
  EXPECT_FALSE(work.start(*this, 2));
  wheel.run();
  EXPECT_EQ(heard, "work@0 work@4 actor9@6 actor2@8 ");
}

// The actor may use the same job again at once.
TEST_F(Processes, UseAJobAgainFromItsEnd) {
  struct Owner final : Actor {
    void on_cycle(u32 what) override {
      if (what < 3) over = work->start(*this, what + 1);
    }
    Work* work = nullptr;
    bool over = false;
  } owner;
  Work work(*this, "work", {4});
  owner.work = &work;
  wheel.schedule(3, *this, 9);
  EXPECT_FALSE(work.start(owner, 1));
  wheel.schedule(7, *this, 8);
  wheel.run();
  // The second use waits for the event in cycle 7; for the third nothing is due any more.
  EXPECT_EQ(heard, "work@0 actor9@3 work@4 actor8@7 work@8 ");
  EXPECT_TRUE(owner.over);
  EXPECT_EQ(wheel.now(), 12u);
}

// A fence while a walk is under way: it begins anew at the end of the wait that it is in.
TEST_F(Processes, BeginAJobAgainWhereItIsToldTo) {
  Work walk(*this, "walk", {10, 20});
  wheel.schedule(5, *this, 9);
  EXPECT_FALSE(walk.start(*this, 1));
  wheel.run_until(15);
  wheel.schedule(29, *this, 8);
  walk.request_restart();
  wheel.run();
  // Its second wait would have ended in cycle 30: it waits for both again.
  EXPECT_EQ(heard, "walk@0 actor9@5 walk@10 actor8@29 walk@30 walk@40 actor1@60 ");
}

// The outer one takes the inner one with it.
TEST_F(Processes, BeginAgainWithTheOutermostJob) {
  Work inner(*this, "inner", {10});
  Work outer(inner, *this, "outer", {10});
  wheel.schedule(1, *this, 9);
  EXPECT_FALSE(outer.start(*this, 1));
  wheel.run_until(5);
  inner.request_restart();
  wheel.schedule(19, *this, 8);
  wheel.run_until(15);  // the inner one began again in cycle 10
  inner.request_restart();
  outer.request_restart();
  wheel.schedule(39, *this, 7);
  wheel.run();
  EXPECT_EQ(heard,
            "outer@0 inner@0 actor9@1 inner@10 actor8@19 outer@20 inner@20 actor7@39 actor1@40 ");
}

// What a job holds that is outside of its task, it has still when it begins again.
TEST_F(Processes, KeepALockWhereAJobBeginsAgain) {
  Lock lock(wheel);
  struct Holder final : Job<Serve<Holder>> {
    Holder(Processes& of, Lock& from) : Job(Serve<Holder>{this}), self(of), turn(from) {}
    Task<> serve() {
      co_await turn;
      self.note("holder");
      co_await EventAt(self.wheel, self.wheel.now() + 10);
      turn.end();
      co_await over();
    }
    Processes& self;
    Lock::Turn turn;
  } holder(*this, lock);
  const auto other_of = [](Processes& self, Lock& of) -> Task<> {
    Lock::Turn turn(of);
    co_await turn;
    self.note("other");
  };
  EXPECT_FALSE(holder.start(*this, 1));
  Process other;
  other.start(other_of(*this, lock));
  holder.request_restart();
  wheel.run();
  EXPECT_EQ(heard, "holder@0 holder@10 actor1@20 other@20 ");
}

TEST_F(Processes, ThrowFromAJobToTheWheel) {
  Work work(*this, "work", {13});
  wheel.schedule(3, *this, 9);
  EXPECT_FALSE(work.start(*this, 2));
  EXPECT_THROW(wheel.run(), std::runtime_error);
}

// The use that was given up has nobody to resume any more.
TEST_F(Processes, EndAJobAtOnceAfterAUseThatWasGivenUp) {
  Work inner(*this, "inner", {10});
  Work outer(inner, *this, "outer", {10});
  wheel.schedule(1, *this, 9);
  EXPECT_FALSE(outer.start(*this, 1));
  outer.request_restart();
  wheel.run();
  // In cycle 10 both begin again; nothing else is due, so both end within that event.
  EXPECT_EQ(heard, "outer@0 inner@0 actor9@1 outer@10 inner@10 actor1@30 ");
}

TEST_F(Processes, ThrowFromAnAwaitedJobToTheWheel) {
  Work inner(*this, "inner", {13});
  Work outer(inner, *this, "outer", {10});
  wheel.schedule(3, *this, 9);
  EXPECT_FALSE(outer.start(*this, 1));
  EXPECT_THROW(wheel.run(), std::runtime_error);
}

TEST_F(Processes, KeepTheFrameOfAJob) {
  Work work(*this, "", {3});
  work.start(*this, 1);
  const u64 frames = FramePool::from_heap();
  for (int n = 0; n < 1000; ++n) EXPECT_TRUE(work.start(*this, 1));
  EXPECT_EQ(FramePool::from_heap(), frames);
}

TEST_F(Processes, ThrowThroughWhoeverAwaitsThem) {
  const auto fail = [](Processes& self, Cycle at) -> Task<u64> {
    co_await Until(self.wheel, at);
    throw std::runtime_error("at last");
    co_return 0;
  };
  Process caught;
  const auto catches = [&](Processes& self, Cycle at) -> Task<> {
    try {
      co_await fail(self, at);
    } catch (const std::runtime_error& error) {
      self.note(error.what());
    }
    TaskGroup group(self.wheel);
    group.start(self.say(at + 9, "other"));
    group.start([](Processes& of, Cycle when) -> Task<> {
      co_await EventAt(of.wheel, when);
      throw std::runtime_error("in a group");
    }(self, at + 2));
    try {
      co_await group;
    } catch (const std::runtime_error& error) {
      self.note(error.what());
    }
  };
  caught.start(catches(*this, 3));
  wheel.run();
  EXPECT_EQ(heard, "at last@3 other@12 in a group@12 ");

  // Nobody awaits a process: what it throws reaches whoever runs the wheel, or starts it.
  Process process;
  const auto lets_out = [&](Processes& self) -> Task<> {
    co_await EventAt(self.wheel, 20);
    co_await fail(self, 25);
  };
  process.start(lets_out(*this));
  EXPECT_THROW(wheel.run(), std::runtime_error);
  EXPECT_FALSE(process.is_running());
  EXPECT_EQ(wheel.now(), 25u);
}

class Counted {
 public:
  explicit Counted(int& count) : count_(count) { ++count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --count_; }

 private:
  int& count_;
};

TEST_F(Processes, AreDestroyedWhereverTheyAre) {
  int living = 0;
  {
    Wheel stopped;
    Lock lock(stopped);
    struct Parts {
      static Task<> inner(Wheel& wheel, int& living) {
        const Counted here(living);
        co_await EventAt(wheel, 1000);
      }
      static Task<> holds(Wheel& wheel, Lock& lock, int& living) {
        const Counted here(living);
        Lock::Turn turn(lock);
        co_await turn;
        co_await inner(wheel, living);
      }
      static Task<> several(Wheel& wheel, Lock& lock, int& living) {
        const Counted here(living);
        TaskGroup group(wheel);
        group.start(inner(wheel, living));
        group.start(holds(wheel, lock, living));
        co_await group;
      }
    };
    Process a, b, c;
    a.start(Parts::holds(stopped, lock, living));
    b.start(Parts::holds(stopped, lock, living));
    c.start(Parts::several(stopped, lock, living));
    stopped.run_until(100);
    // a and what it awaits; b and one of c's wait for the lock; c, and its other one.
    EXPECT_EQ(living, 6);
  }
  EXPECT_EQ(living, 0);
}

TEST_F(Processes, UseTheirFramesAgain) {
  const auto round = [](Processes& self) -> Task<> {
    for (int n = 0; n < 1000; ++n) co_await answer_at(self.wheel, self.wheel.now() + 3);
  };
  Process process;
  // The second begins while the first one's frame is there still.
  for (int n = 0; n < 2; ++n) {
    process.start(round(*this));
    wheel.run();
  }
  const u64 frames = FramePool::from_heap();
  for (int n = 0; n < 10; ++n) {
    process.start(round(*this));
    wheel.run();
  }
  EXPECT_EQ(FramePool::from_heap(), frames);
}

#ifdef NESTWALK_SANITIZED
// Out of line, so that no compiler has the frame on the stack.
[[gnu::noinline]] std::coroutine_handle<> ended_answer(Wheel& wheel) {
  std::vector<Task<u64>> tasks;
  tasks.push_back(answer_at(wheel, 5));
  return tasks[0].handle();
}

TEST_F(Processes, AreFoundOutWhenTheyAreResumedAfterTheirEnd) {
  const std::coroutine_handle<> ended = ended_answer(wheel);
  EXPECT_DEATH(ended.resume(), "use-after-poison");
}
#endif

// Each is over before it has waited: were it resumed on top of the one before, the stack would end.
TEST_F(Processes, DoNotFillTheStackWithTasksThatNeverWait) {
  u64 sum = 0;
  Process process;
  process.start([](Processes& self, u64& total) -> Task<> {
    for (int n = 0; n < 1'000'000; ++n) total += co_await answer_at(self.wheel, self.wheel.now());
  }(*this, sum));
  EXPECT_FALSE(process.is_running());
  EXPECT_EQ(sum, 0u);
}

// It is woken behind what is due in the cycle, and once; with nobody waiting, nothing happens.
TEST_F(Processes, WaitForASignal) {
  Signal signal;
  std::vector<std::string> log;
  Process process;
  signal.wake(wheel);
  process.start([](Signal& waits_for, std::vector<std::string>& told) -> Task<> {
    co_await waits_for;
    told.push_back("first");
    co_await waits_for;
    told.push_back("second");
  }(signal, log));
  wheel.run();
  EXPECT_TRUE(log.empty());
  EXPECT_TRUE(signal.is_awaited());
  struct Other : Actor {
    std::vector<std::string>* log;
    void on_cycle(u32) override { log->push_back("other"); }
  } other;
  other.log = &log;
  wheel.schedule(wheel.now(), other, 0);
  signal.wake(wheel);
  signal.wake(wheel);
  wheel.run();
  EXPECT_EQ(log, (std::vector<std::string>{"other", "first"}));
  EXPECT_TRUE(process.is_running());
}

}  // namespace
}  // namespace nestwalk::models::process_test
