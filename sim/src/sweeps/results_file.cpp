// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/results_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "nestwalk/traces/error.hpp"

namespace nestwalk::sim {

namespace {

constexpr std::int64_t kSchema = 1;
constexpr std::int64_t kApplication = 0x6e77'6b01;  // "nwk", 1: SQLite's application_id

constexpr const char* kTables = R"sql(
CREATE TABLE sweep(
  sweep TEXT PRIMARY KEY,
  description TEXT NOT NULL,
  points INTEGER NOT NULL
);
CREATE TABLE run(
  run INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  build TEXT NOT NULL,
  version TEXT NOT NULL,
  trace TEXT NOT NULL,
  trace_digest TEXT NOT NULL,
  state TEXT NOT NULL CHECK(state IN ('done', 'ended early', 'failed')),
  reason TEXT NOT NULL,
  exit_code INTEGER NOT NULL,
  core TEXT NOT NULL,
  machine_values INTEGER NOT NULL,
  guesses INTEGER NOT NULL,
  guesses_with_range INTEGER NOT NULL,
  configuration TEXT,
  host_seconds REAL NOT NULL,
  UNIQUE(key, build)
);
CREATE TABLE statistic(
  run INTEGER NOT NULL REFERENCES run,
  statistic TEXT NOT NULL,
  value NUMERIC NOT NULL,
  PRIMARY KEY(run, statistic)
) WITHOUT ROWID;
CREATE TABLE point(
  sweep TEXT NOT NULL REFERENCES sweep,
  point INTEGER NOT NULL,
  name TEXT NOT NULL,
  trace TEXT NOT NULL,
  preset TEXT NOT NULL,
  policy TEXT NOT NULL,
  key TEXT,
  run INTEGER REFERENCES run,
  PRIMARY KEY(sweep, point)
) WITHOUT ROWID;
CREATE TABLE varied(
  sweep TEXT NOT NULL,
  point INTEGER NOT NULL,
  position INTEGER NOT NULL,
  path TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY(sweep, point, position)
) WITHOUT ROWID;
CREATE INDEX point_key ON point(key);
CREATE VIEW points AS
  SELECT sweep, point, name, point.trace, preset, policy, coalesce(state, 'open') AS state,
    coalesce(reason, '') AS reason, core, host_seconds, run
  FROM point LEFT JOIN run USING(run);
CREATE VIEW tidy AS
  SELECT sweep, point, statistic, value FROM point JOIN statistic USING(run);
)sql";

// All but its number.
constexpr const char* kOfRun =
    "key, build, version, trace, trace_digest, state, reason, exit_code, core, machine_values, "
    "guesses, guesses_with_range, configuration, host_seconds";

constexpr std::array kStates = {"done", "ended early", "failed"};

const char* word_of_state(RunState state) { return kStates.at(static_cast<std::size_t>(state)); }

std::string sql_text(const std::string& text) {
  std::string out("'");
  for (const char letter : text) out.append(letter == '\'' ? "''" : std::string(1, letter));
  out += '\'';
  return out;
}

}  // namespace

ResultsFile::ResultsFile(const std::string& file, Access access, Journal journal)
    : database_(file, access) {
  const auto pragma = [&](const char* name) {
    Statement statement = database_.prepare(std::string("PRAGMA ") + name);
    return statement.step() ? statement.integer(0) : 0;
  };
  Statement any = database_.prepare("SELECT count(*) FROM sqlite_master");
  const bool fresh = any.step() && any.integer(0) == 0;
  any.reset();
  if (!fresh && pragma("application_id") != kApplication) {
    throw traces::InputError(file, "is not a file of nestwalk sweep");
  }
  if (!fresh && pragma("user_version") != kSchema) {
    throw traces::InputError(file, "expected version " + std::to_string(kSchema) +
                                       " of the tables, found " +
                                       std::to_string(pragma("user_version")));
  }
  if (access == Access::Read) {
    if (fresh) throw traces::InputError(file, "is not a file of nestwalk sweep");
    return;
  }
  lock();
  if (journal == Journal::WriteAhead) {
    database_.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL");
  }
  if (!fresh) return;
  Transaction all(database_);
  database_.execute(kTables);
  database_.execute("PRAGMA application_id=" + std::to_string(kApplication));
  database_.execute("PRAGMA user_version=" + std::to_string(kSchema));
  all.commit();
}

