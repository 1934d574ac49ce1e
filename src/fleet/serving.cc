#include "fleet/serving.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/process.h"
#include "fleet/images.h"

namespace textmill::fleet {

using base::Path;

namespace {

constexpr std::string_view kProcess = "process://";

base::Error invalid(const std::string& message) { return {base::Kind::invalid, message}; }

bool is_ours(const ServingRequest& request) {
  auto said =
      base::run_process({.arguments = {request.program.string(), "describe", request.model.string()}});
  if (said.status == 0) return true;
  if (said.status == 2) return false;
  throw base::Error(base::Kind::internal, "textmill describe: " + said.error);
}

ServingProgram script_program(const ServingRequest& request, const Image& row) {
  Path environment = request.environments / row.environment;
  if (!std::filesystem::exists(environment / "bin/python"))
    throw invalid(fmt::format(
        "The Python environment {} for the image {} is not there. To add it: python3 -m venv {} && "
        "{}/bin/pip install {}",
        row.environment, request.image, environment.string(), environment.string(), row.packages));
  return {.command = {(environment / "bin/python").string(), "-u", (request.python / "serve.py").string()},
          .visible = {std::filesystem::canonical(environment), request.python}};
}

ServingProgram framework_program(const ServingRequest& request, const Image& row) {
  std::string script = request.script.empty() ? "inference.py" : request.script;
  if (std::filesystem::exists(request.model / "code" / script)) return script_program(request, row);
  if (!request.model.empty() && is_ours(request)) return {.command = {request.program.string(), "serve"}};
  throw invalid(
      fmt::format("The model for the image {} has no code/{}, and is none that textmill serves by itself "
                  "(textmill describe says which are).",
                  request.image, script));
}

}  // namespace

ServingProgram serving_program(const ServingRequest& request) {
  const std::string& image = request.image;
  if (image.starts_with(kProcess)) {
    std::string program = image.substr(kProcess.size());
    if (!program.starts_with('/') || !std::filesystem::is_regular_file(program))
      throw invalid(fmt::format("{}: there is no such program", image));
    return {.command = {program, "serve"}, .visible = {program}};  // it may lie in /tmp
  }
  const Image* row = find_image(image);
  if (row && row->kind == ImageKind::builtin && !row->serve.empty())
    return {.command = {request.program.string(), std::string(row->serve)}};
  if (!row || row->kind != ImageKind::script)
    throw invalid(
        fmt::format("The image {} is none that serves here: `textmill images` lists those that do.", image));
  return framework_program(request, *row);
}

}  // namespace textmill::fleet
