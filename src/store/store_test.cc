#include "store/store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "store/objects.h"

namespace textmill::store {
namespace {

namespace fs = std::filesystem;

struct StoreTest : testing::Test {
  base::TemporaryFolder place;
  base::Path folder = place.path() / "data", copy = place.path() / "copy", back = place.path() / "back";

  static void put(Store& store, const std::string& key, const std::string& bytes) {
    auto staged = store.blobs().stage(bytes);
    store.database().write([&](Connection& c) {
      auto bucket = find_bucket(c, "b");
      put_object(c, bucket ? bucket->id : create_bucket(c, "b", "{}").id,
                 {.key = key,
                  .blob = store.blobs().enter(c, staged),
                  .size = bytes.size(),
                  .etag = "e",
                  .properties = "{}"});
    });
  }
  static std::string get(Store& store, const std::string& key) {
    auto content = store.database().read([&](Connection& c) {
      return store.blobs().content(c, find_object(c, find_bucket(c, "b")->id, key)->blob);
    });
    if (auto* file = std::get_if<base::Path>(&content)) return base::read_file(*file);
    return std::get<std::string>(content);
  }
  /// The one file of a large blob.
  static base::Path blob_file(const base::Path& folder) {
    for (const auto& entry : fs::recursive_directory_iterator(folder / "objects"))
      if (entry.is_regular_file()) return entry.path();
    return {};
  }
};

base::Kind kind_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const base::Error& error) { return error.kind(); }
  return base::Kind::internal;
}

TEST_F(StoreTest, OneProcessAtATime) {
  Store store(folder, Sync::full);
  EXPECT_EQ(kind_of([&] { Store(folder, Sync::full); }), base::Kind::in_use);
  EXPECT_EQ(fs::status(folder).permissions(), fs::perms::owner_all);
}

TEST_F(StoreTest, SecretsStay) {
  std::string secret;
  {
    Store store(folder, Sync::full);
    secret = store.secret("tokens");
    EXPECT_EQ(secret.size(), 32u);
    EXPECT_NE(store.secret("sessions"), secret);
  }
  EXPECT_EQ(Store(folder, Sync::full).secret("tokens"), secret);
}

TEST_F(StoreTest, BackupIsAWholeCopy) {
  const std::string small = "small", large(200'000, 'l');
  {
    Store store(folder, Sync::full);
    put(store, "small", small);
    put(store, "large", large);
    store.backup(copy);
    EXPECT_EQ(kind_of([&] { store.backup(copy); }), base::Kind::exists);
    put(store, "later", "later");
  }
  EXPECT_TRUE(examine(folder, true).empty());
  restore(copy, back);
  EXPECT_EQ(kind_of([&] { restore(copy, back); }), base::Kind::exists);
  EXPECT_EQ(kind_of([&] { restore(place.path(), place.path() / "new"); }), base::Kind::invalid);
  Store store(back, Sync::full);
  EXPECT_EQ(get(store, "small"), small);
  EXPECT_EQ(get(store, "large"), large);
  store.database().read(
      [&](Connection& c) { EXPECT_FALSE(find_object(c, find_bucket(c, "b")->id, "later")); });
}

TEST_F(StoreTest, FindsWhatIsWrong) {
  {
    Store store(folder, Sync::full);
    put(store, "large", std::string(200'000, 'l'));
    put(store, "small", "small");
  }
  base::Path file = blob_file(folder);
  std::fstream(file, std::ios::in | std::ios::out) << "x";
  EXPECT_TRUE(examine(folder, false).empty());
  ASSERT_EQ(examine(folder, true).size(), 1u);
  EXPECT_NE(examine(folder, true)[0].find(file.string()), std::string::npos);
  EXPECT_EQ(kind_of([&] { restore(folder, back); }), base::Kind::invalid);
  fs::resize_file(file, 10);
  EXPECT_EQ(examine(folder, false).size(), 1u);
  fs::remove(file);
  EXPECT_EQ(examine(folder, false).size(), 1u);
  Connection(folder / "textmill.db", Connection::Mode::read)
      .script("UPDATE blobs SET uses = 5, data = 'smale' WHERE data IS NOT NULL");
  EXPECT_EQ(examine(folder, true).size(), 3u);
  EXPECT_EQ(examine(place.path(), false).size(), 1u);
}

// What a killed process can leave: a file without a row. It is gone before the upkeep's first round ends.
TEST_F(StoreTest, SweepsAtTheStart) {
  { Store(folder, Sync::full).blobs().stage(std::string(100'000, 'o')); }
  ASSERT_FALSE(blob_file(folder).empty());
  Store store(folder, Sync::full);
  for (int i = 0; i < 500 && !blob_file(folder).empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(blob_file(folder).empty());
}

}  // namespace
}  // namespace textmill::store
