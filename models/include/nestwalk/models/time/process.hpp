// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Processes: what takes simulated time, written as one function from top to bottom.
//
// A Task is a coroutine that waits with `co_await`: until a cycle, for a lock, for another task,
// for several. A wait until a cycle is granted at once when no other event is due before it
// (Wheel::advance); otherwise it is an event on the wheel. Both ways have the same results.
//
// Frames come from a pool, so that after the first few nothing is allocated. An exception is
// rethrown in the awaiting task, and from a Process or a Job to the caller of Wheel::run_until. A
// task may be destroyed while it waits, if the wheel that has its event does not run again.
//
// Compilers: GCC 11 and 12 destroy temporaries of a `co_await` expression wrongly (GCC bug 99576),
// so awaitables are trivially destructible, or named objects.
#pragma once

#include <coroutine>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "nestwalk/models/time/wheel.hpp"

namespace nestwalk::models {

/// Memory for coroutine frames, by size; one pool for each thread.
class FramePool {
 public:
  static void* take(std::size_t bytes);
  static void give(void* frame, std::size_t bytes) noexcept;
  /// Frames that this thread took from the heap so far.
  static u64 from_heap();
};

/// A part of a process that can be begun again (Job).
class RestartScope {
 public:
  /// Begins again at the end of the wait that the part is in.
  void request_restart() { requested_ = true; }

 protected:
  RestartScope() = default;
  RestartScope(const RestartScope&) = delete;
  RestartScope& operator=(const RestartScope&) = delete;
  ~RestartScope() = default;

 private:
  friend class Waiter;
  template <class Begin>
  friend class Job;
  /// A wait within this has ended: resumes it, or restarts the outermost part that was asked to.
  void go_on(std::coroutine_handle<> waiting) {
    RestartScope* again = nullptr;
    RestartScope* outermost = this;
    for (RestartScope* scope = this; scope != nullptr; scope = scope->outer_) {
      if (scope->requested_) again = scope;
      outermost = scope;
    }
    const bool has_owner = outermost->has_owner_;  // an awaited one may be destroyed here
    if (again != nullptr) [[unlikely]]
      again->begin_again();  // that ends `waiting`, too
    else
      waiting.resume();
    if (has_owner) outermost->after_event();
  }
  virtual void begin_again() = 0;
  virtual void after_event() = 0;

  RestartScope* outer_ = nullptr;
  bool has_owner_ = false;  ///< an actor, which is called when it is over
  bool requested_ = false;
};

namespace detail {

class Promise {
 public:
  static void* operator new(std::size_t bytes) { return FramePool::take(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept {
    FramePool::give(frame, bytes);
  }

  std::suspend_always initial_suspend() const noexcept { return {}; }
  struct Final {
    bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> ended) const noexcept {
      return ended.promise().after();
    }
    void await_resume() const noexcept {}
  };
  Final final_suspend() const noexcept { return {}; }
  void unhandled_exception() {
    if (!is_awaited) throw;
    exception = std::current_exception();
  }

  std::coroutine_handle<> awaiting;  ///< resumes when this ends
  RestartScope* scope = nullptr;
  std::exception_ptr exception;
  bool is_awaited = false;
  /// Tasks of a TaskGroup: how many have not ended.
  u32* running = nullptr;

 private:
  std::coroutine_handle<> after() const noexcept {
    if (running != nullptr && --*running != 0) return std::noop_coroutine();
    return awaiting ? awaiting : std::noop_coroutine();
  }
};

template <class T>
class PromiseOf : public Promise {
 public:
  void return_value(T value) { value_.emplace(std::move(value)); }
  T take() {
    if (exception) std::rethrow_exception(exception);
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
};

template <>
class PromiseOf<void> : public Promise {
 public:
  void return_void() {}
  void take() const {
    if (exception) std::rethrow_exception(exception);
  }
};

}  // namespace detail

/// Begins when it is awaited, in the same cycle.
template <class T = void>
class [[nodiscard]] Task {
 public:
  struct promise_type : detail::PromiseOf<T> {
    Task get_return_object() { return Task(Handle::from_promise(*this)); }
  };
  using Handle = std::coroutine_handle<promise_type>;
  using Result = T;

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  class Awaiter {
   public:
    explicit Awaiter(Handle handle) : handle_(handle) {}
    bool await_ready() const { return false; }
    // It runs within the one that awaits it up to its first wait: where it has none, nobody is
    // resumed, and a loop of such tasks does not fill the stack.
    template <class P>
    bool await_suspend(std::coroutine_handle<P> awaiting) const {
      detail::Promise& promise = handle_.promise();
      promise.scope = awaiting.promise().scope;
      return begin(handle_, awaiting);
    }
    T await_resume() const { return handle_.promise().take(); }

   private:
    Handle handle_;
  };
  Awaiter operator co_await() const& { return Awaiter(handle_); }
  Awaiter operator co_await() && { return Awaiter(handle_); }

