#include "text/wordpiece.h"

#include <algorithm>

#include "base/error.h"

namespace textmill::text {
namespace {

void append(Encoding& out, int32_t id, uint32_t begin, uint32_t end) {
  out.ids.push_back(id);
  out.offsets.push_back({begin, end});
}

void truncate(Encoding& out, size_t size) {
  out.ids.resize(size);
  out.offsets.resize(size);
}

std::vector<std::pair<std::string_view, int32_t>> keys(const WordPieceSpec& spec) {
  return {spec.vocab.begin(), spec.vocab.end()};
}

}  // namespace

WordPiece::WordPiece(const WordPieceSpec& spec)
    : normalizer_(spec.normalizer),
      chars_(spec.normalizer),
      trie_(keys(spec)),
      suffix_root_(trie_.walk(Trie::kRoot, spec.continuing_subword_prefix)),
      unk_id_(trie_.id(trie_.walk(Trie::kRoot, spec.unk_token))),
      max_chars_(spec.max_input_chars_per_word) {
  TEXTMILL_CHECK(unk_id_ != Trie::kNoId);
  action_.fill(Action::expand);
  code_.fill(Trie::kStop);
  id_.fill(unk_id_);
  for (unsigned char c = 0; c < 128; ++c) {
    CharTable::Entry entry = chars_[c];
    bool joins = entry.action == Action::keep || entry.action == Action::map;
    char to = static_cast<char>(entry.action == Action::map ? entry.value : c);
    Trie::Node node = trie_.walk(Trie::kRoot, {&to, 1});
    action_[c] = joins ? Action::keep : entry.action;
    if (joins) code_[c] = static_cast<uint16_t>(Trie::code(static_cast<unsigned char>(to)));
    if (trie_.id(node) != Trie::kNoId) id_[c] = trie_.id(node);
  }
}

void WordPiece::word(std::string_view bytes, const uint32_t* origin, size_t chars, Encoding& out) const {
  size_t size = out.size();
  Trie::Node root = Trie::kRoot;
  for (size_t begin = 0; begin < bytes.size(); root = suffix_root_) {
    Trie::Match piece = chars > max_chars_ ? Trie::Match{Trie::kNoId, 0} : trie_.longest(root, bytes, begin);
    if (piece.id == Trie::kNoId) {
      truncate(out, size);
      return append(out, unk_id_, origin[0], origin[bytes.size() - 1] + 1);
    }
    append(out, piece.id, origin[begin], origin[piece.end - 1] + 1);
    begin = piece.end;
  }
}

void WordPiece::encode_normalized(std::string_view bytes, const uint32_t* origin, size_t enough,
                                  Encoding& out) const {
  const char *text = bytes.data(), *end = text + bytes.size(), *begin = text;  // of the word
  size_t chars = 0;
  auto finish = [&](const char* word_end) {
    if (out.size() < enough) word({begin, word_end}, origin + (begin - text), chars, out);
    begin = word_end;
    chars = 0;
  };
  for (const char *at = text, *next = at; at < end; at = next) {
    char32_t c = next_char(next);
    bool alone = is(Property::punctuation, c);
    if (!alone && !is(Property::space, c)) {
      ++chars;
      continue;
    }
    finish(at);
    chars = 1;
    if (alone) finish(next);
    begin = next;
    chars = 0;
  }
  finish(end);
}

/// One text on its way through the model.
class WordPiece::Pass {
 public:
  Pass(const WordPiece& model, std::string_view text, uint32_t first, size_t enough, Encoding& out)
      : model_(model),
        begin_(text.data()),
        at_(begin_),
        end_(begin_ + text.size()),
        shift_(first),
        enough_(enough),
        out_(out) {}

  void run() {
    while (at_ < end_ && out_.size() < enough_) {
      auto byte = static_cast<unsigned char>(*at_);
      switch (model_.action_[byte]) {
        case Action::isolate: append(out_, model_.id_[byte], index(at_), index(at_) + 1); [[fallthrough]];
        case Action::space:
        case Action::remove: ++at_; break;
        case Action::keep:
          if (ascii_word()) break;
          [[fallthrough]];
        default: mixed_words();
      }
    }
  }

 private:
  uint32_t index(const char* at) const { return static_cast<uint32_t>(at - begin_) + shift_; }
  uint32_t code(const char* at) const { return model_.code_[static_cast<unsigned char>(*at)]; }
  bool in_word(const char* at) const { return at < end_ && code(at) != Trie::kStop; }
  bool at_boundary(const char* at) const {
    if (at == end_) return true;
    Action action = model_.action_[static_cast<unsigned char>(*at)];
    return action == Action::space || action == Action::isolate;
  }

