#pragma once

#include <string_view>

#include "cli/command.h"
#include "cli/server_folder.h"
#include "format/json.h"

namespace textmill::cli {

/// The option of every command that works on a data folder, and its value.
inline constexpr Option kContainerEngine{"container-engine", "NAME",
                                         "that keeps containers' images: podman, docker, none, or a "
                                         "program's path (podman or docker, if one is there)"};
inline constexpr Option kDataDir{"data-dir", "DIR", "the server's (~/.local/share/textmill)"};
base::Path data_folder(const Values& values);

/// The server that runs on the folder. Throws not_found saying how to start one.
ServerFile require_server(const base::Path& folder);

/// Asks one of the running server's own pages, signed with the folder's root key. Throws what the server refuses.
format::Json call_server(const base::Path& folder, std::string_view method, std::string_view page,
                         const format::Json& body = format::Json::object({}));

}  // namespace textmill::cli
