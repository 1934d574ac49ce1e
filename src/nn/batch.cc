#include "nn/batch.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace textmill::nn {
namespace {

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw base::Error(base::Kind::invalid, "batch: " + fmt::format(format, std::forward<Args>(args)...));
}

template <class T>
T& at(std::vector<T>& list, int id) {
  if (static_cast<size_t>(id) >= list.size()) list.resize(id + 1);
  return list[id];
}

void check_range(const std::string& name, std::span<const int32_t> values, int64_t low, int64_t high) {
  for (size_t row = 0; row < values.size(); row++) {
    if (values[row] < low || values[row] >= high) {
      fail("{}[{}] = {} is outside of [{}, {})", name, row, values[row], low, high);
    }
  }
}

constexpr int kPositionBits = 20;

}  // namespace

void Batch::set_rows(Space space, std::span<const int32_t> lengths, std::span<const int32_t> past,
                     std::span<const uint64_t> keys) {
  Rows& rows = at(rows_, space.id);
  rows.seq.clear();
  rows.pos.clear();
  rows.key.clear();
  rows.begin.assign(1, 0);
  for (size_t s = 0; s < lengths.size(); s++) {
    int start = past.empty() ? 0 : past[s];
    uint64_t key = keys.empty() ? s : keys[s];
    for (int i = 0; i < lengths[s]; i++) {
      rows.seq.push_back(static_cast<int32_t>(s));
      rows.pos.push_back(start + i);
      rows.key.push_back(key << kPositionBits | static_cast<uint64_t>(start + i));
    }
    rows.begin.push_back(static_cast<int32_t>(rows.seq.size()));
  }
  rows.count = static_cast<int>(rows.seq.size());
}

void Batch::set_index(Index index, std::span<const int32_t> values) {
  at(indexes_, index.id).assign(values.begin(), values.end());
}

void Batch::set_input(Tensor input, std::span<const float> values) {
  at(inputs_, input.id).assign(values.begin(), values.end());
}

void Batch::select(const Rows& parent, std::span<const int32_t> which, Rows& rows) {
  rows.count = static_cast<int>(which.size());
  rows.begin.clear();
  rows.seq.clear();
  rows.pos.clear();
  rows.key.clear();
  for (int row : which) {
    rows.seq.push_back(parent.seq[row]);
    rows.pos.push_back(parent.pos[row]);
    rows.key.push_back(parent.key[row]);
  }
}

void Batch::resolve_space(const Recording& recording, int id) {
  if (space_state_[id] == State::known) return;
  space_state_[id] = State::busy;
  const SpaceInfo& info = recording.spaces[id];
  Rows& rows = rows_[id];
  switch (info.source) {
    case SpaceInfo::Source::given:
      if (rows.begin.empty()) fail("no rows for {}", info.name);
      break;
    case SpaceInfo::Source::sequences: {
      resolve_space(recording, info.parent);
      const Rows& parent = rows_[info.parent];
      for (int s = 0; s < parent.sequences(); s++) {
        if (parent.length(s) == 0) fail("sequence {} of {} is empty", s, recording.spaces[info.parent].name);
      }
      select(parent, std::span(parent.begin).first(parent.sequences()), rows);
      std::fill(rows.pos.begin(), rows.pos.end(), 0);
      for (int s = 0; s <= rows.count; s++) rows.begin.push_back(s);
      break;
    }
    case SpaceInfo::Source::narrowed:
      resolve_space(recording, info.parent);
      resolve_index(recording, info.via);
      check_range(recording.indexes[info.via].name, indexes_[info.via], 0, rows_[info.parent].count);
      select(rows_[info.parent], indexes_[info.via], rows);
      break;
  }
  space_state_[id] = State::known;
}

