#include "cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/log.h"
#include "base/spelling.h"
#include "cli/commands.h"

namespace textmill::cli {

using base::Error;
using base::Kind;

const Given* Values::find(std::string_view name) const {
  auto found = given_.find(name);
  return found == given_.end() ? nullptr : &found->second;
}

std::string Values::text(std::string_view name, std::string_view absent) const {
  const Given* given = find(name);
  return given ? given->text : std::string(absent);
}

std::optional<int64_t> Values::integer(std::string_view name, int64_t min, int64_t max) const {
  const Given* given = find(name);
  if (!given) return std::nullopt;
  int64_t value = 0;
  const char* end = given->text.data() + given->text.size();
  auto [at, error] = std::from_chars(given->text.data(), end, value);
  if (error == std::errc() && at == end && value >= min && value <= max) return value;
  std::string expected =
      max == INT64_MAX ? fmt::format("of at least {}", min) : fmt::format("from {} to {}", min, max);
  throw Error(Kind::invalid,
              fmt::format("{}: '{}' is not a whole number {}", given->where, given->text, expected));
}

bool Values::on(std::string_view name) const {
  const Given* given = find(name);
  return given && (given->text == "true" || given->text == "1");
}

std::optional<double> Values::number(std::string_view name, double min, double max) const {
  const Given* given = find(name);
  if (!given) return std::nullopt;
  double value = 0;
  const char* end = given->text.data() + given->text.size();
  auto [at, error] = std::from_chars(given->text.data(), end, value);
  if (error == std::errc() && at == end && value >= min && value <= max) return value;
  throw Error(Kind::invalid,
              fmt::format("{}: '{}' is not a number from {} to {}", given->where, given->text, min, max));
}

void Values::require(std::string_view option) const {
  if (!has(option)) throw Error(Kind::invalid, fmt::format("--{} is missing", option));
}

void Values::require_one_of(std::string_view positional, std::string_view option) const {
  if (has(positional) && has(option))
    throw Error(Kind::invalid,
                fmt::format("{} '{}' and --{} exclude each other", positional, text(positional), option));
  if (!has(positional) && !has(option))
    throw Error(Kind::invalid, fmt::format("{} or --{} is missing", positional, option));
}

void set_log(const Values& values, std::string_view format, bool waits) {
  base::LogOptions options{.format = base::LogFormat::text, .waits = waits};
  if (values.text("log-format", format) == "json") options.format = base::LogFormat::json;
  options.level = base::parse_level(values.text("log-level", "info")).value_or(base::Level::info);
  base::set_log(options);
}

const std::vector<Command>& commands() {
  static const std::vector<Command> all{
      train_command(),    evaluate_command(), predict_command(), quantize_command(), serve_command(),
      tokenize_command(), describe_command(), up_command(),      env_command(),      ps_command(),
      logs_command(),     stop_command(),     clean_command(),   images_command(),   status_command(),
      down_command(),     keys_command(),     doctor_command(),  backup_command(),   restore_command(),
      coverage_command()};
  return all;
}

const Command& find_command(std::string_view name, std::string_view said) {
  const std::vector<Command>& all = commands();
  if (auto found = std::ranges::find(all, name, &Command::name); found != all.end()) return *found;
  std::vector<std::string_view> names{"completion", "help", "--help", "--version"};
  for (const Command& command : all) names.push_back(command.name);
  throw Error(Kind::invalid, fmt::format("{}: no such command{}", said, base::did_you_mean(name, names)));
}

std::span<const Option> common_options() {
  static constexpr Option kOptions[] = {
      {"log-format", "json|text", "of the log on stderr (text; up: json where that is no terminal)"},
      {"log-level", "debug|info|warning|error", "what is logged: from here on (info)"},
      {"config", "FILE", "values for options (textmill.toml in the working directory, if it is there)"},
      {"help", "", "what the command takes", true, 'h'},
  };
  return kOptions;
}

}  // namespace textmill::cli
