#include "api/running.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>

#include <filesystem>
#include <set>

#include "fleet/attempt.h"
#include "fleet/containers.h"
#include "fleet/ingest.h"
#include "fleet/model_cache.h"
#include "fleet/requirements.h"
#include "records/attempts.h"
#include "records/training_job.h"
#include "store/logs.h"

namespace textmill::api {

using format::Json;
using http::Request;
using http::Response;
using records::Resource;

namespace {

constexpr size_t kLines = 2000;  // of a page of logs
constexpr std::pair<const char*, const char*> kAttempts[] = {{"job", "jobs"}, {"instance", "attempts"}};

/// Whether the folder of an attempt is one of a row, which comes first, or something runs there.
bool is_needed(Platform& platform, const base::Path& attempt) {
  std::string name = attempt.filename();
  return fleet::is_alive({attempt}) || platform.store.database().read([&](store::Connection& c) {
    return records::attempt_is_open(c, name).value_or(false) ||
           platform.resources.find(c, records::kReplica, name).has_value();
  });
}

Response json(const Json& value) {
  return {.headers = {{"Content-Type", "application/json"}}, .body = format::to_text(value)};
}

Json shown(std::string_view kind, const Resource& one) {
  Json out = Json::object({{"kind", kind},
                           {"name", one.name},
                           {"status", one.status},
                           {"since", base::iso8601(one.created)},
                           {"secondary", text_in(one.body, "SecondaryStatus")}});
  if (const Json* list = one.body.find("SecondaryStatusTransitions"))
    out.set("message", text_in(list->array()->back(), "StatusMessage"));
  else
    out.set("message", text_in(one.body, "FailureReason"));
  return out;
}

/// What follows logs, and where they are.
struct Source {
  std::string_view kind;
  Resource resource;
  std::string group, prefix;
  bool over = false;
};

/// Of a job and an endpoint of one name the one that is not over, unless `kind` says which.
Source source_of(Platform& platform, store::Connection& c, const std::string& name, std::string_view kind) {
  std::vector<Source> found;
  if (auto job = platform.resources.find(c, records::kTrainingJob, name); job && kind != "endpoint")
    found.push_back({"job", *job, std::string(fleet::kTrainingLogGroup), job->name + "/",
                     !records::TrainingJobs::is_live(job->status)});
  if (auto endpoint = platform.resources.find(c, records::kEndpoint, name); endpoint && kind != "job")
    found.push_back({"endpoint", *endpoint, "/aws/sagemaker/Endpoints/" + endpoint->name, "",
                     endpoint->status == "Failed"});
  if (found.size() == 2 && found[0].over == found[1].over)
    throw base::Error(
        base::Kind::invalid,
        fmt::format("{} is a training job and an endpoint: --kind job or --kind endpoint", name));
  if (found.empty())
    throw base::Error(base::Kind::not_found,
                      fmt::format("there is no {} {}",
                                  kind == "job"        ? "training job"
                                  : kind == "endpoint" ? "endpoint"
                                                       : "training job and no endpoint",
                                  name));
  return found.size() == 2 && found[0].over ? found[1] : found[0];
}

/// Its streams: their numbers, and their names without what all have in common.
std::map<int64_t, std::string> streams_of(Platform& platform, store::Connection& c, const Source& source) {
  std::map<int64_t, std::string> out;
  auto group = platform.resources.find(c, records::kLogGroup, source.group);
  if (!group) return out;
  for (const auto& stream : store::list_log_streams(c, group->id, {.prefix = source.prefix, .limit = 1000}))
    out[stream.id] = stream.name.substr(source.prefix.size());
  return out;
}

/// How far each stream was read. What one says may come in after what another said later: no place holds for all.
using Places = std::map<int64_t, store::LogPosition>;

Places places_in(const format::JsonView& body) {
  Places places;
  auto after = body.find("after");
  if (!after) return places;
  for (const auto& place : after->array()) {
    auto numbers = place.integers(INT64_MIN, INT64_MAX);
    if (numbers.size() != 3) place.fail("three numbers");
    places[numbers[1]] = {numbers[0], numbers[1], numbers[2]};
  }
  return places;
}

Json to_json(const Places& places) {
  Json::Array out;
  for (const auto& [stream, at] : places)
    out.push_back(Json::array(std::vector{at.time, at.stream, at.sequence}));
  return out;
}

/// The next events of streams beyond their places, in the order of their times, and the places beyond them. True if there
/// are more.
bool read_on(store::Connection& c, const std::map<int64_t, std::string>& streams, int64_t from,
             Places& places, std::vector<store::FoundEvent>& events) {
  std::optional<store::LogPosition> end;  // some stream was read as far as here only
  for (const auto& [id, name] : streams) {
    store::EventQuery query{
        .streams = {id}, .from = from, .limit = std::max<size_t>(20, kLines / streams.size())};
    if (auto place = places.find(id); place != places.end()) query.after = place->second;
    auto found = store::find_log_events(c, query);
    if (found.next) end = std::min(end.value_or(*found.next), *found.next);
    std::ranges::move(found.events, std::back_inserter(events));
  }
  std::ranges::sort(events, {}, &store::FoundEvent::position);
  if (end) std::erase_if(events, [&](const store::FoundEvent& one) { return one.position() > *end; });
  for (const auto& one : events) places[one.stream] = one.position();
  if (end) places[end->stream] = *end;
  return end.has_value();
}

}  // namespace

Response running_page(Platform& platform, const Request&) {
  Json::Array all;
  platform.store.database().read([&](store::Connection& c) {
    for (const auto& job : platform.resources.live(c, records::kTrainingJob))
      all.push_back(shown("job", job));
    records::ListQuery query{.descending = false, .limit = 1000, .bodies = true};
    for (const auto& endpoint : platform.resources.list(c, records::kEndpoint, query).resources)
      all.push_back(shown("endpoint", endpoint));
  });
  return json(Json::object({{"running", std::move(all)}}));
}

Response logs_page(Platform& platform, const Request& request) {
  Json body = format::parse_json(request.body.text(), "request");
  format::JsonView view(body, "request");
  auto places = places_in(view);
  Json out =
      Json::object({{"news", static_cast<int64_t>(platform.news.version())}});  // before what it may miss
  Json::Array events;
  platform.store.database().read([&](store::Connection& c) {
    Source source = source_of(platform, c, view.at("name").string(), view.get_string("kind", ""));
    auto streams = streams_of(platform, c, source);
    // Streams of a job that had its name before may be there still.
    auto begun = source.resource.created.time_since_epoch();
    std::vector<store::FoundEvent> found;
    bool more = read_on(c, streams, std::chrono::duration_cast<std::chrono::milliseconds>(begun).count(),
                        places, found);
    for (const auto& one : found)
      events.push_back(Json::object(
          {{"time", one.event.time}, {"stream", streams[one.stream]}, {"text", one.event.message}}));
    out.set("kind", source.kind);
    out.set("status", source.resource.status);
    out.set("over", source.over && !more);
    out.set("more", more);
    out.set("reason", text_in(source.resource.body, "FailureReason"));
  });
  out.set("events", std::move(events));
  out.set("after", to_json(places));
  return json(out);
}

Response news_page(Platform& platform, const Request& request) {
  Json body = format::parse_json(request.body.text(), "request");
  auto seen = static_cast<uint64_t>(format::JsonView(body, "request").at("news").integer(0));
  return {.body = http::Later{[&news = platform.news, seen](Response& answer, const http::Waker& waker) {
            if (!news.since(seen, waker)) return false;
            answer = json(Json::object({{"news", static_cast<int64_t>(news.version())}}));
            return true;
          }}};
}

Response stop_page(Platform& platform, const Request& request) {
  Json body = format::parse_json(request.body.text(), "request");
  format::JsonView view(body, "request");
  std::string name = view.at("name").string(), kind = view.get_string("kind", "");
  records::TrainingJobs jobs(platform.resources);
  platform.store.database().write([&](store::Connection& c) {
    Source source = source_of(platform, c, name, kind);
    if (source.kind == "job") {
      jobs.stop(c, name);
    } else {
      if (source.resource.status == "Deleting")
        throw base::Error(base::Kind::invalid,
                          fmt::format("the endpoint {} is {}", name, source.resource.status));
      platform.resources.set_status(c, records::kEndpoint, source.resource, "Deleting");
    }
  });
  platform.jobs.wake();
  platform.endpoints.wake();
  return json(Json::object({}));
}

Response caches_page(Platform& platform, const Request&) {
  Json::Array all;
  auto show = [&](std::string_view what, const std::vector<fleet::CacheEntry>& entries, const auto& in_use) {
    for (const auto& entry : entries)
      all.push_back(Json::object(
          {{"what", what}, {"name", entry.name}, {"bytes", entry.bytes}, {"in_use", in_use(entry.name)}}));
  };
  auto models = platform.endpoints.models().in_use(), packages = platform.requirements.in_use(),
       images = platform.containers.in_use();
  show("model", platform.endpoints.models().entries(),
       [&](const auto& name) { return models.contains(name); });
  show("image", platform.containers.entries(), [&](const auto& name) { return images.contains(name); });
  show("requirements", platform.requirements.entries(),
       [&](const auto& name) { return packages.contains(name); });
  // What runs, and what its user put there: they are no caches, but take their room.
  const base::Path& folder = platform.store.folder();
  for (const auto& [what, in] : kAttempts) {
    base::Path attempts = folder / in;
    show(what, fleet::cache_entries(attempts),
         [&](const std::string& name) { return is_needed(platform, attempts / name); });
  }
  show("environment", fleet::cache_entries(folder / "environments"), [](const std::string&) { return true; });
  return json(Json::object({{"caches", std::move(all)}}));
}

Response clean_page(Platform& platform, const Request&) {
  uint64_t freed =
      platform.endpoints.models().trim(0) + platform.requirements.trim(0) + platform.containers.trim(0);
  for (const auto& [what, in] : kAttempts)
    for (const auto& entry : fleet::cache_entries(platform.store.folder() / in)) {
      base::Path attempt = platform.store.folder() / in / entry.name;
      if (is_needed(platform, attempt)) continue;
      fleet::remove_attempt({attempt});
      freed += entry.bytes;
    }
  return json(Json::object({{"freed", freed}}));
}

}  // namespace textmill::api
