#include "data/dataset.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "base/error.h"
#include "base/hash.h"

namespace textmill::data {
namespace {

using base::Path;

class Dataset : public testing::Test {
 protected:
  Path file(const std::string& name, std::string_view bytes) {
    Path path = folder_.path() / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  /// "text|pair|label" of each example; "-" where there is none.
  std::vector<std::string> read(const Path& path, const Columns& columns = {}, bool labels = true) {
    DatasetReader reader(path, columns, labels);
    described_ = reader.schema().describe();
    std::vector<std::string> out;
    for (Example e; reader.next(e);)
      out.push_back(e.text + "|" + e.text_pair.value_or("-") + "|" + e.label.value_or("-"));
    return out;
  }
  std::string refusal(const Path& path, const Columns& columns = {}, bool labels = true) {
    try {
      read(path, columns, labels);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::invalid) << error.what();
      std::string message = error.what(), front = folder_.path().string();
      return message.starts_with(front) ? message.substr(front.size() + 1) : message;
    }
    return "(nothing thrown)";
  }
  using Rows = std::vector<std::string>;
  base::TemporaryFolder folder_;
  std::string described_;
};

TEST_F(Dataset, tsv_by_names_of_the_header) {
  EXPECT_EQ(
      read(file("a.tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tsays \"a\t\"b\" too\n")),
      (Rows{"says \"a|\"b\" too|1"}));
  EXPECT_EQ(described_,
            "TSV with a header: text is column 4 \"#1 String\", text pair is column 5 \"#2 String\", label "
            "is column 1 "
            "\"Quality\" (guessed)");
}

TEST_F(Dataset, columns_by_name_and_number) {
  Path path = file("a.tsv", "x\ty\tz\na b\tc d\te\n");
  EXPECT_EQ(read(path, {.text = "y", .label = "z"}), (Rows{"c d|-|e"}));
  EXPECT_EQ(described_, "TSV with a header: text is column 2 \"y\", label is column 3 \"z\"");
  EXPECT_EQ(read(path, {.text = "x", .text_pair = "2", .label = "3"}), (Rows{"a b|c d|e"}));
  EXPECT_EQ(read(path, {.text = "1", .label = "3"}), (Rows{"x|-|z", "a b|-|e"}));
  EXPECT_EQ(refusal(path, {.text = "none", .label = "z"}), "a.tsv: no column \"none\" (columns: x, y, z)");
  EXPECT_EQ(refusal(path, {.text = "1", .label = "4"}), "a.tsv: no column \"4\" (3 columns without names)");
  EXPECT_EQ(refusal(path, {.text = "0", .label = "1"}), "a.tsv: no column \"0\" (3 columns without names)");
  EXPECT_EQ(refusal(path, {.text = "1", .label = "1"}), "a.tsv: text and label are the same column, 1");
  EXPECT_EQ(refusal(path, {.text = "x", .text_pair = "1", .label = "y"}),
            "a.tsv: text and text-pair are the same column, x");
}

TEST_F(Dataset, a_name_that_two_columns_have_names_none) {
  Path path = file("a.csv", "text,label,text\na b,x,c d\n");
  const std::string said = "a.csv: columns 1 and 3 are both named \"text\": give its number";
  EXPECT_EQ(refusal(path, {.text = "text"}), said);
  EXPECT_EQ(refusal(path, {.text = "1", .text_pair = "text"}), said);
  EXPECT_EQ(refusal(path), said) << "nor is one of them guessed";
  Columns columns{.text = "3", .label = "label"};
  EXPECT_EQ(read(path, columns), (Rows{"c d|-|x"}));
  EXPECT_EQ(described_, "CSV with a header: text is column 3, label is column 2 \"label\"");
  EXPECT_EQ(read(path, DatasetReader(path, columns).schema().columns()), (Rows{"c d|-|x"}))
      << "another file is asked for the number, too";
  EXPECT_EQ(refusal(file("b.tsv", "label\tlabel\ttext\nx\ty\ta b\n"), {.text = "text", .label = "label"}),
            "b.tsv: columns 1 and 2 are both named \"label\": give its number");
}

TEST_F(Dataset, a_header_of_several_words) {
  std::string rows;
  for (int i = 0; i < 40; i++)
    rows += fmt::format("the card was charged {} times although it had been returned to the bank,{}\n", i,
                        i % 2 ? "Credit card" : "Mortgage");
  EXPECT_EQ(read(file("a.csv", "Consumer complaint narrative,Product\n" + rows)).size(), 40u);
  EXPECT_EQ(described_,
            "CSV with a header: text is column 1 \"Consumer complaint narrative\", label is column 2 "
            "\"Product\"; the first row is taken for names (guessed)");
  EXPECT_EQ(
      read(file("b.csv", "it was charged twice and nobody answers the telephone,Mortgage\n" + rows)).size(),
      41u);
  EXPECT_EQ(read(file("c.csv", "it was charged twice and nobody answers the telephone,Loan\n" + rows)).size(),
            41u)
      << "a text as long as the others is none's name";
  EXPECT_NE(described_.find("; no other row has the label of the first"), std::string::npos);

  std::string tickets, answered;
  for (int i = 0; i < 40; i++) {
    std::string team = i % 2 ? "Billing" : "Access";
    tickets += fmt::format("Password reset fails {},{}\n", i, team);
    answered += fmt::format(
        "{},it was charged {} times although it had been returned,Closed with explanation\n", team, i);
  }
  EXPECT_EQ(read(file("d.csv", "Ticket subject,Team\n" + tickets), {.text = "1", .label = "2"}).size(), 40u);
  EXPECT_EQ(read(file("e.csv", "Team,Customer message text,How it was answered to whom it was\n" + answered),
                 {.text = "2", .label = "1"})
                .size(),
            40u)
      << "few values that come again are no texts";
}

TEST_F(Dataset, labels_of_several_words_are_no_texts) {
  std::string labelled, sourced;
  for (int i = 0; i < 60; i++) {
    labelled +=
        fmt::format("I was charged a fee of {} dollars,{}\n", i, i % 2 ? "Mortgage loan" : "Credit card");
    sourced += fmt::format("My flight {} was late,{},{}\n", i,
                           i % 3 ? "Twitter for iPhone" : "Twitter Web Client", i % 2);
  }
  DatasetReader asked(file("a.csv", "narrative,product\n" + labelled), {}, false);
  EXPECT_FALSE(asked.schema().text_pair) << asked.schema().describe();
  EXPECT_EQ(asked.schema().text.index, 0u);
  EXPECT_EQ(read(file("b.csv", "tweet,source,label\n" + sourced)).front(), "My flight 0 was late|-|0");
  std::string asked_often;
  for (int i = 0; i < 40; i++)
    asked_often += fmt::format(
        "which of the answers is right for question {},an answer that is number {},{}\n", i / 5, i, i % 2);
  EXPECT_TRUE(DatasetReader(file("c.csv", "asked,said,label\n" + asked_often)).schema().text_pair)
      << "a text that stands in several rows is one";
}

TEST_F(Dataset, a_file_that_is_sorted_by_label) {
  std::string rows;
  for (int i = 0; i < 600; i++)
    rows += fmt::format("Password reset fails {},{}\n", i, i < 300 ? "joy" : "anger");
  EXPECT_EQ(read(file("a.csv", "tweet,emotion\n" + rows)).size(), 600u);
  EXPECT_EQ(described_,
            "CSV with a header: text is column 1 \"tweet\", label is column 2 \"emotion\"; the first row is "
            "taken for names (guessed)");
  EXPECT_EQ(read(file("b.csv", "Ticket subject,Team\n" + rows), {.text = "1", .label = "2"}).size(), 600u);
  EXPECT_EQ(read(file("c.csv", rows)).size(), 600u);
}

TEST_F(Dataset, a_first_row_with_a_label_that_comes_again_is_a_row) {
  std::string rows = ",first row of all,pos\n";
  for (int i = 0; i < 40; i++) rows += fmt::format("{},some text here {},{}\n", i, i, i % 2 ? "pos" : "neg");
  EXPECT_EQ(read(file("a.csv", rows), {.text = "2", .label = "3"}).size(), 41u);
}

TEST_F(Dataset, csv_and_blank_lines) {
  EXPECT_EQ(read(file("a.csv", "label,text\r\npos,\"a, \"\"b\"\"\nc\"\r\n\r\nneg,d e\r\n\r\n")),
            (Rows{"a, \"b\"\nc|-|pos", "d e|-|neg"}));
}

TEST_F(Dataset, json_lines) {
  EXPECT_EQ(
      read(file("a.jsonl",
                "{\"text\": \"a\", \"label\": 3}\n\n{\"label\": true, \"more\": 1, \"text\": \"b\"}\n")),
      (Rows{"a|-|3", "b|-|true"}));
  EXPECT_EQ(described_, "JSON lines: text is \"text\", label is \"label\" (guessed)");
  EXPECT_EQ(read(file("b.json", "{\"d\": {\"x\": \"a\", \"y\": \"b\"}}\n"), {.text = "d.x", .label = "d.y"}),
            (Rows{"a|-|b"}));
  EXPECT_EQ(read(file("n.jsonl", "{\"text\": \"a\", \"label\": 5.0}\n{\"text\": \"b\", \"label\": 1.5}\n")),
            (Rows{"a|-|5", "b|-|1.5"}));
  EXPECT_EQ(refusal(file("c.jsonl", "{\"text\": \"a\", \"label\": [1]}\n")),
            "c.jsonl:1: label: expected a string, a number, true or false, got an array of 1");
  EXPECT_EQ(refusal(file("c.jsonl", "{\"text\": \"a\", \"label\": 12345678901234567890}\n")),
            "c.jsonl:1: label: expected a string, or a number of 64 bits, got 1.2345678901234567e+19");
  EXPECT_EQ(refusal(file("d.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"label\": 1}\n")),
            "d.jsonl:2: text is missing");
  EXPECT_EQ(refusal(file("e.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"a\"}\n")),
            "e.jsonl:2: the label is missing");
  EXPECT_EQ(refusal(file("h.jsonl", "{\"text\": \"a\", \"label\": 1}\n"), {.text = "1"}),
            "h.jsonl: no column \"1\" (columns: text, label)");
  EXPECT_EQ(refusal(file("f.jsonl", "[1]\n")), "f.jsonl:1: expected an object, got an array of 1");
  EXPECT_EQ(refusal(file("g.jsonl", "{\"text\": \"a\"}\n")),
            "g.jsonl: cannot tell which column is the label (columns: text): name it");
}

TEST_F(Dataset, pairs_in_json_lines_may_lack_their_second_text) {
  std::string rows =
      "{\"text\": \"a\", \"text_pair\": null, \"label\": 1}\n{\"text\": \"b\", \"label\": 1}\n";
  Path all_null = file("a.jsonl", rows), none = file("c.jsonl", "{\"text\": \"b\", \"label\": 1}\n");
  EXPECT_EQ(read(all_null), (Rows{"a|-|1", "b|-|1"})) << "guessed";
  EXPECT_EQ(read(all_null, {.text_pair = "text_pair"}), (Rows{"a|-|1", "b|-|1"}));
  EXPECT_EQ(read(none, DatasetReader(all_null).schema().columns()), (Rows{"b|-|1"}))
      << "as another was guessed";
  EXPECT_EQ(refusal(none, {.text_pair = "text_pair"}), "c.jsonl: no row has \"text_pair\"");
  EXPECT_EQ(read(file("b.jsonl", rows + "{\"text\": \"c\", \"text_pair\": \"d\", \"label\": 2}\n")),
            (Rows{"a|-|1", "b|-|1", "c|d|2"}));
}

TEST_F(Dataset, a_column_given_by_number_stays_a_number) {
  DatasetReader reader(file("a.tsv", "text\tlabel\na b\tx\nc d\ty\n"), {.text = "1", .label = "2"});
  EXPECT_EQ(reader.schema().columns().text, "1");
  EXPECT_EQ(read(file("b.tsv", "e f\tx\ng h\ty\n"), reader.schema().columns()), (Rows{"e f|-|x", "g h|-|y"}));
}

TEST_F(Dataset, a_list_of_texts_may_begin_with_blank_lines) {
  DatasetReader reader(file("a.txt", "\n\na film\n\nb c\n"), {}, false);
  Rows rows;
  for (Example e; reader.next(e);) rows.push_back(e.text);
  EXPECT_EQ(rows, (Rows{"", "", "a film", "", "b c"}));
}

TEST_F(Dataset, json_lines_of_input_ids) {
  auto all = [&](const std::string& lines, Inputs inputs = Inputs::texts_or_ids) {
    DatasetReader reader(file("ids.jsonl", lines), {}, false, inputs);
    std::vector<std::vector<int64_t>> out;
    for (Example e; reader.next(e);)
      out.insert(out.end(),
                 {{e.text.begin(), e.text.end()}, e.input_ids, e.attention_mask, e.token_type_ids});
    return out;
  };
  using All = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(all(R"({"input_ids": [0, 7, 2, 1], "attention_mask": [1, 1, 1, 0], "label": "x"})"
                "\n{\"input_ids\": \"a\"}\n{\"input_ids\": [3], \"token_type_ids\": [1]}\n"),
            (All{{}, {0, 7, 2, 1}, {1, 1, 1, 0}, {}, {'a'}, {}, {}, {}, {}, {3}, {}, {1}}));
  EXPECT_EQ(all("{\"text\": \"a\", \"input_ids\": [5]}\n"), (All{{'a'}, {}, {}, {}})) << "a text comes first";
  EXPECT_THROW(all("{\"input_ids\": []}\n"), base::Error);
  EXPECT_THROW(all("{\"input_ids\": [1.5]}\n"), base::Error);
  EXPECT_THROW(all("{\"input_ids\": [1], \"attention_mask\": []}\n"), base::Error);
  EXPECT_THROW(all("{\"input_ids\": [1]}\n", Inputs::texts), base::Error) << "only where they are asked for";
}

TEST_F(Dataset, fasttext_lines) {
  EXPECT_EQ(read(file("a.train", "__label__x some text\n\n__label__y\tmore\n__label__z\n")),
            (Rows{"some text|-|x", "more|-|y", "|-|z"}));
  EXPECT_EQ(refusal(file("b.txt", "__label__x a\n__label__y __label__z b\n")),
            "b.txt:2: more than one label");
  EXPECT_EQ(refusal(file("c.txt", "__label__x a\nno label\n")), "c.txt:2: the label is missing");
  EXPECT_EQ(refusal(file("d.txt", "__label__ a\n")), "d.txt:1: the label is empty");
  EXPECT_EQ(refusal(file("e.txt", "__label__x a\n"), {.text = "1"}), "e.txt: has no columns to choose from");
}

TEST_F(Dataset, a_folder_per_class) {
  file("r/pos/2.txt", "good\nfilm\n");
  file("r/pos/10.txt", "fine");
  file("r/neg/1.txt", "bad");
  file("r/unsup/1.txt", "who knows");
  file("r/urls.txt", "http");
  EXPECT_EQ(read(folder_.path() / "r"), (Rows{"bad|-|neg", "fine|-|pos", "good\nfilm|-|pos"}));
  EXPECT_EQ(described_,
            "a text per file: the folder's name is the label (1 file beside the folders is not read)");
  std::filesystem::remove_all(folder_.path() / "r" / "neg");
  EXPECT_EQ(read(folder_.path() / "r").back(), "who knows|-|unsup");
  file("r/pos/3.txt", "ok\ncaf\xe9");
  EXPECT_EQ(refusal(folder_.path() / "r"), "r/pos/3.txt:2: not UTF-8");
}

TEST_F(Dataset, a_folder_of_files) {
  file("f/part-1.csv", "text,label\na b,x\n");
  file("f/part-0.csv", "text,label\nc d,y\n");
  file("f/_SUCCESS", "");
  EXPECT_EQ(read(folder_.path() / "f"), (Rows{"c d|-|y", "a b|-|x"}));
  file("f/part-2.csv", "label,text\nx,e f\n");
  EXPECT_EQ(read(folder_.path() / "f").size(), 3u) << "by name";
  file("f/part-3.csv", "text,label,more\na b,x,y\n");
  EXPECT_NE(refusal(folder_.path() / "f").find("part-3.csv: is CSV with a header"), std::string::npos);
  std::filesystem::create_directory(folder_.path() / "none");
  EXPECT_EQ(refusal(folder_.path() / "none"), "none: the folder holds no data");
}

TEST_F(Dataset, a_known_name_that_comes_again_is_a_value) {
  std::string rows = "question\thow was the film made in the end\n";
  for (int i = 0; i < 30; i++)
    rows += fmt::format("{}\tit was number {} of the year\n", i % 3 ? "statement" : "question", i);
  for (const Columns& asked : {Columns{}, Columns{.text = "2", .text_pair = "", .label = "1"}}) {
    EXPECT_EQ(read(file("q.tsv", rows), asked).size(), 31u);
    EXPECT_TRUE(described_.starts_with("TSV without a header: text is column 2, label is column 1"))
        << described_;
  }
}

TEST_F(Dataset, files_of_tables_may_have_another_order) {
  file("tables/a.tsv", "label\ttext\nx\ta b\n");
  file("tables/b.tsv", "text\tlabel\nc d\ty\n");
  EXPECT_EQ(read(folder_.path() / "tables"), (Rows{"a b|-|x", "c d|-|y"}));
  EXPECT_EQ(read(folder_.path() / "tables", {.text = "text", .label = "label"}),
            (Rows{"a b|-|x", "c d|-|y"}));
}

TEST_F(Dataset, files_of_json_lines_may_have_other_members) {
  file("lines/a.jsonl", R"({"text": "a", "label": "x"})"
                        "\n");
  file("lines/b.jsonl", R"({"id": 1, "text": "b", "label": "y"})"
                        "\n");
  EXPECT_EQ(read(folder_.path() / "lines").size(), 2u);
}

TEST_F(Dataset, guesses_without_names) {
  EXPECT_EQ(read(file("a.tsv", "a b\tx\nc d\ty\ne f\tx\ng h\ty\n")),
            (Rows{"a b|-|x", "c d|-|y", "e f|-|x", "g h|-|y"}));
  EXPECT_EQ(described_, "TSV without a header: text is column 1, label is column 2 (guessed)");
  EXPECT_EQ(read(file("b.csv", "1,a b,c d\n2,e f,g h\n1,i j,k l\n2,m n,o p\n")).front(), "a b|c d|1");
  EXPECT_EQ(read(file("c.txt", "one line\nanother\n\n"), {}, false),
            (Rows{"one line|-|-", "another|-|-", "|-|-"}));
  std::string lines = "utterance\tpurpose\n";
  for (int i = 0; i < 40; ++i) lines += "say it " + std::to_string(i) + (i % 2 ? "\tplay\n" : "\tstop\n");
  EXPECT_EQ(read(file("d.tsv", lines)).size(), 40u);
  EXPECT_EQ(described_,
            "TSV with a header: text is column 1 \"utterance\", label is column 2 \"purpose\" (guessed)");
}

TEST_F(Dataset, what_cannot_be_guessed_is_asked_for) {
  std::string rows;
  for (int i = 0; i < 8; ++i)
    rows += std::string(i % 2 ? "p\tu\t" : "n\tv\t") + "text " + std::to_string(i) + "\n";
  EXPECT_EQ(refusal(file("a.tsv", rows)),
            "a.tsv: cannot tell which column is the label (3 columns without names): name it");
  EXPECT_EQ(refusal(file("b.tsv", "label\tx\ty\tz\n1\ta b\tc d\te f\n")),
            "b.tsv: cannot tell which column is the text (columns: label, x, y, z): name it");
}

TEST_F(Dataset, bad_rows_name_file_line_and_reason) {
  std::string head = "text\tlabel\n";
  for (int i = 0; i < 300; ++i) head += "some text\tx\n";
  EXPECT_EQ(refusal(file("a.tsv", head + "short\n")), "a.tsv:302: the row has 1 columns, expected 2");
  EXPECT_EQ(refusal(file("b.tsv", head + "a\tb\tc\n")), "b.tsv:302: the row has 3 columns, expected 2");
  EXPECT_EQ(refusal(file("c.tsv", head + "caf\xe9\tx\n")), "c.tsv:302: not UTF-8: byte 0xe9 at column 4");
  EXPECT_EQ(refusal(file("d.tsv", head + "a\t\n")), "d.tsv:302: the label is empty");
  EXPECT_EQ(refusal(file("e.csv", "text,label\n\"a,b\n")), "e.csv:2: a quote opens here and never closes");
  EXPECT_EQ(refusal(file("f.tsv", "")), "f.tsv: holds no rows");
  EXPECT_EQ(refusal(file("g.tsv", "text\tlabel\n")), "g.tsv: holds no rows after its header");
  EXPECT_EQ(refusal(file("h.jsonl", "\n")), "h.jsonl: holds no rows");
  EXPECT_THROW(read(folder_.path() / "none.tsv"), base::Error);
}

TEST_F(Dataset, another_file_is_read_alike) {
  Path train = file("train.tsv", "id\tsentence\tlabel\n1\ta b\tx\n");
  Columns columns = DatasetReader(train).schema().columns();
  EXPECT_EQ(read(file("dev.csv", "label,sentence\ny,c d\n"), columns), (Rows{"c d|-|y"}));
}

TEST_F(Dataset, where_is_the_row_that_came_last) {
  DatasetReader reader(file("a.csv", "text,label\n\"a\nb\",x\nc,y\n"));
  Example example;
  ASSERT_TRUE(reader.next(example) && reader.next(example));
  EXPECT_EQ(reader.where(), (folder_.path() / "a.csv").string() + ":4");
}

TEST_F(Dataset, hash_is_of_the_content_and_the_names) {
  Path one = file("h/a", "1");
  EXPECT_EQ(dataset_sha256(one), base::sha256_hex("1"));
  std::string before = dataset_sha256(folder_.path() / "h");
  file("h/b", "1");
  std::string after = dataset_sha256(folder_.path() / "h");
  EXPECT_NE(before, after);
  std::filesystem::rename(folder_.path() / "h/b", folder_.path() / "h/c");
  EXPECT_NE(dataset_sha256(folder_.path() / "h"), after);
}

struct RealSet {
  std::string name;
  bool labels;
  size_t rows;
  std::map<std::string, size_t> counts;  // per label
  std::string described;
};

class RealData : public testing::TestWithParam<RealSet> {};

TEST_P(RealData, rows_labels_and_guess) {
  const char* root = std::getenv("TEXTMILL_DATA");
  if (!root) GTEST_SKIP() << "TEXTMILL_DATA is not set: it names the folder with the data sets";
  const RealSet& set = GetParam();
  DatasetReader reader(Path(root) / set.name, {}, set.labels);
  std::map<std::string, size_t> counts;
  size_t rows = 0;
  for (Example example; reader.next(example); ++rows) {
    ASSERT_FALSE(example.text.empty());
    if (set.labels) ++counts[*example.label];
  }
  EXPECT_EQ(rows, set.rows);
  if (!set.counts.empty()) { EXPECT_EQ(counts, set.counts); }
  EXPECT_EQ(reader.schema().describe(), set.described);
}

const std::string kMrpc =
    "TSV with a header: text is column 4 \"#1 String\", text pair is column 5 \"#2 String\", label is column "
    "1 \"Quality\" "
    "(guessed)";
const std::string kSst =
    "TSV with a header: text is column 1 \"sentence\", label is column 2 \"label\" (guessed)";
INSTANTIATE_TEST_SUITE_P(
    Sets, RealData,
    testing::Values(
        RealSet{"mrpc/glue_train.tsv", true, 3668, {{"0", 1194}, {"1", 2474}}, kMrpc},
        RealSet{"mrpc/glue_dev.tsv", true, 408, {{"0", 129}, {"1", 279}}, kMrpc},
        RealSet{"mrpc/msr_paraphrase_train.txt", true, 4076, {{"0", 1323}, {"1", 2753}}, kMrpc},
        RealSet{"mrpc/glue_test.tsv",
                false,
                1725,
                {},
                "TSV with a header: text is column 4 \"#1 String\", text pair is column 5 \"#2 String\" "
                "(guessed)"},
        RealSet{"sst2/glue_dev.tsv", true, 872, {{"0", 428}, {"1", 444}}, kSst},
        RealSet{"sst2/train.tsv", true, 60614, {}, kSst},
        RealSet{"agnews/test.csv",
                true,
                7600,
                {{"1", 1900}, {"2", 1900}, {"3", 1900}, {"4", 1900}},
                "CSV without a header: text is column 2, text pair is column 3, label is column 1 (guessed)"},
        RealSet{"agnews/train_10k_description_only.tsv",
                true,
                10001,
                {{"World", 2509}, {"Sports", 2458}, {"Business", 2496}, {"Sci/Tech", 2538}},
                "TSV without a header: text is column 1, label is column 2 (guessed)"},
        RealSet{"imdb/test.tsv.zst",
                true,
                25000,
                {{"0", 12500}, {"1", 12500}},
                "TSV with a header: text is column 4 \"text\", label is column 1 \"label\" (guessed)"},
        RealSet{"newsgroups20/test.jsonl.zst",
                true,
                7532,
                {},
                "JSON lines: text is \"text\", label is \"label\" (guessed)"}),
    [](const auto& info) {
      std::string name = info.param.name;
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

TEST(RealDataErrors, latin_1_is_named) {
  const char* root = std::getenv("TEXTMILL_DATA");
  if (!root) GTEST_SKIP() << "TEXTMILL_DATA is not set: it names the folder with the data sets";
  Path path = Path(root) / "trec_qc" / "train.txt";
  try {
    DatasetReader reader(path, {}, false);
    for (Example example; reader.next(example);) {}
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(std::string(error.what()), path.string() + ":66: not UTF-8: byte 0xf0 at column 60");
  }
}

}  // namespace
}  // namespace textmill::data
