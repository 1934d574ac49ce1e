// InputFile, LineReader, CsvReader, JsonLinesReader.

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <random>

#include "base/error.h"
#include "format/csv.h"
#include "format/jsonl.h"

namespace textmill::format {
namespace {

class Files : public testing::Test {
 protected:
  base::Path file(std::string_view bytes) {
    base::write_file_durably(folder_.path() / "f", bytes);
    return folder_.path() / "f";
  }
  std::string name() { return (folder_.path() / "f").string(); }
  std::string message_of(auto&& action, base::Kind kind = base::Kind::invalid) {
    try {
      action();
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      std::string message = error.what();
      return message.starts_with(name()) ? "f" + message.substr(name().size()) : message;
    }
    return "(nothing thrown)";
  }
  using Records = std::vector<std::vector<std::string>>;
  Records records(std::string_view bytes, CsvDialect dialect) {
    CsvReader reader(file(bytes), dialect);
    Records out;
    while (reader.next()) out.emplace_back(reader.fields().begin(), reader.fields().end());
    return out;
  }
  base::TemporaryFolder folder_;
};

std::string gzip(std::string_view bytes) {
  std::string out(compressBound(bytes.size()) + 32, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
  return out;
}

std::string read_all(const base::Path& path, size_t piece) {
  InputFile file(path);
  std::string out, buffer(piece, '\0');
  while (size_t n = file.read(buffer)) out.append(buffer, 0, n);
  return out;
}

TEST_F(Files, compressed_and_plain_give_the_same_bytes) {
  std::mt19937 random(1);
  std::string text;
  for (int i = 0; i < 60000; ++i) text += std::to_string(random() % 1000) + "\n";
  for (const std::string& form : {text, gzip(text), zstd(text)}) {
    EXPECT_EQ(read_all(file(form), 1 << 20), text);
    EXPECT_EQ(read_all(file(form), 77), text);
  }
  EXPECT_EQ(read_all(file(gzip("a") + gzip("") + gzip("b")), 10), "ab");
  EXPECT_EQ(read_all(file(zstd("a") + zstd("") + zstd("b")), 10), "ab");
  EXPECT_EQ(read_all(file(gzip("")), 10) + read_all(file(zstd("")), 10) + read_all(file(""), 10), "");
}

TEST_F(Files, damaged_compressed_data) {
  std::string text(100000, 'x');
  for (const std::string& form : {gzip(text), zstd(text)}) {
    EXPECT_EQ(message_of([&] { read_all(file(form.substr(0, form.size() - 1)), 4096); }),
              "f: the compressed data ends early");
    EXPECT_EQ(message_of([&] { read_all(file(form.substr(0, 9)), 4096); }),
              "f: the compressed data ends early");
    EXPECT_NE(message_of([&] { read_all(file(form + "garbage"), 4096); }).find("f: damaged"),
              std::string::npos);
    std::string damaged = form;
    damaged[form.size() / 2] ^= 0x55;
    damaged[form.size() - 6] ^= 0x55;
    EXPECT_NE(message_of([&] { read_all(file(damaged), 4096); }), "(nothing thrown)");
  }
  EXPECT_EQ(
      message_of([&] { InputFile{folder_.path() / "none"}; }, base::Kind::not_found).find("none: No such"),
      folder_.path().string().size() + 1);
}

TEST_F(Files, lines) {
  auto lines = [&](std::string_view bytes) {
    LineReader reader(file(bytes));
    std::vector<std::string> out;
    while (auto line = reader.next()) out.emplace_back(*line);
    EXPECT_EQ(reader.line(), out.size());
    return out;
  };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(lines(""), Lines{});
  EXPECT_EQ(lines("\n"), Lines{""});
  EXPECT_EQ(lines("a\r\nb\n\nc"), (Lines{"a", "b", "", "c"}));
  EXPECT_EQ(lines("\xEF\xBB\xBF"
                  "a\n\xEF\xBB\xBFx"),
            (Lines{"a", "\xEF\xBB\xBFx"}));
  std::string large(300000, 'x');
  EXPECT_EQ(lines(large + "\n" + large + "\ny"), (Lines{large, large, "y"}));
  EXPECT_EQ(message_of([&] { lines("ab\ncaf\xe9 x\n"); }), "f:2: not UTF-8: byte 0xe9 at column 4");
  EXPECT_EQ(message_of(
                [&] {
                  LineReader reader(file("short\n" + large), 1000);
                  while (reader.next()) {}
                },
                base::Kind::limit),
            "f:2: the line is longer than 1000 bytes");
}

TEST_F(Files, csv_of_rfc_4180) {
  EXPECT_EQ(records("a,b,c\r\n1,,3\r\n", kCsv), (Records{{"a", "b", "c"}, {"1", "", "3"}}));
  EXPECT_EQ(records("\"a\",\"b,\"\"c\"\"\",\"\"\n", kCsv), (Records{{"a", "b,\"c\"", ""}}));
  EXPECT_EQ(records("1,\"two\r\nlines, \"\"and\n\nmore\",3\n4,5,6", kCsv),
            (Records{{"1", "two\r\nlines, \"and\n\nmore", "3"}, {"4", "5", "6"}}));
  EXPECT_EQ(records("5\" disk,\"x\"\r\n", kCsv), (Records{{"5\" disk", "x"}}));
  EXPECT_EQ(records("\"a\",\n,\"\"\n\"\"", kCsv), (Records{{"a", ""}, {"", ""}, {""}}));
  EXPECT_EQ(records("\n", kCsv), (Records{{""}}));
  EXPECT_EQ(records("", kCsv), Records{});
}

TEST_F(Files, tsv_has_no_quoting) {
  EXPECT_EQ(records("\"a\tb\"\t\"\nx,y\t\t\n", kTsv), (Records{{"\"a", "b\"", "\""}, {"x,y", "", ""}}));
}

TEST_F(Files, csv_errors_name_the_line_where_the_record_begins) {
  EXPECT_EQ(message_of([&] { records("a,b\n1,\"open\n2,3\n", kCsv); }),
            "f:2: a quote opens here and never closes");
  EXPECT_EQ(message_of([&] { records("\"x\ny\",1\n\"a\"b,2\n", kCsv); }), "f:3: text after a closing quote");
  EXPECT_EQ(message_of([&] { records("\"a\nb\xff\"", kCsv); }), "f:2: not UTF-8: byte 0xff at column 2");
}

TEST_F(Files, csv_line_numbers) {
  CsvReader reader(file("a\n\"b\n\n\"\nc\n"), kCsv);
  std::vector<size_t> lines;
  while (reader.next()) lines.push_back(reader.line());
  EXPECT_EQ(lines, (std::vector<size_t>{1, 2, 5}));
}

TEST_F(Files, csv_reads_back_any_fields) {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    Records expected(1 + random() % 5);
    std::string text;
    for (auto& record : expected) {
      record.resize(2 + random() % 3);
      for (auto& field : record) {
        for (size_t n = random() % 6; n > 0; --n) field += ",\"\n\rx "[random() % 6];
        text += csv_field(field) + ",";
      }
      text.back() = '\n';
    }
    ASSERT_EQ(records(text, kCsv), expected) << text;
  }
}

TEST_F(Files, json_lines) {
  JsonLinesReader reader(file("{\"a\":1}\r\n\n  \n[2]\n{\"b\":\n"));
  EXPECT_EQ(to_text(*reader.next()), "{\"a\":1}");
  EXPECT_EQ(to_text(*reader.next()), "[2]");
  EXPECT_EQ(reader.where(), name() + ":4");
  EXPECT_EQ(message_of([&] { reader.next(); }), "f:5:6: incomplete JSON");
  EXPECT_EQ(JsonLinesReader(file("")).next(), std::nullopt);
}

}  // namespace
}  // namespace textmill::format
