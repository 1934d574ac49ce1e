#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "api/keys.h"
#include "base/turns.h"
#include "fleet/endpoints.h"
#include "fleet/jobs.h"
#include "fleet/news.h"
#include "http/server.h"
#include "records/resources.h"
#include "store/store.h"
#include "wire/call.h"

namespace textmill::api {

using wire::Value;

/// What handlers work on; made once, by the server.
struct Platform {
  store::Store& store;
  Keys& keys;
  const records::Tokens& tokens;
  const records::Resources& resources;
  fleet::Router& router;
  fleet::Requirements& requirements;
  fleet::Containers& containers;
  fleet::Endpoints& endpoints;
  fleet::Jobs& jobs;
  fleet::News& news;
  base::Turns& completions;  // of uploads, by their ids
  const records::Account& account() const { return resources.account(); }
};

/// One request on its way through a handler: verified, decoded, validated.
struct Exchange {
  Platform& platform;
  const wire::Call& call;
  http::Request& request;
  const Caller& caller;
  const wire::Verified& verified;
  const Value& input;

  // What a handler may set besides its output.
  std::optional<decltype(http::Response::body)> payload;  // where the output's payload is a blob
  std::optional<int> status;
  http::Headers headers;

  /// One fact; see store::Database. Deletions, and stops, after which there is less, are taken on a full disk too.
  template <class F>
  auto write(F&& body) {
    std::string_view name = call.operation->name;
    bool frees = name.starts_with("Delete") || name.starts_with("Abort") || name.starts_with("Stop");
    return platform.store.database().write(std::forward<F>(body),
                                           frees ? store::Purpose::frees : store::Purpose::grows);
  }
  template <class F>
  auto read(F&& body) {
    return platform.store.database().read(std::forward<F>(body));
  }

  // Members of the input; absent or null: the default.
  const Value* find(std::string_view member) const;
  std::string text(std::string_view member, std::string_view absent = "") const;
  int64_t integer(std::string_view member, int64_t absent) const;
  bool boolean(std::string_view member, bool absent = false) const;
  std::optional<base::WallTime> time(std::string_view member) const;
  /// The elements of a list; none when it is absent.
  const Value::Array& list(std::string_view member) const;
};

/// The members of any structure, as Exchange has them for the input.
std::string text_in(const Value& structure, std::string_view member, std::string_view absent = "");

enum class Effect {
  real,     // does what AWS does
  stored,   // is accepted, kept and shown; nothing acts on it
  refused,  // answers an error that names the way round
};

/// An operation that is served. `handle` returns the output by the model's shape, or throws wire::Fault or base::Error.
struct Operation {
  std::string_view name;
  Role least;  // the least role that may call it
  Value (*handle)(Exchange&);
  Effect effect = Effect::real;
};

/// The operations of one service in one file, and what their bodies may be. A service may have several families.
struct Family {
  std::string_view service;  // its id in the models
  std::span<const Operation> operations;
  /// From the head of a request; null: up to 16 MiB.
  http::BodyRules (*body)(const http::Request& head, const wire::Call& call) = nullptr;
};

/// All of them; nothing registers itself.
std::span<const Family* const> families();

extern const Family kSts, kIam, kModels, kTrainingJobs, kEndpoints, kRuntime, kSagemakerTags, kLogs,
    kLogEvents, kCloudwatch, kMetricData;
extern const Family kS3Buckets, kS3Settings, kS3Objects, kS3Listing, kS3Copy, kS3Multipart, kS3Uploads;

}  // namespace textmill::api
