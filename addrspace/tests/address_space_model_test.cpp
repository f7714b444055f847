// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Random operations on an AddressSpace of every nested format, held against a plain map of areas, a
// plain map of pages, and what the guest last wrote into each page.
#include <optional>

#include "nestwalk/addrspace/address_space.hpp"
#include "reference_model.hpp"

namespace nestwalk::addrspace {
namespace {

using model::LeafRun;
using model::Random;
using model::Tree;

/// A shape, whether the hardware keeps dirty bits, and how many operations are run.
struct Case {
  unsigned shape;
  bool tracks_dirty;
  u64 operations;
  bool groups = false;
};

Capabilities machine_of(const Case& which) {
  Capabilities found = full_machine();
  found.physical_bits = 52;
  found.leaf_levels = 0b11111;
  found.hardware_dirty = which.tracks_dirty;
  return found;
}

/// Areas in order; equal neighbours are one.
class AreaList {
 public:
  const std::map<u64, Area>& areas() const { return areas_; }
  const Area* find(u64 at) const {
    auto after = areas_.upper_bound(at);
    if (after == areas_.begin()) return nullptr;
    --after;
    return after->second.range.contains(Gpa(at)) ? &after->second : nullptr;
  }
  bool overlaps(u64 from, u64 to) const {
    auto next = areas_.lower_bound(from);
    if (next != areas_.end() && next->first < to) return true;
    return from < to && find(from) != nullptr;
  }
  void insert(const Area& area) {
    areas_.emplace(area.range.start().value(), area);
    join();
  }
  void remove(u64 from, u64 to) {
    cut(from);
    cut(to);
    areas_.erase(areas_.lower_bound(from), areas_.lower_bound(to));
  }
  void set_flags(u64 from, u64 to, MappingFlags flags) {
    cut(from);
    cut(to);
    for (auto at = areas_.lower_bound(from); at != areas_.end() && at->first < to; ++at) {
      at->second.flags = flags;
    }
    join();
  }
  void clear() { areas_.clear(); }
  void forget_log() {
    for (auto& item : areas_) item.second.new_to_log = false;
    join();
  }

 private:
  static Area piece(const Area& area, u64 from, u64 to) {
    Area part = area;
    part.range = *GpaRange::make(Gpa(from), to - from);
    if (part.backend.kind == Backend::Kind::Linear) {
      part.backend.base += from - area.range.start().value();
    }
    return part;
  }
  void cut(u64 at) {
    const Area* found = find(at);
    if (found == nullptr || found->range.start().value() == at) return;
    const Area whole = *found;
    const u64 start = whole.range.start().value();
    areas_[start] = piece(whole, start, at);
    areas_[at] = piece(whole, at, whole.range.end().value());
  }
  void join() {
    for (auto at = areas_.begin(); at != areas_.end();) {
      auto next = std::next(at);
      if (next == areas_.end()) return;
      Area& area = at->second;
      const u64 end = area.range.end().value();
      Area longer = area;
      longer.range = *GpaRange::make(area.range.start(), area.range.size() + 1);
      const bool like = end == next->first && area.flags == next->second.flags &&
                        area.new_to_log == next->second.new_to_log &&
                        piece(longer, end, end + 1).backend == next->second.backend;
      if (!like) {
        at = next;
        continue;
      }
      area.range =
          *GpaRange::make(area.range.start(), area.range.size() + next->second.range.size());
      areas_.erase(next);
    }
  }

  std::map<u64, Area> areas_;
};

template <class F>
class AddressSpaceModel : public ::testing::Test {
 public:
  using Machine = ArenaHal<>;
  using Space = AddressSpace<F, Machine>;
  using Rules = model::Rules<F>;
  static constexpr u64 kPage = Space::kPageBytes;

