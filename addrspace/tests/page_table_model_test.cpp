// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Random operations on a PageTable of every format, held against a plain model after each.
#include "reference_model.hpp"

namespace nestwalk::addrspace {
namespace {

using model::Effect;
using model::LeafRun;
using model::Random;
using model::Tree;

/// A shape, and how many operations are run on it.
struct Case {
  unsigned shape;
  u64 operations;
  VaHalf half = VaHalf::Lower;
};

template <class F>
Geometry geometry_of(const Case& which) {
  if constexpr (requires { F::geometry(which.shape, which.half); }) {
    return *F::geometry(which.shape, which.half);
  } else {
    return *F::geometry(which.shape);
  }
}
Capabilities widest_machine() {
  Capabilities found = full_machine();
  found.physical_bits = 52;
  found.leaf_levels = 0b11111;
  return found;
}

template <class F>
class PageTableModel : public ::testing::Test {
 public:
  using Input = typename F::Input;
  using Output = typename F::Output;
  using Machine = ArenaHal<Input, Output>;
  using Table = PageTable<F, Machine>;
  using Rules = model::Rules<F>;
  using InputRange = Range<Input>;
  static constexpr u64 kPage = Table::kPageBytes;

  explicit PageTableModel(const Case& which)
      : case_(which),
        hal_(kFrames, widest_machine()),
        table_(*Table::create(hal_, geometry_of<F>(which), kId)),
        tree_(table_.geometry()),
        space_(table_.geometry()),
        random_(seed()),
        frame_taken_(kFrames, false) {
    while (table_.geometry().leaf_levels >> (top_leaf_ + 1) != 0) ++top_leaf_;
    const unsigned root = table_.geometry().root_level();
    anchors_ = {0, tree_.end(), tree_.end() / 2, size(root)};
    if (root >= 1) anchors_.push_back(3 * size(1));
    if (root >= 2) anchors_.push_back(size(2));
    hal_.context = this;
    hal_.observe_invalidation = [](void* self, const Invalidation<Input>& change) {
      static_cast<PageTableModel*>(self)->on_invalidation(change);
    };
  }

  void TestBody() override {
    const u64 wanted = model::operations(case_.operations);
    for (u64 n = 0; n < wanted && !this->HasFailure(); ++n) {
      operate();
      for (const u64 at : {from_, to_, point(), point()}) probe_around(at);
      if (n % 32 == 0) {
        EXPECT_EQ(table_.usage().tables, tree_.count_tables());
      }
      if (n % 512 == 0) sweep();
      if (this->HasFailure()) report(n);
    }
    sweep();
    for (const InputRange& half : halves()) {
      begin("unmap all", false);
      EXPECT_TRUE(table_.unmap_region(half));
    }
    EXPECT_EQ(table_.usage().tables, 1u);
    model::check_books(table_, 0);
  }

 private:
  static constexpr u64 kFrames = u64{1} << 17;
  static constexpr u16 kId = 5;
  static constexpr u64 kMostLeaves = 9000;

  // Choosing ------------------------------------------------------------------------------------

  u64 size(unsigned level) const { return tree_.size(level); }
  Input input(u64 offset) const { return Input(space_.input(offset)); }

  /// A page boundary near one of the anchors.
  u64 point() { return point_near(anchors_[random_.below(anchors_.size())]); }
  u64 point_near(u64 anchor) {
    const u64 choice = random_.below(10);
    const unsigned root = table_.geometry().root_level();
    const unsigned level = choice < 6 ? 0 : choice < 9 ? 1 : 2;
    const u64 unit = size(level > root ? root : level);
    const u64 steps = random_.below(5) * unit;
    if (random_.one_in(2)) return anchor < steps ? 0 : anchor - steps;
    return tree_.end() - anchor < steps ? tree_.end() : anchor + steps;
  }
  void choose_span() {
    const u64 anchor = anchors_[random_.below(anchors_.size())];
    from_ = point_near(anchor);
    to_ = point_near(anchor);
    if (from_ > to_) std::swap(from_, to_);
    if (random_.one_in(200)) from_ = 0;
    if (random_.one_in(200)) to_ = tree_.end();
  }
  MappingFlags any_flags() {
    constexpr Access kList[] = {kRead,
                                kRead | kWrite,
                                kRead | kWrite | kExecute,
                                kRead | kExecute,
                                kRead | kWrite | kUser,
                                kNoAccess,
                                kExecute,
                                kWrite,
                                kRead | kGlobal,
                                kRwx | kUser | kGlobal};
    MappingFlags flags{random_.pick(kList), MemoryType::WriteBack};
    if (random_.one_in(3)) flags.memory = static_cast<MemoryType>(random_.below(kMemoryTypeCount));
    return flags;
  }
  MappingFlags some_flags() {
    MappingFlags flags = any_flags();
    while (!Rules::encodable(flags) && !random_.one_in(64)) flags = any_flags();
    return flags;
  }
  /// Mostly congruent to `from`, so that large leaves fit.
  u64 some_output(u64 from) {
    const u64 base = size(top_leaf_) * (2 + random_.below(3));
    switch (random_.below(8)) {
      case 0:
        return base + random_.below(64) * kPage;
      case 1:
        return base + from % size(std::min(1u, top_leaf_));
      default:
        return base + from % size(top_leaf_);
    }
  }

