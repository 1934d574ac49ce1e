#include "train/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "tasks/engine.h"
#include "tasks/footprint.h"

namespace textmill::train {
namespace {

std::string gib(int64_t bytes) { return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30)); }

}  // namespace

TrainingPlan make_training_plan(models::TextClassifier& model, nn::Format format) {
  auto recorded = models::record_classifier(model, {.training = true});
  return {recorded.inputs,
          nn::make_plan(std::move(recorded.recording), tasks::plan_options(format, nn::Backward::outputs))};
}

void check_memory(const TrainingPlan& plan, const Examples& examples, const TrainOptions& options,
                  int64_t available) {
  std::vector<int32_t> lengths(examples.size());
  for (uint32_t row = 0; row < examples.size(); row++)
    lengths[row] = static_cast<int32_t>(examples.length(row));
  size_t batch = std::min<size_t>(options.batch_size, lengths.size());
  std::partial_sort(lengths.begin(), lengths.begin() + static_cast<ptrdiff_t>(batch), lengths.end(),
                    std::greater());
  auto needs = [&](size_t rows) {
    return tasks::footprint(plan.plan, plan.inputs, std::span(lengths).first(rows)).total();
  };
  if (needs(batch) <= available) return;
  // Only a divisor leaves the rows of a step of the optimizer as they are.
  size_t fits = batch - 1;
  while (fits > 0 && (options.batch_size % fits != 0 || needs(fits) > available)) fits--;
  std::string advice =
      fits ? fmt::format("--batch-size {} --gradient-accumulation {} would fit and learn the same", fits,
                         options.batch_size / fits * options.gradient_accumulation)
           : "not even one row at a time would fit";
  throw base::Error(base::Kind::limit,
                    fmt::format("training does not fit into memory: batches of {} need {}, {} are free; {}",
                                batch, gib(needs(batch)), gib(available), advice));
}

}  // namespace textmill::train
