#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/server_call.h"
#include "format/json.h"

namespace textmill::cli {

namespace {

using format::Json;

using Variables = std::vector<std::pair<std::string, std::string>>;

/// What a shell may still hold of another server or account, and what would win over, or be sent with, what is printed.
constexpr std::string_view kForgotten =
    "unset AWS_SESSION_TOKEN AWS_SECURITY_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE "
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_STS AWS_ENDPOINT_URL_IAM "
    "AWS_ENDPOINT_URL_CLOUDWATCH AWS_ENDPOINT_URL_CLOUDWATCH_LOGS AWS_ENDPOINT_URL_SAGEMAKER "
    "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME\n";

/// Clients send what goes to this machine through a proxy too, unless they are told not to.
std::string past_proxies(const std::string& url) {
  constexpr const char* kProxies[] = {"HTTP_PROXY",  "http_proxy", "HTTPS_PROXY",
                                      "https_proxy", "ALL_PROXY",  "all_proxy"};
  if (std::ranges::none_of(kProxies, [](const char* name) { return std::getenv(name) != nullptr; }))
    return {};
  std::string host = url.substr(url.find("//") + 2);
  host = host.substr(0, host.rfind(':'));
  const char* lower = std::getenv("no_proxy");  // it wins where both are
  const char* others = lower && *lower ? lower : std::getenv("NO_PROXY");
  std::string all = others && *others ? fmt::format("{},{}", host, others) : host;
  if (others && ("," + std::string(others) + ",").find("," + host + ",") != std::string::npos) all = others;
  return fmt::format("export NO_PROXY={0} no_proxy={0}\n", shell_quoted(all));
}

Variables variables(const ServerFile& server, const wire::Credentials& key) {
  Variables out{{"AWS_ENDPOINT_URL", server.url},
                {"AWS_ACCESS_KEY_ID", key.access_key},
                {"AWS_SECRET_ACCESS_KEY", key.secret},
                {"AWS_REGION", server.region},
                {"AWS_DEFAULT_REGION", server.region}};
  if (!server.authorities.empty()) out.push_back({"AWS_CA_BUNDLE", server.authorities});
  return out;
}

/// botocore's table of endpoints, reduced to where STS is: SageMaker's SDK takes that one from here alone, and speaks
/// TLS to it.
std::string endpoints(const ServerFile& server) {
  std::string host = server.url.substr(server.url.find("//") + 2);
  Json sts =
      Json::object({{"endpoints", Json::object({{server.region, Json::object({{"hostname", host}})}})}});
  // Of S3 botocore asks this table for "aws-global" in us-east-1, and then goes where AWS_ENDPOINT_URL says.
  Json global = Json::object(
      {{"hostname", "s3.amazonaws.com"}, {"credentialScope", Json::object({{"region", "us-east-1"}})}});
  Json s3 = Json::object(
      {{"partitionEndpoint", "aws-global"},
       {"isRegionalized", true},
       {"endpoints", Json::object({{"aws-global", std::move(global)}, {server.region, Json::object({})}})}});
  Json partition = Json::object(
      {{"partition", "aws"},
       {"partitionName", "AWS Standard"},
       {"dnsSuffix", "amazonaws.com"},
       {"regionRegex", "^(us|eu|ap|sa|ca|me|af|il|mx)\\-\\w+\\-\\d+$"},
       {"regions", Json::object({{server.region, Json::object({{"description", server.region}})}})},
       {"defaults", Json::object({{"hostname", "{service}.{region}.{dnsSuffix}"},
                                  {"protocols", Json::array(std::vector{"https"})},
                                  {"signatureVersions", Json::array(std::vector{"v4"})}})},
       {"services", Json::object({{"sts", std::move(sts)}, {"s3", std::move(s3)}})}});
  return format::to_pretty_text(
      Json::object({{"version", 3}, {"partitions", Json::Array{std::move(partition)}}}));
}

/// Small files that make SageMaker's SDKs work without AWS, and the variables that name them.
Variables write_sdk_files(const base::Path& folder, const ServerFile& server) {
  base::Path sdk = folder / "sdk", config = sdk / "config.yaml";
  if (std::filesystem::create_directories(sdk)) base::give_to_owner(sdk);
  write_for_owner(config, fmt::format("SchemaVersion: '1.0'\n"
                                      "SageMaker:\n"
                                      "  PythonSDK:\n"
                                      "    Modules:\n"
                                      "      TelemetryOptOut: true\n"
                                      "      Session:\n"
                                      "        DefaultS3Bucket: sagemaker-{}-{}\n",
                                      server.region, server.account));
  Variables out{{"SAGEMAKER_USER_CONFIG_OVERRIDE", config.string()}};
  if (server.certificate.empty()) return out;
  write_for_owner(sdk / "endpoints.json", endpoints(server));
  out.push_back({"AWS_DATA_PATH", sdk.string()});
  return out;
}

int env(const Values& values) {
  if (values.on("profile") && values.on("sdk"))
    throw base::Error(base::Kind::invalid,
                      "--sdk sets variables, which a profile has no place for: leave out --profile");
  base::Path folder = data_folder(values);
  ServerFile server = last_server(folder);
  wire::Credentials key = root_key(folder);
  Output out;
  if (values.on("profile")) {
    out.line() += fmt::format(
        "[profile textmill]\nendpoint_url = {}\nregion = {}\naws_access_key_id = {}\n"
        "aws_secret_access_key = {}\n",
        server.url, server.region, key.access_key, key.secret);
    if (!server.authorities.empty()) out.line() += fmt::format("ca_bundle = {}\n", server.authorities);
    out.finish();
    return 0;
  }
  Variables all = variables(server, key);
  if (values.on("sdk"))
    for (auto& variable : write_sdk_files(folder, server)) all.push_back(std::move(variable));
  out.line() += kForgotten;
  if (server.certificate.empty())
    out.line() += "unset AWS_CA_BUNDLE\n";  // else it may be what trusts the server
  out.line() += past_proxies(server.url);
  for (const auto& [name, value] : all)
    out.line() += fmt::format("export {}={}\n", name, shell_quoted(value));
  out.line() += "# clients from before July 2023 do not read AWS_ENDPOINT_URL\n";
  out.line() += fmt::format("alias aws={}\n", shell_quoted("aws --endpoint-url " + server.url));
  out.finish();
  return 0;
}

}  // namespace

Command env_command() {
  return {.name = "env",
          .summary = "what AWS's clients need to find the server: eval \"$(textmill env)\"",
          .options = {kDataDir,
                      {"sdk", "", "also for SageMaker's Python SDKs: default bucket, telemetry off, STS"},
                      {"profile", "", "as a profile of ~/.aws/config"}},
          .run = env};
}

}  // namespace textmill::cli
