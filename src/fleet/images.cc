#include "fleet/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/error.h"
#include "fleet/python.h"
#include "fleet/user.h"

namespace textmill::fleet {

namespace {

constexpr std::string_view kProcess = "process://";
constexpr std::string_view kTrains = "runs the script of sourcedir.tar.gz",
                           kServes = "serves code/inference.py of the model, or else the model itself",
                           kBoth =
                               "runs the script of sourcedir.tar.gz; serves code/inference.py of the model";

std::span<const MetricDefinition> classification_metrics() {
  static const std::vector<MetricDefinition> kMetrics{
      {"train:loss", R"(\bloss=([0-9.eE+-]+))"},
      {"validation:accuracy", R"(validation_accuracy=([0-9.eE+-]+))"},
      {"validation:f1", R"(validation_macro_f1=([0-9.eE+-]+))"},
  };
  return kMetrics;
}

constexpr Image framework(std::string_view name, bool trains, bool serves, std::string_view environment,
                          std::string_view packages) {
  return {.name = name,
          .kind = ImageKind::script,
          .train = trains ? "train" : "",
          .serve = serves ? "serve" : "",
          .environment = environment,
          .packages = packages,
          .help = trains && serves ? kBoth
                  : trains         ? kTrains
                                   : kServes};
}

/// Whether naming it shows it, wherever it lies: to another user, only what everybody may run.
bool is_program(const base::Path& path) {
  using std::filesystem::perms;
  std::error_code error;
  auto status = std::filesystem::status(path, error);
  constexpr perms kAll = perms::others_read | perms::others_exec;
  return path.is_absolute() && std::filesystem::is_regular_file(status) &&
         (!program_user().other || (status.permissions() & kAll) == kAll);
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
       .help = "process:///path/program: any executable of this machine; a server of root shows it nothing "
               "else of /home and /root"},
      framework("huggingface-pytorch-training", true, false, "huggingface-pytorch", "torch transformers"),
      framework("huggingface-pytorch-inference", false, true, "huggingface-pytorch", "torch transformers"),
      framework("pytorch-training", true, false, "pytorch", "torch"),
      framework("pytorch-inference", false, true, "pytorch", "torch"),
      framework("tensorflow-training", true, false, "tensorflow", "tensorflow"),
      framework("tensorflow-inference", false, true, "tensorflow", "tensorflow"),
      framework("mxnet-training", true, false, "mxnet", "mxnet"),
      framework("mxnet-inference", false, true, "mxnet", "mxnet"),
      framework("sagemaker-scikit-learn", true, true, "scikit-learn", "scikit-learn"),
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
  // A framework's images have variants: pytorch-inference-graviton.
  auto is = [&](const Image& row) {
    if (process) return row.name == kProcess;
    std::string_view repository = image.substr(image.rfind('/') + 1);
    return image == row.name || image.ends_with('/' + std::string(row.name)) ||
           (row.kind == ImageKind::script && repository.starts_with(std::string(row.name) + '-'));
  };
  auto found = std::ranges::find_if(images(), is);
  return found == images().end() ? nullptr : &*found;
}

std::vector<std::string> container_command(const ContainerImage& image, std::string_view role,
                                           const std::vector<std::string>& entrypoint,
                                           const std::vector<std::string>& arguments) {
  auto out = entrypoint.empty() ? image.entrypoint : entrypoint;
  if (entrypoint.empty() && arguments.empty()) out.emplace_back(role);
  out.insert(out.end(), arguments.begin(), arguments.end());
  return out;
}

base::Path program_of_image(std::string_view image) {
  base::Path program = image.starts_with(kProcess) ? base::Path(image.substr(kProcess.size())) : base::Path();
  if (!program.is_absolute())
    throw base::Error(base::Kind::invalid, fmt::format("the image {} is no process:///path/program", image));
  return program;
}

base::Path environment_of_image(const Image& row, std::string_view image, const base::Path& data_folder) {
  base::Path folder = data_folder / "environments" / row.environment;
  if (!std::filesystem::exists(folder / "bin/python"))
    throw base::Error(base::Kind::invalid,
                      fmt::format("The Python environment {0} for the image {1} is not there. To add it, in "
                                  "the server's data folder "
                                  "(textmill up --data-dir): python3 -m venv environments/{0} && "
                                  "environments/{0}/bin/pip install {2}",
                                  row.environment, image, row.packages));
  return std::filesystem::canonical(folder);
}

std::vector<base::Path> python_paths(const base::Path& environment) {
  std::vector<base::Path> out{environment};
  base::Path base = std::filesystem::canonical(environment / "bin/python").parent_path().parent_path();
  if (base != "/usr") out.push_back(base);
  return out;
}

TrainingProgram training_program(std::string_view image, const std::vector<std::string>& entrypoint,
                                 const std::vector<std::string>& arguments, const base::Path& data_folder) {
  const Image* row = find_image(image);
  if (!row || row->train.empty())
    throw base::Error(
        base::Kind::invalid,
        fmt::format("the image {} does not train on this server: `textmill images` lists those that do",
                    image));
  TrainingProgram out{.command = entrypoint, .metrics = {row->metrics.begin(), row->metrics.end()}};
  if (row->kind == ImageKind::script) {
    base::Path python = python_folder(data_folder);
    out.environment = environment_of_image(*row, image, data_folder);
    out.needed = python_paths(out.environment);
    out.needed.push_back(python);
    const std::vector<std::string> script{"python", "-u", python / "train.py"};
    out.command = in_own_environment(out.environment, python, entrypoint.empty() ? script : entrypoint);
  } else {
    base::Path program = row->kind == ImageKind::process ? program_of_image(image) : this_program();
    // It may lie in /tmp. Where nothing else of it runs, it is shown without its x bit too: the kernel says what is wrong.
    std::error_code none;
    if (is_program(program) || (entrypoint.empty() && std::filesystem::is_regular_file(program, none)))
      out.named.push_back(program);
    if (entrypoint.empty()) out.command = {program};
    if (entrypoint.empty() && arguments.empty()) out.command.emplace_back(row->train);
  }
  out.command.insert(out.command.end(), arguments.begin(), arguments.end());
  std::ranges::copy_if(entrypoint, std::back_inserter(out.named),
                       [](const base::Path& path) { return is_program(path); });
  return out;
}

}  // namespace textmill::fleet
