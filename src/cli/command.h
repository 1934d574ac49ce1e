#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace textmill::cli {

/// One option, from which everything about it comes: parsing, --help, TEXTMILL_NAME, textmill.toml, shell completion.
struct Option {
  std::string_view name;   // --max-length, TEXTMILL_MAX_LENGTH, max_length (or max-length) in textmill.toml
  std::string_view value;  // what it takes: "N", "FILE", "bf16|f32" (one of these); empty: a switch
  std::string_view help;
  bool flag_only = false;  // an input or output of one run: not from the environment, nor from textmill.toml
  char letter = 0;         // -f, if it has one
};

struct Positional {
  std::string_view name;  // "MODEL"
  std::string_view help;
  bool required = true;
};

/// A value as the user gave it, and how: "--seed", "TEXTMILL_SEED" or "textmill.toml:3: train.seed".
struct Given {
  std::string text, where;
};

/// What a command was given. The getters throw invalid: where it was said, the text, what was expected.
class Values {
 public:
  void set(std::string_view name, Given given) {
    given_.insert_or_assign(std::string(name), std::move(given));
  }

  bool has(std::string_view name) const { return find(name) != nullptr; }
  const Given* find(std::string_view name) const;
  std::string text(std::string_view name, std::string_view absent = "") const;
  std::optional<int64_t> integer(std::string_view name, int64_t min, int64_t max = INT64_MAX) const;
  std::optional<double> number(std::string_view name, double min, double max) const;
  bool on(std::string_view name) const;  // a switch

  /// Throw invalid: naming what is missing; naming both if both were given.
  void require(std::string_view option) const;
  void require_one_of(std::string_view positional, std::string_view option) const;

 private:
  std::map<std::string, Given, std::less<>> given_;  // by option or positional
};

struct Command {
  std::string_view name;
  std::string_view summary;  // of a line
  std::vector<Positional> positionals;
  std::vector<Option> options;
  int (*run)(const Values&);  // returns the exit status
  // What it does without any argument; what the surroundings say may be wrong, too.
  int (*container_role)(const std::function<Values()>& surroundings) = nullptr;
};

/// All commands, in the order of --help.
const std::vector<Command>& commands();
/// Throws invalid: `said` (as the user wrote it), and the nearest name.
const Command& find_command(std::string_view name, std::string_view said);

/// As --log-format and --log-level say. `format` is the usual one: text for eyes, json for programs.
/// `waits`: LogOptions.
void set_log(const Values& values, std::string_view format, bool waits = true);

/// What every command takes.
std::span<const Option> common_options();

}  // namespace textmill::cli
