#include "records/resources.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "base/error.h"
#include "records/search.h"
#include "store/schema.h"

namespace textmill::records {
namespace {

using format::Json;
using store::Connection;

constexpr Transition kTransitions[] = {{"Creating", "InService"}, {"InService", "Deleting"}};
constexpr Kind kThing{
    .name = "thing",
    .arn = "sagemaker:{region}:{account}:thing/{name}",
    .any_case = true,
    .missing = base::Kind::not_found,
    .taken = base::Kind::exists,
    .missing_text = "no {name} at {arn}",
    .taken_text = "{arn} is there",
    .defaults = R"({"Size": 3})",
    .status = "Creating",
    .transitions = kTransitions,
    .max_tags = 3,
};

struct ResourcesTest : testing::Test {
  base::TemporaryFolder folder;
  store::Database database{{.file = folder.path() / "test.db", .sync = store::Sync::process},
                           store::schema()};
  Tokens tokens{"secret"};
  Resources resources{{}, tokens};

  Resource create(const NewResource& wanted) {
    return database.write([&](Connection& c) { return resources.create(c, kThing, wanted); });
  }
  Page list(const ListQuery& query) {
    return database.read([&](Connection& c) { return resources.list(c, kThing, query); });
  }
  std::vector<std::string> walk(ListQuery query) {
    std::vector<std::string> names;
    do {
      Page page = list(query);
      EXPECT_LE(page.resources.size(), query.limit);
      for (const auto& resource : page.resources) names.push_back(resource.name);
      query.token = page.next;
    } while (!query.token.empty());
    return names;
  }
};

template <class F>
std::pair<base::Kind, std::string> failure(F&& f) {
  try {
    f();
  } catch (const base::Error& error) { return {error.kind(), error.what()}; }
  return {base::Kind::internal, "nothing was thrown"};
}

using Failure = std::pair<base::Kind, std::string>;

TEST_F(ResourcesTest, CreatesFindsUpdatesRemoves) {
  Resource made = create({.name = "My-Thing", .body = Json::object({{"Image", "i"}})});
  const std::string arn = "arn:aws:sagemaker:us-east-1:123456789012:thing/my-thing";
  EXPECT_EQ(resources.arn(kThing, "My-Thing"), arn);
  EXPECT_EQ(failure([&] { create({.name = "my-thing"}); }), Failure(base::Kind::exists, arn + " is there"));
  Resource found = database.read([&](Connection& c) { return resources.get(c, kThing, "MY-THING"); });
  EXPECT_EQ(found.name, "My-Thing");
  EXPECT_EQ(found.created, made.created);
  EXPECT_EQ(found.body, Json::object({{"Image", "i"}, {"Size", 3}}));
  found.body.set("Size", 4);
  database.write([&](Connection& c) { resources.update(c, found); });
  Resource changed = database.read([&](Connection& c) { return resources.get(c, kThing, "my-thing"); });
  EXPECT_EQ(*changed.body.find("Size"), Json(4));
  EXPECT_GT(changed.modified, changed.created);
  database.write([&](Connection& c) { resources.remove(c, kThing, "my-Thing"); });
  EXPECT_EQ(failure([&] { database.read([&](Connection& c) { resources.get(c, kThing, "my-Thing"); }); }),
            Failure(base::Kind::not_found, "no my-Thing at " + arn));
  EXPECT_EQ(failure([&] { database.write([&](Connection& c) { resources.remove(c, kThing, "x"); }); }).first,
            base::Kind::not_found);
}

TEST_F(ResourcesTest, OneTokenIsOneCreation) {
  Resource first = create({.name = "a", .body = Json::object({{"x", 1}}), .token = "t"});
  EXPECT_EQ(create({.name = "a", .body = Json::object({{"x", 1}}), .token = "t"}).id, first.id);
  EXPECT_EQ(failure([&] {
              create({.name = "a", .body = Json::object({{"x", 2}}), .token = "t"});
            }).first,
            base::Kind::conflict);
  EXPECT_EQ(failure([&] {
              create({.name = "a", .body = Json::object({{"x", 1}}), .token = "u"});
            }).first,
            base::Kind::exists);
}

TEST_F(ResourcesTest, OnlyLegalTransitions) {
  Resource thing = create({.name = "a"});
  auto become = [&](std::string_view status) {
    database.write([&](Connection& c) { resources.set_status(c, kThing, thing, status); });
  };
  EXPECT_EQ(failure([&] { become("Deleting"); }),
            Failure(base::Kind::conflict, "thing a is Creating and cannot become Deleting."));
  become("InService");
  become("Deleting");
  EXPECT_EQ(database.read([&](Connection& c) { return resources.get(c, kThing, "a").status; }), "Deleting");
}

TEST_F(ResourcesTest, ListsInEveryOrder) {
  std::vector<std::string> names;
  for (std::string name : {"b", "a", "d", "C", "e"}) names.push_back(create({.name = name}).name);
  for (size_t limit : {1, 2, 5, 100}) {
    EXPECT_EQ(walk({.sort = SortBy::created, .descending = false, .limit = limit}), names);
    EXPECT_EQ(walk({.sort = SortBy::created, .limit = limit}), std::vector(names.rbegin(), names.rend()));
    EXPECT_EQ(walk({.sort = SortBy::name, .descending = false, .limit = limit}),
              (std::vector<std::string>{"a", "b", "C", "d", "e"}));
    EXPECT_EQ(walk({.sort = SortBy::name, .limit = limit}),
              (std::vector<std::string>{"e", "d", "C", "b", "a"}));
    EXPECT_EQ(walk({.sort = SortBy::status, .descending = false, .limit = limit}), names);
    EXPECT_EQ(walk({.sort = SortBy::modified, .limit = limit}), std::vector(names.rbegin(), names.rend()));
  }
}

TEST_F(ResourcesTest, Filters) {
  std::vector<Resource> made;
  for (std::string name : {"train-a", "train-b", "other"}) made.push_back(create({.name = name}));
  database.write([&](Connection& c) { resources.set_status(c, kThing, made[1], "InService"); });
  using Names = std::vector<std::string>;
  EXPECT_EQ(walk({.name_contains = "RAIN-"}), (Names{"train-b", "train-a"}));
  EXPECT_EQ(walk({.name_prefix = "other"}), Names{"other"});
  EXPECT_EQ(walk({.name_prefix = "rain"}), Names{});
  EXPECT_EQ(walk({.status = "InService"}), Names{"train-b"});
  EXPECT_EQ(walk({.created_from = made[1].created, .created_before = made[2].created}), Names{"train-b"});
  EXPECT_EQ(walk({.modified_from = made[1].modified}), Names{"train-b"});
}

TEST_F(ResourcesTest, PagesWhileOthersCreate) {
  for (int i = 0; i < 250; ++i) create({.name = "old" + std::to_string(i)});
  std::jthread creator([&](std::stop_token stop) {
    for (int i = 0; !stop.stop_requested(); ++i) create({.name = "new" + std::to_string(i)});
  });
  for (SortBy sort : {SortBy::name, SortBy::created}) {
    auto names = walk({.sort = sort, .name_prefix = "old", .limit = 7});
    EXPECT_EQ(names.size(), 250u);
    EXPECT_EQ(std::set(names.begin(), names.end()).size(), 250u);
  }
}

TEST_F(ResourcesTest, TokensAreOursOrRefused) {
  for (int i = 0; i < 5; ++i) create({.name = std::to_string(i)});
  std::string token = list({.limit = 2, .scope = "ListThings"}).next;
  EXPECT_EQ(list({.limit = 2, .token = token, .scope = "ListThings"}).resources.size(), 2u);
  auto refused = [&](const ListQuery& query) {
    return failure([&] { list(query); }).first == base::Kind::invalid;
  };
  EXPECT_TRUE(refused({.token = token, .scope = "ListOthers"}));
  EXPECT_TRUE(refused({.sort = SortBy::name, .token = token, .scope = "ListThings"}));
  EXPECT_TRUE(refused({.descending = false, .token = token, .scope = "ListThings"}));
  for (size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_TRUE(refused({.token = changed, .scope = "ListThings"})) << i;
  }
  for (std::string wrong : {"x", "====", "AAAA", "\xff", "MjAyNg=="})
    EXPECT_TRUE(refused({.token = wrong})) << wrong;
}

TEST_F(ResourcesTest, TagsComeAndGo) {
  Resource thing = create({.name = "a", .tags = {{"k", "v"}, {"team", "x"}}});
  database.write([&](Connection& c) {
    resources.add_tags(c, kThing, thing.id, {{"k", "w"}, {"n", ""}});
    resources.remove_tags(c, thing.id, {"team", "never"});
  });
  EXPECT_EQ(database.read([&](Connection& c) { return resources.tags(c, thing.id); }),
            (Tags{{"k", "w"}, {"n", ""}}));
  auto add = [&] {
    database.write([&](Connection& c) { resources.add_tags(c, kThing, thing.id, {{"1", ""}, {"2", ""}}); });
  };
  EXPECT_EQ(failure(add).first, base::Kind::limit);
  EXPECT_EQ(database.read([&](Connection& c) { return resources.tags(c, thing.id).size(); }), 2u);
  database.write([&](Connection& c) { resources.remove(c, kThing, "a"); });
  EXPECT_EQ(database.read([](Connection& c) { return c.integer("SELECT count(*) FROM tags"); }), 0);
}

TEST_F(ResourcesTest, FindsByArn) {
  database.write([&](Connection& c) { resources.create(c, kModel, {.name = "M"}); });
  database.read([&](Connection& c) {
    auto [kind, model] = resources.find_by_arn(c, "arn:aws:sagemaker:us-east-1:123456789012:model/m");
    EXPECT_EQ(kind, &kModel);
    ASSERT_TRUE(model);
    EXPECT_EQ(model->name, "M");
    EXPECT_FALSE(resources.find_by_arn(c, "arn:aws:sagemaker:us-east-1:123456789012:model/n").second);
    EXPECT_EQ(resources.find_by_arn(c, "arn:aws:sagemaker:us-west-2:123456789012:model/m").first, nullptr);
  });
}

TEST(Search, MatchesExpressions) {
  const Json document = format::parse_json(
      R"({"Name": "abc", "Size": 7, "CreationTime": 1767225600.5, "Tags": [{"Key": "team", "Value": "nlp"}],
          "Text": {"epochs": "10"}, "FinalMetricDataList": [{"MetricName": "a:b.c", "Value": 0.8}],
          "Channels": [{"Name": "train", "Rows": 10}, {"Name": "test", "Rows": 2}], "Ready": true})",
      "document");
  struct Case {
    const char* expression;
    bool matches;
  } const cases[] = {
      {R"({})", true},
      {R"({"Filters": [{"Name": "Name", "Operator": "Equals", "Value": "abc"}]})", true},
      {R"({"Filters": [{"Name": "Name", "Value": "ab"}]})", false},
      {R"({"Filters": [{"Name": "Name", "Operator": "Contains", "Value": "bc"}]})", true},
      {R"({"Filters": [{"Name": "Size", "Operator": "GreaterThan", "Value": "6.5"}]})", true},
      {R"({"Filters": [{"Name": "Size", "Operator": "LessThanOrEqualTo", "Value": "6"}]})", false},
      {R"({"Filters": [{"Name": "Size", "Operator": "LessThan", "Value": "many"}]})", false},
      {R"({"Filters": [{"Name": "Ready", "Value": "true"}]})", true},
      {R"({"Filters": [{"Name": "CreationTime", "Operator": "GreaterThanOrEqualTo", "Value": "2026-01-01T00:00:00Z"}]})",
       true},
      {R"({"Filters": [{"Name": "Text.epochs", "Operator": "GreaterThan", "Value": "5"}]})", true},
      {R"({"Filters": [{"Name": "Text.epochs", "Operator": "Equals", "Value": "10.0"}]})", true},
      {R"({"Filters": [{"Name": "Text.epochs", "Operator": "Equals", "Value": "nan"}]})", false},
      {R"({"Filters": [{"Name": "Metrics.a:b.c", "Operator": "GreaterThan", "Value": "0.75"}]})", true},
      {R"({"Filters": [{"Name": "Metrics.loss", "Operator": "Exists"}]})", false},
      {R"({"Filters": [{"Name": "CreationTime", "Operator": "LessThan", "Value": "2026-01-01T00:00:00Z"}]})",
       false},
      {R"({"Filters": [{"Name": "Tags.team", "Value": "nlp"}]})", true},
      {R"({"Filters": [{"Name": "Tags.other", "Operator": "NotExists"}]})", true},
      {R"({"Filters": [{"Name": "Channels.Name", "Value": "test"}]})", true},
      {R"({"Filters": [{"Name": "Name", "Operator": "In", "Value": "x,abc"}]})", true},
      {R"({"Filters": [{"Name": "Name", "Operator": "NotEquals", "Value": "abc"}]})", false},
      {R"({"Filters": [{"Name": "Name", "Value": "no"}, {"Name": "Size", "Value": "7"}]})", false},
      {R"({"Operator": "Or", "Filters": [{"Name": "Name", "Value": "no"}, {"Name": "Size", "Value": "7"}]})",
       true},
      {R"({"SubExpressions": [{"Operator": "Or", "Filters": [{"Name": "Name", "Value": "no"}]}]})", false},
      {R"({"NestedFilters": [{"NestedPropertyName": "Channels", "Filters":
           [{"Name": "Channels.Name", "Value": "test"}, {"Name": "Channels.Rows", "Value": "2"}]}]})",
       true},
      {R"({"NestedFilters": [{"NestedPropertyName": "Channels", "Filters":
           [{"Name": "Channels.Name", "Value": "test"}, {"Name": "Channels.Rows", "Value": "10"}]}]})",
       false},
  };
  for (const Case& c : cases)
    EXPECT_EQ(matches(document, format::parse_json(c.expression, "case")), c.matches) << c.expression;
  EXPECT_EQ(failure([&] {
              matches(document, format::parse_json(R"({"Filters": [{"Operator": "Like"}]})", ""));
            }).first,
            base::Kind::invalid);
}

TEST(Search, Sorts) {
  auto names = [](std::string_view by, bool descending) {
    std::vector<Json> documents =
        *format::parse_json(
             R"([{"N": "a", "P": {"e": "9"}, "T": 3}, {"N": "b", "T": 2}, {"N": "c", "P": {"e": "10"}}, {"N": "d", "P": {"e": "x"}}])",
             "documents")
             .array();
    sort_by(documents, by, descending);
    std::string out;
    for (const Json& one : documents) out += *one.find("N")->string();
    return out;
  };
  EXPECT_EQ(names("P.e", false), "acdb");
  EXPECT_EQ(names("P.e", true), "dcab");
  EXPECT_EQ(names("T", false), "bacd");
  EXPECT_EQ(names("N", true), "dcba");
  EXPECT_EQ(failure([&] { names("nonsense", false); }).first, base::Kind::invalid);
}

}  // namespace
}  // namespace textmill::records