  explicit AddressSpaceModel(const Case& which)
      : case_(which),
        hal_(kFrames, machine_of(which)),
        geometry_(*F::geometry(which.shape)),
        tree_(geometry_),
        random_(seed()),
        taken_(kFrames, false) {
    while (geometry_.leaf_levels >> (top_leaf_ + 1) != 0) ++top_leaf_;
    // Not quite all that the tables could translate, so that both ends are the space's own.
    start_ = kPage;
    end_ = tree_.end() - kPage;
    space_.emplace(*Space::create(hal_, geometry_, *GpaRange::make(Gpa(start_), end_ - start_), 3));
    if (case_.groups) {
      EXPECT_TRUE(space_->form_groups(true).ok());
    }
    const unsigned root = geometry_.root_level();
    anchors_ = {0, tree_.end(), tree_.end() / 2};
    if (root >= 1) anchors_.push_back(3 * size(1));
    if (root >= 2) anchors_.push_back(size(2));
    hal_.context = this;
    hal_.observe_invalidation = [](void* self, const Invalidation<Gpa>& change) {
      static_cast<AddressSpaceModel*>(self)->on_invalidation(change);
    };
  }

  void TestBody() override {
    const u64 wanted = model::operations(case_.operations);
    for (u64 n = 0; n < wanted && !this->HasFailure(); ++n) {
      operate();
      for (const u64 at : {from_, to_, point()}) probe_around(at);
      EXPECT_EQ(space_->usage().areas, areas_.areas().size());
      if (n % 64 == 0) check_areas();
      if (n % 512 == 0) sweep();
      if (this->HasFailure()) {
        ADD_FAILURE() << "operation " << n << " with seed " << seed() << ": " << operation_
                      << std::hex << " [" << from_ << ", " << to_ << ")";
      }
    }
    sweep();
    // A short run may have seen none.
    if (!case_.groups || wanted >= 10'000) {
      EXPECT_EQ(groups_ != 0, case_.groups);
    }
    begin("destroy", false);
    space_.reset();
    EXPECT_EQ(hal_.arena().frames_in_use(), 0u);
  }

 private:
  static constexpr u64 kFrames = u64{1} << 17;
  /// The arena never has a run of all its frames.
  static constexpr unsigned kOrderThatFails = 17;

  // Choosing ------------------------------------------------------------------------------------

  u64 size(unsigned level) const { return tree_.size(level); }
  u64 point() { return point_near(anchors_[random_.below(anchors_.size())]); }
  u64 point_near(u64 anchor) {
    const u64 choice = random_.below(10);
    const unsigned level = choice < 7 ? 0 : choice < 9 ? 1 : 2;
    const u64 steps = random_.below(6) * size(std::min(level, geometry_.root_level()));
    u64 at = 0;
    if (random_.one_in(2)) {
      at = anchor < steps ? 0 : anchor - steps;
    } else {
      at = tree_.end() - anchor < steps ? tree_.end() : anchor + steps;
    }
    return std::clamp(at, start_, end_);
  }
  void choose_span() {
    const u64 anchor = anchors_[random_.below(anchors_.size())];
    from_ = point_near(anchor);
    to_ = point_near(anchor);
    if (from_ > to_) std::swap(from_, to_);
  }
  MappingFlags some_flags() {
    constexpr Access kList[] = {
        kRead,     kRead | kWrite, kRwx, kRead | kExecute, kRead | kWrite | kUser,
        kNoAccess, kRead | kWrite, kRwx};
    MappingFlags flags{random_.pick(kList), MemoryType::WriteBack};
    if (random_.one_in(8)) flags.memory = MemoryType::Device;
    if (random_.one_in(100)) flags.access = flags.access | kGlobal;  // no nested format has it
    return flags;
  }

  struct Request {
    u64 at;
    u64 bytes;
  };
  Request request() {
    Request wanted{from_, to_ - from_};
    if (!random_.one_in(50)) return wanted;
    switch (random_.below(5)) {
      case 0:
        wanted.at += 16;
        break;
      case 1:
        wanted.bytes = 0;
        break;
      case 2:
        wanted = {~u64{0} - kPage + 1, 2 * kPage};
        break;
      case 3:
        wanted.at = 0;
        break;
      default:
        wanted = {end_ - kPage, 2 * kPage};
    }
    return wanted;
  }
  Result<void> range_error(const Request& wanted) const {
    if (wanted.bytes != 0 && wanted.at + wanted.bytes - 1 < wanted.at) {
      return Error::AddressOverflow;
    }
    if (wanted.at < start_ || wanted.at + wanted.bytes > end_) return Error::OutOfRange;
    if ((wanted.at | wanted.bytes) % kPage != 0) return Error::Unaligned;
    return {};
  }
  /// The arguments are judged before what is mapped already. `hpa`: 0 of allocated memory.
  Result<void> map_error(const Request& wanted, MappingFlags flags, u64 hpa = 0) const {
    if (const Result<void> fine = range_error(wanted); !fine) return fine;
    if (wanted.bytes == 0) return Error::EmptyRange;
    if (!Rules::encodable(flags)) return Error::UnsupportedFlags;
    if (hpa % kPage != 0) return Error::Unaligned;
    if (areas_.overlaps(wanted.at, wanted.at + wanted.bytes)) return Error::AlreadyMapped;
    return {};
  }

