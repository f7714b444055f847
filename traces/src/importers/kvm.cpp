// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// KVM's trace events as text, from tracefs or `trace-cmd report`:
//   TASK-PID [CPU] FLAGS SECONDS: EVENT: TEXT
// Each second-stage fault becomes the access that faulted and the exit that it caused, and each
// other exit of arm64 that says its class an exit:
//   x86    kvm_page_fault: vcpu 0 rip 0x1000 address 0x200000 error_code 0x200000006
//   arm64  kvm_guest_fault: ipa 0x40001000, hsr 0x82000005, hxfar 0x40001000, pc 0x40001000
//          kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: 0x40001000
//   riscv  kvm_exit: SEPC:0x80001078, SCAUSE:0x15, STVAL:0x100f0, HTVAL:0x200804, HTINST:0x3000
// Older kernels do not say the vCPU of an x86 fault, and cut its code to 32 bits: then the
// kvm_entry and kvm_exit of the same thread before it tell. A machine without EPT or NPT (shadow
// paging) has virtual addresses in kvm_page_fault.

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common.hpp"
#include "fields.hpp"

namespace nestwalk::traces {
namespace {

struct Line {
  u64 task = 0;
  u64 time = 0;  ///< in ns
  std::string_view event;
  std::string_view text;
};

// The task's name may have blanks and dashes ("CPU 0/KVM-4145"): "[CPU]" is what is found first.
bool parse(std::string_view line, Line& result) {
  std::size_t bracket = line.find(" [");
  while (bracket != line.npos) {
    std::string_view cpu = line.substr(bracket + 2);
    if (take_number(cpu, 10) && cpu.starts_with("]")) break;
    bracket = line.find(" [", bracket + 2);
  }
  if (bracket == line.npos) return false;
  std::string_view before = line.substr(0, bracket);
  while (before.ends_with(' ')) before.remove_suffix(1);
  const auto task = whole_number(before.substr(before.rfind('-') + 1));
  std::string_view rest = line.substr(line.find(']', bracket) + 1);
  skip_any(rest, " \t");
  std::optional<u64> time;
  while (!time && !rest.empty()) time = time_of(take_word(rest));
  result = {task.value_or(0), time.value_or(0), take_word(rest), rest};
  if (!task || !time || !result.event.ends_with(':')) return false;
  result.event.remove_suffix(1);
  return true;
}

// The number after a key: "vcpu 0", "SCAUSE:0x15". Nothing when the key is not there.
std::optional<u64> value_of(std::string_view text, std::string_view key, int base = 16) {
  for (std::size_t at = text.find(key); at != text.npos; at = text.find(key, at + 1)) {
    if (at != 0 && text[at - 1] != ' ' && text[at - 1] != ',') continue;
    std::string_view rest = text.substr(at + key.size());
    if (!rest.starts_with(' ') && !rest.starts_with(':')) continue;
    skip_any(rest, ": ");
    return base == 16 ? take_hex(rest) : take_number(rest, base);
  }
  return {};
}

/// KVM's events of faults on one architecture.
struct Events {
  Architecture architecture;
  bool name_gvas;  ///< guest-virtual addresses
};
constexpr Events kX86{Architecture::X86_64, false}, kArm{Architecture::AArch64, true},
    kRiscV{Architecture::RiscV64, true};

struct Fault {
  Events events;
  Access access;
  VmExit exit;
};

/// Of an exit, what its fault repeats; nothing where the event does not say it.
struct Told {
  std::optional<u64> info1, info2, pc, exception_class;
};

enum class Cause : u8 { NotKnown, EptViolation, NestedPageFault, Other };

// What the events of a thread say about its next fault.
struct Thread {
  std::optional<u32> vcpu;
  Cause left = Cause::NotKnown;  ///< the guest
  Told exit;                     ///< of that exit
  std::optional<u64> abort;      ///< class of arm64's exit, until kvm_guest_fault says all
  bool inside = false;           ///< the guest, since a kvm_entry
  bool told = false;             ///< entries or exits
  bool faulted = false;          ///< since the last of them
  u64 losses = 0;                ///< of events, before the last of them
  std::string doubt;             ///< a fault that no event explains, if there are more
};

// Classes of ESR_EL2 (Arm ARM, D24.2.40): aborts from a lower exception level.
constexpr u64 kInstructionAbort = 0x20;
constexpr u64 kDataAbort = 0x24;

constexpr std::size_t kMaxThreads = std::size_t{1} << 16;

class KvmImporter : public Importer {
 public:
  KvmImporter(ImportInput& input, const ImportValues& values, ImportOutput& output)
      : input_(input), output_(output), by_thread_(values["vcpus"] == "threads") {
    if (!by_thread_ && values["vcpus"] != "said") {
      throw RecordError("vcpus are said or threads, not " + quoted(values["vcpus"]));
    }
  }

