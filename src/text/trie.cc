#include "text/trie.h"

#include <algorithm>

namespace textmill::text {

/// Places the nodes level by level, so that the short keys' nodes lie together.
class Trie::Builder {
 public:
  Builder(std::vector<Slot>& nodes, const std::vector<std::pair<std::string_view, int32_t>>& keys)
      : nodes_(nodes), keys_(keys) {}

  void run() {
    nodes_.assign(2 + kCodes, {});
    nodes_[kNone].parent = nodes_[kRoot].parent = kTaken;
    std::vector<Work> level{{kRoot, 0, keys_.size()}}, next;
    for (size_t depth = 0; !level.empty(); ++depth) {
      for (const Work& work : level) place(work, depth, next);
      level.swap(next);
      next.clear();
    }
  }

 private:
  struct Work {  // keys [begin, end) pass through `node`
    Node node;
    size_t begin, end;
  };

  void place(Work work, size_t depth, std::vector<Work>& next) {
    if (work.begin < work.end && keys_[work.begin].first.size() == depth) {
      nodes_[work.node].id = keys_[work.begin].second;
      ++work.begin;
    }
    codes_.clear();
    size_t first_child = next.size();
    for (size_t i = work.begin; i < work.end;) {
      auto byte = static_cast<unsigned char>(keys_[i].first[depth]);
      size_t begin = i;
      while (i < work.end && static_cast<unsigned char>(keys_[i].first[depth]) == byte) ++i;
      codes_.push_back(code(byte));
      next.push_back({kNone, begin, i});
    }
    if (codes_.empty()) return;
    uint32_t base = find_base();
    nodes_[work.node].base = base;
    for (size_t i = 0; i < codes_.size(); ++i) {
      nodes_[base + codes_[i]].parent = work.node;
      next[first_child + i].node = base + codes_[i];
    }
  }

  /// A base whose slots for codes_ are free: the first one that is not behind free_.
  uint32_t find_base() {
    while (slot(free_).parent != kFree) ++free_;
    for (Node first = std::max(free_, codes_[0] + 1);; ++first) {
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
  Node free_ = 2;  // no slot before it is free
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
