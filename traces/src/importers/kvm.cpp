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
#include <unordered_map>
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

enum class Cause : u8 { NotKnown, EptViolation, NestedPageFault, Other };

// What the events of a thread say about its next fault.
struct Thread {
  std::optional<u32> vcpu;
  Cause left = Cause::NotKnown;  ///< the guest
  u64 info = 0;                  ///< of that exit
  std::optional<u64> abort;      ///< class of arm64's exit, until kvm_guest_fault says all
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
      write(line, x86_fault(line.text, thread));
    } else if (line.event == "kvm_guest_fault") {
      thread.abort.reset();
      write(line, arm64_fault(line.text));
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
      return true;
    }
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
      // Its thread has just left the vCPU that faulted.
      if (line.event == "kvm_page_fault" && thread.vcpu && *thread.vcpu != *number) {
        input_.fail("a fault of vCPU " + std::to_string(*thread.vcpu) + ", as its thread said",
                    "one of vCPU " + std::to_string(*number));
      }
      thread.vcpu = static_cast<u32>(*number);
    }
    if (line.event == "kvm_entry") thread.left = Cause::NotKnown;
    if (line.event == "kvm_exit") {
      thread.left = cause_of(line.text);
      thread.info = value_of(line.text, "info1").value_or(0);
    }
    return thread;
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
    if (thread.left == Cause::Other) {
      input_.fail("a fault of EPT or NPT", "one of shadow paging, whose address is virtual");
    }
    if (thread.left != Cause::NotKnown) return thread.left;
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
    if (npf && static_cast<u32>(thread.info) == error) error = thread.info;
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
  Fault arm64_fault(std::string_view text) const {
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
    const bool walk = (syndrome & kWalk) != 0;
    const AccessKind kind = (syndrome & kWrite) != 0 && reason != kInstructionAbort
                                ? AccessKind::Write
                            : reason == kInstructionAbort && !walk ? AccessKind::Fetch
                                                                   : AccessKind::Read;
    Access access = gpa_access(page, 0, kind);
    if (!walk && (syndrome & kFarNotValid) == 0) {
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
