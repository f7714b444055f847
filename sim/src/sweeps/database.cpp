// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/database.hpp"

#include <sqlite3.h>

#include <cerrno>

#include "nestwalk/traces/error.hpp"

namespace nestwalk::sim {

namespace {

constexpr int kMostMilliseconds = 60'000;  ///< until another process is done with the file

}  // namespace

void Database::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Database::Database(const std::string& file, Access access) : file_(file), access_(access) {
  sqlite3* database = nullptr;
  // What a process that died left behind is undone by who reads it, so that has to write. SQLite
  // opens a file that cannot be written for reading alone.
  const int flags = SQLITE_OPEN_READWRITE | (access == Access::Write ? SQLITE_OPEN_CREATE : 0);
  const int code = sqlite3_open_v2(file.c_str(), &database, flags, nullptr);
  database_.reset(database);
  if (code != SQLITE_OK) fail();
  sqlite3_busy_timeout(database, kMostMilliseconds);
}

Database::Database(Database&&) noexcept = default;
Database::~Database() = default;

void Database::fail() const {
  const int system = sqlite3_system_errno(database_.get());
  switch (sqlite3_errcode(database_.get())) {
    case SQLITE_FULL:
      throw traces::OutputError(file_, ENOSPC);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      throw traces::OutputError(file_, EACCES);
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
      if (access_ == Access::Write) throw traces::OutputError(file_, system == 0 ? EIO : system);
      break;
  }
  throw traces::InputError(file_, sqlite3_errmsg(database_.get()));
}

void Database::execute(const std::string& sql) {
  if (sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) fail();
}

Statement Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int bytes = static_cast<int>(sql.size());
  if (sqlite3_prepare_v2(database_.get(), sql.data(), bytes, &statement, nullptr) != SQLITE_OK) {
    fail();
  }
  return {*this, statement};
}

std::int64_t Database::last_row() const { return sqlite3_last_insert_rowid(database_.get()); }

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

void Statement::check(int code) const {
  if (code != SQLITE_OK) database_->fail();
}

Statement& Statement::bind(int parameter, std::string_view text) {
  check(sqlite3_bind_text64(statement_.get(), parameter, text.data(), text.size(), SQLITE_TRANSIENT,
                            SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(int parameter, std::int64_t number) {
  check(sqlite3_bind_int64(statement_.get(), parameter, number));
  return *this;
}

Statement& Statement::bind(int parameter, double number) {
  check(sqlite3_bind_double(statement_.get(), parameter, number));
  return *this;
}

Statement& Statement::bind_null(int parameter) {
  check(sqlite3_bind_null(statement_.get(), parameter));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_->fail();
  sqlite3_reset(statement_.get());
  return false;
}

void Statement::run() {
  while (step()) continue;
}

void Statement::reset() { sqlite3_reset(statement_.get()); }

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

bool Statement::is_integer(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_INTEGER;
}

std::string Statement::text(int column) const {
  const auto* const text =
      reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (text == nullptr) return "";
  return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

double Statement::number(int column) const {
  return sqlite3_column_double(statement_.get(), column);
}

Transaction::Transaction(Database& database) : database_(database) {
  database_.execute("BEGIN IMMEDIATE");
}

// What failed in it is told by what failed.
Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const std::exception&) {
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace nestwalk::sim
