#include "fleet/images.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"

namespace textmill::fleet {

namespace {

constexpr std::string_view kProcess = "process://";
constexpr std::string_view kScriptHelp = "serves code/inference.py of the model, or else the model itself";

std::span<const MetricDefinition> classification_metrics() {
  static const std::vector<MetricDefinition> kMetrics{
      {"train:loss", R"(\bloss=([0-9.eE+-]+))"},
      {"validation:accuracy", R"(validation_accuracy=([0-9.eE+-]+))"},
      {"validation:f1", R"(validation_macro_f1=([0-9.eE+-]+))"},
  };
  return kMetrics;
}

base::Path this_program() { return std::filesystem::read_symlink("/proc/self/exe"); }

}  // namespace

std::span<const Image> images() {
  static const Image kImages[] = {
      {.name = "textmill/text-classification",
       .train = "train",
       .help = "fine-tunes a text classifier: channels model, train, validation",
       .metrics = classification_metrics()},
      {.name = "textmill/serve", .serve = "serve", .help = "serves a model folder"},
      {.name = "process://",
       .kind = ImageKind::process,
       .train = "train",
       .serve = "serve",
       .help = "process:///path/program: any executable of this machine"},
      {.name = "huggingface-pytorch-inference",
       .kind = ImageKind::script,
       .serve = "serve",
       .environment = "huggingface-pytorch",
       .packages = "torch transformers",
       .help = kScriptHelp},
      {.name = "pytorch-inference",
       .kind = ImageKind::script,
       .serve = "serve",
       .environment = "pytorch",
       .packages = "torch",
       .help = kScriptHelp},
      {.name = "tensorflow-inference",
       .kind = ImageKind::script,
       .serve = "serve",
       .environment = "tensorflow",
       .packages = "tensorflow",
       .help = kScriptHelp},
      {.name = "mxnet-inference",
       .kind = ImageKind::script,
       .serve = "serve",
       .environment = "mxnet",
       .packages = "mxnet",
       .help = kScriptHelp},
      {.name = "sagemaker-scikit-learn",
       .kind = ImageKind::script,
       .serve = "serve",
       .environment = "scikit-learn",
       .packages = "scikit-learn",
       .help = kScriptHelp},
  };
  return kImages;
}

const Image* find_image(std::string_view image) {
  bool process = image.starts_with(kProcess);
  if (!process) {
    image = image.substr(0, image.find('@'));
    if (size_t colon = image.rfind(':'); colon != image.npos && image.find('/', colon) == image.npos)
      image = image.substr(0, colon);
  }
  for (const Image& row : images()) {
    if (process ? row.name == kProcess
                : image == row.name ||
                      (image.ends_with(row.name) && image[image.size() - row.name.size() - 1] == '/'))
      return &row;
  }
  return nullptr;
}

TrainingProgram training_program(std::string_view image, const std::vector<std::string>& entrypoint,
                                 const std::vector<std::string>& arguments) {
  const Image* row = find_image(image);
  if (!row || row->train.empty() || row->kind == ImageKind::script)
    throw base::Error(
        base::Kind::invalid,
        fmt::format("the image {} does not train on this server: `textmill images` lists those that do",
                    image));
  base::Path program =
      row->kind == ImageKind::process ? base::Path(image.substr(kProcess.size())) : this_program();
  if (!program.is_absolute())
    throw base::Error(base::Kind::invalid, fmt::format("the image {} is no process:///path/program", image));
  TrainingProgram out{.command = entrypoint, .metrics = {row->metrics.begin(), row->metrics.end()}};
  if (entrypoint.empty()) out.command = {program.string()};
  for (const auto& argument : arguments) out.command.push_back(argument);
  if (entrypoint.empty() && arguments.empty()) out.command.emplace_back(row->train);
  // What the command names is there, wherever it lies.
  out.visible.push_back(program);
  for (const auto& word : entrypoint) out.visible.emplace_back(word);
  std::erase_if(out.visible, [](const base::Path& path) {
    std::error_code error;
    return !path.is_absolute() || !std::filesystem::is_regular_file(path, error);
  });
  return out;
}

}  // namespace textmill::fleet
