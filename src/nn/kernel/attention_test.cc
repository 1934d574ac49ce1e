#include "nn/kernel/attention.h"

#include <gtest/gtest.h>

#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"
#include "nn/kernel/testing.h"

namespace textmill::nn::kernel {
namespace {

struct Setting {
  const char* what;
  std::vector<int> lengths;  // of the sequences
  int heads, kv_heads, head_dim;
  int queries = -1;  // per sequence, its last rows; -1: all
  bool causal = false;
  int window = 0;
  bool bias = false;
  double dropout = 0;
};

const Setting kSettings[] = {
    {.what = "bert", .lengths = {5, 17, 64, 1}, .heads = 3, .kv_heads = 3, .head_dim = 32},
    {.what = "bert base", .lengths = {53, 33}, .heads = 2, .kv_heads = 2, .head_dim = 64},
    {.what = "dropout", .lengths = {40, 70}, .heads = 2, .kv_heads = 2, .head_dim = 64, .dropout = 0.2},
    {.what = "long", .lengths = {300}, .heads = 1, .kv_heads = 1, .head_dim = 32},
    {.what = "odd head", .lengths = {19, 2}, .heads = 2, .kv_heads = 2, .head_dim = 33},
    {.what = "head of one", .lengths = {9}, .heads = 5, .kv_heads = 1, .head_dim = 1},
    {.what = "wide head", .lengths = {30}, .heads = 1, .kv_heads = 1, .head_dim = 130},
    {.what = "grouped causal",
     .lengths = {21, 140},
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .causal = true},
    {.what = "window",
     .lengths = {150},
     .heads = 1,
     .kv_heads = 1,
     .head_dim = 8,
     .causal = true,
     .window = 7},
    {.what = "first row alone",
     .lengths = {50, 3, 70},
     .heads = 2,
     .kv_heads = 2,
     .head_dim = 32,
     .queries = 1},
    {.what = "bias",
     .lengths = {20, 9},
     .heads = 2,
     .kv_heads = 2,
     .head_dim = 12,
     .causal = true,
     .bias = true},
    {.what = "empty sequence", .lengths = {4, 0, 6}, .heads = 1, .kv_heads = 1, .head_dim = 16},
    {.what = "nothing", .lengths = {}, .heads = 1, .kv_heads = 1, .head_dim = 16},
};

struct Gradients {
  Rows queries, keys, values, bias;
};

/// Random sequences and the attention over them; some rows may see nothing.
class Case {
 public:
  Case(Type type, const Setting& setting) : s_(setting), type_(type) {
    Random random(7);
    for (int length : s_.lengths) {
      int count = s_.queries < 0 ? length : s_.queries;
      first_runs_.push_back(static_cast<int32_t>(runs_.size()));
      for (int done = 0; done < count; done += Attention::kMaxRun) {
        runs_.push_back(
            {queries_ + done, std::min(Attention::kMaxRun, count - done), static_cast<int>(firsts_.size())});
      }
      for (int i = 0; i < count; i++) {
        int position = length - count + i;
        bool blind = s_.causal && i == 3;
        begins_.push_back(s_.window ? std::max(0, position + 1 - s_.window) : 0);
        ends_.push_back(blind ? 0 : s_.causal ? position + 1 : length);
        positions_.push_back(position);
        keys_of_rows_.push_back(mix64(random.below(1 << 20)));
      }
      firsts_.push_back(keys_);
      queries_ += count;
      keys_ += length;
    }
    first_runs_.push_back(static_cast<int32_t>(runs_.size()));
    q = Rows(type, queries_, s_.heads * s_.head_dim, random);
    k = Rows(type, keys_, s_.kv_heads * s_.head_dim, random);
    v = Rows(type, keys_, s_.kv_heads * s_.head_dim, random);
    out = Rows(type, queries_, s_.heads * s_.head_dim);
    d_out = Rows(type, queries_, s_.heads * s_.head_dim, random);
    log_sums = Rows(Type::f32, queries_, s_.heads);
    for (int length : s_.lengths) reach_ = std::max(reach_, length);
    bias = Rows(Type::f32, s_.heads, 2 * reach_ + 1, random);
  }

  void prepare() {
    sequences_.clear();
    for (size_t i = 0; i < s_.lengths.size(); i++) {
      size_t at = size_t(firsts_[i]) * k.cols() * bytes_of(type_);
      sequences_.push_back({static_cast<std::byte*>(k.data()) + at, static_cast<std::byte*>(v.data()) + at,
                            s_.lengths[i], firsts_[i]});
    }
    attention = {.type = type_,
                 .heads = s_.heads,
                 .kv_heads = s_.kv_heads,
                 .head_dim = s_.head_dim,
                 .scale = 1.3f / std::sqrt(static_cast<float>(s_.head_dim)),
                 .runs = runs_,
                 .first_run = first_runs_,
                 .sequences = sequences_,
                 .queries = q.data(),
                 .out = out.data(),
                 .log_sums = log_sums.f32()};
    if (s_.causal) attention.visible_begin = begins_.data(), attention.visible_end = ends_.data();
    if (s_.bias)
      attention.bias = bias.f32(), attention.bias_reach = reach_, attention.positions = positions_.data();
    if (s_.dropout > 0) attention.dropout = {DropoutRate(s_.dropout), 3, 4, keys_of_rows_.data()};
  }