  struct Request {
    u64 at;
    u64 to;
    u64 bytes;
    u64 page_bytes;
    MappingFlags flags;
  };
  /// Now and then something that must be refused.
  void spoil(Request& request) {
    if (!random_.one_in(40)) return;
    switch (random_.below(9)) {
      case 0:
        request.at += 8;
        break;
      case 1:
        request.bytes += kPage / 2;
        break;
      case 2:
        request.to += kPage / 4;
        break;
      case 3:
        request.bytes = 0;
        break;
      case 4:
        request.at = ~low_mask(13 + F::kPageShift);
        request.bytes = u64{1} << 60;
        break;
      case 5:
        request.to = ~low_mask(F::kPageShift);
        request.bytes += 2 * kPage;
        break;
      case 6:
        request.to = u64{1} << table_.geometry().output_bits;
        break;
      case 7:
        request.at ^= u64{1} << 62;
        break;
      default:
        request.at = space_.input(tree_.end() - request.page_bytes);
        request.bytes = 2 * request.page_bytes;
    }
  }
  Result<void> map_error(const Request& request) const {
    const auto wraps = [](u64 start, u64 bytes) {
      return bytes != 0 && start + (bytes - 1) < start;
    };
    if (wraps(request.at, request.bytes) || wraps(request.to, request.bytes)) {
      return Error::AddressOverflow;
    }
    if ((request.at | request.bytes | request.to) % request.page_bytes != 0) {
      return Error::Unaligned;
    }
    if (request.bytes == 0) return Error::EmptyRange;
    if (!space_.accepts_range(request.at, request.bytes)) return Error::OutOfRange;
    if ((request.to + request.bytes - 1) >> table_.geometry().output_bits != 0) {
      return Error::OutOfRange;
    }
    if (!Rules::encodable(request.flags)) return Error::UnsupportedFlags;
    return {};
  }
  Result<void> range_error(const Request& request) const {
    if ((request.at | request.bytes) % kPage != 0) return Error::Unaligned;
    if (!space_.accepts_range(request.at, request.bytes)) return Error::OutOfRange;
    return {};
  }

  // Operating -----------------------------------------------------------------------------------

