#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/files.h"
#include "format/json.h"
#include "records/kind.h"

namespace textmill::fleet {

/// How what runs here finds the server, and as whom; a default one is of what has no network.
struct Access {
  std::string url;
  base::Path certificate;  // of its TLS, to be visible; empty: none
  base::Path key;          // of its TLS, to be hidden
  /// Credentials that are good as long as the attempt is open. `caller` is the member _Caller of a body.
  std::function<std::map<std::string, std::string>(const format::Json& caller, const std::string& token)>
      credentials;

  /// The variables of AWS's clients.
  std::map<std::string, std::string> environment(const records::Account& account, const format::Json& caller,
                                                 const std::string& token) const {
    std::map<std::string, std::string> out{{"AWS_REGION", account.region},
                                           {"AWS_DEFAULT_REGION", account.region}};
    if (!url.empty()) out.insert({{"AWS_ENDPOINT_URL", url}, {"S3_ENDPOINT_URL", url}});
    if (!certificate.empty()) out["AWS_CA_BUNDLE"] = certificate;
    if (credentials && caller.object()) out.merge(credentials(caller, token));
    return out;
  }
};

}  // namespace textmill::fleet