  bool step() override {
    std::string_view text;
    if (!input_.take_line(text)) return false;
    Line line;
    if (is_remark(text)) return true;
    if (!parse(text, line)) input_.fail("'TASK-PID [CPU] SECONDS: EVENT: ...'", quoted(text));
    if (!line.event.starts_with("kvm_")) {
      output_.note("other events");
      return true;
    }
    Thread& thread = follow(line);
    if (line.event == "kvm_page_fault") {
      const Fault fault = x86_fault(line.text, thread);
      follow_fault(line, thread);
      write(line, fault);
    } else if (line.event == "kvm_guest_fault") {
      const Fault fault = arm64_fault(line.text, thread);
      follow_fault(line, thread);
      thread.abort.reset();
      write(line, fault);
    } else if (line.event == "kvm_exit" && value_of(line.text, "HSR_EC")) {
      write_abort(line, thread);
      arm64_exit(line, thread);
    } else if (line.event == "kvm_exit" && value_of(line.text, "SCAUSE")) {
      riscv_exit(line);
    } else if (line.event == "kvm_entry") {
      write_abort(line, thread);
      entry(line);
    } else {
      pass_over(line);
    }
    return true;
  }

 private:
  bool is_remark(std::string_view text) {
    // "CPU:2 [LOST 17 EVENTS]" and trace-cmd's "CPU:2 [17 EVENTS DROPPED]".
    if (text.find(" EVENTS]") != text.npos || text.find("EVENTS DROPPED]") != text.npos) {
      output_.note("places where the kernel lost events");
      ++losses_;
      return true;
    }
    // The processors' buffers begin at different times where they were overwritten.
    if (text.starts_with("##### CPU ")) ++losses_;
    if (text.starts_with('#') && has_overwritten(text))
      output_.note("buffers that were overwritten");
    return text.empty() || text[0] == '#' || text.starts_with("cpus=") ||
           text.starts_with("version =") ||
           (text.starts_with("CPU ") && text.ends_with("is empty"));
  }

  // ftrace's header: "# entries-in-buffer/entries-written: 600/60000   #P:2".
  static bool has_overwritten(std::string_view text) {
    const auto kept = number_after(text, "entries-written: ");
    const auto written = number_after(text, "/", text.find("entries-written: "));
    return kept && written && *kept < *written;
  }
  static std::optional<u64> number_after(std::string_view text, std::string_view key,
                                         std::size_t from = 0) {
    const std::size_t at = text.find(key, from);
    if (at == text.npos) return {};
    text.remove_prefix(at + key.size());
    return take_number(text, 10);
  }

  void pass_over(const Line& line) { output_.note(line.event.substr(0, 40)); }

  u64 required(std::string_view text, std::string_view key) const {
    const auto value = value_of(text, key);
    if (!value) input_.fail(std::string(key) + " and a number", quoted(text));
    const std::size_t first = text.find(key);
    if (value_of(text.substr(first + key.size()), key)) {
      input_.fail(std::string(key) + " once", quoted(text));
    }
    return *value;
  }

