#pragma once

#include "fleet/containers.h"
#include "fleet/jobs.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// The machine that jobs share.
struct MachineSize {
  double cpus = 1;
  int64_t memory = 0;  // bytes
};

MachineSize this_machine();
/// What an instance of a type ("ml.m5.large") may take there, with so many GiB of disk for a file (0: all); `notes` get what
/// is to be said about it.
Limits limits_of(const std::string& type, int64_t volume, const MachineSize& machine,
                 std::vector<std::string>& notes);

/// What the runner of an attempt is to do.
struct JobTask {
  Task task;
  base::Path python;  // the environment of a script; empty: none
};

/// Throws invalid, in words for a FailureReason. What runs in a container lacks what use_container() adds.
JobTask job_task(const records::Resource& job, const records::Attempt& attempt, const std::string& arn,
                 const records::Account& account, const JobOptions& options, const MachineSize& machine,
                 const base::Path& data_folder);

/// Of a job whose image is a container's, none of the table's: what only its engine knows. Throws as Containers does.
void use_container(Task& task, const format::Json& body, Containers& containers, const AttemptFolder& folder,
                   const std::stop_token& stop);

/// Where the code of a job in script mode is packed, "s3://..."; empty: it has none there.
std::string source_of(const format::Json& body);
/// What a script in Python finds beside it; an empty folder: nothing.
void add_requirements(Task& task, const base::Path& folder);

/// What no program is to see, whoever names it: the data folder, the server's key, keys of the user, sockets of the system.
std::vector<base::Path> secret_paths(const base::Path& data_folder, const base::Path& server_key);
/// What it does not see unless it is named: these, and homes that are not the program's user's. `visible` beside it.
std::vector<base::Path> hidden_paths(const base::Path& data_folder, const base::Path& server_key);
std::vector<base::Path> system_paths();
/// Whether a path, links followed, is in one of these folders.
bool is_within(const std::vector<base::Path>& folders, const base::Path& path);

}  // namespace textmill::fleet