  void run(Pool& pool, const Kernels& kernels) {
    prepare();
    Scratch scratch(pool, kernels, *this);
    attend(pool, kernels, attention, scratch.bytes.data(), scratch.each);
  }
  Gradients run_backward(Pool& pool, const Kernels& kernels, bool add) {
    Random random(8);
    Gradients d{add ? Rows(type_, q.rows(), q.cols(), random) : Rows(type_, q.rows(), q.cols()),
                add ? Rows(type_, k.rows(), k.cols(), random) : Rows(type_, k.rows(), k.cols()),
                add ? Rows(type_, v.rows(), v.cols(), random) : Rows(type_, v.rows(), v.cols()),
                Rows(Type::f32, bias.rows(), bias.cols())};
    AttentionGradient gradient{.d_out = d_out.data(),
                               .d_queries = d.queries.data(),
                               .d_keys = d.keys.data(),
                               .d_values = d.values.data(),
                               .add_queries = add,
                               .add_keys = add,
                               .add_values = add,
                               .d_bias = s_.bias ? d.bias.f32() : nullptr};
    Scratch scratch(pool, kernels, *this);
    attend_backward(pool, kernels, attention, gradient, scratch.bytes.data(), scratch.each);
    return d;
  }

  struct Naive {
    std::vector<double> out, log_sums, d_queries, d_keys, d_values, d_bias;
  };
  Naive naive(const Gradients* before) const {
    Naive n;
    n.out.resize(size_t(q.rows()) * q.cols());
    n.log_sums.resize(size_t(q.rows()) * s_.heads);
    n.d_queries = before ? copy(before->queries) : std::vector<double>(n.out.size());
    n.d_keys = before ? copy(before->keys) : std::vector<double>(size_t(k.rows()) * k.cols());
    n.d_values = before ? copy(before->values) : std::vector<double>(n.d_keys.size());
    n.d_bias.resize(size_t(bias.rows()) * bias.cols());
    for (const QueryRun& run : runs_) {
      for (int row = run.first; row < run.first + run.count; row++) {
        for (int head = 0; head < s_.heads; head++) naive_row(run.sequence, row, head, n);
      }
    }
    return n;
  }

  static std::vector<double> copy(const Rows& rows) {
    std::vector<double> values;
    for (int i = 0; i < rows.rows(); i++) {
      for (int j = 0; j < rows.cols(); j++) values.push_back(rows.at(i, j));
    }
    return values;
  }

  Attention attention;
  Rows q, k, v, out, d_out, log_sums, bias;

 private:
  struct Scratch {
    size_t each;
    Aligned<std::byte> bytes;
    Scratch(Pool& pool, const Kernels& kernels, const Case& c) {
      int most = 0;
      for (int length : c.s_.lengths) most = std::max(most, length);
      each = attention_scratch_bytes(kernels, c.type_, c.s_.head_dim, most);
      bytes.resize(each * pool.threads());
    }
  };

  void naive_row(int sequence, int row, int head, Naive& n) const {
    int count = s_.lengths[sequence], first = firsts_[sequence], dim = s_.head_dim;
    int begin = s_.causal ? begins_[row] : 0, end = s_.causal ? ends_[row] : count;
    int qc = head * dim, kc = head / (s_.heads / s_.kv_heads) * dim;
    std::vector<double> weights, factors, products;
    double total = 0;
    for (int j = begin; j < end; j++) {
      double score = 0;
      for (int c = 0; c < dim; c++) score += double{q.at(row, qc + c)} * k.at(first + j, kc + c);
      score *= attention.scale;
      if (s_.bias) score += bias.at(head, j - positions_[row] + reach_);
      weights.push_back(std::exp(score));
      total += weights.back();
      factors.push_back(s_.dropout > 0
                            ? DropoutRate(s_.dropout).factor(dropout_row(3, 4, keys_of_rows_[row], head), j)
                            : 1);
    }
    n.log_sums[size_t(row) * s_.heads + head] = std::log(total);
    double inner = 0;
    for (int j = begin; j < end; j++) {
      double &weight = weights[j - begin] /= total, factor = factors[j - begin], product = 0;
      for (int c = 0; c < dim; c++) {
        n.out[size_t(row) * q.cols() + qc + c] += weight * factor * v.at(first + j, kc + c);
        product += double{d_out.at(row, qc + c)} * v.at(first + j, kc + c);
        n.d_values[size_t(first + j) * k.cols() + kc + c] += weight * factor * d_out.at(row, qc + c);
      }
      products.push_back(product * factor);
      inner += weight * factor * product;
    }
    for (int j = begin; j < end; j++) {
      double d_score = weights[j - begin] * (products[j - begin] - inner);
      if (s_.bias) n.d_bias[size_t(head) * bias.cols() + j - positions_[row] + reach_] += d_score;
      for (int c = 0; c < dim; c++) {
        n.d_queries[size_t(row) * q.cols() + qc + c] += d_score * attention.scale * k.at(first + j, kc + c);
        n.d_keys[size_t(first + j) * k.cols() + kc + c] += d_score * attention.scale * q.at(row, qc + c);
      }
    }
  }

