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
#include "fleet/engine.h"
#include "http/server.h"

namespace textmill::cli {

namespace {

using namespace std::chrono_literals;
using base::Error, base::Kind;

constexpr auto kDrain = 65s;             // an invocation may take 60
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

/// As clients are told to reach it; empty: where it listens.
std::string asked_url(const Values& values, bool tls) {
  std::string url = values.text("url");
  if (url.empty()) return url;
  while (url.ends_with('/')) url.pop_back();
  std::string scheme = tls ? "https://" : "http://";
  if (!url.starts_with(scheme) || url.size() == scheme.size() || url.find('/', scheme.size()) != url.npos)
    throw Error(Kind::invalid, fmt::format("--url: '{}' is no {}NAME:PORT", url, scheme));
  return url;
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

/// What tells one pair of files from another: either may come first, and neither need be younger than before.
std::vector<int64_t> identity(const http::TlsFiles& files) {
  std::vector<int64_t> out;
  for (const base::Path& path : {files.certificate, files.key}) {
    struct stat file {};
    if (::stat(path.c_str(), &file) != 0) throw base::system_error(path.string(), errno);
    for (int64_t part : {int64_t(file.st_ino), int64_t(file.st_size), int64_t(file.st_mtim.tv_sec),
                         int64_t(file.st_mtim.tv_nsec)})
      out.push_back(part);
  }
  return out;
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

/// What clients need to trust the server: --tls-ca, or a certificate that signed itself. Empty: those of their system.
base::Path authorities_of(const Values& values, const std::optional<http::TlsFiles>& tls) {
  if (values.has("tls-ca") && !tls) throw Error(Kind::invalid, "--tls-ca: there is no --tls-cert");
  if (!tls) return {};
  if (values.has("tls-ca")) {
    base::Path authorities = std::filesystem::absolute(values.text("tls-ca"));
    http::holds_authority(authorities);  // throws if it is not there, or holds none
    return authorities;
  }
  return http::holds_authority(tls->certificate) ? std::filesystem::absolute(tls->certificate) : base::Path();
}

/// Where programs of another user find them: where they are, or in a copy.
base::Path shown(const base::Path& authorities, const base::Path& folder) {
  if (authorities.empty() || open_to_all(authorities)) return authorities;
  base::Path copy = folder / "certificate.pem";
  base::write_file_durably(copy, base::read_file(authorities));
  std::filesystem::permissions(copy, std::filesystem::perms(0644));
  return copy;
}

/// Until a signal asks for the end. A new certificate is taken when its files change, and tried again until they are a pair.
void wait(base::StopSignals& signals, http::Server& server, const std::optional<http::TlsFiles>& tls,
          const base::Path& authorities, const base::Path& folder) {
  auto seen = tls ? identity(*tls) : std::vector<int64_t>();
  std::string said;
  pollfd stop{.fd = signals.fd(), .events = POLLIN};
  while (::poll(&stop, 1, tls ? kWatchCertificate : -1) <= 0) {
    try {
      auto now = identity(*tls);
      if (now == seen) continue;
      server.reload_tls();
      shown(authorities, folder);
      seen = now;
      said.clear();
      base::log(base::Level::info, "certificate_reloaded", {{"file", tls->certificate.string()}});
    } catch (const std::exception& error) {
      if (std::exchange(said, error.what()) != error.what())
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
  set_log(values, ::isatty(STDERR_FILENO) ? "text" : "json", false);
  ::umask(077);
  base::StopSignals signals;
  base::Path folder = data_folder(values);
  auto account = account_of(values);
  http::ServerOptions asked = listening(values);
  base::Path authorities = authorities_of(values, asked.tls);
  const std::string url = asked_url(values, asked.tls.has_value());
  fleet::JobOptions jobs{.engine = fleet::find_engine(values.text("container-engine")),
                         .cpus = static_cast<double>(values.integer("job-cpus", 1, 4096).value_or(0)),
                         .grace = std::chrono::seconds(values.integer("stop-grace", 0, 3600).value_or(120)),
                         .hung = std::chrono::seconds(values.integer("hung-after", 1, 86'400).value_or(90))};
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
  std::string listens = reached_at(fmt::format("http{}://{}:{}", tls ? "s" : "", host, server.port()));
  ServerFile file{.url = url.empty() ? listens : url,
                  .address = listens,
                  .pid = ::getpid(),
                  .region = account.region,
                  .account = account.id,
                  .certificate = tls ? std::filesystem::absolute(tls->certificate).string() : "",
                  .authorities = authorities.string()};
  write_server_file(folder, file);
  jobs.server = {.url = file.url,
                 .certificate = shown(authorities, folder),
                 .key = tls ? std::filesystem::absolute(tls->key) : base::Path()};
  api.start(std::move(jobs));
  announce(file, folder);
  base::log(base::Level::info, "server_started", {{"url", file.url}, {"folder", folder.string()}});
  wait(signals, server, tls, authorities, folder);
  bool whole = server.drain(kDrain);
  base::log(base::Level::info, "server_stopped", {{"cut_connections", !whole}});
  return 0;
}

}  // namespace

Command up_command() {
  return {
      .name = "up",
      .summary = "the server: S3, Logs, CloudWatch, SageMaker for AWS's own clients, in the foreground",
      .options =
          {{"data-dir", "DIR", "where all is kept (~/.local/share/textmill); made at the first start"},
           {"listen", "ADDRESS:PORT", "(127.0.0.1:8333); port 0: a free one"},
           {"tls-cert", "FILE", "PEM, the whole chain; taken anew when it changes"},
           {"tls-key", "FILE", "PEM"},
           {"tls-ca", "FILE", "PEM, for clients to trust, where they do not know who signed the certificate"},
           {"url", "URL",
            "as clients reach it, https://NAME:PORT as its certificate names it (where it listens)"},
           {"insecure", "", "listen beyond this machine without TLS"},
           {"region", "NAME", "in ARNs (us-east-1)"},
           {"account", "ID", "in ARNs (123456789012)"},
           {"job-cpus", "N", "that training jobs share (those of the machine); more wait"},
           kContainerEngine,
           {"stop-grace", "SECONDS", "between a job's SIGTERM and its SIGKILL (120)"},
           {"hung-after", "SECONDS", "without an answer, then an endpoint's instance is replaced (90)"},
           {"sync", "full|process",
            "what an acknowledged write survives: the loss of power, or the end of the process (full)"}},
      .run = up};
}

}  // namespace textmill::cli
