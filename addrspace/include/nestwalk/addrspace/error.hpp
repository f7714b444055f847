// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Typed errors, and `Result<T>`: a value or an error, for code without exceptions.
#pragma once

#include <cstdint>
#include <new>
#include <type_traits>

namespace nestwalk::addrspace {

/// What went wrong, exactly. Each belongs to one class of `ErrorClass`.
enum class Error : std::uint8_t {
  OutOfRange,           ///< outside the address space, the table's input or its output width
  Unaligned,            ///< an address or a size is not a multiple of the page in question
  AddressOverflow,      ///< start + size passes 2^64
  EmptyRange,           ///< a size of 0 where something must be mapped
  UnsupportedFlags,     ///< a permission or memory type that this format cannot encode
  UnsupportedGeometry,  ///< levels, granule or address width that the architecture lacks
  UnsupportedFeature,   ///< needs a hardware feature that the Hal does not report
  AlreadyMapped,        ///< the range overlaps an area or a mapped page
  MappedDifferently,    ///< a page is there, but not of the kind that the operation needs
  NotMapped,            ///< nothing is mapped there
  InsufficientAccess,   ///< mapped, but without the permission asked for
  WrongState,           ///< the operation does not fit what was done before
  NoMemory,             ///< the Hal has no frame left
  UnusableFrame,        ///< the Hal gave one that is misaligned or too high for an entry to hold
};
inline constexpr unsigned kErrorCount = static_cast<unsigned>(Error::UnusableFrame) + 1;

/// The coarse classes that callers of the original engine know.
enum class ErrorClass : std::uint8_t { InvalidInput, AlreadyExists, BadState, NoMemory };

ErrorClass class_of(Error error);
const char* to_string(Error error);
const char* to_string(ErrorClass error_class);

/// A `T` or an `Error`. Reading the wrong one is a programming error and traps.
template <class T>
class [[nodiscard]] Result;

namespace detail {

/// "ok" or an Error, as wide as a register. Results are returned in registers, but compilers build
/// them in memory: what is stored narrower than it is loaded again is not forwarded from the store
/// buffer, and each call waits for the cache, some 15 cycles.
class ResultState {
 public:
  constexpr ResultState() = default;
  constexpr explicit ResultState(Error error) : code_(static_cast<std::uint64_t>(error) + 1) {}
  constexpr bool ok() const { return code_ == 0; }
  constexpr Error error() const {
    if (ok()) __builtin_trap();
    return static_cast<Error>(code_ - 1);
  }
  friend constexpr bool operator==(ResultState, ResultState) = default;

 private:
  std::uint64_t code_ = 0;
};

/// The storage of a Result. Plain values stand beside the state, not in a union with it, so that
/// compilers keep both in registers.
template <class T, bool = std::is_trivially_copyable_v<T>&& std::is_default_constructible_v<T>>
class ResultStorage {
 protected:
  constexpr ResultStorage(T&& value) : value_(static_cast<T&&>(value)) {}
  constexpr ResultStorage(Error error) : state_(error) {}

  T value_{};
  ResultState state_;
};

template <class T>
class ResultStorage<T, false> {
 protected:
  constexpr ResultStorage(T&& value) : value_(static_cast<T&&>(value)) {}
  constexpr ResultStorage(Error error) : nothing_(), state_(error) {}
  ResultStorage(ResultStorage&& other) noexcept : nothing_(), state_(other.state_) {
    if (state_.ok()) ::new (static_cast<void*>(&value_)) T(static_cast<T&&>(other.value_));
  }
  ResultStorage(const ResultStorage&) = delete;
  ResultStorage& operator=(const ResultStorage&) = delete;
  ResultStorage& operator=(ResultStorage&&) = delete;
  ~ResultStorage() {
    if (state_.ok()) value_.~T();
  }

  struct Nothing {};
  union {
    T value_;
    Nothing nothing_;
  };
  ResultState state_;
};

}  // namespace detail

template <class T>
class [[nodiscard]] Result : private detail::ResultStorage<T> {
  using Storage = detail::ResultStorage<T>;

 public:
  constexpr Result(T value) : Storage(static_cast<T&&>(value)) {}
  constexpr Result(Error error) : Storage(error) {}

  constexpr bool ok() const { return this->state_.ok(); }
  constexpr explicit operator bool() const { return ok(); }

  constexpr T& value() & {
    check();
    return this->value_;
  }
  constexpr const T& value() const& {
    check();
    return this->value_;
  }
  // By value, so that `for (x : *f())` iterates over something that lives.
  constexpr T value() && {
    check();
    return static_cast<T&&>(this->value_);
  }
  constexpr T& operator*() & { return value(); }
  constexpr const T& operator*() const& { return value(); }
  constexpr T operator*() && { return static_cast<Result&&>(*this).value(); }
  constexpr T* operator->() {
    check();
    return &this->value_;
  }
  constexpr const T* operator->() const {
    check();
    return &this->value_;
  }
  constexpr T value_or(T fallback) const { return ok() ? this->value_ : fallback; }
  constexpr Error error() const { return this->state_.error(); }

  friend constexpr bool operator==(const Result& a, const Result& b) {
    return a.state_ == b.state_ && (!a.ok() || a.value_ == b.value_);
  }

 private:
  constexpr void check() const {
    if (!ok()) __builtin_trap();
  }
};

template <>
class [[nodiscard]] Result<void> {
 public:
  constexpr Result() = default;
  constexpr Result(Error error) : state_(error) {}

  constexpr bool ok() const { return state_.ok(); }
  constexpr explicit operator bool() const { return ok(); }
  constexpr Error error() const { return state_.error(); }
  friend constexpr bool operator==(const Result&, const Result&) = default;

 private:
  detail::ResultState state_;
};

}  // namespace nestwalk::addrspace
