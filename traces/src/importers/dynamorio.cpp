// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// DynamoRIO's final drmemtrace traces (clients/drcachesim/common/trace_entry.h): packed records of
// 12 bytes: type, size or number of a marker, address or value. Raw traces, of 8-byte words, must
// go through raw2trace first.

#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>

#include "common.hpp"

namespace nestwalk::traces {
namespace {

enum Type : u16 {
  kTypeRead = 0,
  kTypeWrite = 1,
  kTypePrefetch = 2,  // to 9
  kTypeInstr = 10,    // to 16: the kinds of branches
  kTypeBundle = 17,
  kTypeFlush = 18,  // to 21
  kTypeThread = 22,
  kTypeThreadExit = 23,
  kTypePid = 24,
  kTypeHeader = 25,
  kTypeFooter = 26,
  kTypeHardwarePrefetch = 27,
  kTypeMarker = 28,
  kTypeNoFetch = 29,
  kTypeMaybeFetch = 30,
  kTypeSysenter = 31,
  kTypePrefetch2 = 32,  // to 46
  kTypeEncoding = 47,
  kTypeTakenJump = 48,
  kTypeUntakenJump = 49,
};

enum Marker : u16 {
  kKernelEvent = 0,
  kTimestamp = 2,
  kFileType = 9,
  kWindow = 14,
  kPhysicalAddress = 15,
  kPhysicalNotAvailable = 16,
  kVirtualAddress = 17,
  kPageSize = 18,
  kChunkInstructions = 20,
  kChunkFooter = 21,
  kRecordOrdinal = 22,
};

// OFFLINE_FILE_TYPE_*
constexpr u64 kInstructionsOnly = 0x04;
constexpr u64 kAArch64 = 0x08;
constexpr u64 kX86_64 = 0x40;
constexpr u64 k32Bits = 0x10 | 0x20;                // Arm, x86: timestamps wrap around
constexpr u64 kInstructionsFiltered = 0x01 | 0x80;  // all addresses, instructions
constexpr u64 kFiltered = kInstructionsFiltered | 0x100;
constexpr u64 kWholeSystem = 0x40000;

constexpr std::size_t kRecordBytes = 12;
constexpr u64 kMaxVersion = 100;  // 7 was the newest in 2026.
constexpr u64 kMaxPageBytes = u64{1} << 30;
constexpr std::size_t kMaxPages = std::size_t{1} << 24;  // of all processes
constexpr std::size_t kMaxThreads = std::size_t{1} << 20;
constexpr u16 kMaxAccessBytes = 16 << 10;  // XSAVE of a processor with AMX writes 11 KiB.

struct Record {
  u16 type;
  u16 size;
  u64 address;
};

Record record_of(std::string_view bytes) {
  Record record{};
  std::memcpy(&record.type, bytes.data(), 2);
  std::memcpy(&record.size, bytes.data() + 2, 2);
  std::memcpy(&record.address, bytes.data() + 4, 8);
  return record;
}

/// Where the pages of one process are, as far as markers told. Grows with its footprint, which is
/// what bounds the memory of this importer.
class PhysicalPages {
 public:
  void set_page_bytes(u64 bytes) { page_bytes_ = bytes; }
  bool empty() const { return frames_.empty(); }

  /// True when the page was not there before.
  bool put(u64 virtual_address, u64 physical_address) {
    const u64 frame = physical_address & ~(page_bytes_ - 1);
    return frames_.insert_or_assign(virtual_address / page_bytes_, frame).second;
  }
  bool has(u64 virtual_address) const { return frames_.contains(virtual_address / page_bytes_); }
  /// How many there were.
  std::size_t remove(u64 virtual_address) { return frames_.erase(virtual_address / page_bytes_); }

  /// Adds the GPA if it is known.
  void translate(Access& access) const {
    const u64 address = access.gva.value();
    const auto found = frames_.find(address / page_bytes_);
    if (found == frames_.end()) return;
    access.gpa = Gpa(found->second | (address & (page_bytes_ - 1)));
    access.flags |= kGpaKnown;
  }

