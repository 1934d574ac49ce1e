#include "base/threads.h"

#include <pthread.h>

namespace textmill::base {

std::jthread start_thread(std::string name, std::function<void(std::stop_token)> body) {
  return std::jthread([name = name.substr(0, 15), body = std::move(body)](std::stop_token stop) {
    ::pthread_setname_np(::pthread_self(), name.c_str());
    body(stop);
  });
}

}  // namespace textmill::base
