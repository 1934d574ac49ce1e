#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "base/version.h"
#include "cli/parse.h"

namespace textmill::cli {
namespace {

constexpr size_t kWidth = 100;

struct Row {
  std::string name;
  std::string_view text;
};

/// Two columns, the second one's words wrapped.
std::string columns(const std::vector<Row>& rows) {
  size_t width = 0;
  for (const Row& row : rows) width = std::max(width, row.name.size());
  std::string out;
  for (const Row& row : rows) {
    out += fmt::format("  {:{}}  ", row.name, width);
    size_t at = width + 4;
    for (size_t begin = 0, end; begin < row.text.size(); begin = end + 1) {
      end = std::min(row.text.find(' ', begin), row.text.size());
      bool first = at == width + 4;
      if (!first && at + 1 + (end - begin) > kWidth) {
        out += "\n" + std::string(width + 4, ' ');
        at = width + 4;
        first = true;
      }
      out += (first ? "" : " ") + std::string(row.text.substr(begin, end - begin));
      at += (end - begin) + !first;
    }
    out += '\n';
  }
  return out;
}

std::string options_text(std::span<const Option> options) {
  std::vector<Row> rows;
  for (const Option& option : options)
    rows.push_back({fmt::format("{}--{}{}{}", option.letter ? fmt::format("-{}, ", option.letter) : "",
                                option.name, option.value.empty() ? "" : " ", option.value),
                    option.help});
  return columns(rows);
}

std::string joined(std::string_view separator, const std::vector<std::string_view>& words) {
  return fmt::format("{}", fmt::join(words, separator));
}

std::vector<std::string_view> command_names() {
  std::vector<std::string_view> names;
  for (const Command& command : commands()) names.push_back(command.name);
  names.push_back("completion");
  return names;
}

void each_option(const Command& command, const std::function<void(const Option&)>& visit) {
  for (const Option& option : command.options) visit(option);
  for (const Option& option : common_options()) visit(option);
}

/// After an option that takes one of some words, these; after another one that takes a value, files.
std::string bash_completion() {
  std::string out =
      "_textmill() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]} words=\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" = 1 ]; then\n" +
      fmt::format("    words='{} --help --version'\n", joined(" ", command_names())) +
      "  else\n"
      "    case ${COMP_WORDS[1]}:$last in\n";
  out += "      completion:completion) words='bash zsh fish' ;;\n";
  for (const Command& command : commands())
    each_option(command, [&](const Option& option) {
      if (option.value.find('|') != std::string_view::npos)
        out += fmt::format("      {}:--{}) words='{}' ;;\n", command.name, option.name,
                           joined(" ", choices_of(option)));
      else if (!option.value.empty())
        out += fmt::format("      {}:--{}) ;;\n", command.name, option.name);
    });
  for (const Command& command : commands()) {
    std::vector<std::string> flags;
    each_option(command, [&](const Option& option) { flags.push_back(fmt::format("--{}", option.name)); });
    out += fmt::format("      {}:*) [ \"${{word#-}}\" = \"$word\" ] || words='{}' ;;\n", command.name,
                       fmt::join(flags, " "));
  }
  return out +
         "    esac\n"
         "  fi\n"
         "  [ -z \"$words\" ] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
         "}\n"
         "complete -o default -F _textmill textmill\n";
}

std::string quoted(std::string_view text, std::string_view escaped) {
  std::string out;
  for (char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (escaped.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return "'" + out + "'";
}

std::string zsh_completion() {
  std::string out = "#compdef textmill\n_textmill() {\n  if (( CURRENT == 2 )); then\n    _values command";
  for (const Command& command : commands())
    out += " \\\n      " + quoted(fmt::format("{}[{}]", command.name, command.summary), "");
  out += " \\\n      'completion[completion for a shell]'\n    return\n  fi\n  case $words[2] in\n";
  out += "    completion) _values shell bash zsh fish ;;\n";
  for (const Command& command : commands()) {
    out += fmt::format("    {}) shift words; (( CURRENT-- )); _arguments", command.name);
    each_option(command, [&](const Option& option) {
      std::string what = fmt::format("--{}", option.name) + "[";
      for (char c : option.help) what += c == '[' || c == ']' ? std::string("\\") + c : std::string(1, c);
      what += "]";
      if (option.value.find('|') != std::string_view::npos)
        what += fmt::format(":{}:({})", option.name, joined(" ", choices_of(option)));
      else if (!option.value.empty())
        what += fmt::format(":{}:_files", option.name);
      out += " \\\n      " + quoted(what, "");
    });
    out += " \\\n      '*:file:_files' ;;\n";
  }
  return out + "  esac\n}\ncompdef _textmill textmill\n";
}

std::string fish_completion() {
  std::string out =
      "complete -c textmill -n __fish_use_subcommand -f -a completion -d 'completion for a shell'\n";
  out += "complete -c textmill -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n";
  for (const Command& command : commands()) {
    out += fmt::format("complete -c textmill -n __fish_use_subcommand -f -a {} -d {}\n", command.name,
                       quoted(command.summary, "\\"));
    each_option(command, [&](const Option& option) {
      out += fmt::format("complete -c textmill -n '__fish_seen_subcommand_from {}' -l {}", command.name,
                         option.name);
      if (option.value.find('|') != std::string_view::npos)
        out += fmt::format(" -x -a '{}'", joined(" ", choices_of(option)));
      else if (!option.value.empty())
        out += " -r";
      out += fmt::format(" -d {}\n", quoted(option.help, "\\"));
    });
  }
  return out;
}

}  // namespace

std::string help() {
  std::vector<Row> rows;
  for (const Command& command : commands()) rows.push_back({std::string(command.name), command.summary});
  rows.push_back({"completion bash|zsh|fish", "a script that completes commands and options: source it"});
  return fmt::format(
      "textmill {}: natural-language processing on your own machine\n\nusage: textmill COMMAND "
      "[options]\n\n{}\n"
      "  textmill COMMAND --help says what a command takes; textmill --version, which build this is.\n",
      base::version(), columns(rows));
}

std::string help(const Command& command) {
  std::string usage = fmt::format("usage: textmill {}", command.name);
  std::vector<Row> rows;
  for (const Positional& positional : command.positionals) {
    usage +=
        positional.required ? fmt::format(" {}", positional.name) : fmt::format(" [{}]", positional.name);
    rows.push_back({std::string(positional.name), positional.help});
  }
  return fmt::format(
      "textmill {}: {}\n\n{} [options]\n{}{}\noptions:\n{}\nof every command:\n{}\n"
      "A value comes from the flag, else from the environment (--max-length: TEXTMILL_MAX_LENGTH), else\n"
      "from textmill.toml (max_length = 128; for one command below [{}]), else it is the default in\n"
      "parentheses. Inputs and outputs come from flags only.\n",
      command.name, command.summary, usage, rows.empty() ? "" : "\n", columns(rows),
      options_text(command.options), options_text(common_options()), command.name);
}

std::string completion(std::string_view shell) {
  if (shell == "bash") return bash_completion();
  if (shell == "zsh") return zsh_completion();
  if (shell == "fish") return fish_completion();
  throw base::Error(base::Kind::invalid, fmt::format("completion: '{}' is none of bash, zsh, fish", shell));
}

}  // namespace textmill::cli
