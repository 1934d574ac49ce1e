#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace textmill::text {

/// A set of byte strings with an id each, as a double array (Aoe 1989): one array access per byte of a look-up.
class Trie {
 public:
  using Node = uint32_t;
  static constexpr Node kNone = 0;
  static constexpr Node kRoot = 1;
  static constexpr int32_t kNoId = -1;

  /// Ids are not negative. Of equal keys the last counts; an empty one is left out.
  explicit Trie(std::vector<std::pair<std::string_view, int32_t>> keys);

  /// The code of a byte, and the one that no node has a child for: a scan that maps what ends a word to kStop needs
  /// no other test for the end.
  static constexpr uint32_t kStop = 0;
  static constexpr uint32_t code(unsigned char byte) { return byte + 1U; }

  Node child(Node node, uint32_t code) const {
    Node next = nodes_[node].base + code;
    return nodes_[next].parent == node ? next : kNone;
  }
  int32_t id(Node node) const { return nodes_[node].id; }

  /// The node behind `bytes` from `node` on; kNone if there is none.
  Node walk(Node node, std::string_view bytes) const;

  struct Match {
    int32_t id;  // kNoId: nothing matches
    size_t end;
  };
  /// The longest key (as seen from `node`) that bytes[begin..] begins with.
  Match longest(Node node, std::string_view bytes, size_t begin) const;

 private:
  struct Slot {
    uint32_t base = 0;  // children are at base + code
    Node parent = kFree;
    int32_t id = kNoId;
  };
  static constexpr Node kFree = UINT32_MAX, kTaken = UINT32_MAX - 1;
  static constexpr uint32_t kCodes = 257;
  class Builder;

  std::vector<Slot> nodes_;
};

}  // namespace textmill::text
