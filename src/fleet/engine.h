#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace textmill::fleet {

/// What an image says of itself.
struct ContainerImage {
  std::string id;  // hexadecimal
  std::map<std::string, std::string> environment;
  std::vector<std::string> entrypoint;  // what it runs with the arguments that it is given
  base::Path folder = "/";              // where that starts
  std::string user;                     // whom it asks for; empty: root
  std::string platform;                 // "linux/amd64"
};

/// What `podman image inspect` and `docker image inspect` print. Throws invalid for another text.
ContainerImage parse_inspection(std::string_view json);
/// "linux/amd64"
std::string this_platform();

/// The program that `podman`, `docker`, a path, or nothing (whichever of the two is there, podman first) names; empty:
/// none is there, or `none` was said. Throws invalid for one that is named and is not there.
base::Path find_engine(const std::string& setting);

/// A container engine as a store of images, asked by its command line: podman, docker, or what takes their commands. What
/// it answers may come late or never: every call ends at its limit, when told to stop, and with all that it started.
class Engine {
 public:
  explicit Engine(base::Path program, std::chrono::seconds answers_within = std::chrono::seconds(30));

  const base::Path& program() const { return program_; }

  /// Throws invalid for an image that is not there, saying how to bring it; unavailable for an engine that fails, or gives
  /// no answer; cancelled.
  ContainerImage inspect(const std::string& image, const std::stop_token& stop) const;
  /// All files of an image as a tar archive. Makes a container of that name for it, and leaves it there, after an error
  /// too.
  void write_files(const ContainerImage& image, const std::string& container, const base::Path& archive,
                   const std::stop_token& stop) const;
  /// If it is there. False: the engine failed, or took too long; where one is to stop anyway, that is soon.
  bool remove_container(const std::string& container, const std::stop_token& stop) const;

 private:
  struct Answer {
    int status;
    std::string output, error;
  };
  Answer run(std::vector<std::string> arguments, std::chrono::seconds limit, const std::stop_token& stop,
             int output = -1) const;
  Answer must(const std::vector<std::string>& arguments, std::chrono::seconds limit,
              const std::stop_token& stop, int output = -1) const;

  const base::Path program_;
  const std::chrono::seconds answers_within_;
};

}  // namespace textmill::fleet
