#include "plan/instance_type.h"

#include <charconv>

namespace textmill::plan {

namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

std::optional<int> number(std::string_view text) {
  int value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && 0 < value && value <= 1024 ? std::optional(value) : std::nullopt;
}

std::optional<int> cpus_of(std::string_view size) {
  if (size == "medium" || size == "large") return 2;
  if (size == "xlarge") return 4;
  if (size.ends_with("xlarge")) {
    auto times = number(size.substr(0, size.size() - 6));
    return times ? std::optional(4 * *times) : std::nullopt;
  }
  return size.ends_with("cpu") ? number(size.substr(0, size.size() - 3)) : std::nullopt;
}

/// GiB of memory for each CPU, as the families of EC2 have them.
int memory_per_cpu(std::string_view family) {
  switch (family[0]) {
    case 'c': return 2;
    case 'r': return 8;
    case 'x': return 16;
    case 'p': return family.starts_with("p3") ? 8 : 12;
    default: return 4;
  }
}

}  // namespace

std::optional<InstanceSize> instance_size(std::string_view type) {
  if (!type.starts_with("ml.")) return std::nullopt;
  type.remove_prefix(3);
  size_t dot = type.find('.');
  if (dot == 0 || dot == type.npos) return std::nullopt;
  std::string_view family = type.substr(0, dot);
  auto cpus = cpus_of(type.substr(dot + 1));
  if (!cpus) return std::nullopt;
  if (family == "box") return InstanceSize{.cpus = *cpus};
  bool gpus = family[0] == 'p' || family[0] == 'g' || family.starts_with("trn") || family.starts_with("inf");
  return InstanceSize{.cpus = *cpus, .memory = *cpus * memory_per_cpu(family) * kGiB, .gpus = gpus};
}

}  // namespace textmill::plan
