#include "http/detail/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "base/error.h"
#include "http/server.h"

namespace textmill::http {

std::vector<std::shared_ptr<X509>> detail::read_certificates(const base::Path& file) {
  std::string pem = base::read_file(file);
  std::unique_ptr<BIO, decltype(&BIO_free)> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                               BIO_free);
  std::vector<std::shared_ptr<X509>> all;
  while (X509* one = PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)) all.emplace_back(one, X509_free);
  ::ERR_clear_error();
  if (all.empty()) throw base::Error(base::Kind::invalid, "no certificate in " + file.string());
  return all;
}

bool holds_authority(const base::Path& file) {
  auto signed_itself = [](const auto& one) { return X509_check_issued(one.get(), one.get()) == X509_V_OK; };
  return std::ranges::any_of(detail::read_certificates(file), signed_itself);
}

}  // namespace textmill::http
