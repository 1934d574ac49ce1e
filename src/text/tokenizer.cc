#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/utf8.h"
#include "text/added_tokens.h"
#include "text/tokenizer_file.h"
#include "text/wordpiece.h"

namespace textmill::text {

using base::Error;
using base::Kind;

namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;

AddedTokens search_in(std::vector<AddedToken> tokens, const BertNormalizer& steps, bool normalized) {
  std::erase_if(tokens, [&](const AddedToken& token) { return token.normalized != normalized; });
  std::ranges::sort(tokens, std::ranges::greater(),
                    &AddedToken::id);  // of equal contents the last, the least id, counts
  std::vector<std::string> contents;
  for (const AddedToken& token : tokens)
    contents.push_back(normalized ? normalize(token.content, steps).bytes : token.content);
  return {std::move(tokens), contents};
}

uint32_t count_chars(std::string_view text) {
  return static_cast<uint32_t>(std::ranges::count_if(
      text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }));
}

/// Tokens of each text that stay when both may have `room` together: the longer one gives first, and keeps the odd one.
std::pair<size_t, size_t> share(size_t first, size_t second, size_t room) {
  if (first + second <= room) return {first, second};
  size_t shorter = std::min({first, second, room / 2}), longer = room - shorter;
  return first <= second ? std::pair(shorter, longer) : std::pair(longer, shorter);
}

/// The same as `strategy` has it. A text that alone may be cut keeps a token, unless there is no room for any.
std::pair<size_t, size_t> kept(size_t first, size_t second, size_t room, Strategy strategy) {
  if (strategy == Strategy::longest_first || room == 0 || first + second <= room)
    return share(first, second, room);
  bool cuts_second = strategy == Strategy::only_second;
  size_t whole = cuts_second ? first : second;
  if (whole >= room)
    throw Error(Kind::invalid,
                fmt::format("the {} text has {} tokens, there is room for {}, and tokenizer.json "
                            "lets only the {} be cut (truncation.strategy)",
                            cuts_second ? "first" : "second", whole, room, cuts_second ? "second" : "first"));
  return cuts_second ? std::pair(first, room - whole) : std::pair(room - whole, second);
}

void check_utf8(std::string_view text) {
  if (auto at = base::invalid_utf8(text))
    throw Error(Kind::invalid, fmt::format("the text is not UTF-8 at byte {}", *at));
}

/// Tokens that the texts may have together.
size_t room_for_text(const std::vector<TemplatePart>& parts, const EncodeOptions& options) {
  if (!options.max_length) return SIZE_MAX;
  size_t specials = 0;
  for (const TemplatePart& part : parts) specials += options.add_special_tokens ? part.ids.size() : 0;
  if (*options.max_length < specials)
    throw Error(Kind::invalid, fmt::format("a maximum length of {} has no room for the {} special tokens",
                                           *options.max_length, specials));
  return *options.max_length - specials;
}

/// The tokens of one text.
struct Run {
  size_t begin = 0, length = 0;
};

void shorten(Encoding& encoding, Run run, size_t length, Side side) {
  auto erase = [&](auto& column) {
    auto begin = column.begin() + static_cast<ptrdiff_t>(run.begin + (side == Side::left ? 0 : length));
    column.erase(begin, begin + static_cast<ptrdiff_t>(run.length - length));
  };
  erase(encoding.ids);
  erase(encoding.type_ids);
  erase(encoding.offsets);
}

}  // namespace

void Encoding::clear() {
  ids.clear();
  type_ids.clear();
  offsets.clear();
}

struct Tokenizer::State {
  explicit State(const TokenizerSpec& spec);

  /// Appends the tokens of one text. Its first `enough` ones are right, there may be more.
  void append(std::string_view text, size_t enough, Encoding& out) const;
  /// The same for a part without unnormalized added tokens, whose first code point is number `first`.
  void append_part(std::string_view part, uint32_t first, size_t end, Encoding& out) const;

  WordPiece model;
  AddedTokens added, added_normalized;
  std::vector<TemplatePart> single, pair;
  std::vector<std::string> tokens;  // by id
  std::optional<size_t> max_length;
  Side side;
  Strategy strategy;
};

Tokenizer::State::State(const TokenizerSpec& spec)
    : model(spec.model),
      added(search_in(spec.added_tokens, spec.model.normalizer, false)),
      added_normalized(search_in(spec.added_tokens, spec.model.normalizer, true)),
      single(spec.single),
      pair(spec.pair),
      max_length(spec.max_length),
      side(spec.side),
      strategy(spec.strategy) {
  auto set = [&](int32_t id, const std::string& content) {
    if (tokens.size() <= static_cast<size_t>(id)) tokens.resize(static_cast<size_t>(id) + 1);
    tokens[static_cast<size_t>(id)] = content;
  };
  for (const auto& [content, id] : spec.model.vocab) set(id, content);
  for (const AddedToken& token : spec.added_tokens) set(token.id, token.content);
}