  // Operating -----------------------------------------------------------------------------------

  void operate() {
    choose_span();
    const bool full = areas_.areas().size() > 60 || tree_.runs().size() > 1500 ||
                      tree_.owned_bytes() > 128 * kMiB;
    const u64 choice = random_.below(1000);
    if (full || choice < 2) return clear();
    if (choice < 110) return map_linear();
    if (choice < 280) return map_alloc();
    if (choice < 360) return unmap();
    if (choice < 480) return protect();
    if (choice < 800) return fault();
    if (choice < 950) return write_by_guest();
    if (choice < 965) return start_log();
    if (choice < 995) return harvest();
    return stop_log();
  }
  void begin(const char* name, bool adds) {
    operation_ = name;
    adds_ = adds;
    tree_.forget_effects();
    hal_.invalidations.clear();
    frees_before_ = hal_.frees;
  }
  bool as_expected(const Result<void>& found, const Result<void>& expected) const {
    if (found == expected) return found.ok();
    ADD_FAILURE() << operation_ << ": " << (found.ok() ? "ok" : to_string(found.error()))
                  << " instead of " << (expected.ok() ? "ok" : to_string(expected.error()));
    return false;
  }
  void on_invalidation(const Invalidation<Gpa>& change) {
    if (adds_) return;
    if (change.changes().any_of(change::kRevoking) || change.tables()) {
      EXPECT_EQ(hal_.frees, frees_before_) << "freed before the invalidation";
    }
  }
  void check_invalidations(Cause cause, u64 subject) {
    for (const auto& change : hal_.invalidations) {
      EXPECT_EQ(change.cause(), cause);
      EXPECT_EQ(change.subject(), Gpa(subject));
    }
    // What dissolves a group says that of all its pages; fence_test has the fences.
    if (case_.groups) return;
    model::InvalidationCheck<Gpa>(hal_.invalidations, tree_, ~u64{0}, F::kBreakBeforeMake).run();
  }
  void check_nothing_said() { EXPECT_TRUE(hal_.invalidations.empty()); }

  // Leaves --------------------------------------------------------------------------------------

  /// Whether a new leaf counts as dirty for the hardware: Arm's write permission is the dirty
  /// state, RISC-V's and AMD's leaves are made with D set, EPT entries without.
  static bool dirty_when_new(MappingFlags flags) {
    return Rules::kRiscV || std::is_same_v<F, Npt> || (Rules::kArm && flags.access.has(kWrite));
  }
  LeafRun fresh(u64 bytes, unsigned level, u64 address, MappingFlags flags, bool owned) const {
    LeafRun run{bytes, level, address, Rules::canonical(flags), owned};
    run.hardware_dirty = dirty_when_new(flags);
    run.soft_dirty = is_logged(flags);
    return run;
  }
  static void without_write(LeafRun& run) {
    run.flags.access = run.flags.access.without(kWrite);
    if (Rules::kArm) run.hardware_dirty = false;
  }
  void with_flags(LeafRun& run, MappingFlags flags) const {
    run.flags = Rules::canonical(flags);
    if (!case_.tracks_dirty) {
      run.hardware_dirty = dirty_when_new(flags);
    } else if (Rules::kArm) {
      run.hardware_dirty = run.hardware_dirty && flags.access.has(kWrite);
    }
  }
  bool is_logged(MappingFlags flags) const {
    return tracking_ != DirtyTracking::Off && !is_device(flags.memory);
  }
  bool was_written(u64 at, const LeafRun& run) const {
    if (run.soft_dirty) return true;
    if (!is_logged(areas_.find(at)->flags)) return false;
    return tracking_ == DirtyTracking::Hardware ? run.hardware_dirty : run.flags.access.has(kWrite);
  }
  void clean(u64 at, LeafRun& run) const {
    run.soft_dirty = false;
    if (!is_logged(areas_.find(at)->flags)) return;
    if (tracking_ == DirtyTracking::Hardware) {
      run.hardware_dirty = false;
    } else {
      without_write(run);
    }
  }

