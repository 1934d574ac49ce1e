#include "text/trie.h"

#include <algorithm>

namespace textmill::text {

/// Places the nodes depth first, so that those of a key's tail lie together.
class Trie::Builder {
 public:
  Builder(std::vector<Slot>& nodes, const std::vector<std::pair<std::string_view, int32_t>>& keys)
      : nodes_(nodes), keys_(keys) {}

  void run() {
    nodes_.assign(2 + kCodes, {});
    nodes_[kNone].parent = nodes_[kRoot].parent = kTaken;
    std::vector<Work> stack{{kRoot, 0, 0, keys_.size()}};
    while (!stack.empty()) {
      Work work = stack.back();
      stack.pop_back();
      place(work, stack);
    }
  }

 private:
  struct Work {  // keys [begin, end) pass through `node`
    Node node;
    size_t depth;
    size_t begin, end;
  };

  void place(Work work, std::vector<Work>& next) {
    if (work.begin < work.end && keys_[work.begin].first.size() == work.depth) {
      nodes_[work.node].id = keys_[work.begin].second;
      ++work.begin;
    }
    codes_.clear();
    size_t first_child = next.size();
    for (size_t i = work.begin; i < work.end;) {
      auto byte = static_cast<unsigned char>(keys_[i].first[work.depth]);
      size_t begin = i;
      while (i < work.end && static_cast<unsigned char>(keys_[i].first[work.depth]) == byte) ++i;
      codes_.push_back(code(byte));
      next.push_back({kNone, work.depth + 1, begin, i});
    }
    if (codes_.empty()) return;
    uint32_t base = find_base();
    nodes_[work.node].base = base;
    for (size_t i = 0; i < codes_.size(); ++i) {
      nodes_[base + codes_[i]].parent = work.node;
      next[first_child + i].node = base + codes_[i];
    }
  }

  /// A base whose slots for codes_ are free. The search goes on where the last one ended: nodes with several children
  /// leave holes behind, and those with one fill them.
  uint32_t find_base() {
    Node& first = codes_.size() == 1 ? hole_ : end_;
    for (first = std::max(first, codes_[0] + 1);; ++first) {
      uint32_t base = first - codes_[0];
      if (std::ranges::all_of(codes_, [&](uint32_t code) { return slot(base + code).parent == kFree; })) {
        slot(base + kCodes);  // a look-up may read any child's slot
        return base;
      }
    }
  }

  Slot& slot(size_t i) {
    if (i >= nodes_.size()) nodes_.resize(i + i / 2);
    return nodes_[i];
  }

  std::vector<Slot>& nodes_;
  const std::vector<std::pair<std::string_view, int32_t>>& keys_;
  std::vector<uint32_t> codes_;
  Node hole_ = 2, end_ = 2;
};

Trie::Trie(std::vector<std::pair<std::string_view, int32_t>> keys) {
  std::erase_if(keys, [](const auto& key) { return key.first.empty(); });
  std::ranges::stable_sort(keys, {}, &std::pair<std::string_view, int32_t>::first);
  auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  keys.erase(keys.begin(), std::unique(keys.rbegin(), keys.rend(), same).base());
  Builder(nodes_, keys).run();
  nodes_.shrink_to_fit();
}

Trie::Node Trie::walk(Node node, std::string_view bytes) const {
  for (unsigned char byte : bytes) node = child(node, code(byte));
  return node;
}

Trie::Match Trie::longest(Node node, std::string_view bytes, size_t begin) const {
  Match match{kNoId, begin};
  for (size_t i = begin; i < bytes.size();) {
    node = child(node, code(static_cast<unsigned char>(bytes[i++])));
    if (node == kNone) break;
    if (id(node) != kNoId) match = {id(node), i};
  }
  return match;
}

}  // namespace textmill::text
