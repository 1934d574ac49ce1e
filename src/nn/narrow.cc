#include <map>
#include <utility>

#include "nn/passes.h"

namespace textmill::nn {
namespace {

constexpr int kNobody = -1, kEverything = -2;  // else the index whose rows alone are read

bool is_row_wise(Kind kind) {
  switch (kind) {
    case Kind::embed:
    case Kind::linear:
    case Kind::norm:
    case Kind::activate:
    case Kind::rotary:
    case Kind::add:
    case Kind::scale:
    case Kind::dropout:
    case Kind::enter:
    case Kind::leave: return true;
    default: return false;
  }
}

/// For each operation, which of its rows anybody reads.
std::vector<int> rows_needed(const Recording& recording) {
  std::vector<int> need(recording.tensors.size(), kNobody), by(recording.ops.size(), kEverything);
  auto join = [&](int tensor, int rows) {
    int& known = need[tensor];
    known = known == kNobody || known == rows ? rows : kEverything;
  };
  for (int tensor : recording.outputs) need[tensor] = kEverything;
  for (int tensor : recording.losses) need[tensor] = kEverything;
  for (size_t i = recording.ops.size(); i-- > 0;) {
    const Op& op = recording.ops[i];
    int rows = need[op.outputs[0]];
    if (rows == kNobody && op.kind != Kind::remember) {
      by[i] = kNobody;
    } else if (op.kind == Kind::rows) {
      join(op.inputs[0], op.indexes[0]);
    } else if (is_row_wise(op.kind) || op.kind == Kind::attend) {
      by[i] = rows;
      for (size_t k = 0; k < op.inputs.size(); k++) {
        bool query_or_row = op.kind != Kind::attend || k == 0;
        join(op.inputs[k], query_or_row ? rows : kEverything);
      }
    } else {
      for (int input : op.inputs) join(input, kEverything);
    }
  }
  return by;
}

class Narrower {
 public:
  explicit Narrower(const Recording& whole) : whole_(whole), result_(whole) {
    result_.ops.clear();
    for (size_t tensor = 0; tensor < whole.tensors.size(); tensor++) now_.push_back(static_cast<int>(tensor));
  }

  Recording run() {
    std::vector<int> by = rows_needed(whole_);
    for (size_t i = 0; i < whole_.ops.size(); i++) {
      if (by[i] == kNobody) continue;
      if (by[i] == kEverything) {
        keep(whole_.ops[i]);
      } else {
        move(whole_.ops[i], by[i]);
      }
    }
    for (int& tensor : result_.outputs) tensor = now_[tensor];
    for (int& tensor : result_.losses) tensor = now_[tensor];
    return std::move(result_);
  }

 private:
  void keep(Op op) {
    if (op.kind == Kind::rows) {
      auto found = picked_.find({op.inputs[0], op.indexes[0]});
      if (found != picked_.end()) {
        now_[op.outputs[0]] = found->second;
        return;
      }
    }
    for (int& tensor : op.inputs) tensor = now_[tensor];
    result_.ops.push_back(std::move(op));
  }

  void move(Op op, int via) {
    for (size_t k = 0; k < op.inputs.size(); k++) {
      bool query_or_row = op.kind != Kind::attend || k == 0;
      op.inputs[k] = query_or_row ? pick(op.inputs[k], via) : now_[op.inputs[k]];
    }
    for (int& index : op.indexes) index = pick_index(index, via);
    for (int& tensor : op.outputs) {
      TensorInfo info = whole_.tensors[tensor];
      int moved = result_.add_tensor(pick_space(via), info.cols, info.name, info.format);
      picked_[{tensor, via}] = moved;
      tensor = moved;
    }
    result_.ops.push_back(std::move(op));
  }

  /// The rows `via` of a tensor: computed there already, or gathered.
  int pick(int tensor, int via) {
    auto [found, fresh] = picked_.try_emplace({tensor, via}, -1);
    if (fresh) {
      found->second = result_.add_tensor(pick_space(via), whole_.tensors[tensor].cols, "rows");
      result_.ops.push_back(
          {.kind = Kind::rows, .inputs = {now_[tensor]}, .outputs = {found->second}, .indexes = {via}});
    }
    return found->second;
  }

  int pick_space(int via) {
    auto [found, fresh] = spaces_.try_emplace(via, static_cast<int>(result_.spaces.size()));
    if (fresh) {
      const IndexInfo& index = whole_.indexes[via];
      result_.spaces.push_back({.name = whole_.spaces[index.into].name + " at " + index.name,
                                .source = SpaceInfo::Source::narrowed,
                                .parent = index.into,
                                .via = via});
    }
    return found->second;
  }

  int pick_index(int index, int via) {
    auto [found, fresh] = indexes_.try_emplace({index, via}, static_cast<int>(result_.indexes.size()));
    if (fresh) {
      const IndexInfo& info = whole_.indexes[index];
      result_.indexes.push_back({.name = info.name + " at " + whole_.indexes[via].name,
                                 .of = pick_space(via),
                                 .into = info.into,
                                 .source = IndexInfo::Source::narrowed,
                                 .base = index,
                                 .via = via});
    }
    return found->second;
  }

  const Recording& whole_;
  Recording result_;
  std::vector<int> now_;                        // tensor -> its number in the result
  std::map<std::pair<int, int>, int> picked_;   // tensor, index -> the picked rows
  std::map<std::pair<int, int>, int> indexes_;  // index, index -> the picked values
  std::map<int, int> spaces_;                   // index -> the space of its rows
};

}  // namespace

Recording narrow(const Recording& whole) { return Narrower(whole).run(); }

}  // namespace textmill::nn
