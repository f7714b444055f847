// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/shape.hpp"

namespace nestwalk::traces {
namespace {

struct PutField {
  ByteBuffer& to;
  void operator()(const char*, u64 value) const { to.put_varint(value); }
  void operator()(const char*, Gva value) const { to.put_varint(value.value()); }
  void operator()(const char*, Gpa value) const { to.put_varint(value.value()); }
  void operator()(const char*, const std::string& value) const { to.put_string(value); }
  template <class Enum>
  requires std::is_enum_v<Enum>
  void operator()(const char*, Enum value) const { to.put_varint(static_cast<u64>(value)); }
};

struct TakeField {
  ByteReader& from;
  void operator()(const char* name, u64& value) const { value = from.take_varint(name); }
  void operator()(const char* name, Gva& value) const { value = Gva(from.take_varint(name)); }
  void operator()(const char* name, Gpa& value) const { value = Gpa(from.take_varint(name)); }
  void operator()(const char* name, std::string& value) const { value = from.take_string(name); }
  template <class Enum>
  requires std::is_enum_v<Enum>
  void operator()(const char* name, Enum& value) const {
    value = static_cast<Enum>(from.take_below(std::size(names_of(value)), name));
  }
};

template <std::size_t... kIndex>
EventDetail make_detail(u64 index, std::index_sequence<kIndex...>) {
  EventDetail detail;
  ((index == kIndex ? static_cast<void>(detail.emplace<kIndex>()) : void()), ...);
  return detail;
}

}  // namespace

void put(ByteBuffer& to, const Event& event) {
  to.put_varint(event.instructions);
  to.put_varint(event.detail.index());
  std::visit([&](const auto& detail) { for_each_field(detail, PutField{to}); }, event.detail);
}

Event take_event(ByteReader& from) {
  constexpr std::size_t kKinds = std::variant_size_v<EventDetail>;
  Event event;
  event.instructions = from.take_varint("instructions");
  event.detail =
      make_detail(from.take_below(kKinds, "an event's kind"), std::make_index_sequence<kKinds>());
  std::visit([&](auto& detail) { for_each_field(detail, TakeField{from}); }, event.detail);
  return event;
}

}  // namespace nestwalk::traces
