#include "offline/search_rows.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "offline/batches.h"
#include "tasks/columns.h"
#include "tasks/unpad.h"

namespace textmill::offline {
namespace {

using base::Error, base::Kind;

constexpr size_t kCalibrationRows = 64;         // of the data, which are then not evaluated
constexpr size_t kMostCalibrationRows = 4'096;  // of a file of their own

using Texts = std::vector<tasks::PackedItem>;

void append(const Texts& texts, Texts& to) { to.insert(to.end(), texts.begin(), texts.end()); }

void leave_out(const Texts& calibration, std::vector<SearchRow>& rows) {
  std::set<std::vector<int32_t>> seen;
  for (const auto& item : calibration) seen.insert(item.input_ids);
  std::erase_if(rows, [&](const SearchRow& row) {
    return std::ranges::any_of(row.texts, [&](const auto& item) { return seen.contains(item.input_ids); });
  });
}

class Reader {
 public:
  Reader(const data::Columns& columns, std::optional<int> max_length, const tasks::ModelFolder& folder)
      : columns_(tasks::columns_for(folder.folder(), columns)),
        folder_(folder),
        tokenizer_(folder.find_tokenizer()),
        modules_(folder.sentence_modules()),
        max_length_(folder.max_length(max_length, tokenizer_ ? &*tokenizer_ : nullptr).tokens),
        inputs_(modules_.pooling ? data::Inputs::texts : data::Inputs::texts_or_ids) {}

  std::vector<SearchRow> read(const base::Path& data) const {
    std::vector<SearchRow> rows;
    data::DatasetReader reader(data, columns_, true, inputs_);
    base::log(base::Level::info, "data", {{"schema", reader.schema().describe()}});
    for (data::Example row; reader.next(row);)
      rows.push_back({texts_of(row, reader), target_of(row, reader.where())});
    return rows;
  }

  void read_calibration(const base::Path& data, Texts& to) const {
    data::Columns columns = columns_;
    columns.label.clear();
    data::DatasetReader reader(data, columns, false, inputs_);
    size_t rows = 0;
    for (data::Example row; rows < kMostCalibrationRows && reader.next(row); rows++)
      append(texts_of(row, reader), to);
  }

 private:
  tasks::PackedItem pack(std::string_view text, const std::optional<std::string>& pair) const {
    if (!tokenizer_) folder_.tokenizer();  // throws what is missing
    auto encoding = tokenizer_->encode(text, pair, {.max_length = static_cast<size_t>(max_length_)});
    return {std::move(encoding.ids), std::move(encoding.type_ids)};
  }

  Texts texts_of(const data::Example& row, const data::DatasetReader& reader) const {
    if (!row.input_ids.empty()) return {tasks::unpad(row, reader, folder_.architecture(), max_length_)};
    if (!modules_.pooling) return {reader.naming([&] { return pack(row.text, row.text_pair); })};
    if (!row.text_pair)
      throw Error(
          Kind::invalid,
          reader.where() +
              ": a model without a classification head is measured on pairs of texts; give --text-pair");
    std::string before = modules_.prompt();
    return {pack(before + row.text, {}), pack(before + *row.text_pair, {})};
  }

  double target_of(const data::Example& row, const std::string& where) const {
    if (!modules_.pooling) return label_id(folder_.labels(), *row.label, where);
    double target = 0;
    const std::string& text = *row.label;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), target);
    if (error == std::errc() && end == text.data() + text.size() && std::isfinite(target)) return target;
    throw Error(Kind::invalid, where + ": label '" + text + "': expected a number, how alike the texts are");
  }

  data::Columns columns_;
  const tasks::ModelFolder& folder_;
  std::optional<text::Tokenizer> tokenizer_;
  tasks::SentenceModules modules_;
  int max_length_;
  data::Inputs inputs_;
};

}  // namespace

std::vector<SearchRow> read_rows(const base::Path& data, const data::Columns& columns,
                                 std::optional<int> max_length, const tasks::ModelFolder& folder) {
  return Reader(columns, max_length, folder).read(data);
}

SearchRows read_search_rows(const QuantizeOptions& options, const tasks::ModelFolder& folder) {
  Reader reader(options.columns, options.encoder.max_length, folder);
  SearchRows rows{.evaluation = reader.read(options.data), .calibration = {}};
  if (!options.calibration.empty()) {
    reader.read_calibration(options.calibration, rows.calibration);
  } else {
    size_t first = std::min(kCalibrationRows, (rows.evaluation.size() + 1) / 2);
    for (size_t i = 0; i < first; i++) append(rows.evaluation[i].texts, rows.calibration);
  }
  if (!options.allow_overlap) leave_out(rows.calibration, rows.evaluation);
  if (rows.evaluation.empty()) {
    throw Error(Kind::invalid,
                options.data.string() + ": no row is left to evaluate beside the calibration rows");
  }
  return rows;
}

std::string sha256_of(const SearchRows& rows) {
  base::Sha256 sum;
  auto add = [&](const std::vector<int32_t>& numbers) {
    int64_t size = std::ssize(numbers);
    sum.update(std::as_bytes(std::span(&size, 1)));
    sum.update(std::as_bytes(std::span(numbers)));
  };
  auto add_item = [&](const tasks::PackedItem& item) {
    add(item.input_ids);
    add(item.type_ids);
  };
  for (const tasks::PackedItem& item : rows.calibration) add_item(item);
  for (const SearchRow& row : rows.evaluation) {
    for (const tasks::PackedItem& item : row.texts) add_item(item);
    if (row.texts.size() == 1) {
      add({static_cast<int32_t>(row.target)});
    } else {
      sum.update(std::as_bytes(std::span(&row.target, 1)));
    }
  }
  return sum.hex_digest();
}

}  // namespace textmill::offline