  // Takes what a line says about its thread, whatever else becomes of it.
  Thread& follow(const Line& line) {
    if (threads_.size() >= kMaxThreads && !threads_.contains(line.task)) {
      input_.fail_for_good("at most 65536 threads", "one more");
    }
    Thread& thread = threads_[line.task];
    if (const auto number = value_of(line.text, "vcpu", 10)) {
      if (*number >= kMaxVcpus) input_.fail("a vCPU below 4096", std::to_string(*number));
      // A guest is left by the processor that entered it.
      if (line.event == "kvm_exit" && thread.inside && !has_lost(thread) &&
          thread.vcpu.value_or(static_cast<u32>(*number)) != *number) {
        input_.fail(
            "an exit of vCPU " + std::to_string(*thread.vcpu) + ", which its thread entered",
            "one of vCPU " + std::to_string(*number));
      }
      // Its thread has just left the vCPU that faulted.
      if (line.event == "kvm_page_fault" && thread.vcpu && *thread.vcpu != *number &&
          !has_lost(thread)) {
        input_.fail("a fault of vCPU " + std::to_string(*thread.vcpu) + ", as its thread said",
                    "one of vCPU " + std::to_string(*number));
      }
      thread.vcpu = static_cast<u32>(*number);
    }
    if (line.event == "kvm_entry") pass_border(thread, Cause::NotKnown, {});
    if (line.event == "kvm_exit") pass_border(thread, cause_of(line.text), told_by(line.text));
    thread.inside = line.event == "kvm_entry" || (thread.inside && line.event != "kvm_exit");
    return thread;
  }

  bool has_lost(const Thread& thread) const { return thread.losses != losses_; }

  // An entry or an exit.
  void pass_border(Thread& thread, Cause left, const Told& exit) const {
    const std::string doubt = has_lost(thread) ? "" : std::exchange(thread.doubt, {});
    thread.left = left;
    thread.exit = exit;
    thread.told = true;
    thread.faulted = false;
    thread.losses = losses_;
    thread.doubt.clear();
    if (!doubt.empty()) input_.fail("one exit of a thread for each of its faults", doubt);
  }

  // A fault follows its exit, and an entry comes before the next one. Whoever ends a recording
  // turns off one kind of event after the other: then no entry or exit follows either.
  void follow_fault(const Line& line, Thread& thread) const {
    const bool explained = !thread.faulted && (!thread.exit.exception_class || thread.abort);
    if (thread.told && !has_lost(thread) && !explained) thread.doubt = quoted(line.text);
    thread.faulted = true;
  }

  static Told told_by(std::string_view text) {
    Told told{value_of(text, "info1"), value_of(text, "info2"), value_of(text, "rip"),
              value_of(text, "HSR_EC")};
    if (!told.pc) told.pc = value_of(text, "PC");
    // "info 182 0" of older kernels.
    const std::size_t info = text.find(" info ");
    if (info == text.npos) return told;
    std::string_view rest = text.substr(info + std::string_view(" info ").size());
    told.info1 = take_hex(rest);
    skip_any(rest, " ");
    told.info2 = take_hex(rest);
    return told;
  }

  /// Its fault repeats what the exit said; a guest whose registers are hidden has 0.
  void expect_pc(const Thread& thread, std::optional<u64> found) const {
    const u64 expected = thread.exit.pc.value_or(0);
    if (!compares(thread) || expected == 0 || found.value_or(0) == 0 || *found == expected) return;
    input_.fail("a fault at " + in_hex(expected) + ", as the exit before it",
                "one at " + in_hex(*found));
  }
  bool compares(const Thread& thread) const { return !thread.faulted && !has_lost(thread); }

