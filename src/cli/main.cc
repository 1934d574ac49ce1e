#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/version.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/output.h"
#include "cli/parse.h"
#include "fleet/runner.h"

namespace textmill::cli {
namespace {

using Arguments = std::span<const std::string_view>;

void print(std::string_view text) {
  Output out;
  out.line() += text;
  out.finish();
}

void add_surroundings(const Command& command, Values& values) {
  add_environment(command, values, [](const char* name) -> const char* { return std::getenv(name); });
  if (values.has("config") || std::filesystem::exists("textmill.toml"))
    add_configuration(command, values, values.text("config", "textmill.toml"));
}

int run_container(const Command& command) {
  return command.container_role([&] {
    Values values;
    add_surroundings(command, values);
    check_choices(command, values);
    set_log(values, "json");
    return values;
  });
}

void refuse_more(Arguments arguments, size_t most) {
  if (arguments.size() > most)
    throw base::Error(base::Kind::invalid, fmt::format("'{}': one argument too many", arguments[most]));
}

/// A closed one would become that of the first file that is opened, which the log would then go to.
void open_standard_descriptors() {
  for (int fd : {0, 1, 2})
    if (::fcntl(fd, F_GETFD) < 0)
      ::open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR);  // results that are lost are said
}

/// Where it cannot be written, nobody can be told.
void report(const std::exception& error) {
  if (base::log_format() == base::LogFormat::json)
    base::log(base::Level::error, "failed", {{"error", error.what()}});
  else
    base::write_all(STDERR_FILENO, fmt::format("textmill: {}\n", error.what()));
}

int run(Arguments arguments) {
  std::string_view first = arguments.empty() ? "--help" : arguments[0];
  bool asks_help = first == "--help" || first == "-h" || first == "help";
  if (asks_help || first == "completion") refuse_more(arguments, 2);
  if (first == "--version") {
    refuse_more(arguments, 1);
    return print("textmill " + base::version() + "\n"), 0;
  }
  if (asks_help && arguments.size() < 2) return print(help()), 0;
  if (asks_help) return print(help(find_command(arguments[1], arguments[1]))), 0;
  if (first == "completion" && arguments.size() > 1 && (arguments[1] == "--help" || arguments[1] == "-h"))
    return print(help()), 0;
  if (first == "completion") return print(completion(arguments.size() > 1 ? arguments[1] : "")), 0;
  // The process that looks after one attempt of a job: the server starts it, nobody else.
  if (first == "runner" && arguments.size() == 2) {
    base::set_log({.format = base::LogFormat::json});
    return fleet::run_attempt(arguments[1]);
  }
  const Command& command = find_command(first, first);
  if (arguments.size() == 1 && command.container_role) return run_container(command);
  Values values = parse_arguments(command, arguments.subspan(1));
  if (values.on("help")) return print(help(command)), 0;
  add_surroundings(command, values);
  check(command, values);
  set_log(values, "text");
  return command.run(values);
}

}  // namespace
}  // namespace textmill::cli

int main(int argc, char** argv) {
  using namespace textmill;
  cli::open_standard_descriptors();
  std::vector<std::string_view> arguments(argv + 1, argv + argc);
  try {
    return cli::run(arguments);
  } catch (const base::Error& error) {
    cli::report(error);
    return base::exit_status(error.kind());
  } catch (const std::exception& error) {
    cli::report(error);
    return 1;
  }
}