  void operate() {
    choose_span();
    if (tree_.runs().size() > 1200 || tree_.owned_bytes() > 100 * kMiB) {
      operation_ = "unmap all";
      from_ = 0;
      to_ = tree_.end();
      for (const InputRange& half : halves()) unmap_part(half.start().value(), half.size());
      return;
    }
    if (random_.one_in(500)) return sprinkle();
    const u64 choice = random_.below(100);
    if (choice < 12) return map_leaf();
    if (choice < 34) return map_linear();
    if (choice < 42) return map_owned();
    if (choice < 48) return unmap_leaf();
    if (choice < 70) return unmap();
    if (choice < 76) return protect_leaf();
    if (choice < 90) return protect();
    if (choice < 94) return remap_leaf();
    return remap();
  }
  void begin(const char* name, bool adds) {
    operation_ = name;
    adds_ = adds;
    tree_.forget_effects();
    hal_.invalidations.clear();
    frees_before_ = hal_.frees;
  }
  template <class Found>
  bool as_expected(const Found& found, const Result<void>& expected) const {
    if (found.ok() == expected.ok() && (found.ok() || found.error() == expected.error())) {
      return found.ok();
    }
    ADD_FAILURE() << operation_ << ": " << (found.ok() ? "ok" : to_string(found.error()))
                  << " instead of " << (expected.ok() ? "ok" : to_string(expected.error()));
    return false;
  }
  void on_invalidation(const Invalidation<Input>& change) {
    if (adds_) return;  // taking back what could not be finished frees private tables first
    if (change.changes().any_of(change::kRevoking) || change.tables()) {
      EXPECT_EQ(hal_.frees, frees_before_) << "freed before the invalidation";
    }
  }
  void check_invalidations(Cause cause, Input subject) {
    for (const auto& change : hal_.invalidations) {
      EXPECT_EQ(change.cause(), cause);
      EXPECT_EQ(change.subject(), subject);
      EXPECT_EQ(change.tag().vmid, kId);
    }
    const u64 mask = low_mask(table_.geometry().input_bits);
    model::InvalidationCheck<Input>(hal_.invalidations, tree_, mask, F::kBreakBeforeMake).run();
  }
  /// A failed map may have to take back what was visible for a moment, and nothing else.
  void check_rollback(u64 from, u64 to) {
    for (const auto& change : hal_.invalidations) {
      for (const auto& run : change) {
        const u64 start = run.start.value() & low_mask(table_.geometry().input_bits);
        EXPECT_TRUE(run.changes == change::kUnmapped || run.changes.empty());
        if (run.changes.empty()) continue;  // names a table, which may reach further
        EXPECT_TRUE(start >= from && start + run.size <= to)
            << std::hex << start << " +" << run.size << model::to_text(run.changes);
      }
    }
  }

  static void set_flags(LeafRun& run, MappingFlags flags) {
    run.flags = Rules::canonical(flags);
    // Where the write permission is the dirty state, losing one loses the other.
    run.hardware_dirty = Rules::kArm && flags.access.has(kWrite);
  }
  static LeafRun leaf_run(u64 bytes, unsigned level, u64 address, MappingFlags flags, bool owned) {
    LeafRun run{bytes, level, address, {}, owned};
    set_flags(run, flags);
    return run;
  }

  /// The largest leaves that fit.
  std::vector<std::pair<u64, LeafRun>> plan(u64 from, u64 to, u64 bytes, MappingFlags flags,
                                            unsigned largest, bool owned) const {
    std::vector<std::pair<u64, LeafRun>> runs;
    const Geometry& shape = table_.geometry();
    for (u64 done = 0, leaves = 0; done < bytes && leaves < kMostLeaves; ++leaves) {
      unsigned level = largest;
      const auto fits = [&] {
        const u64 reach = owned ? from + done : (from + done) | (to + done);
        return shape.may_be_leaf(level) && reach % size(level) == 0 && bytes - done >= size(level);
      };
      while (level != 0 && !fits()) --level;
      const u64 step = size(level);
      if (!owned && !runs.empty() && runs.back().second.level == level) {
        runs.back().second.size += step;
      } else {
        runs.push_back({from + done, leaf_run(step, level, to + done, flags, owned)});
      }
      done += step;
    }
    return runs;
  }
  static u64 planned_bytes(const std::vector<std::pair<u64, LeafRun>>& runs) {
    u64 sum = 0;
    for (const auto& [start, run] : runs) sum += run.size;
    return sum;
  }

  void map_leaf() {
    const unsigned level = static_cast<unsigned>(random_.below(table_.geometry().levels));
    from_ = align_down(from_, size(level));
    if (from_ == tree_.end()) from_ -= size(level);
    to_ = from_ + size(level);
    Request request{space_.input(from_), some_output(from_), size(level), size(level),
                    some_flags()};
    request.to = align_down(request.to, size(level));
    if (request.to == 0) request.to = size(level);
    spoil(request);
    if (random_.one_in(100)) request.page_bytes *= 2;
    begin("map a leaf", true);
    Result<void> expected;
    const bool known = table_.geometry().may_be_leaf(level) && request.page_bytes == size(level);
    const Request whole{request.at, request.to, request.page_bytes, request.page_bytes,
                        request.flags};
    if (!known) expected = Error::UnsupportedGeometry;
    if (expected) expected = map_error(whole);
    take_request(whole);
    if (expected && tree_.overlaps(from_, to_)) expected = Error::AlreadyMapped;
    const auto found =
        table_.map(Input(request.at), Output(request.to), request.page_bytes, request.flags);
    if (!as_expected(found, expected)) return check_nothing_said();
    tree_.insert(from_, leaf_run(size(level), level, request.to, request.flags, false));
    check_invalidations(Cause::MapLinear, Input(request.at));
  }
  void check_nothing_said() { EXPECT_TRUE(hal_.invalidations.empty()); }
  void take_request(const Request& request) {
    from_ = request.at & low_mask(table_.geometry().input_bits);
    to_ = std::min(tree_.end(), from_ + request.bytes);
  }

