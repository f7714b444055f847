// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Disjoint areas in order, without a heap: an AVL tree whose nodes lie in frames of the Hal,
// threaded into a list. Equal neighbours are joined. Everything that needs a node is preceded by
// `reserve`, which may fail; the operations themselves never do.
#pragma once

#include <new>

#include "nestwalk/addrspace/area.hpp"
#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::addrspace {

template <Hal H>
class AreaSet {
 public:
  explicit AreaSet(H& hal) : hal_(&hal) {}
  AreaSet(AreaSet&& other) noexcept
      : hal_(other.hal_),
        root_(other.root_),
        first_(other.first_),
        slabs_(other.slabs_),
        last_slab_(other.last_slab_),
        count_(other.count_),
        free_nodes_(other.free_nodes_),
        frames_(other.frames_) {
    other.root_ = other.first_ = nullptr;
    other.slabs_ = other.last_slab_ = nullptr;
    other.count_ = other.free_nodes_ = other.frames_ = 0;
  }
  AreaSet& operator=(AreaSet&&) = delete;
  AreaSet(const AreaSet&) = delete;
  AreaSet& operator=(const AreaSet&) = delete;
  ~AreaSet() { clear(); }

  u64 size() const { return count_; }
  /// The frames that the nodes take.
  u64 frames() const { return frames_; }

  const Area* find(Gpa at) const {
    const Node* node = hint_ != nullptr && hint_->area.range.contains(at) ? hint_ : floor(at);
    if (node == nullptr || !node->area.range.contains(at)) return nullptr;
    return &node->area;
  }
  /// Like `find`, and remembers the area for the next time.
  const Area* find_again(Gpa at) {
    if (hint_ != nullptr && hint_->area.range.contains(at)) return &hint_->area;
    Node* node = floor(at);
    if (node == nullptr || !node->area.range.contains(at)) return nullptr;
    hint_ = node;
    return &node->area;
  }
  bool overlaps(GpaRange range) const {
    const Node* node = first_touching(range);
    return node != nullptr;
  }

