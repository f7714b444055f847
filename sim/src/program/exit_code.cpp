// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/exit_code.hpp"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <new>
#include <system_error>

#include "nestwalk/machines/preset.hpp"
#include "nestwalk/software/host_space.hpp"
#include "nestwalk/traces/error.hpp"

namespace nestwalk::sim {
namespace {

constexpr ExitCodeRow kRows[] = {
    {kDone, "done"},
    {kInternal,
     "internal error; or no memory, no open files left, or output that cannot be written"},
    {kUsage, "usage: options, parameters, names of outputs"},
    {kFailed, "a comparison found a difference, or a check found an error"},
    {kBadInput, "bad input: a file that is damaged, missing or of another kind"},
    {kIncomplete,
     "incomplete: interrupted, a simulated run ended early, or a measurement did not become "
     "stable"},
};

/// From the worst. Of an incomplete run it is not known whether it would differ.
constexpr ExitCode kBySeverity[] = {kInternal, kBadInput, kUsage, kIncomplete, kFailed, kDone};

/// What a user can mend with another name, or by looking at what has it.
constexpr int kErrorsOfNames[] = {ENOENT, ENOTDIR, EISDIR,       EACCES, EPERM, EROFS,
                                  ELOOP,  EEXIST,  ENAMETOOLONG, ENXIO,  EINVAL};

std::string advice_for(int error_number) {
  switch (error_number) {
    case EMFILE:
      return "; raise the limit on open files (ulimit -n)";
    case EFBIG:
      return "; raise the limit on a file's size (ulimit -f)";
    case EAGAIN:
      return "; raise the limit on processes (ulimit -u), or use fewer --jobs";
    default:
      return "";
  }
}

Failure failure_of(const std::system_error& error) {
  const int number = error.code().value();
  return {kInternal, error.what() + advice_for(number)};
}

Failure failure_of(const traces::OutputError& error) {
  Failure failure = failure_of(static_cast<const std::system_error&>(error));
  const bool name = std::find(std::begin(kErrorsOfNames), std::end(kErrorsOfNames),
                              error.code().value()) != std::end(kErrorsOfNames);
  if (name) failure.code = kUsage;
  return failure;
}

}  // namespace

const char kOutOfMemory[] =
    "out of memory; raise the limit (ulimit -v), use fewer --jobs, or a smaller guest.memory and "
    "host.memory";

std::span<const ExitCodeRow> exit_codes() { return kRows; }

std::string exit_code_help() {
  std::string text = "Exit codes:\n";
  for (const ExitCodeRow& row : kRows) {
    text += "  " + std::to_string(row.code) + "  " + row.meaning + "\n";
  }
  return text;
}

ExitCode worse_of(ExitCode one, ExitCode other) {
  return *std::find_if(std::begin(kBySeverity), std::end(kBySeverity),
                       [&](ExitCode code) { return code == one || code == other; });
}

Failure current_failure() {
  try {
    throw;
  } catch (const UsageError& error) {
    return {kUsage, error.what(), true};
  } catch (const NoResult& error) {
    return {error.code(), error.what()};
  } catch (const models::PresetError& error) {
    return {kUsage, error.what()};
  } catch (const software::ShapeError& error) {
    return {kUsage, error.what()};
  } catch (const traces::RecordError& error) {
    return {kUsage, error.what()};
  } catch (const traces::InputError& error) {
    return {kBadInput, error.what()};
  } catch (const traces::OutputError& error) {
    return failure_of(error);
  } catch (const std::system_error& error) {
    return failure_of(error);
  } catch (const std::bad_alloc&) {
    return {kInternal, kOutOfMemory};
  } catch (const std::exception& error) {
    return {kInternal, std::string("internal error: ") + error.what()};
  }
}

}  // namespace nestwalk::sim
