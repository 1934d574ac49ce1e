#include "nn/kernel/cpu_features.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/error.h"

namespace textmill::nn::kernel {
namespace {

class ChoosePath : public testing::Test {
 protected:
  void SetUp() override {
    const char* value = std::getenv("TEXTMILL_CPU");
    had_ = value != nullptr;
    if (had_) before_ = value;
  }
  void TearDown() override { had_ ? setenv("TEXTMILL_CPU", before_.c_str(), 1) : unsetenv("TEXTMILL_CPU"); }
  static void force(const char* value) { setenv("TEXTMILL_CPU", value, 1); }

 private:
  bool had_ = false;
  std::string before_;
};

/// The suites named Paths run on each of these.
class Paths : public testing::TestWithParam<Path> {};

TEST_P(Paths, AreTestedWhereTheMachineHasThem) {
  if (!supports(GetParam()))
    GTEST_SKIP() << "this machine lacks " << name(GetParam()) << ": nothing runs on it";
  EXPECT_TRUE(std::ranges::count(supported_paths(), GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, Paths,
                         testing::Values(Path::avx512_bf16, Path::avx512_vnni, Path::avx_vnni, Path::avx2,
                                         Path::portable),
                         [](const auto& info) { return std::to_string(static_cast<int>(info.param)); });

TEST_F(ChoosePath, TakesTheBestByItself) {
  unsetenv("TEXTMILL_CPU");
  EXPECT_EQ(choose_path(), supported_paths().front());
  force("");
  EXPECT_EQ(choose_path(), supported_paths().front());
  EXPECT_EQ(supported_paths().back(), Path::portable);
}

TEST_F(ChoosePath, ForcesWhatTheMachineHasAndRefusesTheRest) {
  for (Path path : {Path::avx512_bf16, Path::avx512_vnni, Path::avx_vnni, Path::avx2, Path::portable}) {
    force(name(path));
    if (supports(path)) {
      EXPECT_EQ(choose_path(), path);
    } else {
      EXPECT_THROW(choose_path(), base::Error);
    }
  }
  for (auto [path, named] : {std::pair{"avx1024", "no such path"}, {"amx", "AMX tiles are not built"}}) {
    force(path);
    try {
      choose_path();
      FAIL() << "no error";
    } catch (const base::Error& error) {
      for (const char* word : {path, named, "portable"})
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace textmill::nn::kernel
