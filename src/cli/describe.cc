#include "offline/describe.h"

#include "cli/commands.h"
#include "cli/output.h"

namespace textmill::cli {
namespace {

int describe(const Values& values) {
  Output out;
  out.line() += format::to_pretty_text(offline::describe(values.text("MODEL")));
  out.finish();
  return 0;
}

}  // namespace

Command describe_command() {
  return {"describe",
          "parameters, bytes, FLOPs and memory of a model, as JSON (exit 2: not one of ours)",
          {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"}},
          {},
          describe};
}

}  // namespace textmill::cli
