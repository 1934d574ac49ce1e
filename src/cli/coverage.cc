#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/exchange.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace textmill::cli {

namespace {

using Names = std::vector<std::string_view>;

void line(std::string& out, std::string_view what, const Names& names) {
  if (!names.empty()) out += fmt::format("\n{} ({}): {}.\n", what, names.size(), fmt::join(names, ", "));
}

/// What each service's operations are here, as docs/coverage.md has it.
int coverage(const Values&) {
  std::map<std::string_view, std::map<std::string_view, api::Effect>> served;
  for (const api::Family* family : api::families())
    for (const api::Operation& operation : family->operations)
      served[family->service].emplace(operation.name, operation.effect);
  Output out;
  out.line() +=
      "# What is served of AWS's services\n\n"
      "`textmill coverage` prints this page. *Stored only*: accepted, kept and shown; nothing acts on it "
      "yet.\n"
      "*Refused*: known to the service's model, and answered by an error that says so "
      "(`UnsupportedOperation`, or a word about the way round).\n";
  for (const wire::Service& service : wire::services()) {
    Names real, stored, refused;
    for (const wire::Operation& operation : service.operations()) {
      auto& here = served[service.id];
      auto found = here.find(operation.name);
      auto effect = found == here.end() ? api::Effect::refused : found->second;
      (effect == api::Effect::real     ? real
       : effect == api::Effect::stored ? stored
                                       : refused)
          .push_back(operation.name);
    }
    out.line() += fmt::format("\n## {}\n", service.id.view());
    line(out.line(), "Served", real);
    line(out.line(), "Stored only", stored);
    line(out.line(), "Refused", refused);
  }
  out.finish();
  return 0;
}

}  // namespace

Command coverage_command() {
  return {.name = "coverage",
          .summary = "the operations of AWS's services that are served, stored only, or refused, as Markdown",
          .run = coverage};
}

}  // namespace textmill::cli
