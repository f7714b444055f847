// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/importer.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "common.hpp"
#include "zip_source.hpp"

namespace nestwalk::traces {
namespace {

constexpr std::size_t kDetectBytes = 4096;
constexpr u64 kReportedLosses = 5;

std::string names_of_formats() {
  std::string names;
  for (const ImportFormat* format : import_formats()) {
    names += names.empty() ? "" : ", ";
    names += format->name;
  }
  return names;
}

// The format when it is one of folders; a folder has no beginning to tell it by.
const ImportFormat* folder_format(const ImportRequest& request) {
  std::error_code not_there;
  const ImportFormat* format = request.format;
  if (format == nullptr && std::filesystem::is_directory(request.inputs[0], not_there)) {
    format = &kRecording;
  }
  return format != nullptr && format->import_folder != nullptr ? format : nullptr;
}

std::unique_ptr<ImportValues> values_of(const ImportFormat& format, const ImportRequest& request) {
  auto values = std::make_unique<ImportValues>(format.options);
  for (const std::string& option : request.options) values->set(option);
  return values;
}

// Packed, as they lie there; 0 when one is no file.
u64 bytes_of(const std::vector<std::string>& inputs) {
  u64 bytes = 0;
  for (const std::string& input : inputs) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(input, error)) return 0;
    bytes += std::filesystem::file_size(input, error);
  }
  return bytes;
}

// One run over all inputs.
class Import {
 public:
  /// Without a sink, only to count the vCPUs.
  Import(const ImportRequest& request, ByteSink* sink)
      : request_(request),
        sink_(sink),
        twice_(sink == nullptr),
        bytes_(bytes_of(request.inputs)),
        vcpus_(request.vcpus) {}

  /// Returns how many vCPUs the inputs have.
  u32 run() {
    for (std::size_t n = 0; n < request_.inputs.size(); ++n) import_input(n);
    if (output_->records() == 0) {
      throw InputError(request_.inputs.back(), end_, "an access", "the end of the input");
    }
    output_->finish();
    return output_->streams();
  }
  void report() const {
    if (output_->streams() < request_.vcpus) {
      request_.report("vCPUs that the inputs have: " + std::to_string(output_->streams()) +
                      ", not " + std::to_string(request_.vcpus));
    }
    if (!format_->drops.empty()) {
      request_.report("not in the trace, of any record: " + std::string(format_->drops));
    }
    for (const auto& [what, count] : output_->notes()) {
      request_.report("not in the trace: " + what + " (" + std::to_string(count) + ")");
    }
  }

 private:
  void import_input(std::size_t number) {
    ImportInput input(unzipped(request_.open(request_.inputs[number])));
    if (format_ == nullptr) choose_format(input);
    output_->begin_input();
    if (streams() == Streams::Inputs) output_->select_unordered(static_cast<u32>(number));
    const std::unique_ptr<Importer> importer = format_->open(input, *values_, *output_);
    while (step(input, *importer)) {
      if ((++steps_ & 0xffff) == 0) tell_progress(input);
    }
    end_ = input.offset();
    bytes_before_ += input.bytes_read();
  }

  void tell_progress(const ImportInput& input) const {
    request_.progress(bytes_before_ + input.bytes_read(), twice_ ? 2 * bytes_ : bytes_,
                      records_before_ + output_->records());
  }

  bool step(ImportInput& input, Importer& importer) {
    try {
      return importer.step();
    } catch (const MalformedRecord& error) {
      if (!request_.lenient) throw;
      lose(error.what());
    } catch (const RecordError& error) {
      const InputError located(input.name(), input.locate(error.what()));
      if (!request_.lenient) throw located;
      lose(located.what());
    }
    return true;
  }

  void lose(const std::string& message) {
    if (sink_ != nullptr && lost_++ < kReportedLosses) request_.report("left out: " + message);
    output_->note("lines or records that make no sense");
  }

  void choose_format(ImportInput& input) {
    format_ = request_.format != nullptr ? request_.format : detect(input);
    values_ = values_of(*format_, request_);
    if (streams() == Streams::Inputs) {
      const std::size_t inputs = request_.inputs.size();
      if (vcpus_ != 0 && vcpus_ != inputs) {
        throw RecordError("expected " + std::to_string(vcpus_) +
                          " vCPUs, found an input for each of " + std::to_string(inputs));
      }
      vcpus_ = static_cast<u32>(inputs);
    } else if (vcpus_ == 0 && sink_ != nullptr) {
      vcpus_ = request_.twice ? count_vcpus() : 1;
    }
    output_ = std::make_unique<ImportOutput>(sink_, header(), request_.writer);
  }

