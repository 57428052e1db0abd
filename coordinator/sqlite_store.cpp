#include "coordinator/sqlite_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "coordinator/journal_text.hpp"

namespace ballast {
namespace {

// What brings the tables from one schema to the next; `user_version` of the file says how many were taken.
constexpr std::array migrations{
    "CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE journal (line INTEGER PRIMARY KEY, at_ms INTEGER, operation INTEGER, kind TEXT, phase TEXT,"
    " outcome TEXT, reason TEXT, record TEXT NOT NULL);",
};

constexpr int patience_ms = 2000;  // for others that look into the file

struct closer {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
};
using database = std::unique_ptr<sqlite3, closer>;
using statement = std::unique_ptr<sqlite3_stmt, closer>;

// Held for as long as this process lives and has it.
class lock_file {
 public:
  lock_file() = default;
  lock_file(lock_file&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  lock_file& operator=(lock_file&&) = delete;
  ~lock_file() {
    if (fd_ >= 0) ::close(fd_);
  }
  status take(const std::string& path) {
    fd_ = ::open((path + "-lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (fd_ < 0)
      return fail(errc::io,
                  fmt::format("store {}-lock: {}; name a place that can be written", path, std::strerror(errno)));
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return {};
    return fail(errc::conflict,
                fmt::format("store {}: another coordinator has it; stop that one, or name another file", path));
  }

 private:
  int fd_ = -1;
};

class sqlite_store final : public store {
 public:
  explicit sqlite_store(std::string path) : path_(std::move(path)) {}

  status open() {
    std::error_code folder;
    if (const auto parent = std::filesystem::path(path_).parent_path(); !parent.empty())
      std::filesystem::create_directories(parent, folder);
    if (auto ok = lock_.take(path_); !ok) return ok;
    sqlite3* raw = nullptr;
    const int rc = sqlite3_open_v2(path_.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    db_.reset(raw);
    if (rc != SQLITE_OK) return fault();
    sqlite3_busy_timeout(db_.get(), patience_ms);
    for (const char* pragma : {"PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA journal_mode = WAL",
                               "PRAGMA synchronous = FULL", "PRAGMA journal_size_limit = 16777216"})
      if (auto ok = run(pragma); !ok) return ok;
    if (auto ok = migrate(); !ok) return ok;
    if (auto ok = run("PRAGMA incremental_vacuum"); !ok) return ok;  // what erased rows have left
    return prepare();
  }

  status apply(const store_change& change) override {
    if (auto ok = run("BEGIN IMMEDIATE"); !ok) return ok;
    auto done = write(change);
    if (done) done = run("COMMIT");
    if (!done && sqlite3_get_autocommit(db_.get()) == 0) (void)run("ROLLBACK");
    return done;
  }

  result<rows> load() override {
    rows out;
    auto all = make("SELECT name, value FROM state");
    if (!all) return fail(all.error());
    int rc = 0;
    while ((rc = sqlite3_step(all->get())) == SQLITE_ROW) out[text(*all, 0)] = text(*all, 1);
    if (rc != SQLITE_DONE) return fail(fault().error());
    return out;
  }

  result<std::vector<journal_record>> journal() override {
    std::vector<journal_record> out;
    auto all = make("SELECT record FROM journal ORDER BY line");
    if (!all) return fail(all.error());
    int rc = 0;
    while ((rc = sqlite3_step(all->get())) == SQLITE_ROW) {
      auto line = journal_record_from(text(*all, 0));
      if (!line) return fail(line.error().code, fmt::format("store {}: {}", path_, line.error().text));
      out.push_back(std::move(*line));
    }
    if (rc != SQLITE_DONE) return fail(fault().error());
    return out;
  }

 private:
  status fault() const {
    const int code = db_ ? sqlite3_errcode(db_.get()) : SQLITE_NOMEM;
    const std::string what = db_ ? sqlite3_errmsg(db_.get()) : "out of memory";
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
      return fail(errc::malformed,
                  fmt::format("store {}: {}; name another file, or bring a copy of it back", path_, what));
    if (code == SQLITE_BUSY) return fail(errc::unavailable, fmt::format("store {}: {}", path_, what));
    return fail(errc::io, fmt::format("store {}: {}", path_, what));
  }
  status run(const char* sql) const {
    return sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK ? status{} : fault();
  }
  result<statement> make(const char* sql) const {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(db_.get(), sql, -1, &raw, nullptr) != SQLITE_OK) return fail(fault().error());
    return statement(raw);
  }
  static std::string text(const statement& s, int column) {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(s.get(), column));
    return bytes ? std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(s.get(), column))) : "";
  }
  static void bind(const statement& s, int place, std::string_view value) {
    sqlite3_bind_text64(s.get(), place, value.data(), value.size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  static void bind(const statement& s, int place, std::uint64_t value) {
    sqlite3_bind_int64(s.get(), place, static_cast<sqlite3_int64>(value));
  }
  template <class... T>
  status execute(const statement& s, const T&... values) const {
    int place = 0;
    (bind(s, ++place, values), ...);
    const int rc = sqlite3_step(s.get());
    const auto done = rc == SQLITE_DONE ? status{} : fault();
    sqlite3_reset(s.get());
    return done;
  }

  status migrate() {
    auto asked = make("PRAGMA user_version");
    if (!asked) return fail(asked.error());
    if (sqlite3_step(asked->get()) != SQLITE_ROW) return fault();
    const auto version = static_cast<std::size_t>(sqlite3_column_int(asked->get(), 0));
    asked->reset();
    if (version > migrations.size())
      return fail(
          errc::version_mismatch,
          fmt::format("store {}: written by a newer release (schema {}, this one knows {}); run that release, or "
                      "name another file",
                      path_, version, migrations.size()));
    for (std::size_t next = version; next < migrations.size(); ++next) {
      const auto sql = fmt::format("BEGIN IMMEDIATE; {} PRAGMA user_version = {}; COMMIT", migrations[next], next + 1);
      if (auto ok = run(sql.c_str()); !ok) return ok;
    }
    return {};
  }
  status prepare() {
    for (const auto& [to, sql] :
         {std::pair{&put_, "INSERT INTO state VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2"},
          {&erase_, "DELETE FROM state WHERE name = ?1"},
          {&line_,
           "INSERT INTO journal (at_ms, operation, kind, phase, outcome, reason, record) VALUES (?1, ?2, ?3, ?4, ?5, "
           "?6, ?7)"},
          {&trim_, "DELETE FROM journal WHERE line <= (SELECT max(line) FROM journal) - ?1"}}) {
      auto made = make(sql);
      if (!made) return fail(made.error());
      *to = std::move(*made);
    }
    return {};
  }
  status write(const store_change& change) {
    for (const auto& [name, value] : change.rows)
      if (auto ok = value ? execute(put_, name, *value) : execute(erase_, name); !ok) return ok;
    for (const auto& r : change.journal) {
      const auto& o = r.operation;
      if (auto ok = execute(line_, r.at_ms, o.id, o.kind, o.phase, o.outcome, o.reason, text_of(r)); !ok) return ok;
    }
    return change.journal.empty() ? status{} : execute(trim_, std::uint64_t{journal_kept});
  }

  std::string path_;
  lock_file lock_;
  database db_;
  statement put_, erase_, line_, trim_;  // before the database is closed, in reverse order
};

}  // namespace

result<std::unique_ptr<store>> open_sqlite_store(const std::string& path) {
  auto made = std::make_unique<sqlite_store>(path);
  if (auto ok = made->open(); !ok) return fail(ok.error());
  return made;
}

}  // namespace ballast
