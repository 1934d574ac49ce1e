#include "store/database.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>

#include "base/error.h"

namespace textmill::store {
namespace {

constexpr std::string_view kFirst[] = {"CREATE TABLE facts (id INTEGER PRIMARY KEY, text TEXT UNIQUE);"};
constexpr std::string_view kSecond[] = {kFirst[0], "ALTER TABLE facts ADD COLUMN more TEXT DEFAULT 'none';"};
constexpr std::string_view kBroken[] = {kFirst[0],
                                        "ALTER TABLE facts ADD COLUMN more TEXT; CREATE TABLE facts (x);"};

struct DatabaseTest : testing::Test {
  base::TemporaryFolder folder;
  base::Path file = folder.path() / "test.db";

  Database open(Migrations migrations = kFirst, Sync sync = Sync::full) {
    return Database({.file = file, .sync = sync}, migrations);
  }
};

int64_t count(const Database& database) {
  return database.read([](Connection& c) { return *c.integer("SELECT count(*) FROM facts"); });
}

template <class F>
base::Kind kind_of(F&& f) {
  try {
    f();
  } catch (const base::Error& error) { return error.kind(); }
  return base::Kind::internal;
}

TEST_F(DatabaseTest, KeepsValuesOfEveryType) {
  Database database = open();
  std::string text("a\0b\xC3\xA4", 5);
  auto id = database.write([&](Connection& c) {
    c.execute("INSERT INTO facts(text) VALUES (?)", text);
    return c.last_id();
  });
  database.read([&](Connection& c) {
    Rows rows = c.query("SELECT text, ?, ?, ?, ? FROM facts WHERE id = ?", 1.5, std::optional<int64_t>(),
                        Bytes{text}, int64_t{1} << 62, id);
    ASSERT_TRUE(rows.next());
    EXPECT_EQ(rows.text(0), text);
    EXPECT_EQ(rows.real(1), 1.5);
    EXPECT_TRUE(rows.is_null(2));
    EXPECT_EQ(rows.text(3), text);
    EXPECT_EQ(rows.integer(4), int64_t{1} << 62);
    EXPECT_FALSE(rows.next());
  });
}

TEST_F(DatabaseTest, AFactThatThrowsLeavesNothing) {
  Database database = open();
  EXPECT_EQ(kind_of([&] {
              database.write([](Connection& c) {
                c.execute("INSERT INTO facts(text) VALUES ('half')");
                throw base::Error(base::Kind::exists, "no");
              });
            }),
            base::Kind::exists);
  EXPECT_EQ(count(database), 0);
}

// Many threads at once: groups form, and a failing fact takes nobody with it.
TEST_F(DatabaseTest, FactsInAGroupAreIndependent) {
  for (Sync sync : {Sync::full, Sync::process}) {
    base::TemporaryFolder place;
    Database database({.file = place.path() / "group.db", .sync = sync}, kFirst);
    constexpr int kThreads = 16, kFacts = 40;
    std::atomic<int> refused = 0;
    {
      std::barrier start(kThreads);
      std::vector<std::jthread> threads;
      for (int t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
          start.arrive_and_wait();
          for (int i = 0; i < kFacts; ++i) {
            // Every text is tried by two threads: one of them is refused.
            auto text = std::to_string(t / 2) + "/" + std::to_string(i);
            try {
              database.write([&](Connection& c) {
                if (c.integer("SELECT 1 FROM facts WHERE text = ?", text))
                  throw base::Error(base::Kind::exists, text);
                c.execute("INSERT INTO facts(text) VALUES (?)", text);
              });
              EXPECT_TRUE(database.read([&](Connection& c) {
                return c.integer("SELECT 1 FROM facts WHERE text = ?", text).has_value();
              }));
            } catch (const base::Error&) { ++refused; }
          }
        });
    }
    EXPECT_EQ(count(database), kThreads / 2 * kFacts);
    EXPECT_EQ(refused, kThreads / 2 * kFacts);
  }
}

TEST_F(DatabaseTest, AReadSeesOneSnapshot) {
  Database database = open();
  database.write([](Connection& c) { c.execute("INSERT INTO facts(text) VALUES ('one')"); });
  database.read([&](Connection& c) {
    EXPECT_EQ(c.integer("SELECT count(*) FROM facts"), 1);
    database.write([](Connection& w) { w.execute("INSERT INTO facts(text) VALUES ('two')"); });
    EXPECT_EQ(c.integer("SELECT count(*) FROM facts"), 1);
  });
  EXPECT_EQ(count(database), 2);
}

TEST_F(DatabaseTest, MigratesAfterACopy) {
  {
    open().write([](Connection& c) { c.execute("INSERT INTO facts(text) VALUES ('old')"); });
  }
  EXPECT_EQ(kind_of([&] { open(kBroken); }), base::Kind::internal);
  {
    Database database = open(kSecond);
    database.read([](Connection& c) {
      Rows rows = c.query("SELECT more FROM facts");
      ASSERT_TRUE(rows.next());
      EXPECT_EQ(rows.text(0), "none");
    });
  }
  Database before({.file = file.string() + ".before-2"}, kFirst);
  EXPECT_EQ(count(before), 1);
}

TEST_F(DatabaseTest, RefusesWhatIsNewerOrNotOurs) {
  { open(kSecond); }
  EXPECT_EQ(kind_of([&] { open(kFirst); }), base::Kind::conflict);
  std::ofstream(folder.path() / "text.db") << std::string(4096, 'x');
  EXPECT_EQ(kind_of([&] { Database({.file = folder.path() / "text.db"}, kFirst); }), base::Kind::internal);
  {
    Connection stranger(folder.path() / "other.db", Connection::Mode::create);
    stranger.script("CREATE TABLE a (b); PRAGMA user_version = 7;");
  }
  EXPECT_EQ(kind_of([&] { Database({.file = folder.path() / "other.db"}, kFirst); }), base::Kind::invalid);
}

TEST_F(DatabaseTest, CopiesWhileWritersGoOn) {
  Database database = open(kFirst, Sync::process);
  std::jthread writer([&](std::stop_token stop) {
    for (int i = 0; !stop.stop_requested(); ++i)
      database.write(
          [&](Connection& c) { c.execute("INSERT INTO facts(text) VALUES (?)", std::to_string(i)); });
  });
  while (count(database) < 100) std::this_thread::yield();
  database.copy_to(folder.path() / "copy.db");
  writer.request_stop();
  writer.join();
  Database copy({.file = folder.path() / "copy.db"}, kFirst);
  EXPECT_GE(count(copy), 100);
  EXPECT_LE(count(copy), count(database));
}

TEST_F(DatabaseTest, TheLogStaysShort) {
  Database database = open(kFirst, Sync::process);
  std::string big(1 << 20, 'x');
  for (int i = 0; i < 400; ++i)
    database.write([&](Connection& c) {
      c.execute("INSERT OR REPLACE INTO facts(id, text) VALUES (1, ?)", big + std::to_string(i));
    });
  EXPECT_LT(std::filesystem::file_size(file.string() + "-wal"), 150u << 20);
}

// SQLite would wait for a reader, with all writers behind it: 5 s, every 64 MiB. A backup reads for as long as it takes.
TEST_F(DatabaseTest, WritersDoNotWaitForALongRead) {
  Database database = open(kFirst, Sync::process);
  database.write([](Connection& c) { c.execute("INSERT INTO facts(text) VALUES ('first')"); });
  Connection reader(file, Connection::Mode::read);
  reader.execute("BEGIN");
  ASSERT_EQ(*reader.integer("SELECT count(*) FROM facts"), 1);
  std::string big(1 << 20, 'x');
  std::chrono::steady_clock::duration longest{};
  for (int i = 0; i < 200; ++i) {
    auto start = std::chrono::steady_clock::now();
    database.write([&](Connection& c) {
      c.execute("INSERT OR REPLACE INTO facts(id, text) VALUES (2, ?)", big + std::to_string(i));
    });
    longest = std::max(longest, std::chrono::steady_clock::now() - start);
  }
  EXPECT_LT(longest, std::chrono::seconds(4));
  EXPECT_EQ(*reader.integer("SELECT count(*) FROM facts"), 1);
}

// A file that may not grow stands for a full disk. The copying of the log fails beside the writers, and later does not.
TEST_F(DatabaseTest, WritersGoOnWhileTheLogCannotBeCopied) {
  using namespace std::chrono_literals;
  Database database = open(kFirst, Sync::process);
  std::string big(1 << 20, 'x');
  int facts = 0;
  auto add = [&](int count) {
    while (count-- > 0)
      database.write([&](Connection& c) {
        c.execute("INSERT INTO facts(text) VALUES (?)", std::to_string(facts++) + big);
      });
  };
  add(20);
  do database.relieve();  // does nothing while the checkpointer is at it
  while (std::filesystem::file_size(file.string() + "-wal") > 0);
  auto size = std::filesystem::file_size(file);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small{.rlim_cur = size, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_NO_THROW(add(9));  // twice in the log, for the index: 18 MiB
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(std::filesystem::file_size(file), size);
  EXPECT_NO_THROW(add(1));
  EXPECT_EQ(count(database), facts);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  for (int i = 0; i < 200 && std::filesystem::file_size(file) == size; ++i) std::this_thread::sleep_for(50ms);
  EXPECT_GT(std::filesystem::file_size(file), size);  // without another commit
}

TEST_F(DatabaseTest, GivesUpTheReserveOfAnEarlierProcess) {
  base::Path place = folder.path() / "reserve";
  EXPECT_TRUE(Reserve(place).hold());
  Reserve reserve(place);
  EXPECT_TRUE(reserve.release());
  EXPECT_FALSE(std::filesystem::exists(place));
  EXPECT_FALSE(reserve.release());
}

TEST_F(DatabaseTest, NobodyTakesALentReserve) {
  base::Path place = folder.path() / "reserve";
  Reserve reserve(place);
  EXPECT_TRUE(reserve.hold());
  auto loan = reserve.lend();
  std::jthread other([&] { EXPECT_TRUE(reserve.hold()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(std::filesystem::exists(place));
  loan.unlock();
  other.join();
  EXPECT_TRUE(std::filesystem::exists(place));
}

TEST_F(DatabaseTest, GivesSpaceBack) {
  Database database = open(kFirst, Sync::process);
  std::string big(1 << 20, 'x');
  auto pages = [&] { return database.read([](Connection& c) { return *c.integer("PRAGMA page_count"); }); };
  database.write([&](Connection& c) {
    for (int i = 0; i < 20; ++i) c.execute("INSERT INTO facts(text) VALUES (?)", big + std::to_string(i));
  });
  int64_t before = pages();
  database.write([](Connection& c) { c.execute("DELETE FROM facts"); });
  database.shrink(100'000);
  EXPECT_LT(pages(), before / 10);
}

// A process that is killed between facts: each acknowledged one is there, each other is whole or absent.
TEST_F(DatabaseTest, SurvivesKill) {
  for (int round = 0; round < 5; ++round) {
    int acknowledged[2];
    ASSERT_EQ(pipe(acknowledged), 0);
    pid_t child = fork();
    if (child == 0) {
      Database database = open(kFirst, Sync::process);
      for (int64_t i = 0;; ++i) {
        int64_t id = database.write([&](Connection& c) {
          c.execute("INSERT INTO facts(text) VALUES (?)",
                    std::to_string(round) + std::string(5000, 'x') + std::to_string(i));
          return c.last_id();
        });
        if (write(acknowledged[1], &id, sizeof id) != sizeof id) _exit(1);
      }
    }
    ::close(acknowledged[1]);
    int64_t id = 0, seen = 0;
    while (seen < 20 + round && read(acknowledged[0], &id, sizeof id) == sizeof id) ++seen;
    kill(child, SIGKILL);
    while (read(acknowledged[0], &id, sizeof id) == sizeof id) ++seen;
    ::close(acknowledged[0]);
    waitpid(child, nullptr, 0);
    Database database = open();
    EXPECT_GE(database.read([](Connection& c) { return c.integer("SELECT max(id) FROM facts"); }), id);
    EXPECT_EQ(database.read([](Connection& c) {
      return c.integer("SELECT count(*) FROM facts WHERE length(text) < 5002");
    }),
              0);
  }
}

}  // namespace
}  // namespace textmill::store
