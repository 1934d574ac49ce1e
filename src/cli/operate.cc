#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/server_call.h"
#include "store/store.h"

namespace textmill::cli {

namespace {

using base::Error, base::Kind;
using format::Json;

constexpr int kGoalNotReached = 3;
constexpr int kPatience = 90'000;  // milliseconds; a server lets what is in flight take 65 s

void print(std::string_view text) {
  Output out;
  out.line() += text;
  out.finish();
}

int status(const Values& values) {
  base::Path folder = data_folder(values);
  auto server = running_server(folder);
  if (!server) {
    print(fmt::format("no server runs on {}\n", folder.string()));
    return kGoalNotReached;
  }
  Json health = call_server(folder, "GET", "health");
  print(fmt::format("{} runs at {} (process {}, folder {})\n",
                    format::JsonView(health, "health").at("status").string(), server->url, server->pid,
                    folder.string()));
  return 0;
}

// A process's descriptor, not its number: the number may be somebody else's by the time it is signalled.
int down(const Values& values) {
  base::Path folder = data_folder(values);
  auto server = require_server(folder);
  base::Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, server.pid, 0)));
  if (process.get() < 0 || require_server(folder).pid != server.pid)
    throw Error(Kind::unavailable, fmt::format("process {}: no longer there", server.pid));
  if (::syscall(SYS_pidfd_send_signal, process.get(), SIGTERM, nullptr, 0) != 0)
    throw base::system_error(fmt::format("process {}", server.pid), errno);
  pollfd end{.fd = process.get(), .events = POLLIN};
  if (::poll(&end, 1, kPatience) != 1)
    throw Error(Kind::unavailable, fmt::format("process {}: still there after 90 s", server.pid));
  print("stopped\n");
  return 0;
}

void show_key(Output& out, const format::JsonView& key) {
  out.line() += fmt::format("{}  {:5}  {:7}  {}  {}\n", key.at("access_key_id").string(),
                            key.at("role").string(), key.at("active").boolean() ? "active" : "revoked",
                            key.at("created").string(), key.at("name").string());
}

/// Makes one and prints it with its secret, which is shown this once.
Json create_key(const base::Path& folder, const std::string& role, const std::string& name) {
  Json key = call_server(folder, "POST", "keys", Json::object({{"role", role}, {"name", name}}));
  format::JsonView view(key, "keys");
  print(fmt::format("access_key_id = {}\nsecret_access_key = {}\n", view.at("access_key_id").string(),
                    view.at("secret_access_key").string()));
  return key;
}

void revoke_key(const base::Path& folder, const std::string& id) {
  if (root_key(folder).access_key == id)
    throw Error(Kind::conflict, fmt::format("{} is the key of these commands: rotate it instead", id));
  call_server(folder, "POST", "keys/revoke", Json::object({{"access_key_id", id}}));
}

// The new one is known to its owner before the old one ends.
void rotate_key(const base::Path& folder, const std::string& id) {
  Json all = call_server(folder, "GET", "keys");
  for (const auto& key : format::JsonView(all, "keys").at("keys").array()) {
    if (key.at("access_key_id").string() != id) continue;
    if (!key.at("active").boolean()) throw Error(Kind::conflict, fmt::format("{} is revoked", id));
    Json fresh = create_key(folder, key.at("role").string(), key.at("name").string());
    format::JsonView view(fresh, "keys");
    if (root_key(folder).access_key == id)
      write_root_key(folder, {.access_key = view.at("access_key_id").string(),
                              .secret = view.at("secret_access_key").string()});
    return revoke_key(folder, id);
  }
  throw Error(Kind::not_found, fmt::format("there is no access key {}", id));
}

int keys(const Values& values) {
  base::Path folder = data_folder(values);
  std::string action = values.text("ACTION", "list"), id = values.text("KEY");
  bool of_one = action == "rotate" || action == "revoke";
  if (of_one && id.empty()) throw Error(Kind::invalid, fmt::format("keys {}: which KEY?", action));
  if (!of_one && !id.empty())
    throw Error(Kind::invalid, fmt::format("keys {}: takes no KEY, got \"{}\"", action, id));
  if (action == "list") {
    Output out;
    Json all = call_server(folder, "GET", "keys");
    for (const auto& key : format::JsonView(all, "keys").at("keys").array()) show_key(out, key);
    out.finish();
  } else if (action == "create") {
    std::string role = values.text("role", "write");
    create_key(folder, role, values.text("name", role));
  } else if (action == "rotate") {
    rotate_key(folder, id);
  } else if (action == "revoke") {
    revoke_key(folder, id);
  } else {
    throw Error(Kind::invalid, fmt::format("keys {}: expected list, create, rotate or revoke", action));
  }
  return 0;
}

int doctor(const Values& values) {
  base::Path folder = data_folder(values);
  if (running_server(folder))
    throw Error(Kind::in_use,
                fmt::format("{}: a server runs on it: stop it first, or examine a backup", folder.string()));
  auto wrong = store::examine(folder, values.on("deep"));
  Output out;
  for (const auto& line : wrong) out.line() += line + '\n';
  if (wrong.empty()) out.line() += fmt::format("{}: nothing is wrong\n", folder.string());
  out.finish();
  return wrong.empty() ? 0 : 1;
}

int backup(const Values& values) {
  base::Path to = std::filesystem::absolute(values.text("TO"));
  call_server(data_folder(values), "POST", "backup", Json::object({{"to", to.string()}}));
  print(to.string() + '\n');
  return 0;
}

int restore(const Values& values) {
  base::Path folder = data_folder(values);
  store::restore(values.text("BACKUP"), folder);
  print(folder.string() + '\n');
  return 0;
}

}  // namespace

Command status_command() {
  return {.name = "status",
          .summary = "whether a server runs on the folder, and where (exit status 3: none)",
          .options = {kDataDir},
          .run = status};
}

Command down_command() {
  return {.name = "down",
          .summary = "stop the server: what is in flight has 65 s to end, nothing new begins",
          .options = {kDataDir},
          .run = down};
}

Command keys_command() {
  return {.name = "keys",
          .summary = "the access keys of the running server: list, create, rotate, revoke",
          .positionals = {{"ACTION", "list, create, rotate or revoke (list)", false},
                          {"KEY", "the id of the key to rotate or revoke", false}},
          .options = {kDataDir,
                      {"role", "admin|write|read", "of the new key (write)", true},
                      {"name", "NAME", "of the new key (its role)", true}},
          .run = keys};
}

Command doctor_command() {
  return {
      .name = "doctor",
      .summary = "what is wrong in the folder of a stopped server, or in a backup (exit status 1: something)",
      .options = {kDataDir, {"deep", "", "read every byte"}},
      .run = doctor};
}

Command backup_command() {
  return {.name = "backup",
          .summary =
              "all that was acknowledged, at one moment, in a new folder; made by the server while it runs",
          .positionals = {{"TO", "a folder that is not there yet"}},
          .options = {kDataDir},
          .run = backup};
}

Command restore_command() {
  return {.name = "restore",
          .summary = "a backup into a folder that is empty or not there, every byte checked",
          .positionals = {{"BACKUP", "the folder of the backup"}},
          .options = {kDataDir},
          .run = restore};
}

}  // namespace textmill::cli