  /// Runs it up to its first wait; false if it had none. `awaiting` resumes when it ends later.
  static bool begin(Handle handle, std::coroutine_handle<> awaiting) {
    handle.promise().is_awaited = true;
    handle.resume();
    if (handle.done()) return false;
    handle.promise().awaiting = awaiting;
    return true;
  }
  Handle handle() const { return handle_; }

 private:
  explicit Task(Handle handle) : handle_(handle) {}

  Handle handle_;
};

/// Suspends a task until this actor runs: from the wheel, or called by a lock or a component.
class Waiter : public Actor {
 public:
  void on_cycle(u32) final {
    if (scope_ == nullptr) return handle_.resume();
    scope_->go_on(handle_);
  }

 protected:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter() = default;

  template <class P>
  void park(std::coroutine_handle<P> handle) {
    handle_ = handle;
    scope_ = handle.promise().scope;
  }

 private:
  std::coroutine_handle<> handle_;
  RestartScope* scope_ = nullptr;
};

/// Waits until a cycle as an event on the wheel, even if no other event is due before. The code
/// that started the process runs on first.
class EventAt : public Waiter {
 public:
  EventAt(Wheel& wheel, Cycle at) : wheel_(&wheel), at_(at) {}
  bool await_ready() const { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    park(handle);
    wheel_->schedule(at_, *this, 0);
  }
  void await_resume() const {}

 protected:
  bool advances() const { return wheel_->advance(at_); }

 private:
  Wheel* wheel_;
  Cycle at_;
};

/// Waits until a cycle: goes on at once if no other event is due before.
class Until : public EventAt {
 public:
  using EventAt::EventAt;
  bool await_ready() const { return advances(); }
};
static_assert(std::is_trivially_destructible_v<EventAt> && std::is_trivially_destructible_v<Until>);

/// Waits for what is begun by `begin(Actor&)` and ends by calling that actor: false if it has not
/// ended yet. A named object: see above.
template <class Begin>
class Call final : public Waiter {
 public:
  explicit Call(Begin begin) : begin_(std::move(begin)) {}
  bool await_ready() { return begin_(static_cast<Actor&>(*this)); }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    park(handle);
  }
  void await_resume() const {}

 private:
  Begin begin_;
};

/// A wait that somebody else ends.
class Signal final : public Waiter {
 public:
  bool await_ready() const { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    park(handle);
    is_awaited_ = true;
  }
  void await_resume() const {}
  bool is_awaited() const { return is_awaited_; }
  /// Ends the wait, if there is one, in this cycle, after what is due in it already.
  void wake(Wheel& wheel) {
    if (std::exchange(is_awaited_, false)) wheel.schedule(wheel.now(), *this, 0);
  }

 private:
  bool is_awaited_ = false;
};

/// A FIFO lock with one holder or a few. The wheel has to outlive the processes that wait for it.
class Lock {
 public:
  explicit Lock(Wheel& wheel, u32 holders = 1) : wheel_(wheel), free_(holders) {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  bool is_free() const { return free_ != 0; }

  /// `Lock::Turn turn(lock); co_await turn;` holds the lock until `turn` ends.
  class Turn final : public Waiter {
   public:
    explicit Turn(Lock& lock) : lock_(lock) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() { end(); }

    /// Granted at once to a turn that has the lock already: a restart does not queue again.
    bool await_ready() {
      if (has_it_) return true;
      if (lock_.free_ == 0) return false;
      --lock_.free_;
      return has_it_ = true;
    }
    template <class P>
    void await_suspend(std::coroutine_handle<P> handle) {
      park(handle);
      lock_.waiting_.push_back(this);
    }
    void await_resume() const {}
    /// The next one has its turn in this cycle, after what is due in it already.
    void end() {
      if (std::exchange(has_it_, false)) return lock_.pass_on();
      std::erase(lock_.waiting_, this);
    }

   private:
    friend class Lock;
    Lock& lock_;
    bool has_it_ = false;
  };

 private:
  void pass_on() {
    if (waiting_.empty()) {
      ++free_;
      return;
    }
    Turn& next = *waiting_.front();
    waiting_.pop_front();
    next.has_it_ = true;
    wheel_.schedule(wheel_.now(), next, 0);
  }

  Wheel& wheel_;
  u32 free_;
  std::deque<Turn*> waiting_;
};

/// A task that is used often, once at a time, and keeps its frame between its uses: `begin` makes
/// it, and after each use it goes on from `co_await job.over();`. It is made anew, and begins
/// again, if a restart is requested meanwhile. A job is not destroyed within its own events.
template <class Begin>
class Job : public RestartScope {
 public:
  explicit Job(Begin begin) : begin_(std::move(begin)) {}

