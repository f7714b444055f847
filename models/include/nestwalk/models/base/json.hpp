// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// JSON documents that keep the order of their keys: the only type of JSON that there is here.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace nestwalk::models {

/// nlohmann::ordered_map looks at each key to find one, so that an object of n keys takes n^2 steps
/// to read or to build; statistics of many phases have 10^5 keys. This one has an index as well.
template <class Key, class T, class Less, class Allocator>
class IndexedMap : public nlohmann::ordered_map<Key, T, Less, Allocator> {
  using Base = nlohmann::ordered_map<Key, T, Less, Allocator>;

 public:
  using typename Base::const_iterator;
  using typename Base::iterator;
  using typename Base::size_type;
  using typename Base::value_type;

  IndexedMap() = default;
  explicit IndexedMap(const Allocator& allocator) : Base(allocator) {}
  template <class Iterator>
  IndexedMap(Iterator first, Iterator last, const Allocator& allocator = Allocator())
      : Base(allocator) {
    insert(first, last);
  }

  template <class Name>
  std::pair<iterator, bool> emplace(Name&& name, T&& value) {
    const auto [known, is_new] = index_.emplace(name, Base::size());
    if (is_new) Base::emplace_back(std::forward<Name>(name), std::move(value));
    return {at_place(known->second), is_new};
  }
  std::pair<iterator, bool> insert(const value_type& value) {
    return emplace(value.first, T(value.second));
  }
  template <class Iterator>
  void insert(Iterator first, Iterator last) {
    for (; first != last; ++first) insert(*first);
  }
  template <class Name>
  T& operator[](Name&& name) {
    const auto known = index_.find(name);
    if (known != index_.end()) return at_place(known->second)->second;
    return emplace(std::forward<Name>(name), T{}).first->second;
  }

  template <class Name>
  iterator find(const Name& name) {
    const auto known = index_.find(name);
    return known == index_.end() ? Base::end() : at_place(known->second);
  }
  template <class Name>
  const_iterator find(const Name& name) const {
    return const_cast<IndexedMap*>(this)->find(name);
  }
  template <class Name>
  size_type count(const Name& name) const {
    return index_.count(name);
  }
  template <class Name>
  T& at(const Name& name) {
    return at_place(index_.at(name))->second;
  }
  template <class Name>
  const T& at(const Name& name) const {
    return const_cast<IndexedMap*>(this)->at(name);
  }

  size_type erase(const Key& key) {
    const iterator found = find(key);
    if (found == Base::end()) return 0;
    erase(found);
    return 1;
  }
  iterator erase(iterator place) { return erase(place, std::next(place)); }
  iterator erase(iterator first, iterator last) {
    const iterator next = Base::erase(first, last);
    index_.clear();
    for (size_type n = 0; n < Base::size(); ++n) {
      index_.emplace(at_place(n)->first, n);
    }
    return next;
  }
  void clear() {
    Base::clear();
    index_.clear();
  }

 private:
  iterator at_place(size_type n) { return Base::begin() + static_cast<std::ptrdiff_t>(n); }

  std::map<Key, size_type, std::less<>> index_;
};

using Json = nlohmann::basic_json<IndexedMap>;

/// A text from outside. Throws TextError (text_file.hpp), also for what check_json refuses.
Json parse_json(const std::string& text, const std::string& name);

}  // namespace nestwalk::models
