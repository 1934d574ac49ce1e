#include "cli/parse.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "format/toml.h"

namespace textmill::cli {
namespace {

using base::Error;
using base::Kind;

std::vector<Option> options_of(const Command& command) {
  std::vector<Option> all = command.options;
  all.insert(all.end(), common_options().begin(), common_options().end());
  return all;
}

/// Throws invalid: `said` (as the user wrote it), with the nearest name.
Option find_option(const std::vector<Option>& options, std::string_view name, std::string_view said,
                   std::string_view prefix) {
  if (auto found = std::ranges::find(options, name, &Option::name); found != options.end()) return *found;
  std::vector<std::string_view> names;
  for (const Option& option : options) names.push_back(option.name);
  std::string_view nearest = base::nearest(name, names);
  throw Error(Kind::invalid,
              fmt::format("{}: no such option{}", said,
                          nearest.empty() ? "" : fmt::format("; did you mean {}{}?", prefix, nearest)));
}

std::string with(std::string_view name, char from, char to) {
  std::string out(name);
  std::ranges::replace(out, from, to);
  return out;
}

/// A value from elsewhere than a flag.
void set_given(Values& values, const Option& option, Given given) {
  if (given.text.empty() && !option.value.empty())
    throw Error(Kind::invalid, fmt::format("{}: takes {}, got nothing", given.where, option.value));
  values.set(option.name, std::move(given));
}

void refuse_flag_only(const Option& option, const Given& given) {
  if (option.flag_only)
    throw Error(Kind::invalid,
                fmt::format("{}: --{} is of one run: only a flag can say it", given.where, option.name));
}

}  // namespace

std::vector<std::string_view> choices_of(const Option& option) {
  std::vector<std::string_view> choices;
  if (option.value.empty()) return {"true", "false", "1", "0"};
  if (option.value.find('|') == std::string_view::npos) return {};
  for (size_t begin = 0, end; begin <= option.value.size(); begin = end + 1) {
    end = std::min(option.value.find('|', begin), option.value.size());
    choices.push_back(option.value.substr(begin, end - begin));
  }
  return choices;
}

Values parse_arguments(const Command& command, std::span<const std::string_view> arguments) {
  const std::vector<Option> options = options_of(command);
  Values values;
  size_t positionals = 0;
  bool only_positionals = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view argument = arguments[i];
    if (only_positionals || !argument.starts_with('-') || argument == "-") {
      if (positionals == command.positionals.size())
        throw Error(Kind::invalid, fmt::format("'{}': one argument too many", argument));
      std::string_view name = command.positionals[positionals++].name;
      values.set(name, {std::string(argument), std::string(name)});
    } else if (argument == "--") {
      only_positionals = true;
    } else {
      auto lettered = std::ranges::find_if(options, [&](const Option& option) {
        return option.letter && argument.size() == 2 && argument[1] == option.letter;
      });
      if (lettered != options.end()) {  // always a switch
        values.set(lettered->name, {"true", std::string(argument)});
        continue;
      }
      size_t equals = argument.find('=');
      std::string_view said = argument.substr(0, equals);
      if (!said.starts_with("--")) throw Error(Kind::invalid, fmt::format("{}: options begin with --", said));
      std::string_view name = said.substr(2);
      Option option = find_option(options, name, said, "--");
      if (values.has(name)) throw Error(Kind::invalid, fmt::format("{}: given twice", said));
      std::string_view text = "true";
      if (equals != std::string_view::npos)
        text = argument.substr(equals + 1);
      else if (!option.value.empty()) {
        if (++i == arguments.size())
          throw Error(Kind::invalid, fmt::format("{}: takes {}", said, option.value));
        text = arguments[i];
        bool is_option = text.starts_with("--") &&
                         std::ranges::count(options, text.substr(2, text.find('=') - 2), &Option::name) > 0;
        if (is_option)
          throw Error(Kind::invalid, fmt::format("{}: takes {}, got {}", said, option.value, text));
      }
      if (text.empty())
        throw Error(Kind::invalid, fmt::format("{}: takes {}, got nothing", said, option.value));
      values.set(name, {std::string(text), std::string(said)});
    }
  }
  return values;
}

void add_environment(const Command& command, Values& values, const char* (*environment)(const char* name)) {
  for (const Option& option : options_of(command)) {
    if (option.flag_only || values.has(option.name)) continue;
    std::string variable = "TEXTMILL_" + with(option.name, '-', '_');
    std::ranges::transform(variable, variable.begin(),
                           [](char c) { return c >= 'a' && c <= 'z' ? char(c - 32) : c; });
    if (const char* text = environment(variable.c_str())) set_given(values, option, {text, variable});
  }
}

void add_configuration(const Command& command, Values& values, const base::Path& file) {
  std::map<std::string, Given> own, common;
  for (const auto& [said, value] : format::read_toml(file)) {
    Given given{value.text, fmt::format("{}: {}", value.where, said)};
    size_t dot = said.find('.');
    if (dot != std::string::npos) {
      const Command& of = find_command(std::string_view(said).substr(0, dot), given.where);
      std::string name = with(std::string_view(said).substr(dot + 1), '_', '-');
      Option option = find_option(options_of(of), name, given.where, "");
      refuse_flag_only(option, given);
      if (of.name == command.name) own[name] = given;
    } else {
      std::vector<Option> all;
      for (const Command& any : commands()) all.insert(all.end(), any.options.begin(), any.options.end());
      all.insert(all.end(), common_options().begin(), common_options().end());
      std::string name = with(said, '_', '-');
      refuse_flag_only(find_option(all, name, given.where, ""), given);
      common[name] = given;
    }
  }
  common.swap(own);
  common.merge(own);  // the command's own come first
  for (const Option& option : options_of(command))
    if (auto found = common.find(std::string(option.name)); found != common.end() && !values.has(option.name))
      set_given(values, option, found->second);
}

void add_hyperparameter(const Command& command, Values& values, std::string_view name,
                        std::string_view text) {
  std::vector<Option> options = options_of(command);
  std::erase_if(options, [](const Option& option) { return option.flag_only || option.name == "config"; });
  Option option = find_option(options, with(name, '_', '-'), name, "");
  set_given(values, option, {std::string(text), std::string(name)});
}

void check(const Command& command, const Values& values) {
  for (const Positional& positional : command.positionals)
    if (positional.required && !values.has(positional.name))
      throw Error(Kind::invalid, fmt::format("{} is missing: {}", positional.name, positional.help));
  check_choices(command, values);
}

void check_choices(const Command& command, const Values& values) {
  for (const Option& option : options_of(command)) {
    const Given* given = values.find(option.name);
    if (!given) continue;
    std::vector<std::string_view> choices = choices_of(option);
    if (choices.empty() || std::ranges::count(choices, given->text)) continue;
    throw Error(Kind::invalid,
                fmt::format("{}: '{}' is none of {}{}", given->where, given->text, fmt::join(choices, ", "),
                            base::did_you_mean(given->text, choices)));
  }
}

}  // namespace textmill::cli
