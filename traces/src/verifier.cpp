// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/verifier.hpp"

#include <algorithm>

namespace nestwalk::traces {
namespace {

constexpr std::size_t kTranslations = 4096;  // of a vCPU, by the low bits of the page number
constexpr u64 kEntryBytes = 8;

u64 offset_of(u64 address) { return address % kPageBytes; }

// Of an address in the page whose first byte was walked.
RecordedWalk within_page(RecordedWalk page, u64 address) {
  if (page.address) *page.address |= offset_of(address);
  return page;
}

}  // namespace

u64 Verification::count(Verdict verdict) const {
  u64 sum = 0;
  for (const auto& kinds : accesses) {
    for (const Counts& counts : kinds) sum += counts[static_cast<std::size_t>(verdict)];
  }
  return sum;
}

bool Verification::good() const {
  return count(Verdict::Mismatch) == 0 && entries[0].differ == 0 && entries[1].differ == 0 &&
         roots.differ == 0;
}

Verifier::Verifier(const Header& header, std::string name, std::size_t most_mismatches)
    : header_(header),
      name_(std::move(name)),
      most_mismatches_(most_mismatches),
      tables_{RecordedTables(name_), RecordedTables(name_)},
      vcpus_(header.vcpus) {
  if (!header_.architecture) fail("does not say its architecture: its tables cannot be walked");
  result_.accesses.resize(header.vcpus);
}

void Verifier::add(const SideData& side) {
  if (side.vcpu >= vcpus_.size()) fail("has side data of a vCPU that it does not have");
  if (side.when == When::Begin) return load(side);
  for (const TablePage& page : side.pages) end_.emplace_back(side.stage, page);
  for (const auto& [name, value] : side.registers) vcpus_[side.vcpu].end[name] = value;
}

void Verifier::load(const SideData& side) {
  if (begun_) {
    const std::string what = side.registers.empty()
                                 ? "page tables of the begin"
                                 : "registers of the begin of vCPU " + std::to_string(side.vcpu);
    fail("expected " + what + " before the records that need them, found them behind record " +
         std::to_string(last_record_.second) + " of vCPU " + std::to_string(last_record_.first));
  }
  has_tables_ = true;
  for (const TablePage& page : side.pages) tables_[static_cast<u8>(side.stage)].put(page);
  for (const auto& [name, value] : side.registers) vcpus_[side.vcpu].registers[name] = value;
}

// All of the begin has been read.
void Verifier::begin() {
  if (!has_tables_) fail("holds no page tables of its begin: there is nothing to walk");
  begun_ = true;
  for (Vcpu& vcpu : vcpus_) {
    // Without registers of its own, a vCPU is known from its first switch on: what the first one's
    // say about the form of tables holds for all.
    if (vcpu.registers.empty()) {
      vcpu.registers = vcpus_[0].registers;
      vcpu.lost = "no registers of the begin";
    }
    find_roots(vcpu);
    vcpu.translations.resize(kTranslations);
  }
}

void Verifier::find_roots(Vcpu& vcpu) {
  vcpu.roots = guest_roots(*header_.architecture, vcpu.registers);
  if (vcpu.root) vcpu.roots = with_root(vcpu.roots, *vcpu.root);
  for (Translation& translation : vcpu.translations) translation.tables = 0;
  vcpu.rules = translation_rules(*header_.architecture, vcpu.registers);
  vcpu.breach = breach_of_walks(*header_.architecture, Stage::Guest, vcpu.registers);
  if (header_.mode != Mode::Nested) return;
  vcpu.host = host_root(*header_.architecture, vcpu.registers);
  if (!vcpu.breach) {
    vcpu.breach = breach_of_walks(*header_.architecture, Stage::Host, vcpu.registers);
  }
}

void Verifier::add(const Chunk& chunk) {
  if (!begun_) begin();
  u64 record = chunk.first_record;
  const Vcpu& vcpu = vcpus_[chunk.vcpu];
  if (vcpu.breach && vcpu.lost == nullptr && !chunk.accesses.empty()) {
    fail("expected, at record " + std::to_string(record) + " of vCPU " +
         std::to_string(chunk.vcpu) + ", " + vcpu.breach->expected + ", found " +
         vcpu.breach->found);
  }
  for (const Access& access : chunk.accesses) check(chunk.vcpu, record++, access);
  if (chunk.event != nullptr) on_event(vcpus_[chunk.vcpu], *chunk.event);
  last_record_ = {chunk.vcpu, record - (chunk.event == nullptr ? 1 : 0)};
}

void Verifier::on_event(Vcpu& vcpu, const Event& event) {
  if (const auto* write = std::get_if<TableWrite>(&event.detail)) {
    tables_[static_cast<u8>(write->stage)].put(write->address, write->value);
    ++version_;
  } else if (const auto* space = std::get_if<SpaceSwitch>(&event.detail)) {
    vcpu.root = space->root;
    const bool exact = space->precision == Precision::Exact;
    vcpu.lost = exact ? nullptr : "the root that was switched to is not known";
    find_roots(vcpu);
  } else if (const auto* control = std::get_if<ControlWrite>(&event.detail)) {
    vcpu.registers[control->name] = control->value;
    if (replaces_space(control->name)) vcpu.root.reset();
    find_roots(vcpu);
  }
}

const Verifier::Translation& Verifier::translate(Vcpu& vcpu, const Access& access) {
  const u64 address = access.has(kGvaKnown) ? vcpu.rules.translated(access.gva.value(), access.kind)
                                            : access.gpa.value();
  const u64 page = addrspace::align_down(address, kPageBytes);
  Translation& found = vcpu.translations[(page >> kPageShift) % kTranslations];
  if (found.page == page && found.tables == version_) return found;
  found = {page, version_, false, true, {page, 0}, {}};
  found.translated = access.has(kGvaKnown) && (vcpu.roots.lower || vcpu.roots.upper);
  if (found.translated) {
    const std::optional<TableRoot>& root = vcpu.roots.of(page);
    found.guest = root ? tables_[0].walk(*root, page) : RecordedWalk{};
    found.recorded = !root || tables_[0].has(addrspace::align_down(root->address, kPageBytes));
  }
  if (vcpu.host && found.guest.address) {
    found.host = tables_[1].walk(*vcpu.host, *found.guest.address);
  }
  return found;
}

bool Verifier::is_device(Stage stage, u64 address) const {
  bool known = false;
  for (const MemoryRange& range : header_.memory) {
    if (range.stage != stage) continue;
    known = true;
    if (address - range.start < range.bytes) return false;
  }
  return known;
}

Verdict Verifier::verdict(const Access& access, const Translation& found,
                          AddressMismatch& mismatch) const {
  const u64 gpa = access.gpa.value(), hpa = access.hpa.value();
  mismatch.walked = within_page(found.guest, gpa);
  mismatch.recorded = gpa;
  mismatch.stage = Stage::Guest;
  if (access.has(kGpaKnown) && mismatch.walked.address != gpa) {
    return in_firmware(header_, access) ? Verdict::Untranslated : Verdict::Mismatch;
  }
  const bool nested = access.has(kHpaKnown);
  if (nested) {
    // Where the guest's tables end the walk, the host's were not reached.
    if (found.guest.address) mismatch.stage = Stage::Host;
    mismatch.walked = within_page(found.guest.address ? found.host : found.guest, hpa);
    mismatch.recorded = hpa;
    if (mismatch.walked.address != hpa) return Verdict::Mismatch;
  }
  if (is_device(nested ? Stage::Host : Stage::Guest, nested ? hpa : gpa)) return Verdict::Device;
  return nested || found.translated ? Verdict::Match : Verdict::Untranslated;
}

// Why an access cannot be judged; null when it can.
const char* Verifier::unknown(const Vcpu& vcpu, const Access& access,
                              const Translation& found) const {
  if (!access.has(kGvaKnown)) return nullptr;
  if (vcpu.lost != nullptr) return vcpu.lost;
  return found.recorded ? nullptr : "no tables were recorded at the root";
}

void Verifier::add_stretch(u32 index, u64 record, const char* reason) {
  Vcpu& vcpu = vcpus_[index];
  std::vector<UnknownStretch>& all = result_.unknown;
  if (vcpu.stretch && all[*vcpu.stretch].reason != reason) vcpu.stretch.reset();
  if (reason == nullptr) return;
  if (!vcpu.stretch) {
    if (all.size() == most_mismatches_) return;
    vcpu.stretch = all.size();
    all.push_back({index, record, record, 0, reason});
  }
  all[*vcpu.stretch].last_record = record;
  ++all[*vcpu.stretch].accesses;
}

void Verifier::check(u32 vcpu, u64 record, const Access& access) {
  auto& counts = result_.accesses[vcpu][static_cast<std::size_t>(access.kind)];
  const bool gpa_only = !access.has(kGvaKnown) && !access.has(kHpaKnown);
  if ((access.flags & (kGpaKnown | kHpaKnown)) == 0 || gpa_only) {
    ++counts[static_cast<std::size_t>(Verdict::NoAddress)];
    return;
  }
  AddressMismatch mismatch{vcpu, record, access.kind, access.gva, Stage::Guest, 0, {}};
  const Translation& walked = translate(vcpus_[vcpu], access);
  const char* const reason = unknown(vcpus_[vcpu], access, walked);
  add_stretch(vcpu, record, reason);
  const Verdict found = reason ? Verdict::UnknownTables : verdict(access, walked, mismatch);
  ++counts[static_cast<std::size_t>(found)];
  if (found == Verdict::Mismatch && result_.addresses.size() < most_mismatches_) {
    result_.addresses.push_back(mismatch);
  }
}

void Verifier::compare(Stage stage, const TablePage& page) {
  const std::optional<TableRoot>& root =
      stage == Stage::Host ? vcpus_[0].host : vcpus_[0].roots.lower;
  Verification::Entries& entries = result_.entries[static_cast<u8>(stage)];
  for (u64 at = 0; at + kEntryBytes <= page.bytes.size(); at += kEntryBytes) {
    EntryMismatch entry{stage, page.address + at, 0, 0};
    entry.followed = tables_[static_cast<u8>(stage)].entry(entry.address);
    std::memcpy(&entry.recorded, page.bytes.data() + at, kEntryBytes);
    if (entry.followed == 0 && entry.recorded == 0) continue;
    const bool same = root ? same_entry(root->format, entry.followed, entry.recorded)
                           : entry.followed == entry.recorded;
    ++(same ? entries.match : entries.differ);
    if (!same && result_.tables.size() < most_mismatches_) result_.tables.push_back(entry);
  }
}

const Verification& Verifier::finish() {
  if (!begun_) begin();
  for (const auto& [stage, page] : end_) compare(stage, page);
  for (u32 vcpu = 0; vcpu < vcpus_.size(); ++vcpu) compare_roots(vcpu);
  return result_;
}

// What the registers of the end do not say is as it was followed.
void Verifier::compare_roots(u32 index) {
  const Vcpu& vcpu = vcpus_[index];
  if (vcpu.end.empty() || vcpu.lost != nullptr) return;
  const Architecture architecture = *header_.architecture;
  Registers registers = vcpu.end;
  registers.insert(vcpu.registers.begin(), vcpu.registers.end());
  StageRoots guest = guest_roots(architecture, registers);
  const bool says_root = std::any_of(vcpu.end.begin(), vcpu.end.end(), [&](const auto& each) {
    return is_space_register(architecture, each.first);
  });
  if (vcpu.root && !says_root) guest = with_root(guest, *vcpu.root);
  compare(index, Stage::Guest, vcpu.roots.lower, guest.lower);
  const auto address_of = [](const std::optional<TableRoot>& root) {
    return root ? std::optional(root->address) : std::nullopt;
  };
  const bool halves = address_of(vcpu.roots.upper) != address_of(vcpu.roots.lower) ||
                      address_of(guest.upper) != address_of(guest.lower);
  if (halves) compare(index, Stage::Guest, vcpu.roots.upper, guest.upper);
  if (vcpu.host) compare(index, Stage::Host, vcpu.host, host_root(architecture, registers));
}

void Verifier::compare(u32 vcpu, Stage stage, const std::optional<TableRoot>& followed,
                       const std::optional<TableRoot>& recorded) {
  const auto page_of = [](const TableRoot& root) { return root.address & ~(kPageBytes - 1); };
  const bool same = followed.has_value() == recorded.has_value() &&
                    (!followed || (page_of(*followed) == page_of(*recorded) &&
                                   format_name(followed) == format_name(recorded)));
  ++(same ? result_.roots.match : result_.roots.differ);
  if (same || result_.root_mismatches.size() >= most_mismatches_) return;
  result_.root_mismatches.push_back({vcpu, stage, followed, recorded});
}

namespace {

Verification verify_in_file_order(Reader& reader, const std::string& name, Verifier& verifier,
                                  const OnProgress& progress, const OnLoss& on_loss) {
  LackRules lacks(reader.header());
  for (Reader::Item item = reader.next(); item != Reader::Item::End; item = reader.next()) {
    if (item == Reader::Item::SideData) {
      verifier.add(reader.side_data());
    } else {
      lacks.check(reader.chunk(), name, on_loss);
      verifier.add(reader.chunk());
      progress(reader.offset(), reader.size(), reader.totals().accesses);
    }
  }
  return verifier.finish();
}

}  // namespace

Verification verify_trace(const std::function<std::unique_ptr<ByteSource>()>& open,
                          std::size_t most_mismatches, const OnProgress& progress,
                          const OnLoss& on_loss) {
  auto source = open();
  const std::string name = source->name();
  Reader reader(std::move(source), on_loss);
  Verifier verifier(reader.header(), name, most_mismatches);
  if (reader.header().vcpus == 1) {
    return verify_in_file_order(reader, name, verifier, progress, on_loss);
  }
  // vCPUs may change each other's tables: their records are taken in the order of time, which the
  // file does not have them in.
  if (reader.size() == 0) throw InputError(name, "has several vCPUs: only a file can be verified");
  LackRules lacks(reader.header());
  for (Reader::Item item = reader.next(); item != Reader::Item::End; item = reader.next()) {
    if (item == Reader::Item::SideData) {
      verifier.add(reader.side_data());
    } else {
      lacks.check(reader.chunk(), name, on_loss);
    }
  }
  // What is lost was reported above.
  TimeOrderedReader ordered(open, on_loss ? [](const std::string&) {} : OnLoss{});
  u64 records = 0;
  for (Chunk chunk; ordered.next(chunk); records += chunk.accesses.size()) {
    verifier.add(chunk);
    progress(records, reader.totals().accesses, records);
  }
  return verifier.finish();
}

}  // namespace nestwalk::traces