  /// Calls visit(area) in ascending order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Node* node = first_; node != nullptr; node = node->next) visit(node->area);
  }
  /// Calls visit(area, part of it inside the range) for the areas that a range touches.
  template <class Visit>
  void for_each_in(GpaRange range, Visit&& visit) const {
    for (const Node* node = first_touching(range);
         node != nullptr && node->area.range.overlaps(range); node = node->next) {
      visit(node->area, node->area.range.intersection(range));
    }
  }

  // Changes. Reserve, then change, then trim ----------------------------------------------------

  /// How many nodes `remove` and `set_flags` of this range may need.
  unsigned nodes_to_remove(GpaRange range) const {
    const Node* node = first_touching(range);
    return node != nullptr && cuts(*node, range.start()) && cuts(*node, range.end()) ? 1 : 0;
  }
  unsigned nodes_to_set(GpaRange range) const {
    if (range.empty()) return 0;
    return (cut_by(range.start()) != nullptr ? 1u : 0u) +
           (cut_by(range.end()) != nullptr ? 1u : 0u);
  }

  Result<void> reserve(unsigned nodes) {
    while (free_nodes_ < nodes) {
      const Result<void> added = add_slab();
      if (!added) return added;
    }
    return {};
  }
  /// Gives back what was reserved and not needed.
  void trim() {
    while (slabs_ != nullptr && slabs_->used == 0) drop_slab(slabs_);
  }

  /// One node; the range overlaps no area.
  void insert(const Area& area) {
    hint_ = nullptr;
    Node* before = floor(area.range.start());
    Node* node = take_node(area);
    thread_after(before, node);
    insert(root_, node);
    ++count_;
    join(node);
  }

  void remove(GpaRange range) {
    hint_ = nullptr;
    Node* node = first_touching(range);
    if (node != nullptr && cuts(*node, range.start())) {
      if (cuts(*node, range.end())) cut(node, range.end());
      shrink_to(node, range.start());
      node = node->next;
    }
    while (node != nullptr && node->area.range.overlaps(range)) {
      Node* next = node->next;
      if (cuts(*node, range.end())) {
        // The key moves up, but not past the next area's.
        node->area.narrow(GpaRange::between(range.end(), node->area.range.end()));
      } else {
        discard(node);
      }
      node = next;
    }
  }

  void set_flags(GpaRange range, MappingFlags flags) {
    if (range.empty()) return;  // nothing to cut, either
    hint_ = nullptr;
    if (Node* node = cut_by(range.start()); node != nullptr) cut(node, range.start());
    if (Node* node = cut_by(range.end()); node != nullptr) cut(node, range.end());
    Node* node = first_touching(range);
    while (node != nullptr && node->area.range.overlaps(range)) {
      node->area.flags = flags;
      node = join(node)->next;
    }
    if (node != nullptr) join(node);
  }

  /// The dirty log is over.
  void forget_log() {
    hint_ = nullptr;
    for (Node* node = first_; node != nullptr; node = node->next) {
      node->area.new_to_log = false;
      node = join_with_previous(node);
    }
  }

  void clear() {
    hint_ = nullptr;
    root_ = first_ = nullptr;
    count_ = 0;
    while (slabs_ != nullptr) drop_slab(slabs_);
  }

 private:
  struct Node {
    Area area;
    Node* left;
    Node* right;
    Node* previous;
    Node* next;  ///< in order; of a free node: the next free one of its slab
    int height;
  };
  struct Slab {
    Slab* next;
    Slab* previous;
    Node* free;   ///< nodes that were used before
    u32 touched;  ///< nodes from here on were never used
    u32 used;
  };
  static constexpr u64 kNodesPerSlab = (kFrameBytes - sizeof(Slab)) / sizeof(Node);

  // The tree ------------------------------------------------------------------------------------

  static int height(const Node* node) { return node == nullptr ? 0 : node->height; }
  static int balance(const Node* node) { return height(node->left) - height(node->right); }
  static void update(Node* node) {
    const int left = height(node->left);
    const int right = height(node->right);
    node->height = 1 + (left > right ? left : right);
  }
  static void rotate_right(Node*& root) {
    Node* pivot = root->left;
    root->left = pivot->right;
    pivot->right = root;
    update(root);
    update(pivot);
    root = pivot;
  }
  static void rotate_left(Node*& root) {
    Node* pivot = root->right;
    root->right = pivot->left;
    pivot->left = root;
    update(root);
    update(pivot);
    root = pivot;
  }
  static void rebalance(Node*& root) {
    update(root);
    if (balance(root) > 1) {
      if (balance(root->left) < 0) rotate_left(root->left);
      rotate_right(root);
    } else if (balance(root) < -1) {
      if (balance(root->right) > 0) rotate_right(root->right);
      rotate_left(root);
    }
  }
  static void insert(Node*& root, Node* node) {
    if (root == nullptr) {
      root = node;
      return;
    }
    insert(start(node) < start(root) ? root->left : root->right, node);
    rebalance(root);
  }
  static Node* detach_first(Node*& root) {
    if (root->left == nullptr) {
      Node* first = root;
      root = root->right;
      return first;
    }
    Node* first = detach_first(root->left);
    rebalance(root);
    return first;
  }
  static void erase(Node*& root, const Node* node) {
    if (root != node) {
      erase(start(node) < start(root) ? root->left : root->right, node);
    } else if (root->right == nullptr) {
      root = root->left;
      return;
    } else {
      Node* successor = detach_first(root->right);
      successor->left = root->left;
      successor->right = root->right;
      root = successor;
    }
    rebalance(root);
  }

  static Gpa start(const Node* node) { return node->area.range.start(); }

  /// The last area that starts at or below `at`.
  Node* floor(Gpa at) const {
    Node* found = nullptr;
    for (Node* node = root_; node != nullptr;) {
      if (start(node) <= at) {
        found = node;
        node = node->right;
      } else {
        node = node->left;
      }
    }
    return found;
  }
  Node* first_touching(GpaRange range) const {
    if (range.empty()) return nullptr;
    Node* node = floor(range.start());
    if (node == nullptr) {
      node = first_;
    } else if (!node->area.range.overlaps(range)) {
      node = node->next;
    }
    return node != nullptr && node->area.range.overlaps(range) ? node : nullptr;
  }
  static bool cuts(const Node& node, Gpa at) {
    return node.area.range.start() < at && node.area.range.contains(at);
  }
  Node* cut_by(Gpa at) const {
    Node* node = floor(at);
    return node != nullptr && cuts(*node, at) ? node : nullptr;
  }

  // Areas ---------------------------------------------------------------------------------------

  void cut(Node* node, Gpa at) {
    Node* upper = take_node(node->area.part(GpaRange::between(at, node->area.range.end())));
    shrink_to(node, at);
    thread_after(node, upper);
    insert(root_, upper);
    ++count_;
  }
  static void shrink_to(Node* node, Gpa end) {
    node->area.range = GpaRange::between(node->area.range.start(), end);
  }
  /// Joins a node with the one before it, if they are equal. Returns the one that stays.
  Node* join_with_previous(Node* node) {
    Node* previous = node->previous;
    if (previous == nullptr || !previous->area.joins(node->area)) return node;
    previous->area.range = GpaRange::between(start(previous), node->area.range.end());
    discard(node);
    return previous;
  }
  Node* join(Node* node) {
    node = join_with_previous(node);
    if (node->next != nullptr) join_with_previous(node->next);
    return node;
  }
  void discard(Node* node) {
    erase(root_, node);
    (node->previous == nullptr ? first_ : node->previous->next) = node->next;
    if (node->next != nullptr) node->next->previous = node->previous;
    --count_;
    give_node(node);
  }
  void thread_after(Node* before, Node* node) {
    node->previous = before;
    node->next = before == nullptr ? first_ : before->next;
    (before == nullptr ? first_ : before->next) = node;
    if (node->next != nullptr) node->next->previous = node;
  }

  // Nodes ---------------------------------------------------------------------------------------

  static Slab* slab_of(Node* node) {
    return reinterpret_cast<Slab*>(align_down(reinterpret_cast<std::uintptr_t>(node), kFrameBytes));
  }
  // Slabs stand in the order unused (reserved), partly used, full, so that the first has a node if
  // any has. An operation takes its nodes before it gives any back.
  Node* take_node(const Area& area) {
    Slab* slab = slabs_;
    Node* node = slab->free;
    if (node != nullptr) {
      slab->free = node->next;
    } else {
      node = reinterpret_cast<Node*>(slab + 1) + slab->touched++;
    }
    ++slab->used;
    --free_nodes_;
    if (slab->used == kNodesPerSlab) move_slab_after(slab, last_slab_);
    return ::new (node) Node{area, nullptr, nullptr, nullptr, nullptr, 1};
  }
  void give_node(Node* node) {
    Slab* slab = slab_of(node);
    const bool was_full = slab->used == kNodesPerSlab;
    node->next = slab->free;
    slab->free = node;
    --slab->used;
    ++free_nodes_;
    if (slab->used == 0) return drop_slab(slab);
    if (was_full) move_slab_after(slab, nullptr);
  }
  Result<void> add_slab() {
    const auto frame = hal_->alloc_frame(FrameUse{});
    if (!frame) return frame.error();
    if (!frame->is_aligned(kFrameBytes)) {
      hal_->free_frame(*frame);
      return Error::UnusableFrame;
    }
    Slab* slab = ::new (reinterpret_cast<void*>(hal_->phys_to_virt(*frame).value())) Slab{};
    link_slab(slab, nullptr);
    free_nodes_ += kNodesPerSlab;
    ++frames_;
    return {};
  }
  void link_slab(Slab* slab, Slab* before) {
    slab->previous = before;
    slab->next = before == nullptr ? slabs_ : before->next;
    (before == nullptr ? slabs_ : before->next) = slab;
    (slab->next == nullptr ? last_slab_ : slab->next->previous) = slab;
  }
  void unlink_slab(Slab* slab) {
    (slab->previous == nullptr ? slabs_ : slab->previous->next) = slab->next;
    (slab->next == nullptr ? last_slab_ : slab->next->previous) = slab->previous;
  }
  void move_slab_after(Slab* slab, Slab* before) {
    if (slab == before) return;
    unlink_slab(slab);
    link_slab(slab, before);
  }
  void drop_slab(Slab* slab) {
    unlink_slab(slab);
    free_nodes_ -= kNodesPerSlab - slab->used;
    --frames_;
    hal_->free_frame(hal_->virt_to_phys(Hva(reinterpret_cast<std::uintptr_t>(slab))));
  }

  H* hal_;
  Node* root_ = nullptr;
  Node* first_ = nullptr;
  Node* hint_ = nullptr;
  Slab* slabs_ = nullptr;
  Slab* last_slab_ = nullptr;
  u64 count_ = 0;
  u64 free_nodes_ = 0;
  u64 frames_ = 0;
};

}  // namespace nestwalk::addrspace
