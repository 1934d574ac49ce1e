#pragma once

#include <string>

#include "cli/command.h"

namespace textmill::cli {

/// Of the program, and of one command.
std::string help();
std::string help(const Command& command);

/// A script for "bash", "zsh" or "fish" that completes commands, options, their choices, and files. Throws invalid for
/// another shell.
std::string completion(std::string_view shell);

}  // namespace textmill::cli
