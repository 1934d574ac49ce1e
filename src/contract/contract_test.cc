#include <gtest/gtest.h>

#include <cstdlib>

#include "contract/serving.h"
#include "contract/training.h"
#include "format/json.h"

namespace textmill::contract {
namespace {

using base::Path;

std::string message_of(auto&& action) {
  try {
    action();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::Kind::invalid) << error.what();
    return error.what();
  }
  return "(nothing thrown)";
}

class Training : public testing::Test {
 protected:
  void write(const Path& path, std::string_view text) {
    std::filesystem::create_directories(path.parent_path());
    base::write_file_durably(path, text);
  }
  base::TemporaryFolder folder_;
  Path root_ = std::filesystem::canonical(folder_.path());
  Layout layout_{root_ / "ml"};
};

TEST_F(Training, what_is_written_is_read) {
  write(root_ / "my data.tsv", "x");
  write(root_ / "model/config.json", "{}");
  write(root_ / "model/vocab.txt", "");
  TrainingInput input{
      .hyperparameters = {{"epochs", "3"}, {"text", "a \"b\""}},
      .tool_hyperparameters = {{"sagemaker_program", "train.py"}},
      .channels = {{"train", {root_ / "my data.tsv", "text/csv"}}, {"model", {root_ / "model", ""}}},
      .resources = {.current_host = "algo-2", .hosts = {"algo-1", "algo-2"}}};
  std::filesystem::create_directories(layout_.channel("train"));
  std::filesystem::create_symlink(root_ / "my data.tsv", layout_.channel("train") / "my data.tsv");
  std::filesystem::create_directory_symlink(root_ / "model", layout_.channel("model"));
  write_configuration(layout_, input);
  TrainingInput read = read_training_input(layout_);
  EXPECT_EQ(read.hyperparameters, input.hyperparameters);
  EXPECT_EQ(read.tool_hyperparameters, input.tool_hyperparameters);
  ASSERT_EQ(read.channels.size(), 2u);
  EXPECT_EQ(read.channel("train")->path, root_ / "my data.tsv");
  EXPECT_EQ(read.channel("train")->content_type, "text/csv");
  EXPECT_EQ(read.channel("model")->path, root_ / "model");
  EXPECT_EQ(read.channel("validation"), nullptr);
  EXPECT_EQ(read.resources.rank(), 1u);
}

TEST_F(Training, what_the_platform_writes) {
  write(
      layout_.hyperparameters(),
      R"({"epochs": "3", "model": "\"bert\"", "flag": "true", "none": "null", "quote": "\"", "list": "[1, 2]", "two": "\"a\" \"b\"", "end": "\"a\\\"",
            "sagemaker_program": "\"train.py\"", "_tuning_objective_metric": "f1", "number": 2.5})");
  write(
      layout_.input_data_config(),
      R"({"train": {"ContentType": "text/csv", "TrainingInputMode": "File", "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None"}})");
  write(
      layout_.resource_config(),
      R"({"current_host": "algo-1", "current_instance_type": "ml.m5.xlarge", "current_group_name": "homogeneousCluster",
            "hosts": ["algo-1"], "instance_groups": [], "network_interface_name": "eth0"})");
  write(layout_.channel("train") / "part/a.csv", "x");
  TrainingInput input = read_training_input(layout_);
  using Strings = std::map<std::string, std::string>;
  EXPECT_EQ(input.hyperparameters, (Strings{{"epochs", "3"},
                                            {"model", "bert"},
                                            {"flag", "true"},
                                            {"quote", "\""},
                                            {"list", "[1, 2]"},
                                            {"two", "\"a\" \"b\""},
                                            {"end", "\"a\\\""},
                                            {"number", "2.5"}}));
  EXPECT_EQ(input.tool_hyperparameters,
            (Strings{{"sagemaker_program", "train.py"}, {"_tuning_objective_metric", "f1"}}));
  EXPECT_EQ(input.channel("train")->path, layout_.channel("train"));
  EXPECT_EQ(input.resources.current_instance_type, "ml.m5.xlarge");
  EXPECT_EQ(input.resources.network_interface_name, "eth0");
}

TEST_F(Training, without_files_there_are_defaults) {
  TrainingInput input = read_training_input(layout_);
  EXPECT_TRUE(input.hyperparameters.empty() && input.channels.empty());
  EXPECT_EQ(input.resources.hosts, (std::vector<std::string>{"algo-1"}));
  write(layout_.channel("validation") / "v.tsv", "x");
  EXPECT_EQ(read_training_input(layout_).channel("validation")->path,
            layout_.channel("validation") / "v.tsv");
}

