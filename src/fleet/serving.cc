#include "fleet/serving.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/process.h"
#include "fleet/images.h"
#include "fleet/python.h"

namespace textmill::fleet {

using base::Path;

namespace {

base::Error invalid(const std::string& message) { return {base::Kind::invalid, message}; }

bool is_ours(const ServingRequest& request) {
  auto said =
      base::run_process({.arguments = {request.program.string(), "describe", request.model.string()}});
  if (said.status == 0) return true;
  if (said.status == 2) return false;
  throw base::Error(base::Kind::internal, "textmill describe: " + said.error);
}

ServingProgram script_program(const ServingRequest& request, const Image& row) {
  Path environment = environment_of_image(row, request.image, request.data_folder);
  Path python = python_folder(request.data_folder);
  auto visible = python_paths(environment);
  visible.push_back(python);
  return {.command = in_own_environment(environment, python,
                                        {"python", "-u", python / "serve.py", std::string(row.environment)}),
          .visible = visible,
          .environment = environment};
}

ServingProgram framework_program(const ServingRequest& request, const Image& row) {
  std::string script = request.script.empty() ? "inference.py" : request.script;
  if (std::filesystem::exists(request.code / script)) return script_program(request, row);
  if (!request.model.empty() && is_ours(request))
    return {.command = {request.program.string(), "serve"}, .visible = {request.program}};
  throw invalid(fmt::format(
      "The model for the image {} has no {}/{}, and is none that textmill serves by itself "
      "(textmill describe says which are).",
      request.image, request.code == request.model / "code" ? "code" : "SAGEMAKER_SUBMIT_DIRECTORY", script));
}

}  // namespace

ServingProgram serving_program(const ServingRequest& request) {
  const Image* row = find_image(request.image);
  if (!row || row->serve.empty())
    throw invalid(fmt::format("The image {} is none that serves here: `textmill images` lists those that do.",
                              request.image));
  switch (row->kind) {
    case ImageKind::builtin:  // it may lie in /tmp
      return {.command = {request.program.string(), std::string(row->serve)}, .visible = {request.program}};
    case ImageKind::script: return framework_program(request, *row);
    case ImageKind::process: break;
  }
  Path program = program_of_image(request.image);
  if (!std::filesystem::is_regular_file(program))
    throw invalid(fmt::format("{}: there is no such program", request.image));
  return {.command = {program, "serve"}, .visible = {program}};
}

}  // namespace textmill::fleet
