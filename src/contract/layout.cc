#include "contract/layout.h"

#include <cstdlib>

#include "base/utf8.h"

namespace textmill::contract {

Layout Layout::from_environment() {
  const char* root = std::getenv(kRootVariable);
  return Layout(root && *root ? root : kDefaultRoot);
}

int report_failure(const Layout& layout, const base::Error& error) {
  if (error.kind() == base::Kind::cancelled) return kStopped;
  std::filesystem::create_directories(layout.failure().parent_path());
  base::write_file_durably(layout.failure(), error.what());
  return base::exit_status(error.kind());
}

std::string read_failure(const Layout& layout) {
  constexpr size_t kShownCharacters = 1024;
  if (!std::filesystem::exists(layout.failure())) return "";
  std::string text =
      base::replace_invalid_utf8(base::MappedFile(layout.failure()).text().substr(0, 4 * kShownCharacters));
  size_t characters = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    bool first_byte = (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
    if (first_byte && characters++ == kShownCharacters) return text.substr(0, at);
  }
  return text;
}

}  // namespace textmill::contract
