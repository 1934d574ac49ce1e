#include "store/objects.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "base/error.h"
#include "store/blobs.h"
#include "store/schema.h"

namespace textmill::store {
namespace {

struct ObjectsTest : testing::Test {
  base::TemporaryFolder folder;
  Database database{{.file = folder.path() / "test.db", .sync = Sync::process}, schema()};
  Blobs blobs{folder.path() / "objects", Sync::process};
  Bucket bucket = database.write([](Connection& c) { return create_bucket(c, "b", "{}"); });

  void put(const std::string& key, std::string bytes = "x") {
    auto staged = blobs.stage(std::move(bytes));
    database.write([&](Connection& c) {
      put_object(c, bucket.id,
                 {.key = key, .blob = blobs.enter(c, staged), .size = staged.size(), .etag = "e"});
    });
  }
  bool remove(const std::string& key) {
    return database.write([&](Connection& c) { return delete_object(c, bucket.id, key); });
  }
  /// The bytes of an object, wherever they are.
  std::string get(const std::string& key) {
    auto content =
        database.read([&](Connection& c) { return blobs.content(c, find_object(c, bucket.id, key)->blob); });
    if (auto* file = std::get_if<base::Path>(&content)) return base::read_file(*file);
    return std::get<std::string>(content);
  }
  size_t files() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(blobs.folder()))
      count += entry.is_regular_file();
    return count;
  }
  Listing list(const ListQuery& query) {
    return database.read([&](Connection& c) { return list_objects(c, bucket.id, query); });
  }
  /// Every key and common prefix, page by page.
  std::vector<std::string> walk(ListQuery query) {
    std::vector<std::string> all;
    while (true) {
      Listing page = list(query);
      EXPECT_LE(page.objects.size() + page.prefixes.size(), query.limit);
      std::set<std::string> sorted(page.prefixes.begin(), page.prefixes.end());
      for (const auto& object : page.objects) sorted.insert(object.key);
      all.insert(all.end(), sorted.begin(), sorted.end());
      if (!page.truncated) return all;
      query.after = page.last;
    }
  }
};

/// What S3 says, the slow way.
std::vector<std::string> naive(const std::set<std::string>& keys, const std::string& prefix,
                               const std::string& delimiter) {
  std::set<std::string> out;
  for (const auto& key : keys) {
    if (!key.starts_with(prefix)) continue;
    size_t cut = delimiter.empty() ? std::string::npos : key.find(delimiter, prefix.size());
    out.insert(cut == std::string::npos ? key : key.substr(0, cut + delimiter.size()));
  }
  return {out.begin(), out.end()};
}

TEST_F(ObjectsTest, KeepsBytesSmallAndLarge) {
  for (size_t size : {size_t{0}, size_t{1}, Blobs::kMaxRow, Blobs::kMaxRow + 1, size_t{3} << 20}) {
    std::string bytes(size, 'a');
    put("key" + std::to_string(size), bytes);
    EXPECT_EQ(get("key" + std::to_string(size)), bytes);
  }
  EXPECT_EQ(files(), 2u);
  put("twin", std::string(3 << 20, 'a'));
  EXPECT_EQ(files(), 2u);
}

TEST_F(ObjectsTest, WritesPieceByPiece) {
  std::string whole;
  Blobs::Writer writer(blobs);
  for (int i = 0; i < 50; ++i) {
    std::string piece(static_cast<size_t>(i) * 997, static_cast<char>('a' + i % 26));
    writer.write(piece);
    whole += piece;
  }
  auto staged = writer.finish();
  EXPECT_EQ(staged.hash(), blobs.stage(whole).hash());
  EXPECT_EQ(base::read_file(blobs.path(staged.hash())), whole);
}