  // The code is SVM's EXITINFO1 and the address its EXITINFO2, VMX's code is the exit qualification
  // (npf_interception and handle_ept_violation). KVM adds bits 48 and 49 (PFERR_*), takes SME's bit
  // out of the address, and says of private memory of TDX that it was written.
  void expect_info(const Thread& thread, bool npf, u64 error, u64 address) const {
    constexpr u64 kAdded = u64{3} << 48;
    constexpr u64 kPrivate = 2;
    if (!compares(thread)) return;
    const u64 code = thread.exit.info1.value_or(error);
    const u64 compared = error >> 32 == 0 ? u64{~u32{0}} : ~(npf ? kAdded : u64{0});
    if (((code ^ error) & compared) != 0 && (npf || error != kPrivate)) {
      input_.fail("the error code " + in_hex(code) + ", as the exit before it", in_hex(error));
    }
    const u64 whole = thread.exit.info2.value_or(address), taken = whole ^ address;
    const bool is_sme =
        addrspace::is_power_of_two(taken) && taken >> 32 != 0 && (address & taken) == 0;
    if (npf && taken != 0 && !is_sme) {
      input_.fail("the address " + in_hex(whole) + ", as the exit before it", in_hex(address));
    }
  }

  // "reason EPT_VIOLATION rip 0x1000 info1 ...", as arch/x86/include/uapi/asm/{vmx,svm}.h call
  // them.
  static Cause cause_of(std::string_view text) {
    const std::size_t at = text.find("reason ");
    if (at == text.npos) return Cause::NotKnown;
    text.remove_prefix(at + std::string_view("reason ").size());
    const std::string_view reason = take_word(text);
    return reason == "EPT_VIOLATION" ? Cause::EptViolation
           : reason == "npf"         ? Cause::NestedPageFault
                                     : Cause::Other;
  }

  // The error code of SVM's nested page fault has bit 32 or 33 (AMD64 APM 2, 15.25.6). Cut to 32
  // bits, it could be the exit qualification of VMX's EPT violation, where bit 7 says that there is
  // a guest-linear address (SDM 3C, table 28-7): there is none only when the guest loads PDPTEs.
  Cause cause_of(u64 error, const Thread& thread, std::string_view text) const {
    constexpr u64 kNpf = u64{3} << 32;
    constexpr u64 kLinearAddress = 1 << 7;
    if (thread.left == Cause::Other && !has_lost(thread)) {
      input_.fail("a fault of EPT or NPT", "one of shadow paging, whose address is virtual");
    }
    if (thread.left == Cause::EptViolation && compares(thread) && (error & kNpf) != 0) {
      input_.fail("the code of an EPT violation, as the exit before it", in_hex(error));
    }
    const bool says_which =
        thread.left == Cause::EptViolation || thread.left == Cause::NestedPageFault;
    if (says_which) return thread.left;
    if ((error & kNpf) != 0) return Cause::NestedPageFault;
    if ((error & kLinearAddress) != 0) return Cause::EptViolation;
    input_.fail(
        "the code of a nested page fault (bit 32 or 33) or EPT violation (bit 7), or the "
        "thread's kvm_exit with its reason before",
        quoted(text));
  }

  Fault x86_fault(std::string_view text, const Thread& thread) const {
    constexpr u64 kReasonNpf = 0x400;
    constexpr u64 kReasonEptViolation = 48;
    const u64 address = required(text, "address");
    u64 error = required(text, "error_code");
    const bool npf = cause_of(error, thread, text) == Cause::NestedPageFault;
    expect_info(thread, npf, error, address);
    expect_pc(thread, value_of(text, "rip"));
    const u64 whole = thread.exit.info1.value_or(0);
    if (npf && static_cast<u32>(whole) == error) error = whole;
    const bool fetch = (error & (npf ? 1 << 4 : 1 << 2)) != 0;
    const AccessKind kind = (error & 2) != 0 ? AccessKind::Write
                            : fetch          ? AccessKind::Fetch
                                             : AccessKind::Read;
    return {kX86,
            gpa_access(address, 0, kind),
            {npf ? kReasonNpf : kReasonEptViolation, error, Gpa(address)}};
  }

