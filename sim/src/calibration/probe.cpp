// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/probe.hpp"

#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <system_error>

#include "calibration/list_order.hpp"
#include "calibration/this_machine.hpp"
#include "configuration/parameter.hpp"
#include "program/signals.hpp"

// Sanitizers would be measured as well.
#define NESTWALK_MEASURED __attribute__((noinline, no_sanitize("address", "undefined")))

namespace nestwalk::sim {
namespace {

using addrspace::kGiB;
using addrspace::kKiB;
using addrspace::kMiB;

constexpr u64 kLine = 64;
constexpr u64 kSmallPage = 4 * kKiB;
constexpr u64 kLargePage = 2 * kMiB;
constexpr u64 kMostStreamed = 256 * kMiB;
/// A round is one sample of each point. The least values have to stay for so many rounds.
constexpr unsigned kStableRounds = 4;
constexpr double kStableFall = 0.02;

// Time and loops ----------------------------------------------------------------------------------

double now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// The value is taken to be used, and to have changed: what made it is neither left out nor moved.
template <class Value>
inline void keep(Value& value) {
  asm volatile("" : "+r"(value));
}

// Each addition waits for the one before. A register is added, since some processors add constants
// when they rename.
NESTWALK_MEASURED double cycle_ns() {
  constexpr int kTurns = 20'000, kAdditions = 50;
  u64 sum = 0, one = 1;
  keep(one);
  const double start = now_ns();
  for (int turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 50
    for (int n = 0; n < kAdditions; ++n) {
      sum += one;
      keep(sum);
    }
  }
  return (now_ns() - start) / (double{kTurns} * kAdditions);
}

NESTWALK_MEASURED void* follow(void* node, u64 steps) {
  for (u64 n = 0; n < steps; n += 16) {
#pragma GCC unroll 16
    for (int step = 0; step < 16; ++step) {
      node = *static_cast<void**>(node);
      keep(node);
    }
  }
  return node;
}

// `steps` of each of several lists.
template <unsigned kChains>
NESTWALK_MEASURED void follow_all(void** nodes, u64 steps) {
  std::array<void*, kChains> at;
  for (unsigned n = 0; n < kChains; ++n) at[n] = nodes[n];
  for (u64 step = 0; step < steps; ++step) {
#pragma GCC unroll 64
    for (unsigned n = 0; n < kChains; ++n) at[n] = *static_cast<void**>(at[n]);
  }
  for (unsigned n = 0; n < kChains; ++n) {
    keep(at[n]);
    nodes[n] = at[n];
  }
}

void follow_chains(u64 chains, void** nodes, u64 steps) {
  switch (chains) {
    case 2:
      return follow_all<2>(nodes, steps);
    case 4:
      return follow_all<4>(nodes, steps);
    case 8:
      return follow_all<8>(nodes, steps);
    case 16:
      return follow_all<16>(nodes, steps);
    case 32:
      return follow_all<32>(nodes, steps);
    default:
      return follow_all<64>(nodes, steps);
  }
}

NESTWALK_MEASURED u64 read_stream(const u64* words, u64 bytes) {
  u64 sum = 0;
  for (u64 n = 0; n < bytes / sizeof(u64); n += 8) {
    u64 line = 0;
#pragma GCC unroll 8
    for (u64 word = 0; word < 8; ++word) line += words[n + word];
    sum += line;
    keep(sum);
  }
  return sum;
}

// Memory ------------------------------------------------------------------------------------------

/// A piece of memory in pages of one size, touched. A list over F bytes lies in [F, 2F), the one
/// over all of it in other words of the same lines, so all of them are there at once.
class Arena {
 public:
  Arena(u64 bytes, u64 page_bytes) : bytes_(bytes), page_bytes_(page_bytes) {
    const bool reserved = page_bytes == kGiB;
    mapped_ = reserved ? bytes : bytes + kLargePage;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (reserved) flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (30 << MAP_HUGE_SHIFT);
    map_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, flags, -1, 0));
    if (map_ == MAP_FAILED) {
      map_ = nullptr;
      throw std::system_error(errno, std::generic_category(),
                              size_text(bytes) + " in pages of " + size_text(page_bytes));
    }
    const auto start = reinterpret_cast<std::uintptr_t>(map_);
    base_ = reserved ? map_ : map_ + (kLargePage - start % kLargePage) % kLargePage;
    if (!reserved) {
      madvise(base_, bytes_, page_bytes == kSmallPage ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    }
    for (u64 at = 0; at < bytes_; at += kSmallPage) base_[at] = 1;
  }
  ~Arena() {
    if (map_ != nullptr) munmap(map_, mapped_);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  u64 bytes() const { return bytes_; }
  u64 page_bytes() const { return page_bytes_; }
  char* area_of(u64 bytes) const { return bytes == bytes_ ? base_ : base_ + bytes; }

  /// Bytes in transparent large pages, as the kernel says.
  u64 large_bytes() const {
    std::ifstream maps("/proc/self/smaps");
    u64 sum = 0;
    bool is_ours = false;
    for (std::string line; std::getline(maps, line);) {
      unsigned long long first = 0, last = 0, kib = 0;
      if (std::sscanf(line.c_str(), "%llx-%llx ", &first, &last) == 2) {
        const auto begin = reinterpret_cast<std::uintptr_t>(base_);
        is_ours = first < begin + bytes_ && last > begin;
      } else if (is_ours && std::sscanf(line.c_str(), "AnonHugePages: %llu kB", &kib) == 1) {
        sum += kib * kKiB;
      }
    }
    return sum;
  }

 private:
  u64 bytes_, page_bytes_, mapped_ = 0;
  char* map_ = nullptr;
  char* base_ = nullptr;
};

/// A list in an arena, followed from where the last sample ended.
class Chase {
 public:
  Chase(const Arena& arena, const Point& point) : bytes_(point.bytes) {
    const bool pages = point.probe == Probe::Pages;
    const u64 node_bytes = pages ? point.page_bytes : kLine;
    nodes_ = point.bytes / node_bytes;
    const ListOrder order(static_cast<unsigned>(std::countr_zero(nodes_)));
    // Lists of lines and of pages, of a part and of the whole arena: each has a word of a line.
    const u64 word = (pages ? 2 : 0) + (point.bytes == arena.bytes() ? 1 : 0);
    char* const area = arena.area_of(point.bytes) + word * sizeof(void*);
    const auto node = [&](u64 n) -> char* {
      return area + (pages ? spread_line(n, node_bytes) : n * node_bytes);
    };
    for (u64 n = 0; n < nodes_; ++n) {
      char* const next = node(order.after(n));
      std::memcpy(node(n), &next, sizeof next);
    }
    at_ = node(0);
    for (u64 n = 0; n < heads_.size(); ++n) {
      heads_[n] = node(order.place_of(n * nodes_ / heads_.size()));
    }
  }

