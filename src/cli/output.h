#pragma once

#include <string>
#include <string_view>

namespace textmill::cli {

/// Results on stdout, in blocks. Throws unavailable where they cannot be written (a full disk), cancelled
/// where their reader is gone and SIGPIPE is ignored.
class Output {
 public:
  /// To append the next line to.
  std::string& line() {
    if (buffer_.size() >= kBlock) write();
    return buffer_;
  }
  /// Writes what is left. Without it (an exception) nothing more is written.
  void finish() { write(); }

 private:
  static constexpr size_t kBlock = 1 << 16;
  void write();

  std::string buffer_;
};

/// As one word of a shell's.
std::string shell_quoted(std::string_view text);

}  // namespace textmill::cli
