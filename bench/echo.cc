// A container of SageMaker that answers with what it was sent: the least that an endpoint can do.

#include <unistd.h>

#include <cstdlib>

#include "base/files.h"
#include "http/server.h"

using namespace textmill;

int main() {
  const char* port = std::getenv("SAGEMAKER_BIND_TO_PORT");
  http::Handler echo = [](http::Request& request) {
    return http::Response{.headers = {{"Content-Type", "application/octet-stream"}},
                          .body = std::string(request.body.text())};
  };
  http::Server server(
      {.port = static_cast<uint16_t>(std::atoi(port ? port : "8080"))},
      [&](const http::Request&) { return http::Accepted{.handler = &echo, .blocking = false}; });
  while (true) ::pause();
}
