#include "http/client.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <thread>

#include "base/files.h"
#include "http/test_wire.h"

namespace textmill::http {
namespace {

using namespace std::chrono_literals;

std::string url(const Running& running, std::string_view path) {
  return "http://127.0.0.1:" + std::to_string(running.server.port()) + std::string(path);
}

/// A self-signed certificate for 127.0.0.1 and its key, in PEM files.
TlsFiles make_certificate(const base::Path& folder, const std::string& name) {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509* x = certificate.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -60);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, key.get());
  auto* subject = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(x, subject);
  auto* alternative = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
  X509_add_ext(x, alternative, -1);
  X509_EXTENSION_free(alternative);
  X509_sign(x, key.get(), EVP_sha256());
  TlsFiles files{folder / (name + ".crt"), folder / (name + ".key")};
  std::unique_ptr<FILE, decltype(&fclose)> a(fopen(files.certificate.c_str(), "w"), fclose),
      b(fopen(files.key.c_str(), "w"), fclose);
  PEM_write_X509(a.get(), x);
  PEM_write_PrivateKey(b.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return files;
}

TEST(Client, AsksAgainAndAgainOnOneConnection) {
  Running running({{"POST", "/*", [](Request& request) {
                      return text(request.target + " " + std::string(request.headers.get("X-A")) + " " +
                                  std::string(request.body.text()) + " " +
                                  std::string(request.headers.get("User-Agent")));
                    }}});
  Client client;
  for (int i = 0; i < 10; ++i) {
    auto response = client.send(
        {.method = "POST", .url = url(running, "/a%20b?c=d"), .headers = {{"X-A", "x"}}, .body = "body"});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "/a%20b?c=d x body textmill");
  }
  EXPECT_EQ(running.server.connections(), 1u);
}

TEST(Client, ReadsChunksAndHandsThemOn) {
  Running running({{"GET", "/", [](Request&) {
                      auto left = std::make_shared<int>(1000);
                      return Response{200, {}, Stream{[left](std::string& out, const Waker&) {
                                        out += std::string(997, 'x');
                                        return --*left > 0 ? Stream::Pull::more : Stream::Pull::end;
                                      }}};
                    }}});
  Client client;
  EXPECT_EQ(client.send({.url = url(running, "/")}).body.size(), 997'000u);
  size_t seen = 0;
  auto response =
      client.send({.url = url(running, "/")}, [&](const ClientResponse& head, std::string_view piece) {
        EXPECT_EQ(head.status, 200);
        seen += piece.size();
      });
  EXPECT_EQ(seen, 997'000u);
  EXPECT_EQ(response.body, "");
  EXPECT_EQ(running.server.connections(), 1u);
}

TEST(Client, SendsFilesAndAsksForHeads) {
  base::TemporaryFolder folder;
  const std::string bytes(3'000'000, 'f');
  base::write_file_durably(folder.path() / "f", bytes);
  Running running({{"PUT", "/", [](Request& request) { return text(std::to_string(request.body.size())); }},
                   {"GET", "/", [](Request&) { return text("12345"); }}});
  Client client;
  auto file = std::make_shared<const OpenFile>(folder.path() / "f");
  EXPECT_EQ(client.send({.method = "PUT", .url = url(running, "/"), .file = file}).body, "3000000");
  auto head = client.send({.method = "HEAD", .url = url(running, "/")});
  EXPECT_EQ(head.headers.get("Content-Length"), "5");
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(client.send({.url = url(running, "/")}).body, "12345");
}

TEST(Client, FollowsRedirectsAndKeepsSecretsAtHome) {
  Running other({{"GET", "/final", [](Request& request) {
                    return text(request.headers.find("Authorization") ? "told" : "silent");
                  }}});
  Running running({{"GET", "/here",
                    [](Request&) {
                      return Response{302, {{"Location", "final?x"}}, ""};
                    }},
                   {"GET", "/final",
                    [](Request& request) { return text(std::string(request.headers.get("Authorization"))); }},
                   {"GET", "/there",
                    [&](Request&) {
                      return Response{307, {{"Location", url(other, "/final")}}, "moved"};
                    }},
                   {"GET", "/loop", [](Request&) {
                      return Response{302, {{"Location", "/loop"}}, ""};
                    }}});
  Client client;
  const Headers secret{{"Authorization", "s"}};
  auto here = client.send({.url = url(running, "/here"), .headers = secret});
  EXPECT_EQ(here.body, "s");
  EXPECT_EQ(here.url, url(running, "/final?x"));
  EXPECT_EQ(client.send({.url = url(running, "/there"), .headers = secret}).body, "silent");
  EXPECT_THROW(client.send({.url = url(running, "/loop")}), base::Error);
}

base::Kind failure(Client& client, const ClientRequest& request) {
  try {
    client.send(request);
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()), "");
    return error.kind();
  }
  return base::Kind::internal;
}

