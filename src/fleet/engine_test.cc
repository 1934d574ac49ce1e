#include "fleet/engine.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/time.h"
#include "fleet/images.h"

namespace textmill::fleet {
namespace {

using namespace std::chrono_literals;
using base::Path;

const std::string kId(64, 'a');

std::string refused(auto&& what) {
  try {
    what();
  } catch (const base::Error& error) { return error.what(); }
  return "(nothing thrown)";
}

TEST(Engine, ReadsWhatPodmanAndDockerSay) {
  auto image = parse_inspection(R"([{"Id": ")" + kId +
                                R"(", "Os": "linux", "Architecture": "amd64", "Size": 1, "User": "x",
    "Config": {"Env": ["A=b=c", "EMPTY=", "broken"], "Entrypoint": ["/run", "it"], "Cmd": ["x"], "WorkingDir": "/a/../b",
    "User": "somebody"}}])");
  EXPECT_EQ(image.id, kId);
  EXPECT_EQ(image.environment, (std::map<std::string, std::string>{{"A", "b=c"}, {"EMPTY", ""}}));
  EXPECT_EQ(image.entrypoint, (std::vector<std::string>{"/run", "it"}));
  EXPECT_EQ(image.folder, "/b");
  EXPECT_EQ(image.user, "somebody");
  EXPECT_EQ(image.platform, "linux/amd64");
  image = parse_inspection(R"([{"Id": "sha256:)" + kId +
                           R"(", "Config": {"Env": null, "Entrypoint": null, "WorkingDir": ""}}])");
  EXPECT_EQ(image.id, kId);
  EXPECT_TRUE(image.environment.empty() && image.entrypoint.empty());
  EXPECT_EQ(image.folder, "/");
  EXPECT_EQ(parse_inspection(R"([{"Id": ")" + kId + R"("}])").folder, "/");
}

TEST(Engine, RefusesOtherTexts) {
  EXPECT_EQ(refused([] { parse_inspection("[]"); }), "expected one image, got 0");
  for (const std::string id : {"", "../../x", "ABC", "sha256:zz"})
    EXPECT_NE(
        refused([&] { parse_inspection(R"([{"Id": ")" + id + R"("}])"); }).find("64 hexadecimal digits"),
        std::string::npos);
  for (const char* text : {"", "{}", "[{}]", "nothing"})
    EXPECT_NE(refused([&] { parse_inspection(text); }), "(nothing thrown)");
}

TEST(Engine, AContainerRunsWhatDockerRunWould) {
  using Words = std::vector<std::string>;
  ContainerImage image{.entrypoint = {"/run"}};
  EXPECT_EQ(container_command(image, "train"), (Words{"/run", "train"}));
  EXPECT_EQ(container_command({}, "serve"), (Words{"serve"}));
  EXPECT_EQ(container_command(image, "train", {}, {"a", "b"}), (Words{"/run", "a", "b"}));
  EXPECT_EQ(container_command(image, "train", {"sh", "x"}), (Words{"sh", "x"}));
  EXPECT_EQ(container_command(image, "train", {"sh"}, {"a"}), (Words{"sh", "a"}));
}

struct EngineTest : testing::Test {
  base::TemporaryFolder folder{"engine-test"};
  std::string path_before = std::getenv("PATH");

  ~EngineTest() override { ::setenv("PATH", path_before.c_str(), 1); }

  Path program(const std::string& name, const std::string& text = "") {
    base::write_file_durably(folder.path() / name, "#!/bin/sh\n" + text + "\n");
    std::filesystem::permissions(folder.path() / name, std::filesystem::perms(0755));
    return folder.path() / name;
  }
};

TEST_F(EngineTest, IsFound) {
  ::setenv("PATH", (folder.path().string() + ":relative").c_str(), 1);
  EXPECT_EQ(find_engine(""), "");
  Path docker = program("docker");
  EXPECT_EQ(find_engine(""), docker);
  Path podman = program("podman");
  EXPECT_EQ(find_engine(""), podman);
  EXPECT_EQ(find_engine("docker"), docker);
  EXPECT_EQ(find_engine(docker), docker);
  EXPECT_EQ(find_engine("none"), "");
  EXPECT_EQ(refused([] { find_engine("nerdctl"); }),
            "the container engine 'nerdctl' is not on the PATH: expected podman, docker, none, or the path "
            "of a program");
  EXPECT_NE(refused([&] { find_engine(folder.path()); }).find("is no program"), std::string::npos);
}

TEST_F(EngineTest, ThatHangsIsGivenUpWithWhatItStarted) {
  Engine engine(program("podman", "sleep 1000 & echo $! > " + (folder.path() / "pid").string() + "; wait"),
                1s);
  auto begin = base::steady_now();
  EXPECT_EQ(refused([&] { engine.inspect("x", {}); }),
            engine.program().string() + " image inspect -- x gave no answer within 1 s");
  EXPECT_LT(base::seconds_since(begin), 20);
  std::string stat = "/proc/" + std::to_string(std::stol(base::read_file(folder.path() / "pid"))) + "/stat";
  for (int i = 0;
       i < 500 && std::filesystem::exists(stat) && base::read_file(stat).find(") Z ") == std::string::npos;
       ++i)
    ::usleep(10'000);
  EXPECT_TRUE(!std::filesystem::exists(stat) || base::read_file(stat).find(") Z ") != std::string::npos);
  std::stop_source stop;
  stop.request_stop();
  try {
    engine.inspect("x", stop.get_token());
    FAIL();
  } catch (const base::Error& error) { EXPECT_EQ(error.kind(), base::Kind::cancelled); }
}

TEST_F(EngineTest, AnImageThatIsNotThereIsTheUsersMatter) {
  for (const char* words : {"Error: No such image: x", "Error: inspecting object: x: image not known",
                            "Error: no such object: \"x\""}) {
    Engine engine(program("podman", "echo '" + std::string(words) + "' >&2; exit 125"));
    try {
      engine.inspect("x", {});
      FAIL();
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::invalid);
      EXPECT_NE(std::string(error.what()).find("`podman pull x`"), std::string::npos);
    }
  }
}

TEST_F(EngineTest, ItsFailuresAreTold) {
  Engine engine(program("docker", "[ $1 != export -a $1 != rm ]"));
  EXPECT_NE(refused([&] {
              engine.write_files({.id = kId}, "c", folder.path() / "files.tar", {});
            }).find("docker export c failed with status 1: it says nothing"),
            std::string::npos);
  EXPECT_FALSE(engine.remove_container("c", {}));
  program("docker");
  EXPECT_TRUE(engine.remove_container("c", {}));
}

}  // namespace
}  // namespace textmill::fleet
