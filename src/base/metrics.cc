#include "base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <variant>

#include "base/error.h"

namespace textmill::base {
namespace {

using Metric = std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;
constexpr std::string_view kTypes[] = {"counter", "gauge", "histogram"};

bool is_name(std::string_view name) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return !name.empty() && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || digit(c); });
}

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\\')
      out += "\\\\";
    else if (c == '"' && quotes)
      out += "\\\"";
    else
      out += c;
  }
  return out;
}

/// a="1",b="2": the order is the map's, so that equal labels give equal text.
std::string label_text(const Labels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    TEXTMILL_CHECK(is_name(name));
    if (!out.empty()) out += ',';
    out += fmt::format("{}=\"{}\"", name, escaped(value, true));
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

void append_line(std::string& out, std::string_view name, std::string_view labels, std::string_view value) {
  out += name;
  if (!labels.empty()) fmt::format_to(std::back_inserter(out), "{{{}}}", labels);
  fmt::format_to(std::back_inserter(out), " {}\n", value);
}

struct Printer {
  std::string& out;
  const std::string& name;
  const std::string& labels;

  void operator()(const std::unique_ptr<Histogram>& histogram) const {
    std::string front = labels.empty() ? "" : labels + ",";
    auto counts = histogram->counts();
    uint64_t total = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      total += counts[i];
      double bound = i < histogram->bounds().size() ? histogram->bounds()[i] : HUGE_VAL;
      append_line(out, name + "_bucket", fmt::format("{}le=\"{}\"", front, number(bound)),
                  std::to_string(total));
    }
    append_line(out, name + "_sum", labels, number(histogram->sum()));
    append_line(out, name + "_count", labels, std::to_string(total));
  }
  void operator()(const auto& metric) const { append_line(out, name, labels, number(metric->value())); }
};

}  // namespace

struct MetricRegistry::Family {
  std::string help;
  size_t type;                            // index in Metric
  std::map<std::string, Metric> members;  // by label text
};

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(new std::atomic<uint64_t>[bounds_.size() + 1]()) {
  TEXTMILL_CHECK(std::is_sorted(bounds_.begin(), bounds_.end()));
}

void Histogram::observe(double value) {
  auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::vector<uint64_t> Histogram::counts() const {
  std::vector<uint64_t> out;
  for (size_t i = 0; i <= bounds_.size(); ++i) out.push_back(counts_[i].load(std::memory_order_relaxed));
  return out;
}

std::vector<double> latency_bounds() {
  return {.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30};
}

MetricRegistry::MetricRegistry() = default;
MetricRegistry::~MetricRegistry() = default;

template <class M>
M& MetricRegistry::find(std::string_view name, std::string_view help, const Labels& labels,
                        const std::vector<double>& bounds) {
  TEXTMILL_CHECK(is_name(name));
  std::string key = label_text(labels);
  Metric fresh;
  if constexpr (std::is_same_v<M, Histogram>)
    fresh = std::make_unique<Histogram>(bounds);
  else
    fresh = std::make_unique<M>();

  std::lock_guard lock(mutex_);
  Family& family = families_.try_emplace(std::string(name), std::string(help), fresh.index()).first->second;
  TEXTMILL_CHECK(family.type == fresh.index());
  return *std::get<std::unique_ptr<M>>(family.members.try_emplace(key, std::move(fresh)).first->second);
}

Counter& MetricRegistry::counter(std::string_view name, std::string_view help, const Labels& labels) {
  return find<Counter>(name, help, labels, {});
}

Gauge& MetricRegistry::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  return find<Gauge>(name, help, labels, {});
}

Histogram& MetricRegistry::histogram(std::string_view name, std::string_view help,
                                     const std::vector<double>& bounds, const Labels& labels) {
  return find<Histogram>(name, help, labels, bounds);
}

std::string MetricRegistry::text() const {
  std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    out += fmt::format("# HELP {} {}\n", name, escaped(family.help, false));
    out += fmt::format("# TYPE {} {}\n", name, kTypes[family.type]);
    for (const auto& [labels, metric] : family.members) std::visit(Printer{out, name, labels}, metric);
  }
  return out;
}

MetricRegistry& metrics() {
  static MetricRegistry registry;
  return registry;
}

}  // namespace textmill::base