  /// Every other page, alike or not: more runs than an invalidation lists.
  void sprinkle() {
    const u64 first = from_;
    for (u64 n = 0; n < 40 && first + (2 * n + 1) * kPage <= tree_.end(); ++n) {
      from_ = first + 2 * n * kPage;
      to_ = from_ + kPage;
      const Request request{space_.input(from_), some_output(from_), kPage, kPage,
                            MappingFlags{random_.one_in(2) ? kRead : kRead | kExecute}};
      map_page(request);
    }
  }
  void map_page(const Request& request) {
    begin("sprinkle", true);
    Result<void> expected = map_error(request);
    if (expected && tree_.overlaps(from_, to_)) expected = Error::AlreadyMapped;
    const auto found = table_.map(Input(request.at), Output(request.to), kPage, request.flags);
    if (!as_expected(found, expected)) return check_nothing_said();
    tree_.insert(from_, leaf_run(kPage, 0, request.to, request.flags, false));
    check_invalidations(Cause::MapLinear, Input(request.at));
  }

  void map_linear() {
    Request request{space_.input(from_), some_output(from_), to_ - from_, kPage, some_flags()};
    spoil(request);
    begin("map linear", true);
    Result<void> expected = map_error(request);
    if (expected) take_request(request);
    const auto runs =
        plan(from_, request.to, expected ? to_ - from_ : 0, request.flags, top_leaf_, false);
    if (expected && planned_bytes(runs) != to_ - from_) return;  // too many leaves for a test
    if (expected && tree_.overlaps(from_, to_)) expected = Error::AlreadyMapped;
    const auto range = InputRange::make(Input(request.at), request.bytes);
    if (!range) return;
    const auto found = table_.map_region(*range, Output(request.to), request.flags);
    if (!as_expected(found, expected)) return check_rollback(from_, to_);
    for (const auto& [start, run] : runs) tree_.insert(start, run);
    check_invalidations(Cause::MapLinear, Input(request.at));
  }

  void map_owned() {
    const bool huge = random_.one_in(size(1) <= 2 * kMiB ? 50 : 1000) && size(1) <= 32 * kMiB;
    const u64 most = huge ? 2 * size(1) : 64 * kPage;
    to_ = std::min(to_, from_ + most);
    Request request{space_.input(from_), 0, to_ - from_, kPage, some_flags()};
    spoil(request);
    request.to = 0;
    begin("map owned", true);
    const auto range = InputRange::make(Input(request.at), request.bytes);
    if (!range || request.bytes > most) return;
    Result<void> expected = range_error(request);
    if (expected && !Rules::encodable(request.flags)) expected = Error::UnsupportedFlags;
    if (expected && request.bytes == 0) expected = Error::EmptyRange;
    if (expected) take_request(request);
    if (expected && tree_.overlaps(from_, to_)) expected = Error::AlreadyMapped;
    const auto found = table_.map_owned_region(*range, request.flags, huge ? 1 : 0);
    if (!as_expected(found, expected)) return check_rollback(from_, to_);
    auto runs = plan(from_, 0, to_ - from_, request.flags, huge ? 1 : 0, true);
    for (auto& [start, run] : runs) own(start, run);
    check_invalidations(Cause::MapAllocated, Input(request.at));
  }
  /// Fresh memory: from the Hal, nobody else's, and zero.
  void own(u64 start, LeafRun& run) {
    run.address = F::address(table_.entry(input(start))->entry, run.level).value();
    for (u64 at = run.address; at < run.address + run.size; at += kFrameBytes) {
      ASSERT_TRUE(hal_.arena().is_allocated(at));
      const u64 frame = (at - Machine::kBase) / kFrameBytes;
      EXPECT_FALSE(frame_taken_[frame]) << "two leaves share a frame";
      frame_taken_[frame] = true;
      const u64* words = reinterpret_cast<const u64*>(hal_.arena().pointer(at));
      EXPECT_TRUE(std::all_of(words, words + kFrameBytes / 8, [](u64 word) { return word == 0; }));
    }
    tree_.insert(start, run);
  }
  void disown(u64 from, u64 to) {
    tree_.for_each_in(from, to, [&](u64 start, const LeafRun& run) {
      if (!run.owned) return;
      const u64 first = std::max(from, start);
      const u64 past = std::min(to, start + run.size);
      for (u64 at = first; at < past; at += kFrameBytes) {
        const u64 memory = run.address + (at - start);
        frame_taken_[(memory - Machine::kBase) / kFrameBytes] = false;
        EXPECT_FALSE(hal_.arena().is_allocated(memory)) << "unmapped, and not given back";
      }
    });
  }