TEST_F(ObjectsTest, TakesAFileOfSomebodyElse) {
  std::string bytes(100'000, 'q');
  std::string hash = blobs.stage(bytes).hash();
  std::filesystem::remove(blobs.path(hash));
  int asked = 0;
  auto name_it = [&](const base::Path& path) {
    ++asked;
    base::write_file_durably(path, bytes);
  };
  blobs.stage(hash, bytes.size(), name_it);
  blobs.stage(hash, bytes.size(), name_it);
  EXPECT_EQ(asked, 1);
}

TEST_F(ObjectsTest, TakesTheFileOfATwinThatWasQuicker) {
  std::string bytes(100'000, 'q');
  std::string hash = blobs.stage(bytes).hash();
  std::filesystem::remove(blobs.path(hash));
  auto staged = blobs.stage(hash, bytes.size(), [&](const base::Path& path) {
    base::write_file_durably(path, bytes);
    throw base::Error(base::Kind::exists, "taken");
  });
  EXPECT_EQ(base::read_file(blobs.path(staged.hash())), bytes);
}

TEST_F(ObjectsTest, SweepsWhatNobodyUses) {
  std::string big(100'000, 'b');
  put("one", big);
  put("two", big);
  put("small", "s");
  EXPECT_TRUE(remove("one"));
  EXPECT_FALSE(remove("one"));
  blobs.sweep(database);
  EXPECT_EQ(blobs.sweep(database), 0u);
  EXPECT_EQ(get("two"), big);
  remove("two");
  put("small", "t");
  EXPECT_EQ(blobs.sweep(database), 0u);  // a reader may still be on its way to the file
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(blobs.sweep(database), 2u);
  EXPECT_EQ(files(), 0u);
  put("again", big);
  EXPECT_EQ(get("again"), big);
}

TEST_F(ObjectsTest, DoesNotSweepWhatIsOnItsWay) {
  std::string big(100'000, 'b');
  put("one", big);
  remove("one");
  blobs.sweep(database);
  {
    auto staged = blobs.stage(big);
    EXPECT_EQ(blobs.sweep(database), 0u);
    EXPECT_EQ(blobs.sweep_files(database), 0u);
  }
  EXPECT_EQ(blobs.sweep(database), 1u);
}

TEST_F(ObjectsTest, SweepsFilesThatNoRowKnows) {
  put("kept", std::string(100'000, 'k'));
  { blobs.stage(std::string(100'000, 'l')); }
  EXPECT_EQ(files(), 2u);
  EXPECT_EQ(blobs.sweep_files(database), 1u);
  EXPECT_EQ(get("kept"), std::string(100'000, 'k'));
}

TEST_F(ObjectsTest, ListsAsTheSlowWay) {
  std::set<std::string> keys = {"a",          "a/",         "a/b",        "a/b/c",
                                "a//b",       "ab",         "b/1",        "b/2",
                                "b/3",        "b0",         "c\xff/1",    "c\xff/2",
                                "c\xff\xff",  "\xff\xff/x", "\xff\xff/y", std::string("n\0m", 3),
                                "\xC3\xA4/x", "z"};
  for (const auto& key : keys) put(key);
  for (std::string prefix : {"", "a", "a/", "b/", "c\xff", "\xff", "q"})
    for (std::string delimiter : {"", "/", "//", "b"})
      for (size_t limit : {1, 2, 3, 1000})
        EXPECT_EQ(walk({.prefix = prefix, .delimiter = delimiter, .limit = limit}),
                  naive(keys, prefix, delimiter))
            << prefix << " " << delimiter << " " << limit;
  EXPECT_EQ(list({.after = "b/2", .limit = 1}).last, "b/3");
  EXPECT_EQ(list({.prefix = "b/", .after = "a", .limit = 1}).last, "b/1");
}

TEST_F(ObjectsTest, BucketsAreUniqueAndDeletedEmpty) {
  auto kind = [&](auto&& f) {
    try {
      database.write(f);
    } catch (const base::Error& error) { return error.kind(); }
    return base::Kind::internal;
  };
  EXPECT_EQ(kind([](Connection& c) { create_bucket(c, "b", "{}"); }), base::Kind::exists);
  put("key");
  EXPECT_EQ(kind([&](Connection& c) { delete_bucket(c, bucket.id); }), base::Kind::conflict);
  remove("key");
  auto staged = blobs.stage("part");
  database.write([&](Connection& c) {
    create_upload(c, {.id = "u", .bucket = bucket.id, .key = "k"});
    put_part(c, "u", {.number = 1, .blob = blobs.enter(c, staged)});
    delete_bucket(c, bucket.id);
  });
  EXPECT_FALSE(database.read([](Connection& c) { return find_bucket(c, "b"); }));
  EXPECT_EQ(database.read([](Connection& c) { return c.integer("SELECT count(*) FROM parts"); }), 0);
}

TEST_F(ObjectsTest, UploadsHaveParts) {
  auto staged = blobs.stage("part"), other = blobs.stage("other");
  database.write([&](Connection& c) {
    for (std::string id : {"u1", "u2", "u3"})
      create_upload(c, {.id = id, .bucket = bucket.id, .key = id == "u3" ? "a" : "k"});
    put_part(c, "u1", {.number = 2, .blob = blobs.enter(c, staged), .size = 4, .etag = "x"});
    put_part(c, "u1", {.number = 1, .blob = blobs.enter(c, staged)});
    put_part(c, "u1", {.number = 2, .blob = blobs.enter(c, other), .size = 5, .etag = "y"});
  });
  database.read([&](Connection& c) {
    auto parts = list_parts(c, "u1", 0, 10);
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_EQ(parts[1].etag, "y");
    EXPECT_EQ(list_parts(c, "u1", 1, 10).size(), 1u);
    auto uploads = list_uploads(c, bucket.id, "", "", "", 10);
    ASSERT_EQ(uploads.size(), 3u);
    EXPECT_EQ(uploads[0].id, "u3");
    EXPECT_EQ(list_uploads(c, bucket.id, "k", "k", "u1", 10).size(), 1u);
    EXPECT_EQ(c.integer("SELECT uses FROM blobs WHERE hash = ?", Bytes{staged.hash()}), 1);
  });
  database.write([](Connection& c) { delete_upload(c, "u1"); });
  EXPECT_EQ(database.read([](Connection& c) { return c.integer("SELECT sum(uses) FROM blobs"); }), 0);
}

}  // namespace
}  // namespace textmill::store
