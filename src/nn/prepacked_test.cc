#include "nn/prepacked.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "nn/cpu.h"
#include "nn/quantized.h"
#include "nn/testing.h"

namespace textmill::nn {
namespace {

namespace fs = std::filesystem;

/// Two layers, one of them in 8 bits, and an engine over them.
struct PrepackedTest : ::testing::Test {
  PrepackedTest() {
    std::vector<Weight*> weights{&down, &bias, &up};
    testing::randomize(weights, 7);
    in_8_bits = quantize_weight(up);
    up.borrow(in_8_bits.values, in_8_bits.scales);
    Recorder r;
    rows = r.space("rows");
    x = r.input(rows, 48, "x");
    r.output(r.linear(r.linear(x, first), second));
    recording = r.finish();
    values.resize(5 * 48);
    for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(i % 17) - 8;
  }

  /// What an engine with this cache answers, and whether it maps the file.
  std::pair<std::vector<float>, bool> run(const PackedCache* cache, Format format = Format::f32) {
    Plan plan = make_plan(recording, {.format = format, .patterns = cpu_patterns()});
    kernel::Pool pool(1);
    Cpu engine(plan, pool, cache);
    Batch batch;
    batch.set_rows(rows, std::vector<int32_t>{5});
    batch.set_input(x, values);
    batch.derive(plan.recording);
    engine.run(batch);
    auto y = engine.output(0);
    return {{y.begin(), y.end()}, engine.is_mapped()};
  }

  base::Path file() const {
    for (const auto& entry : fs::directory_iterator(folder.path())) return entry.path();
    return {};
  }

  Linear first{48, 64}, second{64, 32, false};
  Weight &up = first.weight, &bias = first.bias, &down = second.weight;
  QuantizedWeight in_8_bits;
  Recording recording;
  Space rows;
  Tensor x;
  std::vector<float> values;
  base::TemporaryFolder folder;
  PackedCache cache{folder.path(), 42};
};

TEST_F(PrepackedTest, what_is_mapped_answers_as_what_is_packed) {
  for (Format format : {Format::f32, Format::bf16}) {
    auto [expected, mapped] = run(nullptr, format);
    EXPECT_FALSE(mapped);
    auto [written, now] = run(&cache, format);
    EXPECT_TRUE(now) << "at once: the memory is given back";
    EXPECT_EQ(written, expected);
    auto changed = fs::last_write_time(file());
    auto [again, later] = run(&cache, format);
    EXPECT_TRUE(later);
    EXPECT_EQ(again, expected);
    EXPECT_EQ(fs::last_write_time(file()), changed);
    fs::remove(file());
  }
}

TEST_F(PrepackedTest, a_file_of_other_weights_or_a_damaged_one_is_written_anew) {
  auto expected = run(&cache).first;
  std::string whole = base::read_file(file());
  auto damage = [&](const std::string& bytes) {
    base::write_file_durably(file(), bytes);
    EXPECT_EQ(run(&cache).first, expected);
    EXPECT_EQ(base::read_file(file()), whole);
  };
  damage(whole.substr(0, whole.size() - 1));
  damage("");
  for (size_t at : {size_t{0}, size_t{8}, size_t{16}, size_t{24}, size_t{32}, size_t{40}, size_t{4096},
                    whole.size() - 1}) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    damage(bytes);
  }
  cache.content = 43;
  EXPECT_EQ(run(&cache).first, expected);
  EXPECT_NE(base::read_file(file()), whole);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST_F(PrepackedTest, those_who_write_at_once_leave_alone_what_others_mapped) {
  Prepacked kept(cache, "race", 1);
  std::vector<std::byte> bytes(1 << 16, std::byte{7});
  std::vector<std::jthread> writers;
  std::atomic<int> mapped = 0;
  for (int i = 0; i < 4; i++) {
    writers.emplace_back([&] {
      for (int j = 0; j < 300; j++) {
        kept.write(bytes);
        auto file = kept.open(bytes.size());
        if (!file) continue;
        mapped++;
        for (int again = 0; again < 20; again++)
          for (std::byte byte : kept.bytes(*file)) ASSERT_EQ(byte, std::byte{7});
      }
    });
  }
  writers.clear();
  EXPECT_GT(mapped, 0);
}

TEST_F(PrepackedTest, nothing_is_written_through_what_is_no_file) {
  base::TemporaryFolder elsewhere;
  base::Path victim = elsewhere.path() / "victim", temporary = folder.path() / "textmill-packed.x.bin.tmp";
  base::write_file_durably(victim, "mine");
  Prepacked kept(cache, "x", 1);
  fs::create_symlink(victim, temporary);
  EXPECT_FALSE(kept.write({}));
  EXPECT_EQ(base::read_file(victim), "mine");
  fs::remove(temporary);
  ASSERT_EQ(mkfifo(temporary.c_str(), 0600), 0);
  EXPECT_FALSE(kept.write({}));
}

TEST_F(PrepackedTest, a_folder_that_cannot_be_written_is_no_error) {
  auto expected = run(nullptr).first;
  cache.folder /= "nowhere";
  auto [answers, mapped] = run(&cache);
  EXPECT_FALSE(mapped);
  EXPECT_EQ(answers, expected);
}

TEST_F(PrepackedTest, weights_that_changed_are_packed_into_memory) {
  Plan plan = make_plan(recording, {.patterns = cpu_patterns()});
  kernel::Pool pool(1);
  Cpu engine(plan, pool, &cache);
  ASSERT_TRUE(engine.is_mapped());
  down.own()[0] += 1;
  engine.refresh();
  EXPECT_FALSE(engine.is_mapped());
  Batch batch;
  batch.set_rows(rows, std::vector<int32_t>{5});
  batch.set_input(x, values);
  batch.derive(plan.recording);
  engine.run(batch);
  EXPECT_NE(engine.output(0)[0], run(&cache).first[0]) << "the file is of the weights before";
}

}  // namespace
}  // namespace textmill::nn
