#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"
#include "wire/sigv4.h"

namespace textmill::cli {

/// ~/.local/share/textmill, or below $XDG_DATA_HOME.
base::Path default_data_folder();

/// What a server writes into its data folder for the commands that speak to it.
struct ServerFile {
  std::string url;      // as clients are told: "http://127.0.0.1:8333"
  std::string address;  // the same, where this machine reaches it, whatever its certificate names
  int pid = 0;
  std::string region, account;
  std::string certificate;  // PEM file; empty without TLS
  std::string authorities;  // PEM file that clients need to trust it; empty: they do, or there is no TLS
};

void write_server_file(const base::Path& folder, const ServerFile& file);
/// The last server's file goes: nobody takes its process's number for that of the one that begins.
void forget_server(const base::Path& folder);
/// Of the server that runs on the folder; nothing when none does.
std::optional<ServerFile> running_server(const base::Path& folder);
/// Of the one that runs or ran last. Throws not_found when none ever did.
ServerFile last_server(const base::Path& folder);

/// A DurableFile of these bytes that is its folder's owner's, whoever writes it: a service reads what its administrator left.
void write_for_owner(const base::Path& path, std::string_view bytes);

base::Path root_key_file(const base::Path& folder);
/// Throws not_found when no server has made the folder yet.
wire::Credentials root_key(const base::Path& folder);
/// For the folder's owner alone, whoever writes it: root may rotate a service's key.
void write_root_key(const base::Path& folder, const wire::Credentials& credentials);

}  // namespace textmill::cli
