#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "format/json.h"
#include "records/kind.h"
#include "records/tokens.h"
#include "store/connection.h"

namespace textmill::records {

struct Resource {
  int64_t id = 0;
  std::string name;  // as its creator wrote it
  base::WallTime created, modified;
  std::string status;
  format::Json body;  // an object: what it was created with, and the defaults
};

using Tags = std::map<std::string, std::string>;

struct NewResource {
  std::string name;
  format::Json body;
  Tags tags;
  std::string token;  // of the client: the same creation twice under one token is one creation
};

enum class SortBy { name, created, modified, status };

struct ListQuery {
  SortBy sort = SortBy::created;
  bool descending = true;
  std::string name_contains, name_prefix, status;              // empty: any
  std::optional<base::WallTime> created_from, created_before;  // [from, before)
  std::optional<base::WallTime> modified_from, modified_before;
  size_t limit = 100;
  std::string token;    // where the page before ended; empty: at the beginning
  std::string scope;    // the operation, for the token
  bool bodies = false;  // whether the bodies are wanted too
};

struct Page {
  std::vector<Resource> resources;
  std::string next;  // token; empty: this was all
};

/// Creates, finds, lists, tags and deletes resources of every kind. The only writer of their rows. Functions take a
/// Connection, so that several can be one fact.
class Resources {
 public:
  Resources(Account account, const Tokens& tokens) : account_(std::move(account)), tokens_(tokens) {}
  const Account& account() const { return account_; }

  std::string arn(const Kind& kind, std::string_view name) const {
    return records::arn(kind, account_, name);
  }

  /// Throws kind.taken; limit for too many tags; conflict for a token that stood for another creation.
  Resource create(store::Connection& connection, const Kind& kind, const NewResource& wanted) const;
  std::optional<Resource> find(store::Connection& connection, const Kind& kind, std::string_view name) const;
  /// Throws kind.missing.
  Resource get(store::Connection& connection, const Kind& kind, std::string_view name) const;
  /// The resource that an ARN names, and its kind; null if there is none.
  std::pair<const Kind*, std::optional<Resource>> find_by_arn(store::Connection& connection,
                                                              std::string_view arn) const;
  /// Those whose status says that something is to happen to them still, in the order of their creation.
  std::vector<Resource> live(store::Connection& connection, const Kind& kind) const;
  /// Writes the body, and now as the time of the change.
  void update(store::Connection& connection, const Resource& resource) const;
  /// Throws conflict for a transition that the kind does not list.
  void set_status(store::Connection& connection, const Kind& kind, Resource& resource,
                  std::string_view status) const;
  /// With its tags. Throws kind.missing.
  void remove(store::Connection& connection, const Kind& kind, std::string_view name) const;

  /// Each resource once and in order, however many are created meanwhile. Throws invalid for a token that is not ours.
  Page list(store::Connection& connection, const Kind& kind, const ListQuery& query) const;

  /// Throws limit beyond kind.max_tags; then nothing is changed.
  void add_tags(store::Connection& connection, const Kind& kind, int64_t resource, const Tags& tags) const;
  void remove_tags(store::Connection& connection, int64_t resource,
                   const std::vector<std::string>& keys) const;
  Tags tags(store::Connection& connection, int64_t resource) const;

  base::Error missing(const Kind& kind, std::string_view name) const;

 private:
  base::Error taken(const Kind& kind, std::string_view name) const;
  std::pair<int64_t, std::string> where_it_ended(const ListQuery& query, const std::string& scope) const;

  const Account account_;
  const Tokens& tokens_;
};

}  // namespace textmill::records