  // ESR_EL2 (Arm ARM, D24): the class in bits 31:26; for aborts bit 6 WnR, 7 S1PTW, 10 FnV. The IPA
  // is that of a page; the faulting address has the rest, unless it was a stage-1 walk that
  // faulted.
  Fault arm64_fault(std::string_view text, const Thread& thread) const {
    constexpr u64 kWrite = 1 << 6;
    constexpr u64 kWalk = 1 << 7;
    constexpr u64 kFarNotValid = 1 << 10;
    const u64 page = required(text, "ipa");
    const u64 syndrome = required(text, "hsr");
    const u64 address = required(text, "hxfar");
    const u64 reason = syndrome >> 26 & 0x3f;
    if (reason != kInstructionAbort && reason != kDataAbort) {
      input_.fail("a syndrome of an abort (class 0x20 or 0x24)", "one of class " + in_hex(reason));
    }
    if (thread.abort && compares(thread) && *thread.abort != reason) {
      input_.fail("a syndrome of class " + in_hex(*thread.abort) + ", as the exit before it",
                  "one of class " + in_hex(reason));
    }
    expect_pc(thread, value_of(text, "pc"));
    const bool walk = (syndrome & kWalk) != 0;
    const AccessKind kind = (syndrome & kWrite) != 0 && reason != kInstructionAbort
                                ? AccessKind::Write
                            : reason == kInstructionAbort && !walk ? AccessKind::Fetch
                                                                   : AccessKind::Read;
    Access access = gpa_access(page, 0, kind);
    if (!walk && (syndrome & kFarNotValid) == 0) {
      if (page % kPageBytes != 0 && (page ^ address) % kPageBytes != 0) {
        input_.fail("an ipa of a page, or with the offset of hxfar " + in_hex(address) + " in it",
                    in_hex(page));
      }
      access.gpa = Gpa(addrspace::align_down(page, kPageBytes) | address % kPageBytes);
      access.gva = Gva(address);
      access.flags |= kGvaKnown;
    }
    return {kArm, access, {reason, syndrome, access.gpa}};
  }

  // Interrupts and SErrors have no class: what is printed for them, 0, is no reason.
  void arm64_exit(const Line& line, Thread& thread) {
    const u64 reason = required(line.text, "HSR_EC");
    if (reason > 0x3f) input_.fail("a class of 6 bits", quoted(line.text));
    if (!line.text.starts_with("TRAP:")) {
      pass_over(line);
    } else if (reason == kInstructionAbort || reason == kDataAbort) {
      thread.abort = reason;
    } else {
      write(line, kArm, {reason, 0, {}});
    }
  }

  // An abort that was no second-stage fault, such as an external one.
  void write_abort(const Line& line, Thread& thread) {
    if (thread.abort) write(line, kArm, {*thread.abort, 0, {}});
    thread.abort.reset();
  }

  // scause 20, 21 and 23 are guest-page faults; htval is the GPA shifted right by 2, and htinst
  // says whether a VS-stage walk faulted (privileged specification, 18.6.3: 0x3000 and 0x3020 in
  // 64-bit, 0x2000 and 0x2020 in 32-bit; bit 5 is a write).
  void riscv_exit(const Line& line) {
    constexpr u64 kFetchFault = 20;
    constexpr u64 kLoadFault = 21;
    constexpr u64 kStoreFault = 23;
    const u64 cause = required(line.text, "SCAUSE");
    if (cause != kFetchFault && cause != kLoadFault && cause != kStoreFault) {
      pass_over(line);
      return;
    }
    const u64 address = required(line.text, "STVAL");
    const u64 gpa = required(line.text, "HTVAL") << 2 | (address & 3);
    const u64 instruction = required(line.text, "HTINST");
    const bool walk = (instruction & ~u64{0x1020}) == 0x2000;
    if (walk) {
      const AccessKind kind = (instruction & 0x20) != 0 ? AccessKind::Write : AccessKind::Read;
      const Gpa entry(gpa & ~u64{3});
      write(line, {kRiscV, gpa_access(entry.value(), 0, kind), {cause, instruction, entry}});
      return;
    }
    Access access = gpa_access(gpa, 0,
                               cause == kFetchFault   ? AccessKind::Fetch
                               : cause == kStoreFault ? AccessKind::Write
                                                      : AccessKind::Read);
    access.gva = Gva(address);
    access.flags |= kGvaKnown;
    write(line, {kRiscV, access, {cause, instruction, access.gpa}});
  }

