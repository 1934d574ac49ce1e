#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fleet/engine.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// How an image's name becomes a program.
enum class ImageKind {
  builtin,  // this executable, with the row's own argument
  process,  // process:///path/program
  script,   // the user's script in a Python environment that the row names
};

/// One row: an image, known by the last part of its repository's name, whatever account, region and tag stand around it.
struct Image {
  std::string_view name;  // "textmill/text-classification", "pytorch-training"
  ImageKind kind = ImageKind::builtin;
  std::string_view train, serve;           // the argument for each role; empty: it does not do that
  std::string_view environment, packages;  // of Python, if it runs scripts: its name, what it holds
  std::string_view help;
  std::span<const MetricDefinition> metrics = {};  // besides the job's own
};

std::span<const Image> images();
/// What is said of any other image where no container engine is.
constexpr std::string_view kNoContainers =
    "; others need podman or docker, and this server has neither (textmill up --container-engine): install "
    "one, "
    "or name the program as process:///path/program";

/// The row of an image; null for none. "123.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.0-cpu" is the row
/// pytorch-training.
const Image* find_image(std::string_view image);

/// What runs in a container: the image's entrypoint with the role as its argument, or what replaces them.
std::vector<std::string> container_command(const ContainerImage& image, std::string_view role,
                                           const std::vector<std::string>& entrypoint = {},
                                           const std::vector<std::string>& arguments = {});

/// "process:///path/program": the path. Throws invalid for another.
base::Path program_of_image(std::string_view image);

/// The folder of a row's Python environment, links followed, below a data folder. Throws invalid, saying how to add it.
base::Path environment_of_image(const Image& row, std::string_view image, const base::Path& data_folder);

/// What such an environment needs to be visible: itself, and the Python that it was made with.
std::vector<base::Path> python_paths(const base::Path& environment);

/// What trains in an image.
struct TrainingProgram {
  std::vector<std::string> command;
  std::vector<base::Path> named,  // by the user
      needed;                     // by the program, of what is hidden
  std::vector<MetricDefinition> metrics;
  base::Path environment;  // of Python; empty: none
};

/// `entrypoint` and `arguments` replace the image's own. Throws invalid, in words for a FailureReason, for an image that
/// this machine cannot run.
TrainingProgram training_program(std::string_view image, const std::vector<std::string>& entrypoint,
                                 const std::vector<std::string>& arguments, const base::Path& data_folder);

}  // namespace textmill::fleet
