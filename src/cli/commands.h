#pragma once

#include "cli/command.h"

namespace textmill::cli {

// One function per command, in the file of its name; command.cc lists them.
Command train_command();
Command evaluate_command();
Command predict_command();
Command serve_command();
Command tokenize_command();
Command describe_command();
Command up_command();
Command env_command();

}  // namespace textmill::cli
