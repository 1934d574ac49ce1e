#include "fleet/artifacts.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/utf8.h"
#include "fleet/layout.h"

namespace textmill::fleet {

using base::Path;

Artifacts::Artifacts(const AttemptFolder& folder, const Task& task, JournalWriter& journal)
    : folder_(folder), task_(task), journal_(journal) {
  for (const auto& host : task_.hosts) keepers_.emplace(host, Keeper(folder_.root(host), folder_.kept()));
  for (const auto& [of, path] :
       {std::pair("checkpoint", task_.checkpoints), {"tensorboard", task_.tensorboard}}) {
    if (path.empty()) continue;
    synced_.push_back({of, path});
    for (const auto& host : task_.hosts)
      synced_.back().hosts.emplace(host, SyncedFolder(folder_.root(host), in_root(path)));
  }
}

void Artifacts::log(const std::string& host, const std::string& words) {
  journal_.add("log", {{"host", host}, {"text", words}});
}

void Artifacts::add(std::string_view of, const std::string& name, const KeptFile& kept) {
  journal_.add("kept", {{"of", of},
                        {"name", name},
                        {"size", kept.size},
                        {"sha256", kept.sha256},
                        {"md5", kept.md5},
                        {"file", kept.file}});
}

void Artifacts::sync(bool all) {
  for (Synced& one : synced_)
    one.look(
        all, [&](const auto& host, const auto& change) { keep_change(one, host, change); },
        [&](const auto& host, const auto& words) { log(host, words); });
}

void Artifacts::keep_change(const Synced& one, const std::string& host, const SyncedFolder::Change& change) {
  if (change.gone) return journal_.add("gone", {{"of", one.of}, {"name", change.name}});
  try {
    add(one.of, change.name, keeper(host).keep(in_root(one.path) / change.name));
  } catch (const base::Error& error) {  // removed meanwhile, or no name of an object
    log(host, fmt::format("A file of {} was not kept: {}", one.path.string(), error.what()));
  }
}

void Artifacts::pack(bool failed) {
  merge_hosts(folder_, task_, [&](const auto& host, const auto& words) { log(host, words); });
  if (!failed) keep_folder("model", "model", "model.tar.gz");
  if (keeper(task_.hosts[0]).is_filled("output/data")) keep_folder("output", "output/data", "output.tar.gz");
}

void Artifacts::keep_folder(std::string_view of, const Path& relative, const std::string& archive) {
  const std::string& host = task_.hosts[0];
  if (task_.pack == Task::Pack::archives) {
    add(of, archive, keeper(host).pack(relative));
  } else {
    std::vector<std::string> left_out;
    for (const auto& [name, kept] : keeper(host).keep_all(relative, left_out)) add(of, name, kept);
    for (const auto& words : left_out) log(host, words);
  }
}

std::string Artifacts::failure_of(const std::string& host) {
  return base::replace_invalid_utf8(keeper(host).read("output/failure", 4096));
}

}  // namespace textmill::fleet