  /// ns of a load, warm.
  double sample() {
    // What fits into caches has to be there again after other points; of the rest, a part brings
    // the tables in.
    at_ = follow(at_, bytes_ <= 64 * kMiB ? nodes_ : std::min<u64>(nodes_, 1 << 17));
    // A part of a list that caches just hold may be all there for once: so the whole of it, if that
    // is short.
    const u64 most = bytes_ <= 16 * kMiB ? std::max<u64>(nodes_, 1 << 14) : 1 << 15;
    const u64 steps = bytes_ <= 2 * kMiB ? 1 << 16 : most;
    const double start = now_ns();
    at_ = follow(at_, steps);
    return (now_ns() - start) / static_cast<double>(steps);
  }
  /// What a count grows by for each load.
  template <class Count>
  double counted(const Count& count) {
    constexpr u64 kSteps = 1 << 14;
    at_ = follow(at_, std::min<u64>(nodes_, 1 << 17));
    const u64 before = count();
    at_ = follow(at_, kSteps);
    return static_cast<double>(count() - before) / static_cast<double>(kSteps);
  }
  double sample_chains(u64 chains) {
    const u64 steps = (u64{1} << 15) / chains;
    follow_chains(chains, heads_.data(), steps);
    const double start = now_ns();
    follow_chains(chains, heads_.data(), steps);
    return (now_ns() - start) / static_cast<double>(steps * chains);
  }