 private:
  u64 page_bytes_ = kPageBytes;
  std::unordered_map<u64, u64> frames_;
};

/// The chunks of a stream, which are the members of an archive: each but the last has as many
/// instructions as the header says, ends with a footer that is numbered from 0 on, and is followed
/// by the ordinal of the record there. Only records that tools see have ordinals, so they are known
/// to lie between two bounds.
class Chunks {
 public:
  explicit Chunks(const ImportInput& input) : input_(&input) {}

  void count_record() { ++records_; }
  void count_access() {
    ++accesses_;
    ended_ = false;
  }
  void count_instruction() { ++instructions_; }
  /// A filter took records out after the chunks were made.
  void set_filtered() { filtered_ = true; }

  void set_size(u64 instructions) {
    if (size_ && *size_ != instructions) {
      input_->fail("chunks of one size, " + std::to_string(*size_) + " instructions",
                   std::to_string(instructions) + " as well");
    }
    size_ = instructions;
  }

  void end(u64 number) {
    if (number != footers_) {
      input_->fail("the footer of chunk " + std::to_string(footers_),
                   "that of chunk " + std::to_string(number));
    }
    if (!filtered_ && size_.value_or(0) == 0) {
      input_->fail("the size of chunks before a chunk's footer", "none");
    }
    if (!filtered_ && instructions_ != *size_) fail_size("");
    ++footers_;
    instructions_ = 0;
    ended_ = true;
  }

  void start(u64 ordinal) {
    const u64 least = ordinal_ + (filtered_ ? 0 : accesses_);
    const u64 most = ordinal_ + records_;
    if (ordinal < least || (!filtered_ && ordinal > most)) {
      input_->fail("a record ordinal from " + std::to_string(least) + " to " + std::to_string(most),
                   std::to_string(ordinal));
    }
    if (!ended_) {
      input_->fail("the footer of chunk " + std::to_string(footers_) + " before a record ordinal",
                   "none");
    }
    ended_ = false;
    ordinal_ = ordinal;
    records_ = accesses_ = 0;
  }

  /// The last chunk has no footer. Streams that are in no archive have one chunk, of the size 0.
  void finish() const {
    if (!filtered_ && size_.value_or(0) != 0 && instructions_ > *size_) fail_size("at most ");
  }

 private:
  [[noreturn]] void fail_size(const char* how) const {
    input_->fail(
        how + std::to_string(*size_) + " instructions in chunk " + std::to_string(footers_),
        std::to_string(instructions_));
  }

  const ImportInput* input_;
  std::optional<u64> size_;  ///< in instructions; 0 where there are no chunks
  bool filtered_ = false;
  bool ended_ = false;  ///< by a footer, after which no access came yet
  u64 footers_ = 0;
  u64 instructions_ = 0;            ///< since the last footer
  u64 ordinal_ = 0;                 ///< that was told last
  u64 records_ = 0, accesses_ = 0;  ///< since then; accesses are what tools see
};

/// Not of what tools never see, so that it has no ordinal.
bool may_be_seen(const Record& record) {
  if (record.type == kTypeMarker) return record.size != kRecordOrdinal;
  return record.type != kTypeEncoding && record.type != kTypeThread && record.type != kTypePid;
}

/// What one thread of a stream said of itself.
struct ThreadState {
  std::optional<u64> process;
  u64 timestamp = 0, window = 0;
};

class DynamoRioImporter : public Importer {
 public:
  DynamoRioImporter(ImportInput& input, const ImportValues& values, ImportOutput& output)
      : input_(input), output_(output), by_thread_(values["streams"] == "threads") {}

