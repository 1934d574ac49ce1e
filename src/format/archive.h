#pragma once

#include <cstdint>
#include <string_view>

#include "base/files.h"

namespace textmill::format {

struct ArchiveLimits {
  uint64_t bytes = uint64_t{256} << 30;  // of all files together, unpacked
  uint64_t entries = 1'000'000;
};

/// Unpacks a tar archive (plain, gzip or zstd, known by content) into `folder`, which exists and which nobody else
/// changes. Nothing is ever written outside it: absolute names and "..", links that leave the folder (a symbolic link
/// must be relative and without ".."), writing through a link, devices and pipes throw invalid, naming the archive and
/// the entry, the archive by what it is `called`, if that is given; a bound that is reached throws limit. Owners and special mode bits are not restored. After an error the
/// folder holds what came before it.
void extract_archive(const base::Path& archive, const base::Path& folder, const ArchiveLimits& limits = {},
                     std::string_view called = {});

/// The same for an exported root filesystem, which is to be the "/" of some program: an absolute name is one below
/// `folder`, symbolic links lead where they like (nothing here follows one), hard links stay, permissions and times of
/// files too, but for the bits set-user-ID and set-group-ID; the owner may always read and write. Devices, pipes and
/// sockets are left out.
void extract_root(const base::Path& archive, const base::Path& folder, const ArchiveLimits& limits = {},
                  std::string_view called = {});

/// Packs the files and folders inside `folder` as tar.gz, durably. Equal content gives equal bytes: names in order, no
/// times, no owners. Symbolic links to files are packed as files, those to folders as
/// links, which must lead downwards; what else is neither file nor folder throws invalid.
void create_archive(const base::Path& folder, const base::Path& archive);

}  // namespace textmill::format
