#include "data/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/error.h"
#include "base/spelling.h"
#include "data/sample.h"

namespace textmill::data {

using base::Error;
using base::Kind;

namespace {

// Names that data sets use, the most telling first. Compared without case.
constexpr std::string_view kLabelNames[] = {"label",  "labels",    "class",   "category", "target",
                                            "intent", "sentiment", "quality", "topic",    "is_duplicate"};
constexpr std::string_view kPairNames[][2] = {
    {"sentence1", "sentence2"}, {"question1", "question2"}, {"premise", "hypothesis"},
    {"#1 string", "#2 string"}, {"text1", "text2"},         {"text_a", "text_b"},
    {"text", "text_pair"},      {"question", "sentence"},   {"question", "answer"},
    {"query", "passage"},       {"query", "document"},      {"prompt", "response"},
    {"claim", "evidence"},      {"title", "description"}};
constexpr std::string_view kTextNames[] = {"text",  "sentence", "review",      "content",
                                           "body",  "comment",  "message",     "utterance",
                                           "query", "question", "description", "title"};

bool is_number(std::string_view text) {
  double value;
  auto end = std::from_chars(text.data(), text.data() + text.size(), value).ptr;
  return !text.empty() && end == text.data() + text.size();
}

std::optional<size_t> find_name(const std::vector<std::string>& names, std::string_view name) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (base::lower_case(names[i]) == name) return i;
  }
  return std::nullopt;
}

bool is_known_name(const std::string& name) {
  auto among = [name = base::lower_case(name)](const auto& list) {
    return std::find(std::begin(list), std::end(list), name) != std::end(list);
  };
  return among(kLabelNames) || among(kTextNames) ||
         std::any_of(std::begin(kPairNames), std::end(kPairNames),
                     [&](const auto& pair) { return among(pair); });
}

/// What the values of a column look like.
struct Profile {
  size_t rows = 0, distinct = 0, single = 0, spaced = 0, blanks = 0, longest = 0, bytes = 0;
  bool numbers = true;

  Profile(const std::vector<std::vector<std::string>>& all, size_t first_row, size_t column) {
    std::map<std::string_view, size_t> values;
    for (size_t row = first_row; row < all.size(); ++row) {
      const std::string& value = all[row][column];
      ++values[value];
      ++rows;
      spaced += value.find(' ') != std::string::npos;
      blanks += static_cast<size_t>(std::ranges::count(value, ' '));
      longest = std::max(longest, value.size());
      bytes += value.size();
      numbers &= is_number(value);
    }
    distinct = values.size();
    single = static_cast<size_t>(std::ranges::count_if(values, [](const auto& v) { return v.second == 1; }));
  }
  bool is_text() const { return 2 * spaced >= rows; }
  /// Whether it may name a column of such texts: a few words and no more, shorter than they are.
  bool may_be_named(std::string_view name) const {
    return std::ranges::count(name, ' ') < 5 && name.find_first_of("0123456789.,;:!?") == name.npos &&
           name.size() * rows <= bytes;
  }
  /// Whether a value that does not occur is no surprise. What occurs once tells how often a next one is new (Good 1953).
  bool may_have_others() const { return rows < 20 || 20 * single > rows; }
  /// Few values that come again and again.
  bool comes_again() const { return 2 * distinct <= rows && longest <= 100; }
  /// Phrases that say what kind a row is; a text that stands in several rows is longer.
  bool is_kind() const { return comes_again() && blanks <= 3 * rows; }
  bool is_label() const { return distinct >= 2 && comes_again(); }
};

/// Finds the columns of one sample.
class Finder {
 public:
  Finder(const Sample& sample, const Columns& asked, bool labels, const std::string& where)
      : sample_(sample), asked_(asked), labels_(labels), where_(where) {}

  Schema run() {
    schema_.form = sample_.form;
    keep_what_is_there();
    schema_.pair_may_lack = asked_.text_pair.empty() || asked_.pair_may_lack;
    if (sample_.form == Form::fasttext || sample_.form == Form::text_file) return without_columns();
    if (sample_.rows.empty()) fail("holds no rows");
    schema_.width = sample_.rows[0].size();
    schema_.header = sample_.form != Form::json_lines && has_header();
    names_ = schema_.header ? sample_.rows[0] : sample_.names;
    if (sample_.rows.size() == schema_.header) fail("holds no rows after its header");
    for (size_t i = 0; i < schema_.width; ++i) profiles_.emplace_back(sample_.rows, schema_.header, i);

    if (!asked_.label.empty()) schema_.label = asked_column(asked_.label);
    if (!asked_.text.empty()) schema_.text = *asked_column(asked_.text);
    if (!asked_.text_pair.empty()) schema_.text_pair = asked_column(asked_.text_pair);
    refuse_twins();
    if (asked_.label.empty()) guess_label();
    if (asked_.text.empty()) guess_texts();
    if (labels_ && !schema_.label)
      fail(fmt::format("cannot tell which column is the label ({}): name it", list()));
    return schema_;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw Error(Kind::invalid, where_ + ": " + what); }