  bool step() override {
    std::string_view bytes;
    if (!input_.take(kRecordBytes, bytes, "a record")) return end();
    const Record record = record_of(bytes);
    // Before the first header, and after a footer.
    if (ended_ && record.type != kTypeHeader) fail("a header record (type 25)", record);
    // tools/invariant_checker.cpp: "immediately prior to virtual marker".
    const bool is_virtual = record.type == kTypeMarker && record.size == kVirtualAddress;
    if (physical_ && !is_virtual) {
      physical_.reset();
      fail("the virtual address of the physical one before", record);
    }
    if (may_be_seen(record)) chunks_.count_record();
    switch (record.type) {
      case kTypeRead:
        access(record, AccessKind::Read, 0);
        break;
      case kTypeWrite:
        access(record, AccessKind::Write, 0);
        break;
      case kTypeEncoding:
        break;
      case kTypeMarker:
        marker(record);
        break;
      case kTypeThread:
      case kTypePid:
        change_thread(record);
        break;
      case kTypeHeader:
        if (record.address == 0 || record.address > kMaxVersion)
          fail("a version up to 100", record);
        ended_ = false;
        chunks_ = Chunks(input_);
        threads_.clear();
        thread_.reset();
        has_process_ = exited_ = false;
        break;
      case kTypeFooter:
        chunks_.finish();
        ended_ = true;
        break;
      case kTypeThreadExit:
        exit_thread(record);
        break;
      default:
        other(record);
    }
    return true;
  }

 private:
  [[noreturn]] void fail(const char* expected, const Record& record) const {
    input_.fail(expected, "type " + std::to_string(record.type) + " with value " +
                              std::to_string(record.address));
  }

  bool end() {
    if (!ended_) {
      ended_ = true;
      input_.fail("a footer record", "the end of the input: it was cut");
    }
    return false;
  }

  void other(const Record& record) {
    const u16 type = record.type;
    if ((type >= kTypeInstr && type < kTypeBundle) || type == kTypeSysenter ||
        type == kTypeTakenJump || type == kTypeUntakenJump) {
      access(record, AccessKind::Fetch, 1);
    } else if (type == kTypeMaybeFetch) {
      // An iteration of a string instruction fetches once.
      if (record.address != last_fetch_) access(record, AccessKind::Fetch, 1);
    } else if (type == kTypeNoFetch) {
      if (record.size != 0) chunks_.count_access();
    } else if (type >= kTypeFlush && type < kTypeThread) {
      output_.note("cache flushes");
    } else if (type <= kTypePrefetch2 + 14) {
      if (type == kTypeBundle) fail("no bundles (these are of 32-bit ARM)", record);
      output_.note("prefetches");
    } else {
      fail("a type from 0 to 49", record);
    }
  }

  void access(const Record& record, AccessKind kind, u32 instructions) {
    if (exited_) fail("another thread after a thread's exit", record);
    if (!has_process_) fail_owner(record);
    if (kind == AccessKind::Fetch) {
      last_fetch_ = record.address;
      // A filtered trace has the address of instructions whose fetch hit a cache.
      if (record.size == 0) return;
      chunks_.count_instruction();
    }
    chunks_.count_access();
    if (record.size > kMaxAccessBytes) {
      input_.fail("an access of at most 16384 bytes", std::to_string(record.size) + " bytes");
    }
    Access found = gva_access(record.address, record.size, kind, counts_ ? instructions : 0);
    if (pages_->empty()) {
      output_.access(found);
      return;
    }
    pages_->translate(found);
    Access next = gva_access((record.address | (kPageBytes - 1)) + 1, 0, kind);
    pages_->translate(next);
    const bool both = found.has(kGpaKnown) && next.has(kGpaKnown) && record.size <= kPageBytes;
    output_.access(found, both ? &next : nullptr);
  }

  // Every stream tells its thread and the thread's process before anything else of them
  // (reader/file_reader.h asks for both), and those of a core tell them at each switch.
  [[noreturn]] void fail_owner(const Record& record) const {
    if (!thread_) fail("the record of a thread (type 22) before accesses", record);
    input_.fail("the process of thread " + std::to_string(*thread_) + " before its accesses",
                "none");
  }