  u32 count_vcpus() {
    Import count(request_, nullptr);
    const u32 vcpus = count.run();
    twice_ = true;
    bytes_before_ = count.bytes_before_;
    records_before_ = count.output_->records();
    notes_before_ = count.output_->notes();
    return vcpus;
  }

  static const ImportFormat* detect(ImportInput& input) {
    const std::string_view beginning = input.peek(kDetectBytes);
    if (beginning.empty()) throw InputError(input.name(), 0, "a trace", "an empty file");
    for (const ImportFormat* format : import_formats()) {
      if (format->detect != nullptr && format->detect(beginning)) return format;
    }
    throw InputError(
        input.name(), 0,
        "a format that can be told, or its name with --from (" + names_of_formats() + ")",
        quoted(beginning));
  }

  Streams streams() const { return format_->streams(*values_); }

  Header header() const {
    Header header;
    header.architecture = request_.architecture;
    header.mode = format_->mode;
    header.vcpus = std::max(vcpus_, 1u);
    header.lacks = format_->lacks;
    if (streams() == Streams::Inputs && vcpus_ > 1) header.lacks |= kNoOrder;
    header.producer = request_.producer;
    header.command = request_.command;
    header.provenance.emplace_back("format", format_->name);
    for (const std::string& option : values_->assignments()) {
      header.provenance.emplace_back("option", option);
    }
    for (const std::string& input : request_.inputs) header.provenance.emplace_back("input", input);
    for (const auto& [what, count] : notes_before_) {
      header.provenance.emplace_back("not in the trace", what + " (" + std::to_string(count) + ")");
    }
    return header;
  }

  const ImportRequest& request_;
  ByteSink* sink_;
  bool twice_;              ///< there is a run to count the vCPUs, too
  u64 bytes_;               ///< of all inputs
  u64 bytes_before_ = 0;    ///< that were read, before this input
  u64 records_before_ = 0;  ///< in the run before this one
  std::map<std::string, u64, std::less<>> notes_before_;  ///< likewise
  u32 vcpus_;
  const ImportFormat* format_ = nullptr;
  std::unique_ptr<ImportValues> values_;
  std::unique_ptr<ImportOutput> output_;
  u64 steps_ = 0;
  u64 end_ = 0;  ///< of the latest input, unpacked
  u64 lost_ = 0;
};

}  // namespace

ImportValues::ImportValues(std::span<const ImportOption> options) : options_(options) {
  for (const ImportOption& option : options) values_.emplace_back(option.value);
}

std::size_t ImportValues::index_of(std::string_view name) const {
  const auto found = std::find_if(options_.begin(), options_.end(),
                                  [&](const ImportOption& row) { return row.name == name; });
  if (found == options_.end()) {
    throw RecordError("the format has no option '" + std::string(name) + "'");
  }
  return static_cast<std::size_t>(found - options_.begin());
}

void ImportValues::set(std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == assignment.npos) {
    throw RecordError("expected key=value, found '" + std::string(assignment) + "'");
  }
  const std::size_t index = index_of(assignment.substr(0, equals));
  if (!set_.insert(index).second) {
    throw RecordError("the option '" + std::string(options_[index].name) + "' is there twice");
  }
  values_[index] = assignment.substr(equals + 1);
}

std::string_view ImportValues::operator[](std::string_view name) const {
  return values_[index_of(name)];
}

std::vector<std::string> ImportValues::assignments() const {
  std::vector<std::string> result;
  for (std::size_t n = 0; n < values_.size(); ++n) {
    result.push_back(std::string(options_[n].name) + "=" + values_[n]);
  }
  return result;
}

// In the order in which they are asked whether they know an input: those with a magic number
// first, those that only look plausible last.
std::span<const ImportFormat* const> import_formats() {
  static constexpr const ImportFormat* kAll[] = {&kGem5,     &kDynamoRio,  &kLackey,   &kKvm,
                                                 &kPerf,     &kPin,        &kCsv,      &kDin,
                                                 &kChampSim, &kCloudSuite, &kRecording};
  return kAll;
}

const ImportFormat& import_format_of(std::string_view name) {
  for (const ImportFormat* format : import_formats()) {
    if (format->name == name) return *format;
  }
  throw RecordError("format '" + std::string(name) +
                    "' is not known; these are: " + names_of_formats());
}

void import_trace(const ImportRequest& request, ByteSink& sink) {
  if (request.inputs.empty()) throw RecordError("an import needs an input");
  if (request.vcpus > kMaxVcpus) throw RecordError("a trace has at most 4096 vCPUs");
  // Before an input is waited for.
  if (request.format != nullptr) values_of(*request.format, request);
  if (const ImportFormat* folder = folder_format(request)) {
    return folder->import_folder(request, sink);
  }
  Import import(request, &sink);
  import.run();
  import.report();
}

}  // namespace nestwalk::traces