 private:
  u64 bytes_, nodes_ = 0;
  void* at_ = nullptr;
  std::array<void*, 64> heads_{};
};

// Read and written beyond what caches hold, in a piece that the lists do not use.
double sample_stream(const Point& point, std::vector<char>& memory) {
  const double lines = static_cast<double>(point.bytes / kLine);
  const double start = now_ns();
  if (point.probe == Probe::Zero) {
    void* target = memory.data();
    std::memset(target, 0, point.bytes);
    keep(target);
  } else {
    u64 sum = read_stream(reinterpret_cast<const u64*>(memory.data()), point.bytes);
    keep(sum);
  }
  return (now_ns() - start) / lines;
}

// The processor -----------------------------------------------------------------------------------

/// While it exists, this process stays on one processor.
class OneProcessor {
 public:
  OneProcessor() {
    is_known_ = sched_getaffinity(0, sizeof before_, &before_) == 0;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(sched_getcpu()), &one);
    sched_setaffinity(0, sizeof one, &one);
  }
  ~OneProcessor() {
    if (is_known_) sched_setaffinity(0, sizeof before_, &before_);
  }
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;

 private:
  cpu_set_t before_{};
  bool is_known_ = false;
};

/// Misses of the data TLB, where the kernel lets users count them.
class TlbCounter {
 public:
  TlbCounter() {
    perf_event_attr what{};
    what.size = sizeof what;
    what.type = PERF_TYPE_HW_CACHE;
    what.config = PERF_COUNT_HW_CACHE_DTLB | (PERF_COUNT_HW_CACHE_OP_READ << 8) |
                  (PERF_COUNT_HW_CACHE_RESULT_MISS << 16);
    what.exclude_kernel = what.exclude_hv = 1;
    file_ = static_cast<int>(syscall(SYS_perf_event_open, &what, 0, -1, -1, 0UL));
    if (file_ < 0) why_not_ = std::strerror(errno);
  }
  ~TlbCounter() {
    if (file_ >= 0) close(file_);
  }
  TlbCounter(const TlbCounter&) = delete;
  TlbCounter& operator=(const TlbCounter&) = delete;

  const std::string& why_not() const { return why_not_; }
  u64 count() const {
    u64 value = 0;
    return file_ >= 0 && read(file_, &value, sizeof value) == sizeof value ? value : 0;
  }

 private:
  int file_ = -1;
  std::string why_not_;
};

// Rounds ------------------------------------------------------------------------------------------

struct Series {
  Point point;
  Chase* chase = nullptr;
  std::vector<double> samples;
  std::vector<double> least;  ///< after each round

  void add(double ns) {
    samples.push_back(ns);
    least.push_back(least.empty() ? ns : std::min(least.back(), ns));
  }
  bool is_stable() const {
    if (least.size() <= kStableRounds) return false;
    return least.back() >= (1 - kStableFall) * least[least.size() - 1 - kStableRounds];
  }
  MeasuredPoint result() const {
    std::vector<double> sorted = samples;
    std::sort(sorted.begin(), sorted.end());
    const auto at = [&](double part) {
      return sorted[static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1))];
    };
    return {point, sorted.front(), Quantiles{at(0.25), at(0.5), at(0.9)}, sorted.size(), {}};
  }
};

class Session {
 public:
  explicit Session(const ProbeLimits& limits, MeasuredMachine& machine)
      : limits_(limits), machine_(machine) {
    choose_size();
    add_arena(kSmallPage);
    add_arena(kLargePage);
    try_huge_pages();
    stream_.resize(std::min(most_, kMostStreamed));
    for (const auto& arena : arenas_) add_points(*arena);
  }

  void run(ProbeResult& result) {
    const double start = now_ns();
    Series cycle;
    while (!interrupted()) {
      for (Series& each : series_) {
        if (interrupted()) break;
        each.add(sample(each));
        cycle.add(cycle_ns());
      }
      ++result.rounds;
      if (is_stable() || now_ns() - start >= limits_.seconds * 1e9) break;
    }
    // A processor that is faster for a moment is not so for a whole sample of a list.
    if (!cycle.samples.empty()) {
      machine_.clock_mhz = static_cast<u64>(std::lround(1e3 / cycle.result().quantiles->p25));
    }
    for (const Series& each : series_) {
      if (each.samples.empty()) continue;
      machine_.points.push_back(each.result());
      if (!each.is_stable()) result.unstable.push_back(text_of(each.point));
    }
    count_misses();
  }

