#pragma once

#include <optional>
#include <string>

#include "base/files.h"
#include "wire/sigv4.h"

namespace textmill::cli {

/// ~/.local/share/textmill, or below $XDG_DATA_HOME.
base::Path default_data_folder();

/// What a server writes into its data folder for the commands that speak to it.
struct ServerFile {
  std::string url;  // "http://127.0.0.1:8333"
  int pid = 0;
  std::string region, account;
  std::string certificate;  // PEM file; empty without TLS
};

void write_server_file(const base::Path& folder, const ServerFile& file);
/// The last server's file goes: nobody takes its process's number for that of the one that begins.
void forget_server(const base::Path& folder);
/// Of the server that runs on the folder; nothing when none does.
std::optional<ServerFile> running_server(const base::Path& folder);
/// Of the one that runs or ran last. Throws not_found when none ever did.
ServerFile last_server(const base::Path& folder);

base::Path root_key_file(const base::Path& folder);
/// Throws not_found when no server has made the folder yet.
wire::Credentials root_key(const base::Path& folder);
/// For its owner alone, as long as the process's umask says so.
void write_root_key(const base::Path& folder, const wire::Credentials& credentials);

}  // namespace textmill::cli
