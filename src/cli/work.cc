#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/server_call.h"
#include "fleet/images.h"

// Commands about what runs on a server. On a terminal they print for eyes, else JSON.

namespace textmill::cli {

namespace {

using format::Json;
using format::JsonView;

constexpr Option kKind{"kind", "job|endpoint", "where both have that name", true};

bool for_eyes() { return ::isatty(STDOUT_FILENO) == 1; }

fmt::text_style style_of(std::string_view status) {
  if (status == "Failed") return fg(fmt::terminal_color::red);
  if (status == "InService" || status == "Completed") return fg(fmt::terminal_color::green);
  return fg(fmt::terminal_color::yellow);
}

void print(const Json& value) {
  Output out;
  out.line() += format::to_pretty_text(value);
  out.finish();
}

/// Rows under a head, each column as wide as its widest cell; the column `coloured` by what it says.
void print_table(const std::vector<std::vector<std::string>>& rows, size_t coloured) {
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  Output out;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      bool last = i + 1 == row.size();
      std::string cell = last ? row[i] : fmt::format("{:{}}  ", row[i], widths[i]);
      out.line() += i == coloured && &row != &rows[0] ? fmt::format(style_of(row[i]), "{}", cell) : cell;
    }
    out.line() += '\n';
  }
  out.finish();
}

int ps(const Values& values) {
  Json answer = call_server(data_folder(values), "GET", "running");
  if (!for_eyes()) return print(*answer.find("running")), 0;
  std::vector<std::vector<std::string>> rows{{"KIND", "NAME", "STATUS", "SINCE", ""}};
  for (const auto& one : JsonView(answer, "running").at("running").array())
    rows.push_back({one.at("kind").string(), one.at("name").string(), one.at("status").string(),
                    one.at("since").string(), one.get_string("message", "")});
  print_table(rows, 2);
  return 0;
}

void print_lines(const JsonView& answer) {
  Output out;
  for (const auto& event : answer.at("events").array()) {
    if (!for_eyes()) {
      out.line() += format::to_text(event.value()) + "\n";
      continue;
    }
    std::string stream = event.at("stream").string();
    if (answer.at("kind").string() == "job") stream = stream.substr(0, stream.rfind('-'));  // a time
    out.line() += fmt::format(fg(fmt::terminal_color::cyan), "{}", stream);
    out.line() += " " + event.at("text").string() + "\n";
  }
  out.finish();
}

Json what_is_named(const Values& values) {
  return Json::object({{"name", values.text("NAME")}, {"kind", values.text("kind")}});
}

int logs(const Values& values) {
  base::Path folder = data_folder(values);
  Json asked = what_is_named(values), answer;
  for (bool again = false;; again = true) {
    try {
      answer = call_server(folder, "POST", "logs", asked);
    } catch (const base::Error& error) {
      if (again && error.kind() == base::Kind::not_found) return 0;  // it was deleted: that is its end
      throw;
    }
    asked.set("kind", *answer.find("kind"));
    JsonView view(answer, "logs");
    print_lines(view);
    if (const Json* after = answer.find("after")) asked.set("after", *after);
    if (view.at("more").boolean()) continue;
    if (view.at("over").boolean() || !values.on("follow")) {
      std::string reason = view.at("reason").string();
      if (!reason.empty()) fmt::print(stderr, "{}: {}\n", view.at("status").string(), reason);
      return 0;
    }
    call_server(folder, "POST", "news", Json::object({{"news", *answer.find("news")}}));
  }
}

int stop(const Values& values) {
  call_server(data_folder(values), "POST", "stop", what_is_named(values));
  return 0;
}

int clean(const Values& values) {
  base::Path folder = data_folder(values);
  if (values.on("free")) return print(call_server(folder, "POST", "clean")), 0;
  Json answer = call_server(folder, "GET", "caches");
  if (!for_eyes()) return print(*answer.find("caches")), 0;
  std::vector<std::vector<std::string>> rows{{"WHAT", "MIB", "IN USE", "NAME"}};
  for (const auto& one : JsonView(answer, "caches").at("caches").array())
    rows.push_back({one.at("what").string(),
                    fmt::format("{:.1f}", static_cast<double>(one.at("bytes").integer()) / 1048576),
                    one.at("in_use").boolean() ? "yes" : "no", one.at("name").string()});
  print_table(rows, rows[0].size());
  return 0;
}

int images(const Values& values) {
  const base::Path engine = fleet::find_engine(values.text("container-engine"));
  const std::string others = engine.empty() ? "containers: podman and docker are not there"
                                            : "containers, as " + engine.string() + " has them";
  std::vector<std::vector<std::string>> rows{{"IMAGE", "TRAINS", "SERVES", ""}};
  Json::Array all;
  auto add = [&](std::string_view name, bool trains, bool serves, std::string_view help) {
    rows.push_back({std::string(name), trains ? "yes" : "", serves ? "yes" : "", std::string(help)});
    all.push_back(Json::object({{"image", name}, {"trains", trains}, {"serves", serves}, {"help", help}}));
  };
  for (const auto& image : fleet::images())
    add(image.name, !image.train.empty(), !image.serve.empty(), image.help);
  add("any other", !engine.empty(), !engine.empty(), others);
  for_eyes() ? print_table(rows, rows[0].size()) : print(all);
  return 0;
}

}  // namespace

Command ps_command() { return {"ps", "training jobs that are not over, and endpoints", {}, {kDataDir}, ps}; }

Command logs_command() {
  return {"logs",
          "what a training job or an endpoint says; of one that failed, why",
          {{"NAME", "of the job or endpoint"}},
          {{"follow", "", "go on until it is over", true, 'f'}, kKind, kDataDir},
          logs};
}

Command stop_command() {
  return {"stop",
          "ends a training job (its artifact is kept) or takes an endpoint out of service",
          {{"NAME", "of the job or endpoint"}},
          {kKind, kDataDir},
          stop};
}

Command clean_command() {
  return {
      "clean",
      "what the server holds beside its data: unpacked models and images, installed requirements, what runs",
      {},
      {{"free", "", "remove what is not in use", true}, kDataDir},
      clean};
}

Command images_command() { return {"images", "what can train, and serve", {}, {kContainerEngine}, images}; }

}  // namespace textmill::cli