  static u64 signature(u64 gpa) { return gpa * 0x9e37'79b9'7f4a'7c15 | 1; }
  u64* words(u64 frame) const { return reinterpret_cast<u64*>(hal_.arena().pointer(frame)); }

  /// Fresh memory: from the Hal, nobody else's, and zero. Then the guest writes into it.
  void own(u64 start, LeafRun run) {
    const auto found = *space_->page_table().entry(Gpa(start));
    const u64 entry = alone<F>(start / kPage, found.entry, run.level);
    if (entry != found.entry) ++groups_;
    run.address = F::address(entry, run.level).value();
    for (u64 at = 0; at < run.size; at += kFrameBytes) {
      const u64 frame = run.address + at;
      ASSERT_TRUE(hal_.arena().is_allocated(frame)) << std::hex << start;
      EXPECT_FALSE(taken_[number(frame)]) << "two pages share a frame";
      taken_[number(frame)] = true;
      const bool zero = std::all_of(words(frame), words(frame) + kFrameBytes / 8,
                                    [](u64 word) { return word == 0; });
      EXPECT_TRUE(zero) << "a fresh page holds what somebody else wrote";
      *words(frame) = signature(start + at);
    }
    tree_.insert(start, run);
  }
  static u64 number(u64 frame) { return (frame - Machine::kBase) / kFrameBytes; }
  void disown(u64 from, u64 to) {
    tree_.for_each_in(from, to, [&](u64 start, const LeafRun& run) {
      if (!run.owned) return;
      const u64 past = std::min(to, start + run.size);
      for (u64 at = std::max(from, start); at < past; at += kFrameBytes) {
        const u64 frame = run.address + (at - start);
        taken_[number(frame)] = false;
        EXPECT_FALSE(hal_.arena().is_allocated(frame)) << "unmapped, and not given back";
      }
    });
  }
  void check_signatures() const {
    for (const auto& [start, run] : tree_.runs()) {
      for (u64 at = 0; run.owned && at < run.size; at += kFrameBytes) {
        ASSERT_EQ(*words(run.address + at), signature(start + at)) << "a page lost its content";
      }
    }
  }

  // Areas ---------------------------------------------------------------------------------------

  void map_linear() {
    const Request wanted = request();
    const u64 base = size(top_leaf_) * (2 + random_.below(3));
    const bool congruent = !random_.one_in(6) || wanted.bytes > 64 * kPage;
    u64 hpa = base + (congruent ? wanted.at % size(top_leaf_) : random_.below(64) * kPage);
    if (random_.one_in(100)) hpa += 8;
    const MappingFlags flags = some_flags();
    begin("map linear", true);
    const Result<void> expected = map_error(wanted, flags, hpa);
    const bool too_many = wanted.bytes / size(top_leaf_) > 1000;
    if (expected && too_many) return;
    const auto found = space_->map_linear(Gpa(wanted.at), Hpa(hpa), wanted.bytes, flags);
    if (!as_expected(found, expected)) return check_nothing_said();
    for (u64 done = 0; done < wanted.bytes;) {
      const unsigned level = linear_level(wanted.at + done, hpa + done, wanted.bytes - done);
      tree_.insert(wanted.at + done, fresh(size(level), level, hpa + done, flags, false));
      done += size(level);
    }
    areas_.insert(
        {*GpaRange::make(Gpa(wanted.at), wanted.bytes), flags, Backend::linear(Hpa(hpa))});
    check_invalidations(Cause::MapLinear, wanted.at);
  }
  unsigned linear_level(u64 at, u64 hpa, u64 left) const {
    unsigned level = top_leaf_;
    while (level != 0 &&
           (!geometry_.may_be_leaf(level) || (at | hpa) % size(level) != 0 || left < size(level))) {
      --level;
    }
    return level;
  }

  void map_alloc() {
    const bool eager = random_.one_in(3);
    if (eager) to_ = std::min(to_, from_ + 64 * kPage);
    const Request wanted = request();
    const MappingFlags flags = some_flags();
    const u8 order = random_.one_in(2) ? u8{0} : static_cast<u8>(random_.below(5));
    const u8 largest = random_.one_in(8) ? static_cast<u8>(random_.below(3)) : u8{0};
    const Backend backend = eager ? Backend::eager(largest) : Backend::lazy(order, largest);
    begin(eager ? "map eager" : "map lazy", true);
    const Result<void> expected = map_error(wanted, flags);
    if (eager && expected && wanted.bytes > 64 * kPage) return;
    const auto found = space_->map_alloc(Gpa(wanted.at), wanted.bytes, flags, backend);
    if (!as_expected(found, expected)) return check_nothing_said();
    const bool new_to_log = !eager && tracking_ != DirtyTracking::Off;
    areas_.insert({*GpaRange::make(Gpa(wanted.at), wanted.bytes), flags, backend, new_to_log});
    if (eager) {
      for (u64 at = wanted.at; at < wanted.at + wanted.bytes; at += kPage) {
        own(at, fresh(kPage, 0, 0, flags, true));
      }
    } else {
      tree_.note({wanted.at, wanted.bytes, 0, change::kReserved, true});
    }
    check_invalidations(Cause::MapAllocated, wanted.at);
  }

  void unmap() {
    const Request wanted = request();
    begin("unmap", false);
    const Result<void> expected = range_error(wanted);
    if (!as_expected(space_->unmap(Gpa(wanted.at), wanted.bytes), expected)) {
      return check_nothing_said();
    }
    forget(wanted.at, wanted.at + wanted.bytes);
    check_invalidations(Cause::Unmap, wanted.at);
  }
  void forget(u64 from, u64 to) {
    if (from == to) return;
    areas_.remove(from, to);
    tree_.cut(from);
    tree_.cut(to);
    disown(from, to);
    tree_.erase(from, to);
  }
  void clear() {
    begin("clear", false);
    check_signatures();
    space_->clear();
    forget(start_, end_);
    tracking_ = DirtyTracking::Off;
    EXPECT_EQ(space_->usage().areas, 0u);
    EXPECT_EQ(space_->usage().area_frames, 0u);
    EXPECT_EQ(space_->usage().tables.tables, 1u);
    check_invalidations(Cause::Unmap, start_);
  }

  void protect() {
    const Request wanted = request();
    const MappingFlags flags = some_flags();
    begin("protect", false);
    Result<void> expected = range_error(wanted);
    if (expected && !Rules::encodable(flags)) expected = Error::UnsupportedFlags;
    if (!as_expected(space_->protect(Gpa(wanted.at), wanted.bytes, flags), expected)) {
      return check_nothing_said();
    }
    const u64 to = wanted.at + wanted.bytes;
    if (wanted.bytes != 0) {
      tree_.cut(wanted.at);
      tree_.cut(to);
      tree_.update(wanted.at, to, [&](u64 at, LeafRun& run) { reflag(at, run, flags); });
      areas_.set_flags(wanted.at, to, flags);
    }
    check_invalidations(Cause::Protect, wanted.at);
  }
  void reflag(u64 at, LeafRun& run, MappingFlags flags) const {
    const bool written = tracking_ != DirtyTracking::Off && was_written(at, run);
    const bool writable = run.flags.access.has(kWrite);
    with_flags(run, flags);
    if (tracking_ == DirtyTracking::Off) return;
    const MappingFlags old = areas_.find(at)->flags;
    const bool was_hidden = !is_logged(old) || !old.access.any_of(kRwx);
    run.soft_dirty = run.soft_dirty || written || (was_hidden && is_logged(flags));
    const bool hides = tracking_ == DirtyTracking::WriteProtection && is_logged(flags);
    if (hides && !writable) without_write(run);
  }

  // Faults --------------------------------------------------------------------------------------

  void fault() {
    constexpr Access kList[] = {kRead, kWrite, kExecute, kRead | kWrite, kRead | kUser, kNoAccess};
    const u64 at = from_ + random_.below(kPage);
    const Area* area = areas_.find(at);
    Access access = random_.pick(kList);
    // Nothing asks for nothing where there is nothing.
    if (area != nullptr && area->flags.access.empty()) access = kRead;
    fault_at(at, access);
  }
  void fault_at(u64 at, Access access) {
    from_ = at;
    to_ = at + kPage;
    const Area* area = areas_.find(at);
    begin("fault", true);
    const FaultOutcome found = space_->handle_fault(Gpa(at), access);
    FaultOutcome expected = FaultOutcome::Mapped;
    Cause cause = Cause::Fault;
    Tree::Found leaf{};
    if (area == nullptr) {
      expected = FaultOutcome::NoArea;
    } else if (!area->flags.access.has(access & kRwx)) {
      expected = FaultOutcome::NoPermission;
    } else if (!tree_.find(at, leaf)) {
      populate(*area, at, access);
    } else if (leaf.leaf.flags.access.has(access & kRwx)) {
      expected = FaultOutcome::AlreadyMapped;
      tree_.note({align_down(at, kPage), kPage, 0, change::kSpurious, leaf.leaf.owned});
    } else {
      expected = FaultOutcome::MadeWritable;
      cause = Cause::DirtyLog;
      permit(*area, align_down(at, kPage));
    }
    EXPECT_EQ(found, expected) << to_string(found) << " instead of " << to_string(expected);
    check_invalidations(cause, cause == Cause::DirtyLog ? align_down(at, kPage) : at);
  }
  void permit(const Area& area, u64 page) {
    tree_.cut(page);
    tree_.cut(page + kPage);
    tree_.update(page, page + kPage, [&](u64, LeafRun& run) { with_flags(run, area.flags); });
  }
  LeafRun populated(const Area& area, unsigned level, Access access) const {
    LeafRun run = fresh(size(level), level, 0, area.flags, true);
    run.soft_dirty = area.new_to_log && is_logged(area.flags);
    if (!is_logged(area.flags)) return run;
    if (tracking_ == DirtyTracking::Hardware) run.hardware_dirty = false;
    if (tracking_ == DirtyTracking::WriteProtection && !access.has(kWrite)) without_write(run);
    return run;
  }
  void populate(const Area& area, u64 at, Access access) {
    const bool single = tracking_ == DirtyTracking::WriteProtection && is_logged(area.flags);
    const u64 first = area.range.start().value();
    const u64 past = area.range.end().value();
    for (unsigned level = single ? 0 : area.backend.largest_level; level != 0; --level) {
      if (level > geometry_.root_level() || !geometry_.may_be_leaf(level)) continue;
      const u64 start = align_down(at, size(level));
      const bool fits = start >= first && start + size(level) <= past &&
                        !tree_.overlaps(start, start + size(level));
      if (fits && geometry_.shift(level) - kFrameShift < kOrderThatFails) {
        return own(start, populated(area, level, access));
      }
    }
    const u64 window = single ? kPage : std::min(kPage << area.backend.fault_around_order, size(1));
    const u64 start = align_down(at, window);
    for (u64 page = start; page < start + window; page += kPage) {
      const bool inside = page >= first && page < past;
      if (inside && !tree_.overlaps(page, page + kPage)) own(page, populated(area, 0, access));
    }
  }

  /// A store by the guest: the walker notes it if it can, or it faults.
  void write_by_guest() {
    const u64 at = from_ + random_.below(kPage);
    Tree::Found leaf{};
    const bool allowed = tree_.find(at, leaf) && leaf.leaf.flags.access.has(kWrite);
    if (!allowed) return fault_at(at, kWrite);
    if (!case_.tracks_dirty) return;
    begin("write", false);
    const auto entry = space_->page_table().entry(Gpa(at)).value();
    hal_.write_entry(entry.slot, F::dirtied(entry.entry));
    tree_.update(leaf.start, leaf.start + leaf.leaf.size,
                 [](u64, LeafRun& run) { run.hardware_dirty = true; });
  }

  // The dirty log -------------------------------------------------------------------------------

  void start_log() {
    constexpr DirtyTracking kList[] = {DirtyTracking::Off, DirtyTracking::WriteProtection,
                                       DirtyTracking::WriteProtection, DirtyTracking::Hardware,
                                       DirtyTracking::Hardware};
    const DirtyTracking how = random_.pick(kList);
    begin("start the dirty log", false);
    Result<void> expected;
    if (how == DirtyTracking::Off || tracking_ != DirtyTracking::Off) {
      expected = Error::WrongState;
    } else if (how == DirtyTracking::Hardware && !case_.tracks_dirty) {
      expected = Error::UnsupportedFeature;
    }
    if (!as_expected(space_->start_dirty_log(how), expected)) return check_nothing_said();
    tracking_ = how;
    EXPECT_EQ(space_->dirty_tracking(), how);
    tree_.update(0, tree_.end(), [&](u64 at, LeafRun& run) { clean(at, run); });
    check_invalidations(Cause::DirtyLog, start_);
  }
  void harvest() {
    const Request wanted = random_.one_in(2) ? Request{start_, end_ - start_} : request();
    begin("harvest", false);
    Result<void> expected = range_error(wanted);
    if (expected.ok() || expected.error() != Error::AddressOverflow) {
      if (tracking_ == DirtyTracking::Off) expected = Error::WrongState;
    } else {
      return;  // no such range
    }
    std::vector<GpaRange> found;
    const auto part = *GpaRange::make(Gpa(wanted.at), wanted.bytes);
    const auto done = space_->harvest_dirty_log(part, [&](GpaRange run) { found.push_back(run); });
    const bool fine = as_expected(done, expected);
    const auto written = take_written(wanted.at, fine ? wanted.at + wanted.bytes : wanted.at);
    EXPECT_EQ(found, written);
    check_invalidations(Cause::DirtyLog, wanted.at);
  }
  /// Large leaves count whole, also where they reach out of the part.
  std::vector<GpaRange> take_written(u64 from, u64 to) {
    std::vector<GpaRange> written;
    Tree::Found leaf{};
    if (from == to) return written;
    if (tree_.find(from, leaf)) from = leaf.start;
    if (tree_.find(to - 1, leaf)) to = leaf.start + leaf.leaf.size;
    tree_.update(from, to, [&](u64 start, LeafRun& run) {
      if (!was_written(start, run)) return;
      clean(start, run);
      if (!written.empty() && written.back().end() == Gpa(start)) {
        written.back() = *GpaRange::make(written.back().start(), written.back().size() + run.size);
      } else {
        written.push_back(*GpaRange::make(Gpa(start), run.size));
      }
    });
    return written;
  }
  void stop_log() {
    begin("stop the dirty log", false);
    Result<void> expected;
    if (tracking_ == DirtyTracking::Off) expected = Error::WrongState;
    if (!as_expected(space_->stop_dirty_log(), expected)) return check_nothing_said();
    const bool was_protected = tracking_ == DirtyTracking::WriteProtection;
    tracking_ = DirtyTracking::Off;
    for (const auto& item : areas_.areas()) {
      const Area& area = item.second;  // a structured binding cannot be captured everywhere
      tree_.update(item.first, area.range.end().value(), [&](u64, LeafRun& run) {
        run.soft_dirty = false;
        if (was_protected) with_flags(run, area.flags);
      });
    }
    areas_.forget_log();
    check_invalidations(Cause::DirtyLog, start_);
  }

  // Checking ------------------------------------------------------------------------------------

  void probe_around(u64 at) {
    probe(at);
    probe(at - 1);
    probe(at - kPage + random_.below(2 * kPage));
  }
  void probe(u64 at) {
    if (at >= tree_.end()) return;
    Tree::Found leaf{};
    const bool mapped = tree_.find(at, leaf) && leaf.leaf.valid();
    const auto found = space_->query(Gpa(at));
    const auto translated = space_->translate(Gpa(at));
    bool fine = found.ok() == mapped && translated.ok() == mapped;
    if (fine && mapped) {
      const Hpa address(leaf.leaf.address + (at - leaf.start));
      fine = *translated == address && found->address == address && found->size == leaf.leaf.size &&
             found->owned == leaf.leaf.owned && found->flags == leaf.leaf.flags &&
             found->dirty == leaf.leaf.hardware_dirty;
    }
    const Area* expected = at >= start_ && at < end_ ? areas_.find(at) : nullptr;
    const Area* area = space_->area_at(Gpa(at));
    fine = fine && (area == nullptr) == (expected == nullptr);
    fine = fine && (area == nullptr || *area == *expected);
    if (!fine) ADD_FAILURE() << std::hex << "wrong at " << at << ", mapped " << mapped;
  }
  void check_areas() const {
    std::vector<Area> found;
    std::vector<Area> expected;
    space_->for_each_area([&](const Area& area) { found.push_back(area); });
    for (const auto& [start, area] : areas_.areas()) expected.push_back(area);
    EXPECT_TRUE(found == expected) << "other areas than expected";
  }
  void sweep() {
    std::vector<MappedRun> expected;
    for (const auto& [start, run] : tree_.runs()) {
      if (!run.valid()) continue;
      const bool joins = !expected.empty() &&
                         expected.back().gpa + expected.back().size == Gpa(start) &&
                         expected.back().hpa + expected.back().size == Hpa(run.address) &&
                         expected.back().flags == run.flags;
      if (joins) {
        expected.back().size += run.size;
      } else {
        expected.push_back({Gpa(start), Hpa(run.address), run.size, run.flags});
      }
    }
    std::size_t n = 0;
    space_->for_each_run(space_->range(), [&](const MappedRun& run) {
      ASSERT_LT(n, expected.size());
      EXPECT_EQ(run.gpa, expected[n].gpa);
      EXPECT_EQ(run.hpa, expected[n].hpa);
      EXPECT_EQ(run.size, expected[n].size);
      EXPECT_EQ(run.flags, expected[n].flags);
      ++n;
    });
    EXPECT_EQ(n, expected.size());
    check_signatures();
    const SpaceUsage usage = space_->usage();
    EXPECT_EQ(usage.tables.owned_bytes, tree_.owned_bytes());
    EXPECT_EQ(usage.tables.tables, tree_.count_tables());
    model::check_books(space_->page_table(), usage.area_frames);
  }

  u64 seed() const {
    return model::seed(case_.shape * 257 + F::kPageShift * 3 + case_.tracks_dirty);
  }

  Case case_;
  Machine hal_;
  Geometry geometry_;
  Tree tree_;
  AreaList areas_;
  Random random_;
  std::vector<bool> taken_;
  std::vector<u64> anchors_;
  std::optional<Space> space_;
  DirtyTracking tracking_ = DirtyTracking::Off;
  unsigned top_leaf_ = 0;
  u64 start_ = 0;
  u64 end_ = 0;
  u64 from_ = 0;
  u64 to_ = 0;
  const char* operation_ = "";
  bool adds_ = false;
  u64 frees_before_ = 0;
  u64 groups_ = 0;  ///< owned pages that were made in groups
};

constexpr u64 kMany = 100'000;
constexpr u64 kFewer = 20'000;
constexpr bool kTracks = true;
constexpr bool kGroups = true;

template <class F>
void add(const std::string& format, std::initializer_list<Case> cases) {
  for (const Case& which : cases) {
    const std::string tracks = which.tracks_dirty ? "_with_dirty_bits" : "";
    const std::string groups = which.groups ? "_with_groups" : "";
    const std::string name = format + "_" + std::to_string(which.shape) + tracks + groups;
    ::testing::RegisterTest(
        "AddressSpaceModel", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
        [which]() -> ::testing::Test* { return new AddressSpaceModel<F>(which); });
  }
}

// Random operations do what the plain model does, in every nested format.
[[maybe_unused]] const bool kAdded = [] {
  add<Ept>("ept", {{4, kTracks, kMany}, {4, !kTracks, kMany}, {5, kTracks, kMany}});
  add<Npt>("npt", {{4, kTracks, kMany}, {4, !kTracks, kMany}, {5, kTracks, kMany}});
  add<Stage2<Granule::k4K>>("stage2_4k", {{39, kTracks, kMany},
                                          {40, !kTracks, kMany},
                                          {48, kTracks, kMany},
                                          {40, kTracks, kFewer, kGroups},
                                          {48, !kTracks, kFewer, kGroups}});
  add<Stage2<Granule::k16K>>("stage2_16k", {{40, kTracks, kFewer}, {48, !kTracks, kFewer}});
  add<Stage2<Granule::k64K>>("stage2_64k", {{42, kTracks, kFewer}, {48, !kTracks, kFewer}});
  add<Stage2<Granule::k4K, Width::k52>>("stage2_4k_wide", {{52, kTracks, kMany}});
  add<GStage>("g_stage", {{3, kTracks, kMany},
                          {4, !kTracks, kMany},
                          {5, kTracks, kMany},
                          {3, kTracks, kFewer, kGroups},
                          {4, !kTracks, kFewer, kGroups}});
  return true;
}();

}  // namespace
}  // namespace nestwalk::addrspace
