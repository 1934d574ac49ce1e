#include "offline/describe.h"

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace textmill::cli {
namespace {

int describe(const Values& values) {
  const Given* threads = values.find("threads");  // surroundings say it to all commands
  if (threads && threads->where.starts_with("--") && !values.on("calibrate"))
    throw base::Error(base::Kind::invalid, "--threads: only with --calibrate");
  Output out;
  out.line() +=
      format::to_pretty_text(offline::describe(values.text("MODEL"), values.on("calibrate"),
                                               static_cast<int>(values.integer("threads", 1).value_or(0))));
  out.finish();
  return 0;
}

}  // namespace

Command describe_command() {
  return {"describe",
          "parameters, bytes, FLOPs and memory of a model, as JSON (exit 2: not one of ours)",
          {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"}},
          {{"calibrate", "",
            "also predict the milliseconds of passes, after measuring this machine for a second or two"},
           {"threads", "N", "that the predicted passes run on (all that this process may use)"}},
          describe};
}

}  // namespace textmill::cli