  void marker(const Record& record) {
    switch (record.size) {
      case kFileType:
        describe(record.address);
        break;
      case kPageSize:
        if (record.address < kPageBytes || record.address > kMaxPageBytes ||
            !addrspace::is_power_of_two(record.address)) {
          fail("a page size", record);
        }
        set_page_bytes(record);
        break;
      case kPhysicalAddress:
        physical_ = record.address;
        if (!output_.begun()) output_.header().lacks &= ~u64{kNoGpa};
        break;
      case kPhysicalNotAvailable:
        known_pages_ -= pages_->remove(record.address);
        output_.note("physical addresses that were not available");
        break;
      case kVirtualAddress:
        put_page(record);
        break;
      case kTimestamp:
        // A chunk begins with the last one again.
        if (!wraps_) expect_least("a timestamp", thread().timestamp, record.address);
        break;
      case kWindow:
        expect_least("a window", thread().window, record.address);
        break;
      case kChunkInstructions:
        chunks_.set_size(record.address);
        break;
      case kChunkFooter:
        chunks_.end(record.address);
        break;
      case kRecordOrdinal:
        chunks_.start(record.address);
        break;
      case kKernelEvent:
        output_.note("markers of signals and other kernel events");
        break;
      default:
        break;
    }
  }

  ThreadState& thread() {
    if (threads_.size() >= kMaxThreads) input_.fail_for_good("fewer threads", "2^20");
    return threads_[thread_.value_or(0)];
  }

  void expect_least(const char* what, u64& last, u64 found) const {
    if (found < last) {
      input_.fail(what + std::string(" of thread ") + std::to_string(thread_.value_or(0)) +
                      " of at least " + std::to_string(last),
                  std::to_string(found));
    }
    last = found;
  }

  // Its number can be that of another thread from then on. Where threads of several workloads are
  // on a core, upper bits of a thread's number say of which.
  void exit_thread(const Record& record) {
    if (!thread_) fail("the record of a thread (type 22) before its exit", record);
    if (static_cast<u32>(record.address ^ *thread_) != 0) {
      input_.fail("the exit of thread " + std::to_string(*thread_),
                  "that of thread " + std::to_string(record.address));
    }
    threads_.erase(*thread_);
    exited_ = true;
  }

  // Frames that are known are of that size.
  void set_page_bytes(const Record& record) {
    if (record.address != page_bytes_ && (knows_page_bytes_ || known_pages_ != 0)) {
      input_.fail("one page size, " + std::to_string(page_bytes_),
                  std::to_string(record.address) + " as well");
    }
    knows_page_bytes_ = true;
    page_bytes_ = record.address;
    pages_->set_page_bytes(page_bytes_);
  }

  // Each physical address comes just before its virtual one.
  void put_page(const Record& record) {
    const std::optional<u64> physical = std::exchange(physical_, std::nullopt);
    if (!physical) fail("a physical address before its virtual one", record);
    const u64 address = record.address;
    if ((address ^ *physical) % page_bytes_ != 0) {
      input_.fail("a physical address with the offset of " + in_hex(address) + " in its page",
                  in_hex(*physical));
    }
    if (known_pages_ >= kMaxPages && !pages_->has(address)) {
      output_.note("physical addresses of more than 2^24 pages");
    } else {
      known_pages_ += pages_->put(address, *physical);
    }
  }

  void describe(u64 file_type) {
    constexpr u64 kRead = kFiltered | k32Bits | kWholeSystem | kInstructionsOnly;
    if (((file_type_.value_or(file_type) ^ file_type) & kRead) != 0) {
      input_.fail_for_good("the file type " + in_hex(*file_type_) + ", as before",
                           in_hex(file_type));
    }
    file_type_ = file_type;
    counts_ = (file_type & kInstructionsFiltered) == 0;
    wraps_ = (file_type & k32Bits) != 0;
    if ((file_type & kFiltered) != 0) chunks_.set_filtered();
    const bool is_arm = (file_type & kAArch64) != 0, is_x86 = (file_type & kX86_64) != 0;
    if (is_arm && is_x86) {
      input_.fail("a file type of one architecture", in_hex(file_type) + ", of two");
    }
    if (is_arm) output_.set_architecture(Architecture::AArch64);
    if (is_x86) output_.set_architecture(Architecture::X86_64);
    if (output_.begun()) return;
    if (!counts_) output_.header().lacks |= kNoInstructions;
    Header& header = output_.header();
    if ((file_type & kWholeSystem) != 0) header.mode = Mode::FullSystem;
    if ((file_type & kFiltered) != 0) output_.note("accesses: the tracer filtered some out");
    if ((file_type & kInstructionsOnly) != 0) output_.note("data accesses: the input has none");
  }

