#pragma once

#include <openssl/x509.h>

#include <memory>
#include <vector>

#include "base/files.h"

namespace textmill::http::detail {

/// The certificates of a PEM file, in its order. Throws invalid if it holds none.
std::vector<std::shared_ptr<X509>> read_certificates(const base::Path& file);

}  // namespace textmill::http::detail
