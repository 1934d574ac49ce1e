#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "records/kind.h"
#include "records/tokens.h"
#include "store/store.h"
#include "wire/authenticate.h"

namespace textmill::api {

/// What a key may do: read; read and write; all, keys and backups too.
enum class Role { read, write, admin };
std::string_view name(Role role);
/// Throws invalid for another word.
Role parse_role(std::string_view word);

/// Who sent a request, once its signature was found right.
struct Caller {
  std::string key;   // the access key's id
  std::string name;  // that key's name
  Role role = Role::read;
  std::string arn;      // "arn:aws:sts::123456789012:assumed-role/textmill-admin/root"
  std::string id;       // "AROA...:root"
  std::string attempt;  // of a job, that speaks; empty: no job
};

struct Key {
  std::string id, secret, name;
  Role role = Role::read;
  base::WallTime created;
  bool active = true;
};

/// What AssumeRole and its like hand out.
struct Session {
  wire::Credentials credentials;
  base::WallTime expires;
  Caller caller;
};

/// Access keys: rows, all of them in memory too. Sessions are not stored: their token says who they are, signed. For any
/// thread.
class Keys {
 public:
  Keys(store::Store& store, records::Account account);

  Key create(Role role, std::string_view name);
  /// The key and its sessions are refused from then on. Throws not_found; conflict for the last active admin's.
  void revoke(std::string_view id);
  std::vector<Key> list() const;

  /// `keep` has to write down the root key, made if there are no keys yet. Not called when `kept`, the id that is written
  /// down, is an active admin's.
  void make_root(std::string_view kept, const std::function<void(const Key&)>& keep);

  struct Known {
    wire::AccessKey key;
    Caller caller;
  };
  /// The key of a claim; nothing if there is none, it is revoked, or its session is not one of ours, or the
  /// session's attempt is over. That alone is in the database: an io thread, which must not wait, asks memory only.
  enum class Depth { memory, whole };
  std::optional<Known> find(const wire::Claim& claim, Depth depth) const;

  /// Acts as `role_arn`'s name under `session_name`, with the caller's rights, and no longer than the
  /// caller's attempt is open; of an attempt with those of a writer at most.
  Session open_session(const Caller& caller, std::string_view role_name, std::string_view session_name,
                       std::chrono::seconds lasts) const;

 private:
  std::string session_secret(std::string_view token) const;
  Caller caller_of(const Key& key) const;
  Caller assumed(const Key& key, std::string_view role_name, std::string_view session_name) const;
  void insert(const Key& key);

  store::Store& store_;
  const records::Account account_;
  const std::string secret_;
  const records::Tokens sessions_;
  mutable std::shared_mutex mutex_;
  std::map<std::string, Key, std::less<>> keys_;
};

}  // namespace textmill::api