ResultsFile::~ResultsFile() {
  if (lock_ < 0) return;
  // Another host can read it then, which it could not with a log whose index is in shared memory.
  try {
    database_.execute("PRAGMA busy_timeout=0; PRAGMA journal_mode=DELETE");
  } catch (const std::exception&) {
    // Somebody reads it; the log stays.
  }
  unlink(lock_name().c_str());
  close(lock_);
}

std::string ResultsFile::lock_name() const { return database_.file() + ".lock"; }

// SQLite's own locks are gone when any descriptor of the file is closed: so there is a file for it.
void ResultsFile::lock() {
  const std::string name = lock_name();
  for (;;) {
    lock_ = open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock_ < 0) throw traces::OutputError(name, errno);
    if (flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      close(std::exchange(lock_, -1));
      throw UsageError(database_.file() + ": another sweep is writing it");
    }
    // It may have been removed since it was opened.
    struct stat mine {
    }, named{};
    if (fstat(lock_, &mine) == 0 && stat(name.c_str(), &named) == 0 &&
        mine.st_ino == named.st_ino) {
      return;
    }
    close(std::exchange(lock_, -1));
  }
}

bool ResultsFile::put_sweep(const SweepPoints& points) {
  const SweepSpec& spec = points.spec();
  const std::string description = as_json(spec, FileNames::Last).dump();
  Transaction all(database_);
  Statement before = database_.prepare("SELECT description FROM sweep WHERE sweep = ?");
  before.bind(1, spec.name);
  const bool was_another = before.step() && before.text(0) != description;
  before.reset();
  for (const char* const table : {"varied", "point", "sweep"}) {
    database_.prepare(std::string("DELETE FROM ") + table + " WHERE sweep = ?")
        .bind(1, spec.name)
        .run();
  }
  database_.prepare("INSERT INTO sweep VALUES (?, ?, ?)")
      .bind(1, spec.name)
      .bind(2, description)
      .bind(3, static_cast<std::int64_t>(points.size()))
      .run();
  Statement put = database_.prepare("INSERT INTO point VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)");
  Statement put_varied = database_.prepare("INSERT INTO varied VALUES (?, ?, ?, ?, ?)");
  for (std::size_t n = 0; n < points.size(); ++n) {
    const SweepPoint point = points.at(n);
    const auto number = static_cast<std::int64_t>(n);
    put.bind(1, spec.name).bind(2, number).bind(3, name_of(point, spec));
    put.bind(4, point.trace).bind(5, point.preset).bind(6, point.policy).run();
    std::int64_t position = 0;
    for (const auto& [path, value] : point.varied) {
      put_varied.bind(1, spec.name).bind(2, number).bind(3, position++);
      put_varied.bind(4, path).bind(5, value).run();
    }
  }
  all.commit();
  return was_another;
}

void ResultsFile::put_key(const std::string& sweep, std::size_t number, const std::string& key) {
  database_.prepare("UPDATE point SET key = ? WHERE sweep = ? AND point = ?")
      .bind(1, key)
      .bind(2, sweep)
      .bind(3, static_cast<std::int64_t>(number))
      .run();
}

void ResultsFile::link(const std::string& key, RunId run) {
  database_.prepare("UPDATE point SET run = ? WHERE key = ?").bind(1, run).bind(2, key).run();
}

void ResultsFile::link(const std::string& sweep, const std::string& build) {
  database_
      .prepare(
          "UPDATE point SET run = (SELECT run FROM run WHERE run.key = point.key AND "
          "(?2 = '' OR build = ?2) ORDER BY state = 'failed', run DESC LIMIT 1) WHERE sweep = ?1")
      .bind(1, sweep)
      .bind(2, build)
      .run();
}

std::optional<ResultsFile::RunId> ResultsFile::find(const RunKey& key, bool any_build) {
  Statement found = database_.prepare(
      "SELECT run FROM run WHERE key = ?1 AND state != 'failed' AND (?2 OR build = ?3) "
      "ORDER BY build != ?3, run DESC");
  found.bind(1, key.key).bind(2, std::int64_t{any_build}).bind(3, key.build);
  if (!found.step()) return {};
  return found.integer(0);
}

