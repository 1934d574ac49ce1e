#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/files.h"

namespace textmill::contract {

/// Where a container finds its input and leaves its output.
class Layout {
 public:
  static constexpr const char* kDefaultRoot = "/opt/ml";
  /// The environment variable that names another root.
  static constexpr const char* kRootVariable = "SAGEMAKER_BASE_DIR";

  explicit Layout(base::Path root) : root_(std::move(root)) {}
  static Layout from_environment();

  const base::Path& root() const { return root_; }
  base::Path hyperparameters() const { return root_ / "input/config/hyperparameters.json"; }
  base::Path input_data_config() const { return root_ / "input/config/inputdataconfig.json"; }
  base::Path resource_config() const { return root_ / "input/config/resourceconfig.json"; }
  base::Path channel(std::string_view name) const { return root_ / "input/data" / name; }
  /// Training writes the model here, serving reads it here.
  base::Path model() const { return root_ / "model"; }
  base::Path checkpoints() const { return root_ / "checkpoints"; }
  base::Path output_data() const { return root_ / "output/data"; }
  base::Path failure() const { return root_ / "output/failure"; }

 private:
  base::Path root_;
};

/// From SIGTERM to SIGKILL, for serving.
inline constexpr int kServingGraceSeconds = 30;

/// Leaves the message in output/failure (the platform shows its first 1024 characters). A cancelled job leaves none.
void report_failure(const Layout& layout, const base::Error& error);

}  // namespace textmill::contract
