#pragma once

#include "cli/command.h"

namespace textmill::cli {

// One function per command, in the file of its name; command.cc lists them.
Command train_command();
Command evaluate_command();
Command predict_command();
Command quantize_command();
Command serve_command();
Command tokenize_command();
Command describe_command();
Command up_command();
Command env_command();
Command ps_command();
Command logs_command();
Command stop_command();
Command clean_command();
Command images_command();
Command coverage_command();

// operate.cc
Command status_command();
Command down_command();
Command keys_command();
Command doctor_command();
Command backup_command();
Command restore_command();

}  // namespace textmill::cli