std::size_t ResultsFile::of_other_builds(const RunKey& key) {
  Statement found = database_.prepare(
      "SELECT count(*) FROM run WHERE key = ? AND build != ? AND state != 'failed'");
  found.bind(1, key.key).bind(2, key.build);
  return found.step() ? static_cast<std::size_t>(found.integer(0)) : 0;
}

ResultsFile::RunId ResultsFile::put_run(const FinishedRun& run) {
  Statement put = database_.prepare(
      std::string("INSERT OR REPLACE INTO run(run, ") + kOfRun +
      ") VALUES ((SELECT run FROM run WHERE key = ?1 AND build = ?2), ?1, ?2, ?3, ?4, ?5, ?6, ?7, "
      "?8, ?9, ?10, ?11, ?12, ?13, ?14) RETURNING run");
  put.bind(1, run.key.key)
      .bind(2, run.key.build)
      .bind(3, std::string_view(NESTWALK_VERSION))
      .bind(4, run.trace)
      .bind(5, run.trace_digest)
      .bind(6, std::string_view(word_of_state(run.state)))
      .bind(7, run.reason)
      .bind(8, std::int64_t{run.exit_code})
      .bind(9, run.core)
      .bind(10, std::int64_t{run.values.used})
      .bind(11, std::int64_t{run.values.guesses})
      .bind(12, std::int64_t{run.values.with_range})
      .bind(14, run.host_seconds);
  if (run.configuration.is_null()) {
    put.bind_null(13);
  } else {
    put.bind(13, run.configuration.dump());
  }
  put.step();
  const RunId id = put.integer(0);
  put.reset();
  database_.prepare("DELETE FROM statistic WHERE run = ?").bind(1, id).run();
  Statement row = database_.prepare("INSERT INTO statistic VALUES (?, ?, ?)");
  for (const auto& [name, value] : run.statistics.items()) {
    row.bind(1, id).bind(2, name);
    if (value.is_number_integer()) {
      row.bind(3, value.get<std::int64_t>());
    } else {
      row.bind(3, value.get<double>());
    }
    row.run();
  }
  return id;
}

void ResultsFile::merge(const std::string& file, Merge what) {
  { const ResultsFile other(file, Access::Read); }  // is it one?
  database_.execute("ATTACH " + sql_text(file) + " AS other");
  try {
    merge_attached(file, what);
  } catch (...) {
    database_.execute("DETACH other");
    throw;
  }
  database_.execute("DETACH other");
}

void ResultsFile::merge_attached(const std::string& file, Merge what) {
  if (what == Merge::All) {
    Statement differs = database_.prepare(
        "SELECT sweep FROM main.sweep AS ours JOIN other.sweep AS theirs USING(sweep) "
        "WHERE ours.description != theirs.description UNION "
        "SELECT sweep FROM main.point AS ours JOIN other.point AS theirs USING(sweep, point) "
        "WHERE ours.key != theirs.key");
    if (differs.step()) {
      const std::string name = differs.text(0);
      differs.reset();
      throw traces::InputError(file, "has another sweep of the name " + name + " than " +
                                         database_.file() +
                                         ": its points, configurations or traces differ");
    }
  }
  Transaction all(database_);
  // A run that did not fail takes the place of one that did, under its number.
  database_.execute(R"sql(
    CREATE TEMP TABLE taken AS
      SELECT theirs.run AS theirs, ours.run AS ours
      FROM other.run AS theirs LEFT JOIN main.run AS ours USING(key, build)
      WHERE ours.run IS NULL OR (ours.state = 'failed' AND theirs.state != 'failed');
    DELETE FROM statistic WHERE run IN (SELECT ours FROM taken);
  )sql");
  database_.execute(std::string("INSERT OR REPLACE INTO main.run(run, ") + kOfRun +
                    ") SELECT ours, " + kOfRun +
                    " FROM other.run JOIN taken ON run = taken.theirs");
  database_.execute(R"sql(
    CREATE TEMP TABLE numbers AS
      SELECT theirs.run AS theirs, ours.run AS ours
      FROM other.run AS theirs JOIN main.run AS ours USING(key, build);
    INSERT INTO main.statistic
      SELECT ours, statistic, value FROM other.statistic JOIN numbers ON run = theirs
      WHERE theirs IN (SELECT theirs FROM taken);
    DROP TABLE taken;
    DROP TABLE numbers;
  )sql");
  if (what == Merge::All) {
    database_.execute(R"sql(
      INSERT OR IGNORE INTO main.sweep SELECT * FROM other.sweep;
      INSERT OR IGNORE INTO main.point
        SELECT sweep, point, name, trace, preset, policy, key, NULL FROM other.point;
      INSERT OR IGNORE INTO main.varied SELECT * FROM other.varied;
      UPDATE main.point SET run =
          (SELECT run FROM main.run WHERE run.key = point.key
            ORDER BY state = 'failed', run DESC LIMIT 1)
        WHERE coalesce((SELECT state FROM main.run WHERE run = main.point.run), 'failed')
          = 'failed';
    )sql");
  }
  all.commit();
}