  /// As the file writes them: a name of another case is the same.
  void keep_what_is_there() {
    const bool json = sample_.form == Form::json_lines;
    const auto& names = json || sample_.rows.empty() ? sample_.names : sample_.rows[0];
    auto find = [&](std::string& wanted) {
      if (wanted.empty()) return true;
      auto same = [&](const std::string& name) {  // of a path into JSON its first member
        return json ? name == wanted || wanted.starts_with(name + '.')
                    : base::lower_case(name) == base::lower_case(wanted);
      };
      auto found = std::ranges::find_if(names, same);
      if (found == names.end()) return false;
      if (json) return true;
      if (comes_again(static_cast<size_t>(found - names.begin()))) return false;
      wanted = *found;
      return names_are_known_ = true;
    };
    if (asked_.texts_if_there) {
      bool first = find(asked_.text), second = find(asked_.text_pair);
      if (!first || !second) asked_.text = asked_.text_pair = "";
    }
    if (asked_.label_if_there && !find(asked_.label)) asked_.label.clear();
  }

  Schema without_columns() {
    if (!asked_.text.empty() || !asked_.text_pair.empty() || !asked_.label.empty())
      fail("has no columns to choose from");
    schema_.label = Column();
    return schema_;
  }

  std::string list() const {
    if (names_.empty()) return fmt::format("{} columns without names", schema_.width);
    std::string out = "columns: ";
    for (const std::string& name : names_) out += (&name == &names_[0] ? "" : ", ") + name;
    return out;
  }

  /// Whether what the first row has there is a value of rows below too: then it is no name.
  bool comes_again(size_t column) const {
    return std::any_of(sample_.rows.begin() + 1, sample_.rows.end(), [&](const auto& row) {
      return base::lower_case(row[column]) == base::lower_case(sample_.rows[0][column]);
    });
  }

  bool has_header() {
    if (names_are_known_) return true;
    const auto& first = sample_.rows[0];
    for (const std::string* asked : {&asked_.text, &asked_.text_pair, &asked_.label}) {
      if (!asked->empty() && !is_number(*asked)) return true;
    }
    for (size_t i = 0; i < first.size(); ++i)
      if (is_known_name(first[i]) && !comes_again(i)) return true;
    std::vector<Profile> rest;
    for (size_t i = 0; i < first.size(); ++i) rest.emplace_back(sample_.rows, 1, i);
    bool new_label = false, named = true;
    size_t longest = 0;
    for (size_t i = 0; i < first.size(); ++i) {
      if (rest[i].comes_again()) {  // in a file that is sorted by label it may be one value only
        if (comes_again(i)) return false;
        new_label |= !rest[i].may_have_others();
      } else if (rest[i].is_text() && rest[i].bytes > longest) {  // the texts, not what is beside them
        longest = rest[i].bytes;
        named = first[i].find(' ') == std::string::npos || rest[i].may_be_named(first[i]);
      }
    }
    for (size_t i = 0; i < first.size(); ++i)
      if (rest[i].rows > 0 && rest[i].numbers) return !is_number(first[i]);
    // Unknown names, no numbers: words over texts, and over a column of labels one that never comes again.
    schema_.doubtful = new_label;
    return new_label && named;
  }

  /// Another column of the same name.
  std::optional<size_t> twin(size_t index) const {
    for (size_t i = 0; i < names_.size(); ++i)
      if (i != index && names_[i] == names_[index]) return i;
    return std::nullopt;
  }

  /// Without a name that another has too.
  Column column(size_t index) const { return {index, names_.empty() || twin(index) ? "" : names_[index]}; }

  /// The first of its name, which must be the only one.
  Column named_column(size_t index) const {
    if (auto other = twin(index)) {
      fail(fmt::format("columns {} and {} are both named \"{}\": give its number", index + 1, *other + 1,
                       names_[index]));
    }
    return column(index);
  }

  std::optional<Column> asked_column(const std::string& asked) const {
    auto named = std::find(names_.begin(), names_.end(), asked);
    if (named != names_.end()) return named_column(static_cast<size_t>(named - names_.begin()));
    if (sample_.form == Form::json_lines && !is_number(asked))
      return Column{schema_.width, asked};  // a path, or a member that comes later
    size_t number = 0;
    auto end = std::from_chars(asked.data(), asked.data() + asked.size(), number).ptr;
    bool whole = end == asked.data() + asked.size() && sample_.form != Form::json_lines;
    if (whole && number >= 1 && number <= schema_.width) {
      Column found = column(number - 1);
      found.by_number = true;
      return found;
    }
    fail(fmt::format("no column \"{}\" ({})", asked, list()));
  }

  /// One column in two roles.
  void refuse_twins() const {
    const std::pair<std::string_view, const std::string&> roles[] = {
        {"text", asked_.text}, {"text-pair", asked_.text_pair}, {"label", asked_.label}};
    for (const auto& [role, asked] : roles) {
      for (const auto& [other, also] : roles) {
        if (&asked == &also) break;
        if (asked.empty() || also.empty()) continue;
        Column a = *asked_column(asked), b = *asked_column(also);
        if (a.index == b.index && a.name == b.name)
          fail(fmt::format("{} and {} are the same column, {}", other, role, also));
      }
    }
  }