  void unmap() { unmap_part(space_.input(from_), to_ - from_); }
  void unmap_part(u64 at, u64 bytes) {
    Request request{at, 0, bytes, kPage, {}};
    spoil(request);
    begin("unmap", false);
    const auto range = InputRange::make(Input(request.at), request.bytes);
    if (!range) return;
    const Result<void> expected = range_error(request);
    if (expected) take_request(request);
    if (!as_expected(table_.unmap_region(*range), expected)) return check_nothing_said();
    forget(from_, to_);
    check_invalidations(Cause::Unmap, Input(request.at));
  }
  void forget(u64 from, u64 to) {
    if (from == to) return;
    tree_.cut(from);
    tree_.cut(to);
    disown(from, to);
    tree_.erase(from, to);
  }
  /// The leaf at a point, if there is one that the hardware sees.
  bool leaf_at(u64 offset, Tree::Found& found) const {
    return tree_.find(offset, found) && found.leaf.valid();
  }
  void unmap_leaf() {
    const u64 at = from_ + random_.below(kPage);
    if (at >= tree_.end()) return;
    begin("unmap a leaf", false);
    Tree::Found leaf{};
    const bool mapped = leaf_at(at, leaf);
    const auto found = table_.unmap(input(at));
    const Result<void> expected = mapped ? Result<void>() : Result<void>(Error::NotMapped);
    if (!as_expected(found, expected)) return check_nothing_said();
    EXPECT_EQ(found->address, Output(leaf.leaf.address + (at - leaf.start)));
    EXPECT_EQ(found->size, leaf.leaf.size);
    forget(leaf.start, leaf.start + leaf.leaf.size);
    check_invalidations(Cause::Unmap, input(leaf.start));
  }

  void protect() {
    Request request{space_.input(from_), 0, to_ - from_, kPage, some_flags()};
    spoil(request);
    begin("protect", false);
    const auto range = InputRange::make(Input(request.at), request.bytes);
    if (!range) return;
    Result<void> expected = range_error(request);
    if (expected && !Rules::encodable(request.flags)) expected = Error::UnsupportedFlags;
    if (expected) take_request(request);
    if (!as_expected(table_.protect_region(*range, request.flags), expected)) {
      return check_nothing_said();
    }
    reflag(from_, to_, request.flags);
    check_invalidations(Cause::Protect, Input(request.at));
  }
  void reflag(u64 from, u64 to, MappingFlags flags) {
    if (from == to) return;
    tree_.cut(from);
    tree_.cut(to);
    tree_.update(from, to, [&](u64, LeafRun& run) { set_flags(run, flags); });
  }
  void protect_leaf() {
    const u64 at = from_ + random_.below(kPage);
    if (at >= tree_.end()) return;
    begin("protect a leaf", false);
    const MappingFlags flags = some_flags();
    Tree::Found leaf{};
    Result<void> expected;
    if (!leaf_at(at, leaf)) expected = Error::NotMapped;
    if (expected && !Rules::encodable(flags)) expected = Error::UnsupportedFlags;
    if (!as_expected(table_.protect(input(at), flags), expected)) return check_nothing_said();
    reflag(leaf.start, leaf.start + leaf.leaf.size, flags);
    check_invalidations(Cause::Protect, input(leaf.start));
  }