std::vector<std::string> ResultsFile::sweeps() {
  Statement rows = database_.prepare("SELECT sweep FROM sweep ORDER BY rowid");
  std::vector<std::string> names;
  while (rows.step()) names.push_back(rows.text(0));
  return names;
}

// Points without a run, and those whose process died or had no memory: elsewhere they may go well.
std::size_t ResultsFile::to_try(const std::string& sweep) {
  Statement rows = database_.prepare(
      "SELECT count(*) FROM point LEFT JOIN run USING(run) WHERE sweep = ? AND "
      "(run IS NULL OR (state = 'failed' AND exit_code IN (1, 5)))");
  rows.bind(1, sweep);
  return rows.step() ? static_cast<std::size_t>(rows.integer(0)) : 0;
}

std::optional<double> ResultsFile::seconds_of_runs() {
  Statement rows = database_.prepare("SELECT avg(host_seconds) FROM run WHERE state = 'done'");
  if (!rows.step() || rows.is_null(0)) return {};
  return rows.number(0);
}

SweepCounts ResultsFile::counts_of(const std::string& sweep, std::size_t shard,
                                   std::size_t shards) {
  Statement rows = database_.prepare(
      "SELECT count(*), total(state = 'done'), total(state = 'ended early'), "
      "total(state = 'failed') FROM points WHERE sweep = ? AND point % ? = ?");
  rows.bind(1, sweep).bind(2, static_cast<std::int64_t>(shards));
  rows.bind(3, static_cast<std::int64_t>(shard));
  rows.step();
  const auto number = [&](int column) { return static_cast<std::size_t>(rows.integer(column)); };
  return {number(0), number(1), number(2), number(3)};
}

std::vector<Case> ResultsFile::cases_of(const std::string& sweep) {
  std::vector<Case> cases;
  Statement rows = database_.prepare(
      "SELECT point, name, point.trace, preset, policy, run, state, reason, core, machine_values, "
      "guesses, guesses_with_range FROM point JOIN run USING(run) WHERE sweep = ? ORDER BY point");
  Statement varied = database_.prepare(
      "SELECT path, value FROM varied WHERE sweep = ? AND point = ? ORDER BY position");
  Statement statistics = database_.prepare("SELECT statistic, value FROM statistic WHERE run = ?");
  rows.bind(1, sweep);
  while (rows.step()) {
    Case& found = cases.emplace_back();
    found.name = rows.text(1);
    found.of = {{"point", rows.text(0)}, {"trace", rows.text(2)}, {"preset", rows.text(3)}};
    found.of.emplace_back("policy", rows.text(4));
    varied.bind(1, sweep).bind(2, rows.integer(0));
    while (varied.step()) found.of.emplace_back(varied.text(0), varied.text(1));
    const std::string state = rows.text(6);
    if (state == word_of_state(RunState::Failed)) found.failure = rows.text(7);
    if (state == word_of_state(RunState::EndedEarly)) found.ended_early = rows.text(7);
    found.exit_code = is_whole(found) ? kDone : kIncomplete;
    found.core = rows.text(8);
    const auto count = [&](int column) { return static_cast<unsigned>(rows.integer(column)); };
    found.values = UsedValues{count(9), count(10), count(11)};
    found.statistics = Json::object();
    statistics.bind(1, rows.integer(5));
    while (statistics.step()) {
      found.statistics[statistics.text(0)] =
          statistics.is_integer(1) ? Json(static_cast<addrspace::u64>(statistics.integer(1)))
                                   : Json(statistics.number(1));
    }
  }
  return cases;
}

}  // namespace nestwalk::sim