TEST_F(Training, errors_name_the_file_and_the_member) {
  std::string front = root_.string() + "/ml/input/config/";
  write(layout_.hyperparameters(), R"({"a": ["x"]})");
  EXPECT_EQ(message_of([&] { read_training_input(layout_); }),
            front + "hyperparameters.json: a: expected a string, got an array of 1");
  write(layout_.hyperparameters(), R"({"a": "\"\\x\""})");
  EXPECT_EQ(message_of([&] { read_training_input(layout_); }),
            front + "hyperparameters.json: a:1:3: syntax error");
  write(layout_.hyperparameters(), "{}");
  write(layout_.input_data_config(), R"({"train": {"TrainingInputMode": "Pipe"}})");
  EXPECT_EQ(message_of([&] { read_training_input(layout_); }),
            front + "inputdataconfig.json: train.TrainingInputMode: expected File or FastFile, got \"Pipe\"");
  write(layout_.input_data_config(), R"({"train": {}})");
  EXPECT_EQ(message_of([&] { read_training_input(layout_); }),
            "channel train: " + layout_.channel("train").string() + " is not there");
  write(layout_.input_data_config(), "{}");
  write(layout_.resource_config(), R"({"current_host": "algo-3", "hosts": ["algo-1"]})");
  EXPECT_EQ(message_of([&] { read_training_input(layout_); }),
            front + "resourceconfig.json: current_host: expected one of the hosts, got \"algo-3\"");
}

TEST_F(Training, the_failure_file) {
  report_failure(layout_, {base::Kind::cancelled, "stop"});
  EXPECT_FALSE(std::filesystem::exists(layout_.failure()));
  report_failure(layout_, {base::Kind::invalid, "train.tsv:3: short row"});
  EXPECT_EQ(base::read_file(layout_.failure()), "train.tsv:3: short row");
}

TEST_F(Training, environment) {
  EXPECT_EQ(training_environment(Layout(Layout::kDefaultRoot), "job", "arn", "us-east-1")
                .count("SAGEMAKER_BASE_DIR"),
            0u);
  auto variables = training_environment(layout_, "job", "arn", "us-east-1");
  EXPECT_EQ(variables.at("SAGEMAKER_BASE_DIR"), layout_.root().string());
  EXPECT_EQ(variables.at("TRAINING_JOB_NAME"), "job");
  ::setenv("SAGEMAKER_BASE_DIR", layout_.root().c_str(), 1);
  EXPECT_EQ(Layout::from_environment().root(), layout_.root());
  ::unsetenv("SAGEMAKER_BASE_DIR");
  EXPECT_EQ(Layout::from_environment().model(), "/opt/ml/model");
}

TEST(Serving, environment) {
  EXPECT_EQ(read_serving_environment().port, 8080);
  const std::pair<const char*, const char*> variables[] = {{"SAGEMAKER_BIND_TO_PORT", "9000"},
                                                           {"SAGEMAKER_MAX_PAYLOAD_IN_MB", "20"},
                                                           {"SAGEMAKER_CONTAINER_LOG_LEVEL", "30"}};
  for (const auto& [name, value] : variables) ::setenv(name, value, 1);
  ServingEnvironment found = read_serving_environment();
  for (const auto& [name, value] : variables) ::unsetenv(name);
  EXPECT_EQ(found.port, 9000);
  EXPECT_EQ(found.max_payload_bytes, int64_t{20} << 20);
  EXPECT_EQ(found.log_level, base::Level::warning);
}

TEST(Serving, wrong_values_are_named) {
  auto with = [](const char* name, const char* value) {
    ::setenv(name, value, 1);
    std::string message = message_of([] { read_serving_environment(); });
    ::unsetenv(name);
    return message;
  };
  EXPECT_EQ(with("SAGEMAKER_BIND_TO_PORT", "80x"),
            "SAGEMAKER_BIND_TO_PORT: expected an integer from 1 to 65535, got \"80x\"");
  EXPECT_EQ(with("SAGEMAKER_BIND_TO_PORT", "0"),
            "SAGEMAKER_BIND_TO_PORT: expected an integer from 1 to 65535, got \"0\"");
  EXPECT_EQ(with("SAGEMAKER_BIND_TO_PORT", ""), "(nothing thrown)");
}

}  // namespace
}  // namespace textmill::contract