  void remap() {
    Request request{space_.input(from_), some_output(from_), to_ - from_, kPage, some_flags()};
    spoil(request);
    begin("remap", false);
    const auto range = InputRange::make(Input(request.at), request.bytes);
    if (!range) return;
    Result<void> expected = map_error(request);
    if (expected) {
      take_request(request);
      expected = move_error(from_, to_, request.to);
    }
    const auto found = table_.remap_region(*range, Output(request.to), request.flags);
    if (!as_expected(found, expected)) return check_nothing_said();
    move(from_, to_, request.to, request.flags);
    check_invalidations(Cause::Remap, Input(request.at));
  }
  Result<void> move_error(u64 from, u64 to, u64 output) const {
    Tree part = tree_.part(from, to);
    part.cut(from);
    part.cut(to);
    u64 visible = 0;
    Result<void> fine;
    part.update(from, to, [&](u64 start, LeafRun& run) {
      if (run.valid()) visible += run.size;
      if (run.owned) fine = Error::MappedDifferently;
      if ((output + (start - from)) % size(run.level) != 0) fine = Error::Unaligned;
    });
    if (fine && visible != to - from) fine = Error::NotMapped;
    return fine;
  }
  void move(u64 from, u64 to, u64 output, MappingFlags flags) {
    tree_.cut(from);
    tree_.cut(to);
    tree_.update(from, to, [&](u64 start, LeafRun& run) {
      run.address = output + (start - from);
      set_flags(run, flags);
    });
  }
  void remap_leaf() {
    const u64 at = from_ + random_.below(kPage);
    if (at >= tree_.end()) return;
    begin("remap a leaf", false);
    const MappingFlags flags = some_flags();
    Tree::Found leaf{};
    Result<void> expected;
    u64 output = some_output(from_);
    if (leaf_at(at, leaf)) {
      if (random_.one_in(2)) output = align_down(output, leaf.leaf.size);
      expected = map_error({input(leaf.start).value(), output, leaf.leaf.size, kPage, flags});
      if (expected) expected = move_error(leaf.start, leaf.start + leaf.leaf.size, output);
    } else {
      expected = Error::NotMapped;
    }
    const auto found = table_.remap(input(at), Output(output), flags);
    if (!as_expected(found, expected)) return check_nothing_said();
    move(leaf.start, leaf.start + leaf.leaf.size, output, flags);
    check_invalidations(Cause::Remap, input(leaf.start));
  }

  // Checking ------------------------------------------------------------------------------------

  void probe_around(u64 offset) {
    probe(offset);
    probe(offset - 1);
    probe(offset - kPage + random_.below(2 * kPage));
  }
  void probe(u64 offset) {
    if (offset >= tree_.end()) return;
    Tree::Found leaf{};
    const bool mapped = leaf_at(offset, leaf);
    const auto found = table_.query(input(offset));
    const auto translated = table_.translate(input(offset));
    bool fine = found.ok() == mapped && translated.ok() == mapped;
    if (fine && mapped) {
      const Output address(leaf.leaf.address + (offset - leaf.start));
      fine = *translated == address && found->address == address && found->size == leaf.leaf.size &&
             found->owned == leaf.leaf.owned && found->flags == leaf.leaf.flags;
    } else if (fine) {
      fine = found.error() == Error::NotMapped && translated.error() == Error::NotMapped;
    }
    if (!fine) ADD_FAILURE() << std::hex << "wrong at offset " << offset << ", mapped " << mapped;
  }
  std::vector<InputRange> halves() const {
    const u64 all = tree_.end();
    if (table_.geometry().rule != InputRule::Sign) return {*InputRange::make(input(0), all)};
    return {*InputRange::make(input(0), all / 2), *InputRange::make(input(all / 2), all / 2)};
  }
  void sweep() {
    auto expected = tree_.runs().begin();
    u64 inside = 0;
    for (const InputRange& half : halves()) {
      table_.for_each_leaf(half, [&](Input at, const typename Table::Leaf& leaf) {
        while (expected != tree_.runs().end() && !expected->second.valid()) ++expected;
        ASSERT_NE(expected, tree_.runs().end());
        const auto& [start, run] = *expected;
        EXPECT_EQ(at, input(start + inside));
        EXPECT_EQ(leaf.address, Output(run.address + inside));
        EXPECT_EQ(leaf.size, size(run.level));
        EXPECT_EQ(leaf.flags, run.flags);
        EXPECT_EQ(leaf.owned, run.owned);
        inside += leaf.size;
        if (inside == run.size) {
          inside = 0;
          ++expected;
        }
      });
    }
    while (expected != tree_.runs().end() && !expected->second.valid()) ++expected;
    EXPECT_EQ(expected, tree_.runs().end());
    EXPECT_EQ(table_.usage().owned_bytes, tree_.owned_bytes());
    EXPECT_EQ(table_.usage().tables, tree_.count_tables());
    model::check_books(table_, 0);
  }
  void report(u64 n) const {
    ADD_FAILURE() << "operation " << n << " with seed " << seed() << ": " << operation_ << std::hex
                  << " [" << from_ << ", " << to_ << ")";
  }

