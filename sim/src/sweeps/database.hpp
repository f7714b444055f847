// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A file of SQLite.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace nestwalk::sim {

class Statement;

class Database {
 public:
  enum class Access { Read, Write };

  /// `Write` makes the file if it is not there. Throws InputError or OutputError.
  Database(const std::string& file, Access access);
  Database(Database&&) noexcept;
  Database& operator=(Database&&) = delete;
  ~Database();

  const std::string& file() const { return file_; }
  /// Statements without results.
  void execute(const std::string& sql);
  Statement prepare(std::string_view sql);
  std::int64_t last_row() const;
  /// Throws OutputError or InputError for what SQLite said last.
  [[noreturn]] void fail() const;

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::string file_;
  Access access_;
  std::unique_ptr<sqlite3, Close> database_;
};

/// A statement that is run again and again. Parameters are numbered from 1, columns from 0.
class Statement {
 public:
  Statement(const Database& database, sqlite3_stmt* statement)
      : database_(&database), statement_(statement) {}

  Statement& bind(int parameter, std::string_view text);
  Statement& bind(int parameter, std::int64_t number);
  Statement& bind(int parameter, double number);
  Statement& bind_null(int parameter);
  /// True: there is a row. False: done, and ready to run again.
  bool step();
  /// Runs a statement without rows.
  void run();
  /// Before the next run, where not all rows were taken.
  void reset();

  bool is_null(int column) const;
  bool is_integer(int column) const;
  std::string text(int column) const;
  std::int64_t integer(int column) const;
  double number(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  void check(int code) const;

  const Database* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// All that happens in its life is written at once, by `commit`, or not at all.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace nestwalk::sim
