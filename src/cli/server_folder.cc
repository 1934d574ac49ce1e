#include "cli/server_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "format/json.h"

namespace textmill::cli {

using base::Path;
using format::Json;

namespace {

Path server_file(const Path& folder) { return folder / "server.json"; }

/// Somebody holds the folder's lock.
bool locked(const Path& folder) {
  if (!std::filesystem::exists(folder / "lock")) return false;
  try {
    base::FileLock lock(folder / "lock");
    return false;
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::in_use) throw;
    return true;
  }
}

}  // namespace

Path default_data_folder() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data && *data) return Path(data) / "textmill";
  const char* home = std::getenv("HOME");
  if (!home || !*home) throw base::Error(base::Kind::invalid, "HOME is not set: say --data-dir");
  return Path(home) / ".local/share/textmill";
}

void write_server_file(const Path& folder, const ServerFile& file) {
  base::write_file_durably(server_file(folder),
                           format::to_pretty_text(Json::object({{"url", file.url},
                                                                {"address", file.address},
                                                                {"pid", file.pid},
                                                                {"region", file.region},
                                                                {"account", file.account},
                                                                {"certificate", file.certificate},
                                                                {"authorities", file.authorities}})));
}

void forget_server(const Path& folder) { std::filesystem::remove(server_file(folder)); }

ServerFile last_server(const Path& folder) {
  if (!std::filesystem::exists(server_file(folder)))
    throw base::Error(
        base::Kind::not_found,
        fmt::format("{}: no server has run on it: start one with textmill up", folder.string()));
  Json json = format::read_json(server_file(folder));
  format::JsonView view(json, server_file(folder).string());
  std::string url = view.at("url").string(), certificate = view.get_string("certificate", "");
  return {.url = url,
          .address = view.get_string("address", url),
          .pid = static_cast<int>(view.at("pid").integer(1, INT32_MAX)),
          .region = view.at("region").string(),
          .account = view.at("account").string(),
          .certificate = certificate,
          .authorities = view.get_string("authorities", certificate)};
}

std::optional<ServerFile> running_server(const Path& folder) {
  return locked(folder) && std::filesystem::exists(server_file(folder)) ? std::optional(last_server(folder))
                                                                        : std::nullopt;
}

Path root_key_file(const Path& folder) { return folder / "root-key.json"; }

wire::Credentials root_key(const Path& folder) {
  Json json = format::read_json(root_key_file(folder));
  format::JsonView view(json, root_key_file(folder).string());
  return {.access_key = view.at("access_key_id").string(), .secret = view.at("secret_access_key").string()};
}

void write_for_owner(const Path& path, std::string_view bytes) {
  base::DurableFile file(path);
  file.give_to_owner();
  file.write(bytes);
  file.commit();
}

void write_root_key(const Path& folder, const wire::Credentials& credentials) {
  const mode_t before = ::umask(077);
  write_for_owner(root_key_file(folder),
                  format::to_pretty_text(Json::object({{"access_key_id", credentials.access_key},
                                                       {"secret_access_key", credentials.secret}})));
  ::umask(before);
}

}  // namespace textmill::cli
