#include <fmt/format.h>

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

Variables variables(const ServerFile& server, const wire::Credentials& key) {
  Variables out{{"AWS_ENDPOINT_URL", server.url},
                {"AWS_ACCESS_KEY_ID", key.access_key},
                {"AWS_SECRET_ACCESS_KEY", key.secret},
                {"AWS_REGION", server.region},
                {"AWS_DEFAULT_REGION", server.region}};
  if (!server.certificate.empty()) out.push_back({"AWS_CA_BUNDLE", server.certificate});
  return out;
}

/// botocore's table of endpoints, reduced to where STS is: SageMaker's SDK takes that one from here alone, and speaks
/// TLS to it.
std::string endpoints(const ServerFile& server) {
  std::string host = server.url.substr(server.url.find("//") + 2);
  Json sts =
      Json::object({{"endpoints", Json::object({{server.region, Json::object({{"hostname", host}})}})}});
  Json partition = Json::object(
      {{"partition", "aws"},
       {"partitionName", "AWS Standard"},
       {"dnsSuffix", "amazonaws.com"},
       {"regionRegex", "^(us|eu|ap|sa|ca|me|af|il|mx)\\-\\w+\\-\\d+$"},
       {"regions", Json::object({{server.region, Json::object({{"description", server.region}})}})},
       {"defaults", Json::object({{"hostname", "{service}.{region}.{dnsSuffix}"},
                                  {"protocols", Json::array(std::vector{"https"})},
                                  {"signatureVersions", Json::array(std::vector{"v4"})}})},
       {"services", Json::object({{"sts", std::move(sts)}})}});
  return format::to_pretty_text(
      Json::object({{"version", 3}, {"partitions", Json::Array{std::move(partition)}}}));
}

/// Small files that make SageMaker's SDKs work without AWS, and the variables that name them.
Variables write_sdk_files(const base::Path& folder, const ServerFile& server) {
  base::Path sdk = folder / "sdk", config = sdk / "config.yaml";
  std::filesystem::create_directories(sdk);
  base::write_file_durably(config, fmt::format("SchemaVersion: '1.0'\n"
                                               "SageMaker:\n"
                                               "  PythonSDK:\n"
                                               "    Modules:\n"
                                               "      TelemetryOptOut: true\n"
                                               "      Session:\n"
                                               "        DefaultS3Bucket: sagemaker-{}-{}\n",
                                               server.region, server.account));
  Variables out{{"SAGEMAKER_USER_CONFIG_OVERRIDE", config.string()}};
  if (server.certificate.empty()) return out;
  base::write_file_durably(sdk / "endpoints.json", endpoints(server));
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
    if (!server.certificate.empty()) out.line() += fmt::format("ca_bundle = {}\n", server.certificate);
    out.finish();
    return 0;
  }
  Variables all = variables(server, key);
  if (values.on("sdk"))
    for (auto& variable : write_sdk_files(folder, server)) all.push_back(std::move(variable));
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