  const Setting& s_;
  Type type_;
  std::vector<QueryRun> runs_;
  std::vector<int32_t> first_runs_, begins_, ends_, positions_;
  std::vector<int> firsts_;
  std::vector<uint64_t> keys_of_rows_;
  std::vector<KeyRows> sequences_;
  int queries_ = 0, keys_ = 0, reach_ = 0;
};

void expect_near(const Rows& rows, const std::vector<double>& expected, double tolerance,
                 const std::string& what) {
  for (int i = 0; i < rows.rows(); i++) {
    for (int j = 0; j < rows.cols(); j++) {
      double x = expected[size_t(i) * rows.cols() + j];
      if (std::isinf(x) && rows.at(i, j) == x) continue;
      ASSERT_NEAR(rows.at(i, j), x, tolerance * (1 + std::abs(x))) << what << " at " << i << "," << j;
    }
  }
}

class AttentionTest : public PathTest {};
INSTANTIATE_TEST_SUITE_P(Paths, AttentionTest, testing::ValuesIn(supported_paths()), path_name);

TEST_P(AttentionTest, ForwardAndBackwardEqualTheNaiveTwin) {
  Pool pool(2);
  for (Type type : {Type::f32, Type::bf16}) {
    double tolerance = type == Type::f32 ? 2e-5 : 2e-2;
    for (const Setting& setting : kSettings) {
      for (bool add : {false, true}) {
        Case c(type, setting);
        c.run(pool, kernels());
        Random random(8);
        Gradients before{Rows(type, c.q.rows(), c.q.cols(), random),
                         Rows(type, c.k.rows(), c.k.cols(), random),
                         Rows(type, c.v.rows(), c.v.cols(), random),
                         {}};
        auto naive = c.naive(add ? &before : nullptr);
        std::string what = setting.what + std::string(type == Type::f32 ? " f32 " : " bf16 ");
        expect_near(c.out, naive.out, tolerance, what + "out");
        expect_near(c.log_sums, naive.log_sums, tolerance, what + "log sums");
        Gradients d = c.run_backward(pool, kernels(), add);
        expect_near(d.queries, naive.d_queries, tolerance, what + "d queries");
        expect_near(d.keys, naive.d_keys, tolerance, what + "d keys");
        expect_near(d.values, naive.d_values, tolerance, what + "d values");
        expect_near(d.bias, naive.d_bias, tolerance, what + "d bias");
      }
    }
  }
}

TEST_P(AttentionTest, GivesTheSameBytesForAnyThreads) {
  for (Type type : {Type::f32, Type::bf16}) {
    for (const Setting& setting : kSettings) {
      std::vector<Rows> first;
      for (int threads : {1, 2, 3}) {
        Pool pool(threads);
        Case c(type, setting);
        c.run(pool, kernels());
        Gradients d = c.run_backward(pool, kernels(), false);
        std::vector<Rows> results{c.out, c.log_sums, d.queries, d.keys, d.values, d.bias};
        if (first.empty()) first = results;
        EXPECT_EQ(results, first) << setting.what;
      }
    }
  }
}

TEST_P(AttentionTest, ASequenceGivesTheSameBytesInAnyCompany) {
  Pool pool(2);
  Setting alone{.what = "alone", .lengths = {37}, .heads = 2, .kv_heads = 2, .head_dim = 32};
  Setting company = alone;
  company.lengths = {37, 90, 300, 2};
  for (Type type : {Type::f32, Type::bf16}) {
    Case one(type, alone), many(type, company);
    many.run(pool, kernels());
    one.prepare();
    for (auto [from, to] :
         {std::pair(&many.q, &one.q), {&many.k, &one.k}, {&many.v, &one.v}, {&many.d_out, &one.d_out}}) {
      std::memcpy(to->data(), from->data(), to->bytes());
    }
    one.run(pool, kernels());
    EXPECT_EQ(std::memcmp(one.out.data(), many.out.data(), one.out.bytes()), 0);
    Gradients a = one.run_backward(pool, kernels(), false), b = many.run_backward(pool, kernels(), false);
    EXPECT_EQ(std::memcmp(a.keys.data(), b.keys.data(), a.keys.bytes()), 0);
    EXPECT_EQ(std::memcmp(a.queries.data(), b.queries.data(), a.queries.bytes()), 0);
  }
}

}  // namespace
}  // namespace textmill::nn::kernel