  /// For callers that are actors, not coroutines (Call). True if the use has ended already; if not,
  /// `owner` runs with `what` when it ends.
  bool start(Actor& owner, u32 what) {
    owner_ = &owner;
    what_ = what;
    has_owner_ = true;
    outer_ = nullptr;
    run();
    return is_over_;
  }
  /// `co_await job;` is a use, too.
  bool await_ready() const { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> awaiting) {
    has_owner_ = false;
    outer_ = awaiting.promise().scope;
    run();
    if (is_over_) return false;
    awaiting_ = awaiting;
    return true;
  }
  void await_resume() const {}

  class Over {
   public:
    explicit Over(Job& job) : job_(job) {}
    bool await_ready() const { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<>) const {
      job_.is_over_ = true;
      return job_.awaiting_ ? std::exchange(job_.awaiting_, {}) : std::noop_coroutine();
    }
    void await_resume() const {}

   private:
    Job& job_;
  };
  Over over() { return Over(*this); }

 protected:
  ~Job() = default;

 private:
  void run() {
    // If whoever awaited it began again, the last use never ended: its task is made anew.
    if (!task_ || !is_over_) make();
    awaiting_ = {};
    requested_ = is_over_ = false;
    task_->handle().resume();
  }
  void make() {
    task_.emplace(begin_());
    task_->handle().promise().scope = this;
  }
  void begin_again() override {
    requested_ = false;
    make();
    task_->handle().resume();
  }
  void after_event() override {
    if (is_over_) owner_->on_cycle(what_);
  }

  Begin begin_;
  Actor* owner_ = nullptr;
  u32 what_ = 0;
  bool is_over_ = false;
  std::coroutine_handle<> awaiting_;
  std::optional<Task<>> task_;
};

/// Concurrent tasks. `co_await group;` waits until all have ended. Not within a job: its end and
/// its restarts would not be seen.
class TaskGroup {
 public:
  explicit TaskGroup(Wheel& wheel) : wheel_(wheel) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// It begins in this cycle, after what is due in it already.
  void start(Task<> task) {
    Member& member = members_.emplace_back(std::move(task));
    member.promise().running = &running_;
    member.promise().is_awaited = true;
    ++running_;
    wheel_.schedule(wheel_.now(), member, 0);
  }
  bool await_ready() const { return running_ == 0; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> awaiting) {
    check(awaiting.promise().scope == nullptr, "process", "no group of tasks within a job",
          wheel_.now(), 0);
    for (Member& member : members_) member.promise().awaiting = awaiting;
  }
  /// Throws what the first of them threw, in the order of their starts.
  void await_resume() {
    std::deque<Member> ended = std::exchange(members_, {});
    for (Member& member : ended) member.promise().take();
  }

 private:
  class Member final : public Actor {
   public:
    explicit Member(Task<> task) : task_(std::move(task)) {}
    void on_cycle(u32) override { task_.handle().resume(); }
    Task<>::promise_type& promise() { return task_.handle().promise(); }

   private:
    Task<> task_;
  };

  Wheel& wheel_;
  std::deque<Member> members_;
  u32 running_ = 0;
};

/// A task that nobody awaits. It is destroyed with this, wherever it is.
class Process {
 public:
  /// Runs it up to its first wait; the one before it has ended. A wait that is granted at once
  /// takes the caller's time, too: where the caller goes on in this cycle, the first is an EventAt.
  void start(Task<> task) {
    check(!is_running(), "process", "one task at a time", 0, 0);
    task_.emplace(std::move(task));
    task_->handle().resume();
  }
  bool is_running() const { return task_ && !task_->handle().done(); }

 private:
  std::optional<Task<>> task_;
};

}  // namespace nestwalk::models