void Batch::resolve_index(const Recording& recording, int id) {
  if (index_state_[id] == State::known) return;
  const IndexInfo& info = recording.indexes[id];
  auto& values = indexes_[id];
  switch (info.source) {
    case IndexInfo::Source::given:
      if (space_state_[info.of] == State::busy) break;  // it makes that space
      resolve_space(recording, info.of);
      if (static_cast<int>(values.size()) != rows_[info.of].count) {
        fail("{} has {} values for {} rows of {}", info.name, values.size(), rows_[info.of].count,
             recording.spaces[info.of].name);
      }
      break;
    case IndexInfo::Source::positions:
      resolve_space(recording, info.of);
      values.clear();
      for (int position : rows_[info.of].pos) values.push_back(position + info.offset);
      break;
    case IndexInfo::Source::first:
    case IndexInfo::Source::last: {
      resolve_space(recording, info.into);
      const Rows& rows = rows_[info.into];
      values.clear();
      for (int s = 0; s < rows.sequences(); s++) {
        values.push_back(info.source == IndexInfo::Source::first ? rows.begin[s] : rows.begin[s + 1] - 1);
      }
      break;
    }
    case IndexInfo::Source::narrowed:
      resolve_index(recording, info.base);
      resolve_index(recording, info.via);
      values.clear();
      for (int row : indexes_[info.via]) values.push_back(indexes_[info.base][row]);
      break;
  }
  index_state_[id] = State::known;
}

void Batch::derive_rows(const Recording& recording) {
  rows_.resize(std::max(rows_.size(), recording.spaces.size()));
  indexes_.resize(std::max(indexes_.size(), recording.indexes.size()));
  inputs_.resize(std::max(inputs_.size(), recording.tensors.size()));
  space_state_.assign(recording.spaces.size(), State::unknown);
  index_state_.assign(recording.indexes.size(), State::unknown);
  for (size_t space = 0; space < recording.spaces.size(); space++)
    resolve_space(recording, static_cast<int>(space));
}

/// What an operation asks of its rows and indexes, so that kernels need not look.
void Batch::check(const Recording& recording, const Op& op) const {
  const Rows& rows = rows_[recording.tensors[op.outputs[0]].space];
  for (size_t i = 0; i < op.indexes.size(); i++) {
    const IndexInfo& info = recording.indexes[op.indexes[i]];
    auto values = index(op.indexes[i]);
    if (info.into >= 0) check_range(info.name, values, 0, rows_[info.into].count);
    if (op.kind == Kind::embed) check_range(info.name, values, 0, recording.weights[op.weights[i]]->rows);
    if (op.kind == Kind::cross_entropy) {
      check_range(info.name, values, INT32_MIN, recording.tensors[op.inputs[0]].cols);
    }
  }
  if (op.kind == Kind::input) {
    size_t expected = static_cast<size_t>(rows.count) * recording.tensors[op.outputs[0]].cols;
    size_t given = input(op.outputs[0]).size();
    if (given != expected)
      fail("input {} has {} values, not {}", recording.tensors[op.outputs[0]].name, given, expected);
  }
  bool cached = op.kind == Kind::remember || (op.kind == Kind::attend && op.as<AttendSpec>().slot >= 0);
  for (size_t i = 0; cached && i < rows.seq.size(); i++) {
    if (static_cast<size_t>(rows.seq[i]) >= caches.size()) fail("no cache for sequence {}", rows.seq[i]);
  }
  if (op.kind != Kind::attend || cached) return;
  const Rows& keys = rows_[recording.tensors[op.inputs[1]].space];
  for (int row = 0; row < rows.count; row++) {
    if (rows.seq[row] >= keys.sequences()) fail("no keys for sequence {}", rows.seq[row]);
    if (op.indexes.empty()) continue;
    int from = index(op.indexes[0])[row], to = index(op.indexes[1])[row], length = keys.length(rows.seq[row]);
    if (from < 0 || to > length) fail("row {} sees keys [{}, {}) of {}", row, from, to, length);
  }
}

void Batch::derive(const Recording& recording) {
  derive_rows(recording);
  for (const Op& op : recording.ops) {
    for (int index : op.indexes) resolve_index(recording, index);
    check(recording, op);
  }
}

}  // namespace textmill::nn