  u64 seed() const {
    const bool upper = case_.half == VaHalf::Upper;
    return model::seed(case_.shape * 131 + F::kPageShift * 7 + upper);
  }

  Case case_;
  Machine hal_;
  Table table_;
  Tree tree_;
  model::InputSpace space_;
  Random random_;
  std::vector<bool> frame_taken_;
  std::vector<u64> anchors_;
  unsigned top_leaf_ = 0;
  u64 from_ = 0;
  u64 to_ = 0;
  const char* operation_ = "";
  bool adds_ = false;
  u64 frees_before_ = 0;
};

constexpr u64 kMost = 200'000;
constexpr u64 kMany = 60'000;
// A table of a larger granule has 2048 or 8192 entries, and a split fills one.
constexpr u64 kFewer = 20'000;

template <class F>
void add(const std::string& format, std::initializer_list<Case> cases) {
  for (const Case& which : cases) {
    const std::string half = which.half == VaHalf::Upper ? "_upper_half" : "";
    const std::string name = format + "_" + std::to_string(which.shape) + half;
    ::testing::RegisterTest("PageTableModel", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                            [which]() -> ::testing::Test* { return new PageTableModel<F>(which); });
  }
}

template <Granule kGranule>
void add_stage1(const std::string& name, std::initializer_list<Case> cases) {
  add<Stage1<kGranule>>(name, cases);
}
template <Granule kGranule, Width kWidth = Width::k48>
void add_stage2(const std::string& name, std::initializer_list<Case> cases) {
  add<Stage2<kGranule, kWidth>>(name, cases);
}

// Random operations do what the plain model does, in every format.
[[maybe_unused]] const bool kAdded = [] {
  constexpr VaHalf kUpper = VaHalf::Upper;
  add<Ept>("ept", {{4, kMost}, {5, kMany}});
  add<Npt>("npt", {{4, kMost}, {5, kMany}});
  add<GStage>("g_stage", {{3, kMost}, {4, kMany}, {5, kMany}});
  add_stage2<Granule::k4K>("stage2_4k", {{39, kMany}, {40, kMany}, {48, kMost}});
  add_stage2<Granule::k16K>("stage2_16k", {{40, kFewer}, {47, kFewer}, {48, kMost}});
  add_stage2<Granule::k64K>("stage2_64k", {{32, kMany}, {42, kMost}, {48, kFewer}});
  add_stage2<Granule::k4K, Width::k52>("stage2_4k_wide", {{52, kMost}});
  add_stage2<Granule::k16K, Width::k52>("stage2_16k_wide", {{52, kFewer}});
  add_stage2<Granule::k64K, Width::k52>("stage2_64k_wide", {{52, kFewer}});
  add<LongMode>("long_mode", {{4, kMost}, {5, kMany}});
  add_stage1<Granule::k4K>("stage1_4k", {{48, kMost}, {48, kFewer, kUpper}});
  add_stage1<Granule::k16K>("stage1_16k", {{48, kFewer}, {47, kMost, kUpper}});
  add_stage1<Granule::k64K>("stage1_64k", {{48, kFewer}, {42, kMost, kUpper}});
  add<Sv>("sv", {{3, kMost}, {4, kMany}, {5, kMany}});
  return true;
}();

}  // namespace
}  // namespace nestwalk::addrspace