void Tokenizer::State::append(std::string_view text, size_t enough, Encoding& out) const {
  size_t end = enough < SIZE_MAX - out.size() ? out.size() + enough : SIZE_MAX, counted = 0;
  uint32_t index = 0;
  added.split(text, [&](const AddedTokens::Part& part) {
    if (part.begin < counted) counted = index = 0;  // in white space that the token before took
    index += count_chars(text.substr(counted, part.begin - counted));
    counted = part.begin;
    std::string_view bytes = text.substr(part.begin, part.end - part.begin);
    if (part.id) {
      out.ids.push_back(*part.id);
      out.offsets.push_back({index, index + count_chars(bytes)});
    } else {
      append_part(bytes, index, end, out);
    }
    return out.size() < end;
  });
}
void Tokenizer::State::append_part(std::string_view part, uint32_t first, size_t end, Encoding& out) const {
  if (added_normalized.empty()) return model.encode(part, first, end, out);
  Traced text = normalize(part, model.normalizer(), first);
  added_normalized.split(text.bytes, [&](const AddedTokens::Part& x) {
    if (x.id) {
      out.ids.push_back(*x.id);
      out.offsets.push_back({text.origin[x.begin], text.origin[x.end - 1] + 1});
    } else {
      std::string_view bytes = std::string_view(text.bytes).substr(x.begin, x.end - x.begin);
      model.encode_normalized(bytes, &text.origin[x.begin], end, out);
    }
    return out.size() < end;
  });
}

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_json(std::string_view json) {
  return Tokenizer(std::make_unique<State>(parse_tokenizer_json(json, "tokenizer.json", "", "")));
}

Tokenizer Tokenizer::load(const base::Path& folder) {
  base::Path json = folder / "tokenizer.json", vocab = folder / "vocab.txt",
             config = folder / "tokenizer_config.json";
  std::string config_text = std::filesystem::exists(config) ? base::read_file(config, kMaxFileBytes) : "";
  if (std::filesystem::exists(json))
    return Tokenizer(std::make_unique<State>(parse_tokenizer_json(
        base::read_file(json, kMaxFileBytes), json.string(), config_text, config.string())));
  if (!std::filesystem::exists(vocab))
    throw Error(Kind::not_found,
                fmt::format("{}: neither tokenizer.json nor vocab.txt is there", folder.string()));
  if (std::filesystem::exists(folder / "added_tokens.json"))
    throw Error(Kind::invalid, fmt::format("{}: not supported beside vocab.txt; save a tokenizer.json",
                                           (folder / "added_tokens.json").string()));
  return Tokenizer(std::make_unique<State>(
      parse_vocab_txt(base::read_file(vocab, kMaxFileBytes), vocab.string(), config_text, config.string())));
}

Encoding Tokenizer::encode(std::string_view text, std::optional<std::string_view> pair,
                           const EncodeOptions& options) const {
  Encoding out;
  encode(text, pair, options, out);
  return out;
}

void Tokenizer::encode(std::string_view text, std::optional<std::string_view> pair,
                       const EncodeOptions& options, Encoding& out) const {
  check_utf8(text);
  if (pair) check_utf8(*pair);
  const std::vector<TemplatePart>& parts = pair ? state_->pair : state_->single;
  const size_t room = room_for_text(parts, options);
  const Side side = options.side.value_or(state_->side);
  // All tokens of a text count where they decide which text gives, or whether one can, and where the first ones go.
  const bool all = pair || side == Side::left || state_->strategy == Strategy::only_second;
  Run runs[2];
  out.clear();
  for (const TemplatePart& part : parts) {
    if (part.source != TemplatePart::special) {
      bool second = part.source == TemplatePart::second;
      runs[second].begin = out.ids.size();
      state_->append(second ? *pair : text, all ? SIZE_MAX : room, out);
      runs[second].length = out.ids.size() - runs[second].begin;
    } else if (options.add_special_tokens) {
      out.ids.insert(out.ids.end(), part.ids.begin(), part.ids.end());
      out.offsets.resize(out.ids.size(), {0, 0});
    }
    out.type_ids.resize(out.ids.size(), part.type_id);
  }
  auto [first, second] = kept(runs[0].length, runs[1].length, room, state_->strategy);
  // The later run first, so that the other stays where it is.
  bool swapped = runs[1].begin < runs[0].begin;
  if (!swapped) shorten(out, runs[1], second, side);
  shorten(out, runs[0], first, side);
  if (swapped) shorten(out, runs[1], second, side);
}

int Tokenizer::vocab_size() const { return static_cast<int>(state_->tokens.size()); }

std::string_view Tokenizer::token(int id) const {
  if (id < 0 || id >= vocab_size())
    throw Error(Kind::invalid, fmt::format("token id {} is not from 0 to {}", id, vocab_size() - 1));
  return state_->tokens[static_cast<size_t>(id)];
}

std::optional<size_t> Tokenizer::file_max_length() const { return state_->max_length; }

}  // namespace textmill::text
