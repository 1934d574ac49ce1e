#include <fmt/format.h>

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstring>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <tuple>

#include "api/api.h"
#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/server_call.h"
#include "http/server.h"

namespace textmill::cli {

namespace {

using namespace std::chrono_literals;
using base::Error, base::Kind;

constexpr auto kDrain = 10s;
constexpr int kWatchCertificate = 5000;  // milliseconds

struct Address {
  std::string host;
  uint16_t port;
};

Address parse_address(const std::string& text) {
  size_t colon = text.rfind(':');
  Address address{colon == text.npos ? "" : text.substr(0, colon), 0};
  if (address.host.starts_with('[') && address.host.ends_with(']'))
    address.host = address.host.substr(1, address.host.size() - 2);
  if (address.host == "localhost") address.host = "127.0.0.1";
  const char *begin = text.data() + colon + 1, *end = text.data() + text.size();
  auto [at, error] = std::from_chars(begin, end, address.port);
  if (address.host.empty() || error != std::errc() || at != end)
    throw Error(Kind::invalid,
                fmt::format("--listen: '{}' is no ADDRESS:PORT, such as 127.0.0.1:8333", text));
  return address;
}

/// What runs here finds a server that listens everywhere at the loopback.
std::string reached_at(std::string url) {
  for (auto [everywhere, here] : {std::pair{"//0.0.0.0:", "//127.0.0.1:"}, {"//[::]:", "//[::1]:"}})
    if (size_t at = url.find(everywhere); at != url.npos) url.replace(at, std::strlen(everywhere), here);
  return url;
}

bool is_loopback(const std::string& host) { return host.starts_with("127.") || host == "::1"; }

/// What was asked for, checked before anything is made.
http::ServerOptions listening(const Values& values) {
  http::ServerOptions options;
  Address address = parse_address(values.text("listen", "127.0.0.1:8333"));
  options.host = address.host;
  options.port = address.port;
  if (values.has("tls-cert") != values.has("tls-key"))
    throw Error(Kind::invalid, "--tls-cert and --tls-key belong together");
  if (values.has("tls-cert")) options.tls = {values.text("tls-cert"), values.text("tls-key")};
  if (!is_loopback(options.host) && !options.tls && !values.on("insecure"))
    throw Error(Kind::invalid,
                fmt::format("--listen {}: not a loopback address, and without TLS: say --tls-cert and "
                            "--tls-key, or --insecure if you mean it",
                            options.host));
  return options;
}

records::Account account_of(const Values& values) {
  records::Account account{.id = values.text("account", "123456789012"),
                           .region = values.text("region", "us-east-1")};
  if (account.id.size() != 12 || account.id.find_first_not_of("0123456789") != std::string::npos)
    throw Error(Kind::invalid, fmt::format("--account: '{}' is not twelve digits", account.id));
  auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (account.region.empty() || !std::ranges::all_of(account.region, plain))
    throw Error(Kind::invalid, fmt::format("--region: '{}' is no region, such as us-east-1", account.region));
  return account;
}

std::filesystem::file_time_type changed(const http::TlsFiles& files) {
  return std::max(std::filesystem::last_write_time(files.certificate),
                  std::filesystem::last_write_time(files.key));
}

bool open_to_all(base::Path path) {
  using std::filesystem::perms;
  auto may = [&](perms one) { return (std::filesystem::status(path).permissions() & one) != perms::none; };
  if (!may(perms::others_read)) return false;
  while (path != path.root_path()) {
    path = path.parent_path();
    if (!may(perms::others_exec)) return false;
  }
  return true;
}

/// Where programs of another user find the certificate: where it is, or in a copy. Empty without TLS.
base::Path shown_certificate(const std::optional<http::TlsFiles>& tls, const base::Path& folder) {
  if (!tls) return {};
  base::Path own = std::filesystem::absolute(tls->certificate), copy = folder / "certificate.pem";
  if (open_to_all(own)) return own;
  base::write_file_durably(copy, base::read_file(own));
  std::filesystem::permissions(copy, std::filesystem::perms(0644));
  return copy;
}

/// Until a signal asks for the end. A new certificate is taken when its file changes.
void wait(base::StopSignals& signals, http::Server& server, const std::optional<http::TlsFiles>& tls,
          const base::Path& folder) {
  auto seen = tls ? changed(*tls) : std::filesystem::file_time_type{};
  pollfd stop{.fd = signals.fd(), .events = POLLIN};
  while (::poll(&stop, 1, tls ? kWatchCertificate : -1) <= 0) {
    try {
      if (auto now = changed(*tls); now != seen) {
        seen = now;
        server.reload_tls();
        shown_certificate(tls, folder);
        base::log(base::Level::info, "certificate_reloaded", {{"file", tls->certificate.string()}});
      }
    } catch (const std::exception& error) {
      base::log(base::Level::error, "certificate_not_reloaded", {{"error", error.what()}});
    }
  }
}

void announce(const ServerFile& file, const base::Path& folder) {
  Output out;
  out.line() += fmt::format("textmill listens at {}\n", file.url);
  out.line() += fmt::format("health: {}/_textmill/health\n", file.url);
  bool usual = folder == default_data_folder();
  out.line() += fmt::format("for AWS's clients: eval \"$(textmill env{})\"\n",
                            usual ? "" : " --data-dir " + shell_quoted(folder.string()));
  out.finish();
}

int up(const Values& values) {
  if (!::isatty(STDERR_FILENO)) set_log(values, "json");
  ::umask(077);
  base::StopSignals signals;
  base::Path folder = data_folder(values);
  auto account = account_of(values);
  http::ServerOptions asked = listening(values);
  store::Store store(folder, values.text("sync") == "process" ? store::Sync::process : store::Sync::full);
  forget_server(folder);
  api::Api api(store, account);
  http::ServerOptions options = api.options();
  std::tie(options.host, options.port, options.tls) = std::tie(asked.host, asked.port, asked.tls);
  bool kept = std::filesystem::exists(root_key_file(folder));
  api.keys().make_root(kept ? root_key(folder).access_key : "", [&](const api::Key& key) {
    write_root_key(folder, {.access_key = key.id, .secret = key.secret});
  });
  auto tls = options.tls;
  http::Server server(options, api.dispatch());
  std::string host = options.host.find(':') == std::string::npos ? options.host : "[" + options.host + "]";
  ServerFile file{.url = fmt::format("http{}://{}:{}", tls ? "s" : "", host, server.port()),
                  .pid = ::getpid(),
                  .region = account.region,
                  .account = account.id,
                  .certificate = tls ? std::filesystem::absolute(tls->certificate).string() : ""};
  write_server_file(folder, file);
  api.start({.server = {.url = reached_at(file.url), .certificate = shown_certificate(tls, folder)},
             .cpus = static_cast<double>(values.integer("job-cpus", 1, 4096).value_or(0)),
             .grace = std::chrono::seconds(values.integer("stop-grace", 0, 3600).value_or(120)),
             .hung = std::chrono::seconds(values.integer("hung-after", 1, 86'400).value_or(90))});
  announce(file, folder);
  base::log(base::Level::info, "server_started", {{"url", file.url}, {"folder", folder.string()}});
  wait(signals, server, tls, folder);
  bool whole = server.drain(kDrain);
  base::log(base::Level::info, "server_stopped", {{"cut_connections", !whole}});
  return 0;
}

}  // namespace

Command up_command() {
  return {.name = "up",
          .summary = "the server: S3, Logs, CloudWatch, SageMaker for AWS's own clients, in the foreground",
          .options =
              {{"data-dir", "DIR", "where all is kept (~/.local/share/textmill); made at the first start"},
               {"listen", "ADDRESS:PORT", "(127.0.0.1:8333); port 0: a free one"},
               {"tls-cert", "FILE", "PEM, the whole chain; taken anew when it changes"},
               {"tls-key", "FILE", "PEM"},
               {"insecure", "", "listen beyond this machine without TLS"},
               {"region", "NAME", "in ARNs (us-east-1)"},
               {"account", "ID", "in ARNs (123456789012)"},
               {"job-cpus", "N", "that training jobs share (those of the machine); more wait"},
               {"stop-grace", "SECONDS", "between a job's SIGTERM and its SIGKILL (120)"},
               {"hung-after", "SECONDS", "without an answer, then an endpoint's instance is replaced (90)"},
               {"sync", "full|process",
                "what an acknowledged write survives: the loss of power, or the end of the process (full)"}},
          .run = up};
}

}  // namespace textmill::cli
