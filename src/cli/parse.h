#pragma once

#include <span>
#include <string_view>

#include "base/files.h"
#include "cli/command.h"

namespace textmill::cli {

/// The texts that an option takes, if it takes only some: those of "bf16|f32", true and false of a switch.
std::vector<std::string_view> choices_of(const Option& option);

/// A command line without the program and the command: options (--name VALUE, --name=VALUE, a switch --name),
/// positionals, and -- before positionals that begin with a dash. Throws invalid: an option that the command does not
/// have (with the nearest), one said twice, a value that is missing, a positional too many.
Values parse_arguments(const Command& command, std::span<const std::string_view> arguments);

/// Adds what the command line left open from TEXTMILL_* (`environment` answers null for what is not set).
void add_environment(const Command& command, Values& values, const char* (*environment)(const char* name));

/// Adds what is still open from a configuration file: NAME for all commands that have it, COMMAND.NAME for one. Throws
/// invalid for a name that no command has.
void add_configuration(const Command& command, Values& values, const base::Path& file);

/// Sets an option from a hyperparameter, whose name has _ for -; it comes before the environment. Throws invalid if the
/// command does not have it.
void add_hyperparameter(const Command& command, Values& values, std::string_view name, std::string_view text);

/// Throws invalid if a value is none of those that its option names.
void check_choices(const Command& command, const Values& values);
/// The same, and if a required positional is missing.
void check(const Command& command, const Values& values);

}  // namespace textmill::cli
