#include <fmt/format.h>

#include <iterator>
#include <optional>

#include "base/log.h"
#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "data/dataset.h"
#include "format/json.h"
#include "tasks/columns.h"
#include "tasks/model_folder.h"
#include "text/tokenizer.h"

namespace textmill::cli {
namespace {

/// Appends {"ids":[...],"tokens":[...],"offsets":[[0,1],...],"type_ids":[...]} and a new line.
void append_line(std::string& out, const text::Tokenizer& tokenizer, const text::Encoding& encoding) {
  auto list = [&](std::string_view name, const auto& values, auto&& append) {
    out += name;
    for (size_t i = 0; i < values.size(); ++i) {
      if (i) out += ',';
      append(values[i]);
    }
    out += ']';
  };
  auto number = [&](int32_t value) { fmt::format_to(std::back_inserter(out), "{}", value); };
  list("{\"ids\":[", encoding.ids, number);
  list(",\"tokens\":[", encoding.ids,
       [&](int32_t id) { format::append_json_string(out, tokenizer.token(id)); });
  list(",\"offsets\":[", encoding.offsets, [&](text::Offset offset) {
    fmt::format_to(std::back_inserter(out), "[{},{}]", offset.begin, offset.end);
  });
  list(",\"type_ids\":[", encoding.type_ids, number);
  out += "}\n";
}

int tokenize(const Values& values) {
  values.require_one_of("TEXT", "data");
  data::Columns of_data = columns(values);
  text::EncodeOptions options{.add_special_tokens = !values.on("no-special-tokens")};
  if (auto length = values.integer("max-length", 1)) options.max_length = static_cast<size_t>(*length);
  text::Tokenizer tokenizer = tasks::load_tokenizer(values.text("MODEL"));
  text::Encoding encoding;
  Output out;
  if (values.has("TEXT")) {
    std::optional<std::string> pair;
    if (values.has("PAIR")) pair = values.text("PAIR");
    tokenizer.encode(values.text("TEXT"), pair, options, encoding);
    append_line(out.line(), tokenizer, encoding);
  } else {
    data::DatasetReader reader(values.text("data"), tasks::columns_for(values.text("MODEL"), of_data), false);
    base::log(base::Level::info, "data", {{"schema", reader.schema().describe()}});
    for (data::Example example; reader.next(example);) {
      reader.naming([&] { tokenizer.encode(example.text, example.text_pair, options, encoding); });
      append_line(out.line(), tokenizer, encoding);
    }
  }
  out.finish();
  return 0;
}

}  // namespace

Command tokenize_command() {
  return {
      "tokenize",
      "ids, tokens and offsets (in code points) of texts, as JSON lines",
      {{"MODEL", "a folder with tokenizer.json or vocab.txt"},
       {"TEXT", "what to tokenize, or --data", false},
       {"PAIR", "the second text of a pair", false}},
      with_column_options({data_option(),
                           {"max-length", "N",
                            "tokens of a sequence, special ones included; more are cut off (all are kept)"},
                           {"no-special-tokens", "", "without those around a text, such as [CLS]"}},
                          false),
      tokenize};
}

}  // namespace textmill::cli