  // A thread's process is told once, when the thread begins.
  void change_thread(const Record& record) {
    if (record.type == kTypePid) {
      if (!thread_) fail("the record of a thread (type 22) before its process", record);
      std::optional<u64>& process = thread().process;
      if (process && *process != record.address) {
        input_.fail("process " + std::to_string(*process) + " of thread " +
                        std::to_string(*thread_) + ", as before",
                    std::to_string(record.address));
      }
      process = record.address;
      process_of_thread_[*thread_] = record.address;
      enter(record.address);
      return;
    }
    thread_ = record.address;
    exited_ = false;
    if (by_thread_) output_.select(output_.number_of(*thread_));
    const auto process = process_of_thread_.find(*thread_);
    has_process_ = false;
    if (process != process_of_thread_.end()) enter(process->second);
  }

  void enter(u64 process) {
    has_process_ = true;
    pages_ = &pages_of_process_[process];
    pages_->set_page_bytes(page_bytes_);
    output_.space({0, process, Precision::Inferred});
  }

  ImportInput& input_;
  ImportOutput& output_;
  bool by_thread_;
  bool ended_ = true;
  bool exited_ = false;  ///< the thread whose records these are
  bool counts_ = true;   ///< each instruction is there
  std::size_t known_pages_ = 0;
  u64 last_fetch_ = ~u64{0};
  std::optional<u64> physical_;  ///< of the next virtual one
  u64 page_bytes_ = kPageBytes;
  bool knows_page_bytes_ = false;
  std::optional<u64> thread_;  ///< of the records that follow
  bool has_process_ = false;   ///< that thread
  std::optional<u64> file_type_;
  bool wraps_ = false;  ///< timestamps have 32 bits
  Chunks chunks_{input_};
  std::unordered_map<u64, ThreadState> threads_;    ///< of this stream, without those that ended
  std::unordered_map<u64, u64> process_of_thread_;  ///< of all streams
  std::unordered_map<u64, PhysicalPages> pages_of_process_;
  PhysicalPages* pages_ = &pages_of_process_[0];
};

Streams streams(const ImportValues& values) {
  const std::string_view streams = values["streams"];
  if (streams != "inputs" && streams != "threads") {
    throw RecordError("streams are inputs or threads, not " + quoted(streams));
  }
  return streams == "threads" ? Streams::Records : Streams::Inputs;
}

bool detect(std::string_view beginning) {
  if (beginning.size() < 2 * kRecordBytes) return false;
  const Record header = record_of(beginning);
  const Record next = record_of(beginning.substr(kRecordBytes));
  return header.type == kTypeHeader && header.size == 0 && header.address >= 1 &&
         header.address <= kMaxVersion && (next.type == kTypeMarker || next.type == kTypeThread);
}

constexpr ImportOption kOptions[] = {
    {"streams", "inputs", "inputs: each input is a vCPU; threads: each thread is one"}};

}  // namespace

const ImportFormat kDynamoRio = {
    "dynamorio",
    "final traces of DynamoRIO's drmemtrace; the address space is the process id",
    kNoGpa | kNoHpa | kNoDependence | kNoFences | kNoHypervisor,
    Mode::User,
    "instruction encodings, kinds of branches, times, CPUs and other markers",
    kOptions,
    streams,
    detect,
    make_importer<DynamoRioImporter>};

}  // namespace nestwalk::traces