TEST(Client, NamesWhatFailed) {
  Gate leave;
  Running running({{"GET", "/slow",
                    [&](Request&) {
                      EXPECT_TRUE(leave.wait());
                      return text("");
                    }},
                   {"GET", "/large", [](Request&) { return text(std::string(2000, 'x')); }},
                   {"GET", "/broken", [](Request&) {
                      return Response{200,
                                      {},
                                      Stream{[](std::string& out, const Waker&) {
                                               out = "x";
                                               return Stream::Pull::end;
                                             },
                                             10}};
                    }}});
  Client client({.timeout = 50ms, .max_body = 1000});
  EXPECT_EQ(failure(client, {.url = "ftp://host/"}), base::Kind::invalid);
  EXPECT_EQ(failure(client, {.url = "http:///nohost"}), base::Kind::invalid);
  EXPECT_EQ(failure(client, {.url = "http://host.invalid/"}), base::Kind::unavailable);
  EXPECT_EQ(failure(client, {.url = url(running, "/large")}), base::Kind::limit);
  EXPECT_EQ(failure(client, {.url = url(running, "/broken")}), base::Kind::unavailable);
  EXPECT_EQ(failure(client, {.url = url(running, "/slow")}), base::Kind::cancelled);
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  Client patient;
  EXPECT_EQ(failure(patient, {.url = url(running, "/slow"), .stop = stop.get_token()}),
            base::Kind::cancelled);
  leave.open();
}

TEST(Tls, EncryptsBothWaysAndReloads) {
  base::TemporaryFolder folder;
  ServerOptions options;
  options.tls = make_certificate(folder.path(), "server");
  const std::string large(3'000'000, 'y');
  base::write_file_durably(folder.path() / "f", large);
  auto file = std::make_shared<const OpenFile>(folder.path() / "f");
  Running running({{"POST", "/",
                    [](Request& request) {
                      return text((request.tls ? "tls " : "plain ") + std::string(request.body.text()));
                    }},
                   {"GET", "/file",
                    [&](Request&) {
                      return Response{200, {}, FileRange{file, 1, 2'999'999}};
                    }}},
                  options);
  const std::string base = "https://127.0.0.1:" + std::to_string(running.server.port());
  Client client({.certificates = options.tls->certificate});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(client.send({.method = "POST", .url = base + "/", .body = "hello"}).body, "tls hello");
    EXPECT_TRUE(client.send({.method = "POST", .url = base + "/", .body = large}).body == "tls " + large);
    EXPECT_TRUE(client.send({.url = base + "/file"}).body == large.substr(1));
  }
  EXPECT_EQ(running.server.connections(), 1u);
  Client stranger;
  EXPECT_EQ(failure(stranger, {.url = base + "/file"}), base::Kind::unavailable);
  Client wrong_name({.certificates = options.tls->certificate});
  EXPECT_EQ(failure(wrong_name, {.url = "https://localhost:" + std::to_string(running.server.port()) + "/"}),
            base::Kind::unavailable);

  auto fresh = make_certificate(folder.path(), "fresh");
  std::filesystem::rename(fresh.key, options.tls->key);
  EXPECT_THROW(running.server.reload_tls(), base::Error);  // not the key of that certificate
  EXPECT_EQ(client.send({.method = "POST", .url = base + "/", .body = "old"}).body, "tls old");
  std::filesystem::copy_file(fresh.certificate, options.tls->certificate,
                             std::filesystem::copy_options::overwrite_existing);
  running.server.reload_tls();
  Client second({.certificates = fresh.certificate});
  EXPECT_EQ(second.send({.method = "POST", .url = base + "/", .body = "new"}).body, "tls new");
  Wire plain(running.server.port());
  plain.send("GET / HTTP/1.1\r\n\r\n");
  plain.rest();
  EXPECT_TRUE(plain.closed_by_server());
}

}  // namespace
}  // namespace textmill::http
