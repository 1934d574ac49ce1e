#include "train/order.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace textmill::train {

std::vector<uint32_t> epoch_order(uint64_t seed, int epoch, uint32_t rows) {
  std::vector<uint32_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  uint64_t state = derive(seed, epoch);
  for (uint32_t i = rows; i-- > 1;) {
    uint64_t random = scatter(state += 0x9e3779b97f4a7c15);
    std::swap(order[i], order[static_cast<unsigned __int128>(random) * (i + 1) >> 64]);
  }
  return order;
}

std::span<const uint32_t> Steps::rows_of(int64_t step, std::span<const uint32_t> order) const {
  TEXTMILL_CHECK(order.size() == rows && step >= 0 && step < total());
  size_t first = step % per_epoch() * rows_per_step;
  return order.subspan(first, std::min<size_t>(rows_per_step, rows - first));
}

}  // namespace textmill::train