  struct Piece {
    int32_t id;
    const char* end;
  };
  Piece longest(Trie::Node node, const char* p) const {
    Piece piece{Trie::kNoId, p};
    while (in_word(p)) {  // not left to the trie, which is slower to say so
      node = model_.trie_.child(node, code(p++));
      if (node == Trie::kNone) break;
      if (model_.trie_.id(node) != Trie::kNoId) piece = {model_.trie_.id(node), p};
    }
    return piece;
  }

  /// If the word at at_ is of ASCII characters only: its tokens, and at_ behind it. Else nothing has happened.
  bool ascii_word() {
    const size_t size = out_.size();
    const char* at = at_;
    bool known = true;
    for (Trie::Node root = Trie::kRoot; known && in_word(at); root = model_.suffix_root_) {
      Piece piece = longest(root, at);
      known = piece.id != Trie::kNoId && static_cast<size_t>(piece.end - at_) <= model_.max_chars_;
      append(out_, piece.id, index(at), index(piece.end));
      at = piece.end;
    }
    while (in_word(at)) ++at;  // the rest of an unknown word
    if (!at_boundary(at)) {
      truncate(out_, size);
      return false;
    }
    if (!known) {
      truncate(out_, size);
      append(out_, model_.unk_id_, index(at_), index(at));
    }
    at_ = at;
    return true;
  }

  /// Words of any characters, up to a space or an isolated character of ASCII.
  void mixed_words() {
    while (!at_boundary(at_)) {
      const char* begin = at_;
      uint32_t from = index(begin);
      char32_t c = next_char(at_);
      shift_ -= static_cast<uint32_t>(at_ - begin) - 1;
      read(c, from);
    }
    flush();
    finish_word();
  }

  void read(char32_t c, uint32_t from) {
    CharTable::Entry entry = model_.chars_[c];
    if (entry.action == Action::remove) return;
    if (entry.action == Action::expand) return expand(model_.chars_.items(entry), from);
    flush();
    if (entry.action == Action::hangul)
      for (char32_t letter : decompose(c)) act(Action::keep, letter, from);
    else if (entry.action == Action::map)
      act(Action::keep, entry.value, from);
    else
      act(entry.action, c, from);
  }

  void expand(const CharTable::Item* item, uint32_t from) {
    for (bool begins = true;; begins = false, ++item) {
      if (item->combining_class == 0) {
        flush();
        act(item->action, item->c, from);
      } else {
        moving_.push_back({*item, from, begins});
      }
      if (item->last) return;
    }
  }

  /// Puts the combining characters read since the last starter in canonical order. Which characters they stand for
  /// is what normalize() says: it goes by position.
  void flush() {
    if (moving_.empty()) return;
    if (std::ranges::any_of(moving_, [](const Moving& x) { return x.item.action != Action::remove; })) {
      origins_.clear();
      for (const Moving& x : moving_)
        if (x.begins) origins_.push_back(x.from);
      uint32_t from = moving_[0].from;
      std::ranges::stable_sort(moving_, {}, [](const Moving& x) { return x.item.combining_class; });
      size_t next = 0;
      for (const Moving& x : moving_) {
        if (x.begins) from = origins_[next++];
        act(x.item.action, x.item.c, from);
      }
    }
    moving_.clear();
  }

  void act(Action action, char32_t c, uint32_t from) {
    if (action == Action::remove) return;
    if (action != Action::keep) finish_word();
    if (action == Action::space) return;
    if (++chars_ > model_.max_chars_ + 1)
      word_.origin.back() = from;  // unknown already: only its end still matters
    else
      word_.push(c, from);
    if (action == Action::isolate) finish_word();
  }

  void finish_word() {
    if (out_.size() < enough_) model_.word(word_.bytes, word_.origin.data(), chars_, out_);
    word_.clear();
    chars_ = 0;
  }

  struct Moving {
    CharTable::Item item;
    uint32_t from;
    bool begins;  // the first of its character's expansion
  };

  const WordPiece& model_;
  const char *begin_, *at_, *end_;
  uint32_t shift_;  // index = bytes before it + shift_
  size_t enough_;
  Encoding& out_;
  Traced word_;
  size_t chars_ = 0;  // of word_
  std::vector<Moving> moving_;
  std::vector<uint32_t> origins_;
};

void WordPiece::encode(std::string_view text, uint32_t first, size_t enough, Encoding& out) const {
  Pass(*this, text, first, enough, out).run();
}

}  // namespace textmill::text
