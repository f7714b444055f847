// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What of a core decides which accesses overlap. How a vCPU uses it is in software/README.md.
#pragma once

#include <string>

#include "nestwalk/models/base/parameter.hpp"

namespace nestwalk::models {

enum class CoreKind : u8 { InOrder, OutOfOrder };
inline constexpr Word<CoreKind> kCoreKinds[] = {{"in-order", CoreKind::InOrder},
                                                {"out-of-order", CoreKind::OutOfOrder}};

/// What a fetch costs that hits the first-level TLB and the first-level instruction cache.
inline constexpr Word<bool> kFetchHits[] = {{"exposed", false}, {"hidden", true}};

struct CoreShape {
  CoreKind kind = CoreKind::InOrder;
  u32 width = 1;
  u32 window = 1;
  u32 load_queue = 1;
  u32 load_ports = 1;
  u32 store_buffer = 0;
  u32 store_ports = 1;
  u32 forward_cycles = 1;
  bool hides_fetch_hits = false;

  bool is_out_of_order() const { return kind == CoreKind::OutOfOrder; }

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"kind", &CoreShape::kind, OneOf{kCoreKinds},
            "in-order: a load or fetch begins when the access before it is over; out-of-order: "
            "accesses overlap, as far as the window and the trace's dependences permit"},
        Row{"width", &CoreShape::width, Number{1, 32},
            "instructions issued in a cycle, whatever software.instructions_per_1000_cycles says"},
        Row{"window", &CoreShape::window, Number{1, 1024},
            "out-of-order: instructions under way at a time (the reorder buffer), and as many "
            "accesses"},
        Row{"load_queue", &CoreShape::load_queue, Number{1, 1024},
            "out-of-order: loads under way at a time"},
        Row{"load_ports", &CoreShape::load_ports, Number{1, 16},
            "out-of-order: loads that begin in one cycle"},
        Row{"store_buffer", &CoreShape::store_buffer, Number{0, 1024},
            "stores that are not waited for, of those under way; 0: a store takes until its line "
            "is there",
            kInEntries},
        Row{"store_ports", &CoreShape::store_ports, Number{1, 16},
            "stores that begin in one cycle"},
        Row{"forward_cycles", &CoreShape::forward_cycles, Number{1, 100},
            "cycles of a load that the store buffer has the bytes of", kInCycles},
        Row{"fetch_hits", &CoreShape::hides_fetch_hits, OneOf{kFetchHits},
            "fetches that hit the first-level TLB and the first-level cache: hidden, since "
            "instruction fetch runs ahead and they take no time, or exposed"}};
  }
};

/// "out of order, window 320, width 6"
std::string to_text(const CoreShape& core);

}  // namespace nestwalk::models