 private:
  void choose_size() {
    // Two arenas and the streams, and something for everybody else.
    const u64 free = available_bytes();
    const auto needed = [](u64 most) { return 2 * most + std::min(most, kMostStreamed); };
    most_ = limits_.most_bytes;
    while (needed(most_) > free / 4 * 3 && most_ > kMiB) most_ /= 2;
    if (most_ < limits_.most_bytes) {
      machine_.notes.push_back("footprints above " + size_text(most_) + " left out: " +
                               size_text(free / kMiB * kMiB) + " of memory are free");
    }
  }
  void add_arena(u64 page_bytes) {
    arenas_.push_back(std::make_unique<Arena>(most_, page_bytes));
    const u64 large = arenas_.back()->large_bytes();
    if (page_bytes == kLargePage && large < most_) {
      const bool is_kept = large >= most_ / 100 * 99;
      machine_.notes.push_back(size_text(large) + " of " + size_text(most_) +
                               " are in 2M pages: points with 2M pages " +
                               (is_kept ? "kept" : "left out"));
      if (!is_kept) arenas_.pop_back();
    } else if (page_bytes == kSmallPage && large != 0) {
      machine_.notes.push_back(size_text(large) + " of what should be in 4K pages are in 2M pages");
    }
  }
  void try_huge_pages() {
    try {
      if (most_ >= kGiB) arenas_.push_back(std::make_unique<Arena>(most_, kGiB));
    } catch (const std::system_error& error) {
      machine_.notes.push_back(std::string("1G pages left out: ") + error.what());
    }
  }
  void add_points(const Arena& arena) {
    Chase* overlapped = nullptr;
    for (const Point& point : usual_points(most_, true)) {
      if (point.page_bytes != arena.page_bytes()) continue;
      if (is_chase(point)) chases_.push_back(std::make_unique<Chase>(arena, point));
      Series series{point, is_chase(point) ? chases_.back().get() : nullptr, {}, {}};
      if (point.probe == Probe::Lines && point.bytes == stream_.size()) {
        overlapped = series.chase;
      }
      if (point.probe == Probe::Overlap) series.chase = overlapped;
      const bool stream = point.probe == Probe::Read || point.probe == Probe::Zero;
      if (!stream || &arena == arenas_.front().get()) series_.push_back(std::move(series));
    }
  }
  double sample(Series& each) {
    if (is_chase(each.point)) return each.chase->sample();
    if (each.point.probe == Probe::Overlap) return each.chase->sample_chains(each.point.chains);
    return sample_stream(each.point, stream_);
  }
  bool is_stable() const {
    return std::all_of(series_.begin(), series_.end(),
                       [](const Series& each) { return each.is_stable(); });
  }
  void count_misses() {
    const TlbCounter counter;
    if (!counter.why_not().empty()) {
      machine_.notes.push_back(
          "misses of the TLB left out: the kernel does not let users count "
          "them (perf_event_open: " +
          counter.why_not() + ")");
      return;
    }
    for (MeasuredPoint& each : machine_.points) {
      const auto series = std::find_if(series_.begin(), series_.end(), [&](const Series& one) {
        return one.point == each.point && is_chase(one.point);
      });
      if (series == series_.end()) continue;
      each.tlb_misses = series->chase->counted([&] { return counter.count(); });
    }
  }

  ProbeLimits limits_;
  MeasuredMachine& machine_;
  u64 most_ = 0;
  std::vector<std::unique_ptr<Arena>> arenas_;
  std::vector<std::unique_ptr<Chase>> chases_;
  std::vector<char> stream_;
  std::vector<Series> series_;
};

}  // namespace

ProbeResult measure(const ProbeLimits& limits) {
  const OneProcessor stays;
  ProbeResult result{this_machine(), {}, 0};
  Session(limits, result.machine).run(result);
  result.machine.load += "; at the end " + this_machine().load;
  return result;
}

}  // namespace nestwalk::sim
