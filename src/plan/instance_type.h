#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace textmill::plan {

struct InstanceSize {
  int cpus = 0;
  int64_t memory = 0;  // bytes
  bool gpus = false;
};

/// "ml.m5.xlarge": families by their letter, sizes by their name. "ml.box.4cpu" is four CPUs of this machine with their
/// share of its memory (0 here). Nothing for a name that says neither.
std::optional<InstanceSize> instance_size(std::string_view type);

}  // namespace textmill::plan
