#include "text/tokenizer_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "base/utf8.h"
#include "format/json.h"

namespace textmill::text {
namespace {

using base::Error;
using base::Kind;
using format::Json;
using format::JsonView;

constexpr int64_t kMaxId = 1 << 24;
constexpr size_t kMaxTokenBytes = 1 << 10;

void check_length(std::string_view token, const std::string& where) {
  if (token.size() > kMaxTokenBytes)
    throw Error(Kind::invalid, fmt::format("{}: a token of {} bytes, at most {} are supported", where,
                                           token.size(), kMaxTokenBytes));
}

void check_unk_token(const WordPieceSpec& model, const std::string& where) {
  if (!std::ranges::count(model.vocab, model.unk_token, &std::pair<std::string, int32_t>::first))
    throw Error(Kind::invalid,
                fmt::format("{}: the unknown token \"{}\" is not there", where, model.unk_token));
}

/// Type of a part such as the normalizer; empty where the file has null.
std::string type_of(const JsonView& file, std::string_view part) {
  auto found = file.find(part);
  return found ? found->at("type").string() : "";
}

BertNormalizer parse_normalizer(const JsonView& file) {
  std::string type = type_of(file, "normalizer");
  if (type.empty()) return {false, false, false, false};
  JsonView normalizer = file.at("normalizer");
  if (type != "BertNormalizer") normalizer.at("type").fail("BertNormalizer");
  BertNormalizer steps;
  steps.clean_text = normalizer.get_boolean("clean_text", true);
  steps.handle_chinese_chars = normalizer.get_boolean("handle_chinese_chars", true);
  steps.lowercase = normalizer.get_boolean("lowercase", true);
  steps.strip_accents = normalizer.get_boolean("strip_accents", steps.lowercase);
  return steps;
}

WordPieceSpec parse_model(const JsonView& file) {
  JsonView model = file.at("model");
  if (model.get_string("type", "WordPiece") != "WordPiece" || model.find("merges"))
    model.find("type").value_or(model).fail("WordPiece (no other model is supported yet)");
  WordPieceSpec spec;
  spec.unk_token = model.get_string("unk_token", spec.unk_token);
  spec.continuing_subword_prefix =
      model.get_string("continuing_subword_prefix", spec.continuing_subword_prefix);
  spec.max_input_chars_per_word =
      static_cast<size_t>(model.get_integer("max_input_chars_per_word", 100, 1, 1 << 20));
  JsonView vocab = model.at("vocab");
  const Json::Object* entries = vocab.value().object();
  if (!entries) vocab.fail("an object of tokens and ids");
  spec.vocab.reserve(entries->size());
  for (const auto& [token, id] : *entries) {
    check_length(token, vocab.where());
    const int64_t* number = id.integer();
    if (!number || *number < 0 || *number >= kMaxId)
      throw Error(Kind::invalid,
                  fmt::format("{}: \"{}\": expected an id from 0 to {}", vocab.where(), token, kMaxId - 1));
    spec.vocab.emplace_back(token, static_cast<int32_t>(*number));
  }
  check_unk_token(spec, vocab.where());
  return spec;
}

AddedToken parse_added_token(const JsonView& view, int64_t id) {
  AddedToken token{view.at("content").string(), static_cast<int32_t>(id)};
  check_length(token.content, view.where());
  token.single_word = view.get_boolean("single_word", false);
  token.lstrip = view.get_boolean("lstrip", false);
  token.rstrip = view.get_boolean("rstrip", false);
  token.normalized = view.get_boolean("normalized", !view.get_boolean("special", false));
  return token;
}

constexpr int32_t kIfKnown = -1;  // as an id: the vocabulary's; without one there, the token does not count

/// One token per content, with the last one's properties. Their ids are the vocabulary's, else the next ones behind it:
/// the ids in the file do not count, as in the reference.
std::vector<AddedToken> assign_ids(const std::vector<AddedToken>& tokens, const WordPieceSpec& model) {
  std::unordered_map<std::string_view, int32_t> known;
  for (const AddedToken& token : tokens) known[token.content] = kIfKnown;
  for (const auto& [content, id] : model.vocab)
    if (auto found = known.find(content); found != known.end()) found->second = id;
  std::vector<AddedToken> out;
  std::unordered_map<std::string_view, size_t> places;
  auto next_id = static_cast<int32_t>(model.vocab.size());
  for (const AddedToken& token : tokens) {
    int32_t id = known[token.content];
    if (token.content.empty() || (id == kIfKnown && token.id == kIfKnown)) continue;
    auto [place, fresh] = places.try_emplace(token.content, out.size());
    if (fresh) {
      out.push_back(token);
      out.back().id = id == kIfKnown ? next_id : id;
      next_id = std::max(next_id, out.back().id + 1);
      if (token.id != kIfKnown && token.id != out.back().id)
        base::log(base::Level::warning, "added_token_id",
                  {{"token", token.content}, {"id", out.back().id}, {"id_in_file", token.id}});
    } else {
      id = out[place->second].id;
      out[place->second] = token;
      out[place->second].id = id;
    }
  }
  return out;
}

std::vector<int32_t> special_ids(const JsonView& processor, const JsonView& name) {
  for (const auto& [token, special] : processor.at("special_tokens").object()) {
    if (token != name.string()) continue;
    std::vector<int64_t> ids = special.at("ids").integers(0, kMaxId - 1);
    return {ids.begin(), ids.end()};
  }
  name.fail("a name of special_tokens");
}

std::vector<TemplatePart> parse_template(const JsonView& processor, std::string_view field) {
  JsonView parts = processor.at(field);
  std::vector<TemplatePart> out;
  int texts[2] = {0, 0};
  for (const JsonView& part : parts.array()) {
    auto special = part.find("SpecialToken");
    JsonView what = special ? *special : part.at("Sequence"), id = what.at("id");
    auto type_id = static_cast<int32_t>(what.get_integer("type_id", 0, 0, INT32_MAX));
    if (special) {
      out.push_back({TemplatePart::special, type_id, special_ids(processor, id)});
      continue;
    }
    bool second = id.string() == "B";
    if (!second && id.string() != "A") id.fail("\"A\" or \"B\"");
    out.push_back({second ? TemplatePart::second : TemplatePart::first, type_id});
    ++texts[second];
  }
  bool pair = field == "pair";
  if (texts[0] != 1 || texts[1] != pair)
    parts.fail(pair ? "the sequences A and B, once each" : "the sequence A, once");
  return out;
}

/// [CLS] A [SEP], and [CLS] A [SEP] B [SEP].
void set_bert_templates(TokenizerSpec& spec, int32_t cls, int32_t sep) {
  spec.single = {
      {TemplatePart::special, 0, {cls}}, {TemplatePart::first, 0}, {TemplatePart::special, 0, {sep}}};
  spec.pair = spec.single;
  spec.pair.push_back({TemplatePart::second, 1});
  spec.pair.push_back({TemplatePart::special, 1, {sep}});
}

void parse_post_processor(const JsonView& file, TokenizerSpec& spec) {
  std::string type = type_of(file, "post_processor");
  if (type.empty()) {
    spec.single = {{TemplatePart::first, 0}};
    spec.pair = {{TemplatePart::first, 0}, {TemplatePart::second, 1}};
    return;
  }
  JsonView processor = file.at("post_processor");
  if (type == "TemplateProcessing") {
    spec.single = parse_template(processor, "single");
    spec.pair = parse_template(processor, "pair");
  } else if (type == "BertProcessing") {
    auto id = [&](std::string_view name) {  // ["[CLS]", 101]
      JsonView token = processor.at(name);
      std::vector<JsonView> parts = token.array();
      if (parts.size() != 2) token.fail("a token and its id");
      return static_cast<int32_t>(parts[1].integer(0, kMaxId - 1));
    };
    set_bert_templates(spec, id("cls"), id("sep"));
  } else {
    processor.at("type").fail("TemplateProcessing or BertProcessing");
  }
}

template <typename T>
T get_one_of(const JsonView& view, std::string_view field, T absent,
             std::initializer_list<std::pair<std::string_view, T>> known) {
  auto found = view.find(field);
  if (!found) return absent;
  std::string names;
  for (const auto& [name, value] : known) {
    if (found->string() == name) return value;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  }
  found->fail("one of " + names);
}

/// Which text gives is tokenizer.json's, as the `tokenizers` package has it. So is the side, unless tokenizer_config.json
/// names one: that goes before it in transformers. The stride is of the pieces that were cut off; they are not kept here.
void parse_truncation(const std::optional<JsonView>& truncation, const JsonView& config,
                      TokenizerSpec& spec) {
  if (truncation) {
    spec.max_length = static_cast<size_t>(truncation->at("max_length").integer(0, kMaxId));
    spec.side =
        get_one_of(*truncation, "direction", spec.side, {{"Right", Side::right}, {"Left", Side::left}});
    spec.strategy = get_one_of(*truncation, "strategy", spec.strategy,
                               {{"LongestFirst", Strategy::longest_first},
                                {"OnlyFirst", Strategy::only_first},
                                {"OnlySecond", Strategy::only_second}});
  }
  spec.side =
      get_one_of(config, "truncation_side", spec.side, {{"right", Side::right}, {"left", Side::left}});
}

Json parse_config(std::string_view text, std::string_view where) {
  return text.empty() ? Json(Json::Object()) : format::parse_json(text, where);
}

/// The content of a token that tokenizer_config.json gives as a string or as an object.
std::string token_content(const JsonView& config, std::string_view name, std::string_view absent) {
  auto token = config.find(name);
  if (token && token->value().object()) return token->at("content").string();
  return token ? token->string() : std::string(absent);
}

/// An id that is the name of a member.
int64_t parse_id(std::string_view name, const JsonView& member) {
  int32_t id = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (error != std::errc() || end != name.data() + name.size() || id < 0 || id >= kMaxId)
    throw Error(Kind::invalid,
                fmt::format("{}: \"{}\" is not an id from 0 to {}", member.where(), name, kMaxId - 1));
  return id;
}

std::string_view trim_end(std::string_view line) {
  size_t end = line.size();
  while (end > 0) {
    size_t at = end - 1;
    while (at > 0 && (static_cast<unsigned char>(line[at]) & 0xc0) == 0x80) --at;
    const char* p = line.data() + at;
    if (!is(Property::space, next_char(p))) break;
    end = at;
  }
  return line.substr(0, end);
}

/// One token per line, its number is its id. Of equal ones the last counts.
void read_vocab_lines(std::string_view vocab, std::string_view where, WordPieceSpec& model) {
  if (auto at = base::invalid_utf8(vocab))
    throw Error(Kind::invalid, fmt::format("{}: byte {} is not UTF-8", where, *at));
  int32_t id = 0;
  for (size_t begin = 0; begin < vocab.size(); ++id) {
    size_t end = std::min(vocab.find('\n', begin), vocab.size());
    std::string_view token = trim_end(vocab.substr(begin, end - begin));
    check_length(token, fmt::format("{}:{}", where, id + 1));
    if (id >= kMaxId) throw Error(Kind::limit, fmt::format("{}: more than {} tokens", where, kMaxId));
    model.vocab.emplace_back(token, id);
    begin = end + 1;
  }
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view json, std::string_view where,
                                   std::string_view config_text, std::string_view config_where) {
  Json value = format::parse_json(json, where), config_value = parse_config(config_text, config_where);
  JsonView file(value, std::string(where)), config(config_value, std::string(config_where));
  if (file.get_string("version", "1.0") != "1.0") file.at("version").fail("\"1.0\"");
  TokenizerSpec spec;
  spec.model = parse_model(file);
  spec.model.normalizer = parse_normalizer(file);
  if (type_of(file, "pre_tokenizer") != "BertPreTokenizer")
    file.at("pre_tokenizer").at("type").fail("BertPreTokenizer");
  if (auto tokens = file.find("added_tokens"))
    for (const JsonView& token : tokens->array())
      spec.added_tokens.push_back(parse_added_token(token, token.at("id").integer(0, kMaxId - 1)));
  spec.added_tokens = assign_ids(spec.added_tokens, spec.model);
  parse_post_processor(file, spec);
  parse_truncation(file.find("truncation"), config, spec);
  return spec;
}

TokenizerSpec parse_vocab_txt(std::string_view vocab, std::string_view where, std::string_view config_text,
                              std::string_view config_where) {
  Json value = parse_config(config_text, config_where);
  JsonView config(value, std::string(config_where));
  TokenizerSpec spec;
  parse_truncation({}, config, spec);
  BertNormalizer& steps = spec.model.normalizer;
  steps.lowercase = config.get_boolean("do_lower_case", true);
  steps.strip_accents = config.get_boolean("strip_accents", steps.lowercase);
  steps.handle_chinese_chars = config.get_boolean("tokenize_chinese_chars", true);
  spec.model.unk_token = token_content(config, "unk_token", "[UNK]");
  read_vocab_lines(vocab, where, spec.model);
  check_unk_token(spec.model, std::string(where));

  if (auto tokens = config.find("added_tokens_decoder"))
    for (const auto& [name, token] : tokens->object())
      spec.added_tokens.push_back(parse_added_token(token, parse_id(name, token)));
  std::ranges::sort(spec.added_tokens, {}, &AddedToken::id);
  std::string cls = token_content(config, "cls_token", "[CLS]"),
              sep = token_content(config, "sep_token", "[SEP]");
  for (const std::string& content :
       {spec.model.unk_token, cls, sep, token_content(config, "pad_token", "[PAD]"),
        token_content(config, "mask_token", "[MASK]")})
    if (!std::ranges::count(spec.added_tokens, content, &AddedToken::content))
      spec.added_tokens.push_back({content, kIfKnown});
  spec.added_tokens = assign_ids(spec.added_tokens, spec.model);
  auto id_of = [&](const std::string& content) {
    auto found = std::ranges::find(spec.added_tokens, content, &AddedToken::content);
    if (found == spec.added_tokens.end())
      throw Error(Kind::invalid, fmt::format("{}: the special token \"{}\" is not there", where, content));
    return found->id;
  };
  set_bert_templates(spec, id_of(cls), id_of(sep));
  if (double length = config.get_number("model_max_length", 0); length >= 1 && length <= kMaxId)
    spec.max_length = static_cast<size_t>(length);
  return spec;
}

}  // namespace textmill::text