  bool taken(size_t index) const { return schema_.label && schema_.label->index == index; }

  void guess_label() {
    schema_.guessed = true;
    for (std::string_view name : kLabelNames) {
      if (auto found = find_name(names_, name)) {
        schema_.label = named_column(*found);
        return;
      }
    }
    if (!labels_) return;
    for (auto looks_so :
         {&Profile::is_label, &Profile::comes_again}) {  // one value only where a file is sorted by label
      std::vector<size_t> candidates;
      for (size_t i = 0; i < profiles_.size(); ++i) {
        bool is_asked = (!asked_.text.empty() && schema_.text.index == i) ||
                        (schema_.text_pair && schema_.text_pair->index == i);
        if ((profiles_[i].*looks_so)() && !is_asked) candidates.push_back(i);
      }
      if (candidates.size() == 1) schema_.label = column(candidates[0]);
      if (!candidates.empty()) return;
    }
  }

  void guess_texts() {
    schema_.guessed = true;
    bool with_pair = asked_.text_pair.empty();
    for (const auto& [first, second] : kPairNames) {
      auto a = find_name(names_, first), b = find_name(names_, second);
      if (!with_pair || !a || !b || taken(*a) || taken(*b)) continue;
      schema_.text = named_column(*a);
      schema_.text_pair = named_column(*b);
      return;
    }
    for (std::string_view name : kTextNames) {
      auto found = find_name(names_, name);
      if (!found || taken(*found)) continue;
      schema_.text = named_column(*found);
      return;
    }
    if (auto ids = find_name(names_, "input_ids"); ids && sample_.form == Form::json_lines) {
      schema_.text = column(*ids);
      return;
    }
    std::vector<size_t> texts, others;
    for (size_t i = 0; i < profiles_.size(); ++i) {
      if (taken(i) || (schema_.text_pair && schema_.text_pair->index == i)) continue;
      (profiles_[i].is_text() ? texts : others).push_back(i);
    }
    auto is_kind = [&](size_t i) { return profiles_[i].is_kind(); };
    if (!std::ranges::all_of(texts, is_kind)) std::erase_if(texts, is_kind);
    if (texts.empty() && others.size() == 1) texts = others;
    if (texts.empty() || texts.size() > (with_pair ? 2 : 1)) {
      fail(fmt::format("cannot tell which column is the text ({}): name it", list()));
    }
    schema_.text = column(texts[0]);
    if (texts.size() == 2) schema_.text_pair = column(texts[1]);
  }

  const Sample& sample_;
  Columns asked_;
  bool names_are_known_ = false;  // the first row has one that is remembered
  const bool labels_;
  const std::string& where_;
  Schema schema_;
  std::vector<std::string> names_;
  std::vector<Profile> profiles_;
};

}  // namespace

Schema find_schema(const Sample& sample, const Columns& columns, bool labels, const std::string& where) {
  return Finder(sample, columns, labels, where).run();
}

Schema find_schema(const base::Path& file, const Columns& columns, bool labels) {
  return find_schema(read_sample(file), columns, labels, file.string());
}

std::string Schema::describe() const {
  if (form == Form::fasttext) return "fastText lines: __label__NAME, then the text";
  if (form == Form::text_file) {
    return fmt::format("a text per file: the folder's name is the label{}",
                       beside == 0   ? ""
                       : beside == 1 ? " (1 file beside the folders is not read)"
                                     : fmt::format(" ({} files beside the folders are not read)", beside));
  }
  auto say = [&](std::string_view role, const Column& column) {
    if (form == Form::json_lines) return fmt::format("{} is \"{}\"", role, column.name);
    std::string name = column.name.empty() ? "" : fmt::format(" \"{}\"", column.name);
    return fmt::format("{} is column {}{}", role, column.index + 1, name);
  };
  std::string out = form == Form::json_lines ? "JSON lines" : form == Form::csv ? "CSV" : "TSV";
  if (form != Form::json_lines) out += header ? " with a header" : " without a header";
  out += ": " + say("text", text);
  if (text_pair) out += ", " + say("text pair", *text_pair);
  if (label) out += ", " + say("label", *label);
  if (doubtful)
    out += header ? "; the first row is taken for names" : "; no other row has the label of the first";
  return out + (guessed ? " (guessed)" : "");
}

Columns Schema::names() const {
  Columns out;
  if (!text.name.empty() && (!text_pair || !text_pair->name.empty())) {
    out.text = text.name;
    if (text_pair) out.text_pair = text_pair->name;
  }
  if (label) out.label = label->name;
  return out;
}

Columns Schema::columns() const {
  if (form == Form::fasttext || form == Form::text_file) return {};
  auto say = [](const Column& column) {
    return column.name.empty() || column.by_number ? std::to_string(column.index + 1) : column.name;
  };
  return {say(text), text_pair ? say(*text_pair) : "", label ? say(*label) : "", pair_may_lack};
}

}  // namespace textmill::data