  u32 select(const Line& line, Events events) {
    if (output_.begun() && output_.header().architecture != events.architecture) {
      input_.fail("a fault of the architecture of those before", quoted(line.event));
    }
    output_.set_architecture(events.architecture);
    if (!output_.begun() && events.name_gvas) output_.header().lacks &= ~u64{kNoGva};
    const u32 vcpu = vcpu_of(line);
    if (vcpu >= ran_.size()) ran_.resize(vcpu + 1);
    if (std::exchange(ran_[vcpu], line.task).value_or(line.task) != line.task) {
      output_.note("the VM of a vCPU, where several threads ran it");
    }
    output_.select(vcpu, line.time);
    return vcpu;
  }

  void write(const Line& line, const Fault& fault) {
    select(line, fault.events);
    output_.access(fault.access);
    write(line, fault.events, fault.exit);
  }

  void write(const Line& line, Events events, const VmExit& exit) {
    const u32 vcpu = select(line, events);
    output_.event(exit);
    if (vcpu >= outside_.size()) outside_.resize(vcpu + 1);
    outside_[vcpu] = true;
  }

  // Only entries after an exit that is in the trace.
  void entry(const Line& line) {
    const u32 vcpu = vcpu_of(line);
    if (vcpu >= outside_.size() || !outside_[vcpu]) {
      pass_over(line);
      return;
    }
    outside_[vcpu] = false;
    output_.select(vcpu, line.time);
    output_.event(VmEntry{});
  }

  // x86 says the vCPU in some events of each thread; elsewhere no event does, and the threads are
  // numbered as they appear.
  u32 vcpu_of(const Line& line) {
    const std::optional<u32> said = threads_[line.task].vcpu;
    if (said && !by_thread_) return *said;
    if (!by_thread_ && line.event == "kvm_page_fault") {
      input_.fail(
          "'vcpu N', or a kvm_entry or kvm_exit of the same thread with it before (or --set "
          "vcpus=threads: numbers the threads)",
          quoted(line.text));
    }
    return output_.number_of(line.task);
  }

  ImportInput& input_;
  ImportOutput& output_;
  bool by_thread_;
  std::unordered_map<u64, Thread> threads_;
  u64 losses_ = 0;                       ///< places where the kernel lost events
  std::vector<std::optional<u64>> ran_;  ///< a vCPU: the thread
  std::vector<bool> outside_;  ///< the vCPU has left the guest by an exit that is in the trace
};

bool detect(std::string_view beginning) {
  if (beginning.starts_with("# tracer: nop") || beginning.starts_with("cpus=")) return true;
  Line line;
  return parse(first_line(beginning, "#"), line) && line.event.starts_with("kvm_");
}

constexpr ImportOption kOptions[] = {
    {"vcpus", "said", "said: as events of x86 say it; threads: each thread is one"}};

}  // namespace

const ImportFormat kKvm = {
    "kvm",
    "KVM's trace events as text: second-stage faults of x86, arm64 and riscv, guest-physical",
    kNoGva | kNoHpa | kNoSize | kNoInstructions | kNoDependence | kNoSpaces | kNoFences |
        kNoHypervisor,
    Mode::GuestPhysical,
    "instruction pointers, CPUs and names of tasks",
    kOptions,
    streams_are_in_records,
    detect,
    make_importer<KvmImporter>};

}  // namespace nestwalk::traces
