// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "ops_interpreter.hpp"

#include <istream>
#include <iterator>
#include <ostream>
#include <utility>

namespace nestwalk::addrspace {
namespace {

void append(std::string& list, const std::string& item) {
  list += (list.empty() ? "" : "; ") + item;
}

std::string as_operands(const Area& area) {
  const std::string range = hex(area.range.start().value()) + ' ';
  const std::string rest = hex(area.range.size()) + ' ' + letters(area.flags);
  switch (area.backend.kind) {
    case Backend::Kind::Linear:
      return "map-linear " + range + hex(area.backend.base.value()) + ' ' + rest;
    case Backend::Kind::Eager:
      return "map-alloc " + range + rest + " eager";
    case Backend::Kind::Lazy:
      return "map-alloc " + range + rest + " lazy";
  }
  return {};
}

}  // namespace

struct OpsInterpreter::Operation {
  const char* name;
  std::string (OpsInterpreter::*run)(ScriptLine&);
  bool needs_space = true;
};

const OpsInterpreter::Operation OpsInterpreter::kOperations[] = {
    {"space", &OpsInterpreter::make_space, false},
    {"map-linear", &OpsInterpreter::map_linear},
    {"map-alloc", &OpsInterpreter::map_alloc},
    {"unmap", &OpsInterpreter::unmap},
    {"protect", &OpsInterpreter::protect},
    {"clear", &OpsInterpreter::clear},
    {"fault", &OpsInterpreter::fault},
    {"query", &OpsInterpreter::query},
    {"outcome", &OpsInterpreter::outcome},
    {"areas", &OpsInterpreter::areas},
    {"runs", &OpsInterpreter::runs},
    {"usage", &OpsInterpreter::usage},
    {"config", &OpsInterpreter::config},
    {"fences", &OpsInterpreter::fences},
    {"why", &OpsInterpreter::why, false},
};

const OpsInterpreter::Operation& OpsInterpreter::operation_named(std::string_view name) {
  std::string expected = "an operation (";
  for (const Operation& operation : kOperations) {
    if (name == operation.name) return operation;
    expected += operation.name;
    expected += ' ';
  }
  expected.back() = ')';
  throw MalformedLine(expected, quoted(name));
}

std::optional<std::string> OpsInterpreter::run(std::string_view line) {
  ScriptLine words(line);
  if (words.empty()) return {};
  const std::string_view name = words.word("an operation");
  if (name.starts_with('#')) return {};
  const Operation& operation = operation_named(name);
  if (operation.needs_space && space_ == nullptr) {
    throw MalformedLine("a 'space' first", quoted(name));
  }
  return (this->*operation.run)(words);
}

OpsSpace& OpsInterpreter::begin_change() {
  last_error_.reset();
  space_->forget_fences();
  return *space_;
}

std::string OpsInterpreter::report(Result<void> done) {
  last_error_.reset();
  if (done) return "ok";
  last_error_ = done.error();
  return std::string("error ") + to_string(class_of(done.error()));
}

// The operations of the original engine ----------------------------------------------------------

std::string OpsInterpreter::make_space(ScriptLine& line) {
  const unsigned machine = static_cast<unsigned>(line.choice(OpsSpace::kMachines));
  const unsigned levels = line.levels();
  const Gpa base = line.gpa();
  const u64 size = line.size();
  line.end();
  Result<std::unique_ptr<OpsSpace>> made = OpsSpace::create(machine, levels, base, size, frames_);
  if (!made) return report(made.error());
  space_ = std::move(*made);
  return report({});
}

std::string OpsInterpreter::map_linear(ScriptLine& line) {
  const Gpa gpa = line.gpa();
  const Hpa hpa = line.hpa();
  const u64 size = line.size();
  const Result<MappingFlags> flags = line.flags().mapping();
  line.end();
  OpsSpace& space = begin_change();
  if (!flags) return report(flags.error());
  return report(space.map_linear(gpa, hpa, size, *flags));
}

std::string OpsInterpreter::map_alloc(ScriptLine& line) {
  constexpr const char* kWhen[] = {"eager", "lazy"};
  const Gpa gpa = line.gpa();
  const u64 size = line.size();
  const Result<MappingFlags> flags = line.flags().mapping();
  const Backend backend = line.choice(kWhen) == 0 ? Backend::eager() : Backend::lazy();
  line.end();
  OpsSpace& space = begin_change();
  if (!flags) return report(flags.error());
  return report(space.map_alloc(gpa, size, *flags, backend));
}

std::string OpsInterpreter::unmap(ScriptLine& line) {
  const Gpa gpa = line.gpa();
  const u64 size = line.size();
  line.end();
  return report(begin_change().unmap(gpa, size));
}

std::string OpsInterpreter::protect(ScriptLine& line) {
  const Gpa gpa = line.gpa();
  const u64 size = line.size();
  const Result<MappingFlags> flags = line.flags().mapping();
  line.end();
  OpsSpace& space = begin_change();
  if (!flags) return report(flags.error());
  return report(space.protect(gpa, size, *flags));
}

std::string OpsInterpreter::clear(ScriptLine& line) {
  line.end();
  begin_change().clear();
  return report({});
}

std::string OpsInterpreter::fault(ScriptLine& line) {
  const Gpa gpa = line.gpa();
  const FlagLetters flags = line.flags();
  line.end();
  OpsSpace& space = begin_change();
  const Area* area = space.area_at(gpa);
  // The original's rule is narrower than the engine's. It answers false for an area that is not
  // lazy, even where the page is there and the guest only has to retry; and it wants every letter
  // among the area's flags, where the engine ignores `u` and knows no memory type of an access.
  // `outcome` shows what the engine itself says.
  if (area == nullptr || area->backend.kind != Backend::Kind::Lazy) return "unhandled";
  const Access beyond_engine = flags.access & kUser;
  if (!flags.fits_memory(area->flags.memory) || !area->flags.access.has(beyond_engine)) {
    return "unhandled";
  }
  return resolved(space.handle_fault(gpa, flags.access)) ? "handled" : "unhandled";
}

std::string OpsInterpreter::query(ScriptLine& line) {
  const Gpa gpa = line.gpa();
  line.end();
  const Result<OpsSpace::Target> target = space_->query(gpa);
  if (!target) return "none";
  if (!target->owned) return hex(target->hpa.value());
  return "frame+" + hex(target->hpa.offset_in(kFrameBytes));
}

// More to look at --------------------------------------------------------------------------------

std::string OpsInterpreter::outcome(ScriptLine& line) {
  const Gpa gpa = line.gpa();
  const FlagLetters flags = line.flags();
  line.end();
  return to_string(begin_change().handle_fault(gpa, flags.access));
}

std::string OpsInterpreter::areas(ScriptLine& line) {
  line.end();
  std::string list;
  space_->for_each_area([&](const Area& area) { append(list, as_operands(area)); });
  return list.empty() ? "none" : list;
}

std::string OpsInterpreter::runs(ScriptLine& line) {
  line.end();
  std::string list;
  space_->for_each_run([&](const MappedRun& run) {
    append(list, hex(run.gpa.value()) + ' ' + hex(run.hpa.value()) + ' ' + hex(run.size) + ' ' +
                     letters(run.flags));
  });
  return list.empty() ? "none" : list;
}

std::string OpsInterpreter::usage(ScriptLine& line) {
  line.end();
  const SpaceUsage usage = space_->usage();
  return "areas " + std::to_string(usage.areas) + ", area frames " +
         std::to_string(usage.area_frames) + ", tables " + std::to_string(usage.tables.tables) +
         ", table bytes " + hex(usage.tables.table_bytes) + ", owned bytes " +
         hex(usage.tables.owned_bytes);
}

std::string OpsInterpreter::config(ScriptLine& line) {
  line.end();
  const SpaceConfig config = space_->config();
  return "levels " + std::to_string(config.levels) + ", gpa bits " +
         std::to_string(config.gpa_bits) + ", root " + hex(config.root.value()) + ", root bytes " +
         hex(config.root_bytes) + ", root register " + hex(config.registers.root_register) +
         ", control register " + hex(config.registers.control_register);
}

std::string OpsInterpreter::fences(ScriptLine& line) {
  const char* names[std::size(kFencePolicies)];
  for (std::size_t n = 0; n < std::size(names); ++n) names[n] = kFencePolicies[n]->name;
  const FencePolicy& policy = *kFencePolicies[line.choice(names)];
  line.end();
  std::string list;
  space_->for_each_fence(policy, [&](const Fence& fence) { append(list, to_text(fence).c_str()); });
  return list.empty() ? "none" : list;
}

std::string OpsInterpreter::why(ScriptLine& line) {
  line.end();
  return last_error_ ? to_string(*last_error_) : "none";
}

// Scripts ----------------------------------------------------------------------------------------

bool run_script(std::istream& script, const std::string& name, std::ostream& output,
                std::ostream& errors) {
  OpsInterpreter interpreter;
  std::string line;
  for (u64 number = 1; std::getline(script, line); ++number) {
    try {
      if (const auto printed = interpreter.run(line)) output << *printed << '\n';
    } catch (const MalformedLine& malformed) {
      output.flush();
      errors << name << ':' << number << ": " << malformed.what() << '\n';
      return false;
    }
  }
  if (!script.bad()) return true;
  output.flush();
  errors << name << ": cannot be read\n";
  return false;
}

}  // namespace nestwalk::addrspace
