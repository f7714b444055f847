// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// x86-64, and AMD's nested paging.

#include "isa/isa.hpp"
#include "nestwalk/addrspace/format/long_mode.hpp"

namespace nestwalk::traces {
namespace {

using addrspace::LongMode;
using recording::Operand;

std::optional<TableRoot> x86_root(u64 root, unsigned levels) {
  return root_of(TableFormat::LongMode, root & 0x000f'ffff'ffff'f000, LongMode::geometry(levels));
}

bool pages(const Registers& registers) { return value_of(registers, "CR0") >> 31 != 0; }

StageRoots guest_roots(const Registers& registers) {
  if (!pages(registers)) return {};
  const unsigned levels = field(value_of(registers, "CR4"), 12, 1) != 0 ? 5 : 4;
  auto root = x86_root(value_of(registers, "CR3"), levels);
  // Intel SDM vol. 3A, "Execute-Disable Capability": EFER.NXE. EFER is known of the begin alone;
  // without LMA, it is of a time before the processor entered long mode.
  root->execute_disable = !is_set(registers, "EFER", 10) || is_set(registers, "EFER", 11);
  return {root, root};
}

// KVM gives guests as many levels as it has itself: four on the processor that is recorded.
std::optional<TableRoot> host_root(const Registers& registers) {
  std::optional<TableRoot> root = x86_root(value_of(registers, "NCR3"), 4);
  root->shape.rule = addrspace::InputRule::Zero;
  return root;
}

StageTables guest_tables(const Registers& registers) {
  return {pages(registers), guest_roots(registers).lower};
}
StageTables host_tables(const Registers& registers) { return {true, host_root(registers)}; }

// Intel SDM vol. 3A, "Determination of Access Rights": CR0.WP.
TranslationRules rules(const Registers& registers) {
  TranslationRules rules;
  rules.kernel_writes_read_only = !is_set(registers, "CR0", 16);
  return rules;
}

AddressSpaceTag space(const Registers& registers) {
  const u64 cr3 = value_of(registers, "CR3");
  const bool tagged = field(value_of(registers, "CR4"), 17, 1) != 0;  // PCIDE
  return {cr3 & 0x000f'ffff'ffff'f000, tagged ? field(cr3, 0, 12) : 0};
}

// What flushes: Intel SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches".
RegisterWrite write(Registers& registers, const std::string& name, u64 value) {
  constexpr u64 kNoFlush = u64{1} << 63;  // of a value for CR3, which does not keep it
  constexpr u64 kPaging = u64{1} << 31;   // of CR0
  constexpr u64 kPse = 1 << 4, kPae = 1 << 5, kPge = 1 << 7, kPcide = 1 << 17, kSmep = 1 << 20;
  if (name == "CR3") {
    registers[name] = value & ~kNoFlush;
    RegisterWrite written{.in_space = true, .switches = true, .flush = {}};
    if ((value & kNoFlush) == 0) {
      written.flush =
          GuestFence{FenceScope::Asid, 0, {}, 0, space(registers).asid, Precision::Exact};
    }
    return written;
  }
  const u64 changed = std::exchange(registers[name], value) ^ value;
  const u64 flushing = name == "CR0" ? kPaging : kPse | kPae | kPge | kPcide | kSmep;
  RegisterWrite written;
  if ((changed & flushing) != 0) written.flush = everything(Precision::Exact);
  return written;
}

u64 vmid(const Registers& registers) { return value_of(registers, "ASID"); }

std::optional<GuestFence> fence_of(u64 code, const Operand& first, const Operand& second,
                                   u64 asid) {
  constexpr u64 kInvlpg = 1, kInvpcid = 2;
  if (code == kInvlpg) {
    if (!first.exact()) return everything(Precision::Widened);
    // Intel SDM vol. 3A, "Operations that Invalidate TLBs": also global ones.
    return GuestFence{FenceScope::AddressAsid, kFenceGlobal, Gva(first.value), 0, asid,
                      Precision::Exact};
  }
  if (code != kInvpcid) return {};
  // The descriptor is lost; types 2 and 3 do not need it: all, with and without global ones.
  constexpr u64 kAll = 2, kAllButGlobal = 3;
  const bool whole = second.exact() && (second.value == kAll || second.value == kAllButGlobal);
  GuestFence fence = everything(whole ? Precision::Exact : Precision::Widened);
  if (whole && second.value == kAllButGlobal) fence.flags = 0;
  return fence;
}

// AMD APM volume 2, appendix C: of a nested page fault, EXITINFO2 is the address.
VmExit exit_of(const std::unordered_map<u64, u64>& state) {
  constexpr u64 kExitCode = 48, kExitInfo1 = 49, kExitInfo2 = 50;
  constexpr u64 kNestedPageFault = 0x400;
  VmExit exit{value_of(state, kExitCode), value_of(state, kExitInfo1), {}};
  if (exit.reason == kNestedPageFault) exit.gpa = Gpa(value_of(state, kExitInfo2));
  return exit;
}

constexpr StreamRegister kRegisters[] = {{0, "CR0", Stage::Guest},   {3, "CR3", Stage::Guest},
                                         {4, "CR4", Stage::Guest},   {5, "NCR3", Stage::Host},
                                         {48, "EXITCODE", {}, true}, {49, "EXITINFO1", {}, true},
                                         {50, "EXITINFO2", {}, true}};
constexpr StreamFence kFences[] = {{1, 0, 1}, {2, 0, 2}, {3, 0, 2}, {4, 0, 2}, {5, 0, 1}};
constexpr std::string_view kControls[] = {"CR0", "CR3", "CR4", "EFER", "NCR3"};
constexpr std::string_view kOfGuest[] = {"CR0", "CR4"};

}  // namespace

constinit const TracedIsa kTracedX86_64 = {
    .architecture = Architecture::X86_64,
    .name = "x86_64",
    .least_levels = 4,
    .most_levels = 5,
    .asid_bits = 12,  // Intel SDM vol. 3A, "Process-Context Identifiers"
    .controls = kControls,
    .deciding = {kOfGuest, {}},
    .roots_are_pages = true,
    .firmware_is_recorded = false,
    .guest_roots = guest_roots,
    .host_root = host_root,
    .tables = {guest_tables, host_tables},
    .rules = rules,
    .space = space,
    .space_register = "CR3",
    .replaces_space = "",
    .registers = kRegisters,
    .fences = kFences,
    .write = write,
    .vmid = vmid,
    .fence = fence_of,
    .exit = exit_of,
};

}  // namespace nestwalk::traces
