// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "comparisons/side_by_side.hpp"
#include "configuration/policies.hpp"
#include "nestwalk/traces/error.hpp"
#include "program/output.hpp"
#include "results/statistic_names.hpp"
#include "sweeps/points_table.hpp"
#include "sweeps/slurm.hpp"
#include "sweeps/sweep.hpp"

namespace nestwalk::sim {
namespace {

constexpr const char* kText =
    "Runs each trace on each preset under each policy with all values of what varies, some runs "
    "at\n"
    "a time, and puts the results into a file of SQLite. A run that is in the file is not made\n"
    "again: a sweep that was interrupted goes on where it stopped. A run that fails is a row with\n"
    "its reason, and is tried again the next time.\n\n"
    "--vary PATH=VALUES         a list 1,2,4, a range 1..8, 0..64+16 or 512..8192*2, or both\n"
    "--vary PATH,PATH=VALUES    values that move together: 64:4,128:8, or 64..512*2:4..32*2\n"
    "All values of one --vary are combined with all of the others. With --zip they go side by\n"
    "side instead; with --samples N, N points are chosen (a Latin hypercube: each --vary's values\n"
    "are used evenly).\n\n"
    "SPEC is a JSON file that says the same, with paths of files relative to it:\n"
    "  {\"format\": \"nestwalk-sweep\", \"version\": 1, \"name\": \"tlb\",\n"
    "   \"traces\": [\"guest.nwt\"], \"presets\": [\"zen4\"], \"policies\": [\"lazy\", "
    "\"eager\"],\n"
    "   \"set\": {\"guest.memory\": \"256M\"}, \"config\": [\"my.json\"],\n"
    "   \"vary\": [{\"walker.slots\": [1, 2, 4]},\n"
    "            {\"walker.nested_tlb.arrays.0.sets\": \"4..64*2\"}],\n"
    "   \"design\": \"product\"}\n"
    "\"design\" is \"product\", \"zip\" or {\"latin-hypercube\": N, \"seed\": N}; paths in one "
    "object of\n"
    "\"vary\" move together. What the command line has is added; its presets, policies and traces\n"
    "take the place of those in SPEC.";

bool is_spec(const std::string& input) { return input.ends_with(".json"); }

std::size_t number_from(const std::string& text, const std::string& where) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  throw UsageError(where + ": " + printable(text) + " is not a number");
}

// "2/8": the second of eight.
Shard shard_of(const CommandLine& line) {
  if (!line.has("shard")) return {};
  const std::string text = line.get<std::string>("shard");
  const std::size_t slash = text.find('/');
  if (slash == text.npos) throw UsageError("nestwalk sweep: --shard " + text + ": not PART/PARTS");
  const std::size_t part = number_from(text.substr(0, slash), "nestwalk sweep: --shard");
  const std::size_t of = number_from(text.substr(slash + 1), "nestwalk sweep: --shard");
  if (part == 0 || part > of) {
    throw UsageError("nestwalk sweep: --shard " + text + ": parts are 1 to " + std::to_string(of));
  }
  return {part - 1, of};
}

SweepSpec spec_of(const CommandLine& line) {
  SweepSpec spec;
  std::vector<std::string> traces;
  bool has_spec = false;
  for (const std::string& input : line.all("inputs")) {
    if (!is_spec(input)) {
      traces.push_back(input);
    } else if (std::exchange(has_spec, true)) {
      throw UsageError("nestwalk sweep: one SPEC at a time: " + printable(input));
    } else {
      read_spec(input, spec);
    }
  }
  if (!traces.empty()) spec.traces = traces;
  for (const std::string& file : line.all("config")) spec.files.push_back(file);
  for (const Setting& each : settings_of(line)) spec.settings.push_back(each);
  if (line.has("preset") || spec.presets.empty()) {
    spec.presets_chosen = line.has("preset");
    const bool machine = !spec.presets_chosen && !spec.files.empty();
    spec.presets = machine ? Words{"simple"} : presets_of(line);
    if (machine && configuration_from("simple", "", spec.files, {}).machine_file().empty()) {
      spec.presets = presets_of(line);  // says that none is named
    }
  }
  if (line.has("policy")) spec.policies = line.get<Words>("policy");
  for (const std::string& text : line.all("vary")) spec.axes.push_back(axis_from(text));
  if (line.has("name")) spec.name = line.get<std::string>("name");
  if (line.has("zip") && line.has("samples")) {
    throw UsageError("nestwalk sweep: --zip or --samples, not both");
  }
  if (line.has("zip")) spec.design = Design::Zip;
  if (line.has("samples")) {
    spec.design = Design::LatinHypercube;
    spec.samples = number_from(line.get<std::string>("samples"), "nestwalk sweep: --samples");
  }
  if (line.has("zip") && spec.axes.empty()) throw UsageError("nestwalk sweep: --zip of what?");
  if (line.given("seed")) {
    if (spec.design != Design::LatinHypercube) {
      throw UsageError("nestwalk sweep: --seed has no effect without --samples");
    }
    spec.seed = line.get<addrspace::u64>("seed");
  }
  return spec;
}

std::string sweep_in(const CommandLine& line, ResultsFile& results) {
  const std::vector<std::string> sweeps = results.sweeps();
  if (!line.has("name")) {
    if (sweeps.size() == 1) return sweeps[0];
    std::string known;
    for (const std::string& each : sweeps) known.append(" ").append(each);
    throw UsageError("nestwalk sweep: which sweep? --name, one of" + printable(known));
  }
  const std::string name = line.get<std::string>("name");
  if (std::find(sweeps.begin(), sweeps.end(), name) != sweeps.end()) return name;
  throw traces::InputError(line.all("inputs")[0], "has no sweep called " + printable(name));
}

int export_results(const CommandLine& line) {
  const std::string format = line.get<std::string>("export");
  if (format != "csv" && format != "json") {
    throw UsageError("nestwalk sweep: --export " + format + ": expected csv or json");
  }
  const Words files = line.all("inputs");
  if (files.size() != 1) throw UsageError("nestwalk sweep: --export takes one file of results");
  ResultsFile results(files[0], ResultsFile::Access::Read);
  const std::vector<Case> cases = results.cases_of(sweep_in(line, results));
  const Patterns wanted = line.all("statistics");
  const Patterns patterns = wanted.empty() ? Patterns{"*"} : wanted;
  TextOutput().write(format == "csv" ? one_row_each_csv(cases, patterns)
                                     : json_document(as_json(cases, patterns)));
  return kDone;
}

int list_results(const CommandLine& line) {
  for (const std::string& file : line.all("inputs")) {
    ResultsFile results(file, ResultsFile::Access::Read);
    for (const std::string& sweep : results.sweeps()) {
      TextOutput().write(state_of(results, sweep));
      for (const Case& each : results.cases_of(sweep)) {
        if (!is_whole(each)) TextOutput().write("  " + printable(trouble_of(each)) + "\n");
      }
    }
  }
  return kDone;
}

int merge_results(const CommandLine& line) {
  const std::string output = line.get<std::string>("output");
  const Words inputs = line.all("inputs");
  if (inputs.empty()) throw UsageError("nestwalk sweep: --merge which files?");
  std::error_code none;
  for (const std::string& file : inputs) {
    if (std::filesystem::equivalent(file, output, none)) {
      throw UsageError("nestwalk sweep: --merge " + printable(file) + ": is the output, too");
    }
    const ResultsFile is_one(file, ResultsFile::Access::Read);
  }
  ResultsFile results(output, ResultsFile::Access::Write);
  for (const std::string& file : inputs) results.merge(file, ResultsFile::Merge::All);
  std::size_t missing = 0;
  for (const std::string& sweep : results.sweeps()) {
    TextOutput().write(state_of(results, sweep));
    const SweepCounts counts = results.counts_of(sweep);
    missing += counts.points - counts.done;
  }
  return missing == 0 ? kDone : kIncomplete;
}

int dry_run(const SweepPoints& points, const Shard& shard) {
  for (std::size_t n = shard.number; n < points.size(); n += shard.of) {
    TextOutput().write(std::to_string(n) + "  " + printable(name_of(points.at(n), points.spec())) +
                       "\n");
  }
  return kDone;
}

void declare(CommandLine& line) {
  line.about(kText + std::string("\n\n") + help_of_policies())
      .option("preset,p", po::value<Words>()->value_name("PRESET"), "a machine; may be repeated")
      .words("preset", preset_names())
      .option("policy", po::value<Words>()->value_name("POLICY"),
              "how the guest gets its memory; may be repeated")
      .words("policy", policy_names())
      .option("vary", po::value<Words>()->value_name("PATH=VALUES"),
              "parameters that vary; may be repeated")
      .flag("zip", "the values of all --vary side by side")
      .option("samples", po::value<std::string>()->value_name("N"),
              "so many points of each trace, preset and policy, instead of all")
      .option("seed", po::value<addrspace::u64>()->default_value(1)->value_name("N"),
              "of --samples: each seed chooses other points")
      .option("output,o", po::value<std::string>()->value_name("FILE"), "the file of results")
      .option("name", po::value<std::string>()->value_name("NAME"),
              "of the sweep in the file; otherwise that of SPEC, or sweep")
      .option("shard", po::value<std::string>()->value_name("PART/PARTS"),
              "only one part of the points, such as 2/8")
      .option("known", po::value<Words>()->value_name("FILE"),
              "results whose runs are not made again; may be repeated")
      .flag("slurm", "as a job array of Slurm; waits for it, and submits again what is open then")
      .option("sbatch", po::value<Words>()->value_name("OPTION"),
              "of --slurm: an option of sbatch, such as --sbatch=--time=20; may be repeated")
      .option("task-points", po::value<std::string>()->value_name("N"),
              "of --slurm: points of a task; otherwise as many as take five minutes")
      .option("attempts", po::value<unsigned>()->default_value(3)->value_name("N"),
              "of --slurm: how often a job is submitted")
      .flag("no-wait", "of --slurm: submit, and return; the same command takes the results later")
      .flag("any-build", "runs that another build of nestwalk made are not made again")
      .flag("dry-run", "only list the points")
      .flag("list", "say how far the sweeps in files of results are, and what failed")
      .flag("merge", "unite files of results, of parts or other sweeps, in --output")
      .option("export", po::value<std::string>()->value_name("FORMAT"),
              "csv or json: print a sweep in a file of results, a row for each point")
      .words("export", {"csv", "json"})
      .option("statistics,s", po::value<Words>()->value_name("PATTERN"),
              "these statistics, such as 'exit.*'; may be repeated")
      .operand("inputs", "[SPEC.json] [TRACE...]|RESULTS...", po::value<Words>(), -1);
  declare_settings(line);
  declare_part(line);
  declare_jobs(line);
  const std::initializer_list<const char*> kOfRuns = {
      "preset", "policy", "vary",      "zip",  "samples", "seed",  "shard",
      "known",  "slurm",  "any-build", "set",  "config",  "limit", "from",
      "to",     "warmup", "phases",    "jobs", "dry-run"};
  line.ignores("with --list", kOfRuns)
      .ignores("with --merge", kOfRuns)
      .ignores("with --export", kOfRuns)
      .ignores("with --list", {"merge", "export", "output", "name", "statistics"})
      .ignores("with --merge", {"export", "name", "statistics"})
      .ignores("with --export", {"output"})
      .ignores("with --dry-run", {"output", "statistics", "jobs", "known", "slurm", "any-build"})
      .ignores("with --slurm", {"shard", "jobs", "known"})
      .ignores("with --no-wait", {"attempts"})
      .ignores("without --slurm", {"sbatch", "task-points", "attempts", "no-wait"});
}

void show(ResultsFile& results, const std::string& sweep, const CommandLine& line) {
  const std::vector<Case> cases = results.cases_of(sweep);
  warn_of_trouble(cases);
  TextOutput().write(
      text_of_points(cases, line.all("statistics"), line.get<std::string>("output")));
}

ExitCode exit_code_of(const SweepCounts& counts) {
  return counts.done == counts.points ? kDone : kIncomplete;
}

int run_on_slurm(const CommandLine& line, const SweepPoints& points) {
  SlurmWanted wanted{line.all("sbatch")};
  if (line.has("task-points")) {
    wanted.points_per_task =
        number_from(line.get<std::string>("task-points"), "nestwalk sweep: --task-points");
    if (wanted.points_per_task == 0) throw UsageError("nestwalk sweep: --task-points 0: no points");
  }
  wanted.attempts = line.get<unsigned>("attempts");
  wanted.wait = !line.has("no-wait");
  wanted.any_build = line.has("any-build");
  const std::string file = line.get<std::string>("output");
  SlurmSweep slurm(points, file, wanted);
  if (!slurm.run()) {
    warn("not all was made; what Slurm's tasks said is in " + slurm.folder());
  }
  ResultsFile results(file, ResultsFile::Access::Read);
  const std::string& name = points.spec().name;
  TextOutput().write(state_of(results, name));
  if (!wanted.wait && results.to_try(name) != 0) return kDone;
  show(results, name, line);
  return exit_code_of(results.counts_of(name));
}

int run(const CommandLine& line) {
  for (const std::string& pattern : line.all("statistics")) {
    expect_possible_statistic(pattern, "nestwalk sweep: --statistics ");
  }
  if (line.has("export")) return export_results(line);
  if (line.has("list")) return list_results(line);
  if (!line.has("output") && !line.has("dry-run")) {
    throw UsageError("nestwalk sweep: into which file? --output FILE");
  }
  if (line.has("output")) {
    const std::string output = line.get<std::string>("output");
    if (output.empty() || output[0] == ':' || output == "-") {
      throw UsageError("nestwalk sweep: --output " + output + ": expected the name of a file");
    }
  }
  if (line.has("merge")) return merge_results(line);
  const SweepPoints points(spec_of(line));
  const Shard shard = shard_of(line);
  Sweep sweep(points);
  if (line.has("dry-run")) return dry_run(points, shard);
  std::vector<std::unique_ptr<ResultsFile>> known;
  for (const std::string& file : line.all("known")) {
    known.push_back(std::make_unique<ResultsFile>(file, ResultsFile::Access::Read));
  }
  std::optional<ResultsFile> results;
  results.emplace(
      line.get<std::string>("output"), ResultsFile::Access::Write,
      line.has("shard") ? ResultsFile::Journal::Rollback : ResultsFile::Journal::WriteAhead);
  if (results->put_sweep(points)) {
    warn("there was another sweep of the name " + points.spec().name +
         ", whose points are replaced; its runs stay. --name gives a sweep another name");
  }
  sweep.plan(*results, shard, line.has("any-build"), known);
  if (sweep.outcome().other_build != 0) {
    warn(counted(sweep.outcome().other_build, "run") +
         " of another build of nestwalk are made again; --any-build takes them");
  }
  if (line.has("slurm")) {
    results.reset();
    return run_on_slurm(line, points);
  }
  sweep.run(*results, jobs_of(line));
  const SweepOutcome& outcome = sweep.outcome();
  const std::string& name = points.spec().name;
  if (outcome.interrupted) {
    warn("interrupted: the same command goes on with the " +
         counted(sweep.open() - outcome.made, "run") + " left");
  }
  TextOutput().write(state_of(*results, name) + counted(outcome.made, "run") + " made now, " +
                     counted(outcome.there, "point") + " known before\n");
  show(*results, name, line);
  return exit_code_of(results->counts_of(name, shard.number, shard.of));
}

}  // namespace

constexpr Command kSweepCommand = {
    "sweep", "replays traces with many values of parameters, into a file of SQLite", declare, run};

}  // namespace nestwalk::sim
