#include "api/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "base/base64.h"
#include "base/error.h"
#include "base/hash.h"
#include "records/attempts.h"

namespace textmill::api {

namespace {

constexpr std::string_view kRoles[] = {"read", "write", "admin"};
constexpr std::string_view kSession = "session", kNoAttempt = "-";

/// Letters and digits as AWS's key ids have them.
std::string random_id(std::string_view prefix) {
  static constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string id(prefix);
  for (char c : store::random_bytes(16)) id += kLetters[static_cast<uint8_t>(c) % kLetters.size()];
  return id;
}

Key new_key(Role role, std::string_view name) {
  return {.id = random_id("AKIA"),
          .secret = base::base64_encode(store::random_bytes(30)),
          .name = std::string(name),
          .role = role,
          .created = base::wall_now()};
}

std::map<std::string, Key, std::less<>> stored_keys(const store::Database& database) {
  std::map<std::string, Key, std::less<>> keys;
  database.read([&](store::Connection& c) {
    store::Rows rows = c.query("SELECT id, secret, name, role, created, active FROM access_keys");
    while (rows.next())
      keys.emplace(rows.text(0), Key{rows.string(0), rows.string(1), rows.string(2), parse_role(rows.text(3)),
                                     rows.time(4), rows.integer(5) != 0});
  });
  return keys;
}

bool is_active_admin(const Key& key) { return key.active && key.role == Role::admin; }

}  // namespace

std::string_view name(Role role) { return kRoles[static_cast<size_t>(role)]; }

Role parse_role(std::string_view word) {
  auto found = std::ranges::find(kRoles, word);
  if (found == std::end(kRoles))
    throw base::Error(base::Kind::invalid,
                      fmt::format("role: expected admin, write or read, got \"{}\"", word));
  return static_cast<Role>(found - std::begin(kRoles));
}

Keys::Keys(store::Store& store, records::Account account)
    : store_(store),
      account_(std::move(account)),
      secret_(store.secret("sessions")),
      sessions_(secret_),
      keys_(stored_keys(store.database())) {}

void Keys::insert(const Key& key) {
  store_.database().write([&](store::Connection& c) {
    c.execute("INSERT INTO access_keys (id, secret, name, role, created, active) VALUES (?, ?, ?, ?, ?, 1)",
              key.id, key.secret, key.name, api::name(key.role), key.created);
  });
  std::unique_lock lock(mutex_);
  keys_.emplace(key.id, key);
}

Key Keys::create(Role role, std::string_view name) {
  if (name.empty() || name.size() > 128 ||
      std::ranges::any_of(name, [](unsigned char c) { return c < ' ' || c == 0x7f; }))
    throw base::Error(base::Kind::invalid, "name: expected 1 to 128 bytes without control characters");
  Key key = new_key(role, name);
  insert(key);
  return key;
}

void Keys::revoke(std::string_view id) {
  std::unique_lock lock(mutex_);
  auto found = keys_.find(id);
  if (found == keys_.end())
    throw base::Error(base::Kind::not_found, fmt::format("there is no access key {}", id));
  auto admins = std::ranges::count_if(keys_, [](const auto& entry) { return is_active_admin(entry.second); });
  if (is_active_admin(found->second) && admins == 1)
    throw base::Error(base::Kind::conflict, fmt::format("{} is the only key of the role admin", id));
  store_.database().write(
      [&](store::Connection& c) { c.execute("UPDATE access_keys SET active = 0 WHERE id = ?", id); });
  found->second.active = false;
}

std::vector<Key> Keys::list() const {
  std::shared_lock lock(mutex_);
  std::vector<Key> all;
  for (const auto& [id, key] : keys_) all.push_back(key);
  return all;
}

// Written down first: a process killed between the two makes another key, which is written over it.
void Keys::make_root(std::string_view kept, const std::function<void(const Key&)>& keep) {
  if (!keys_.empty()) {
    auto known = keys_.find(kept);
    if (known != keys_.end() && is_active_admin(known->second)) return;
    auto root = std::ranges::find_if(keys_, [](const auto& entry) { return is_active_admin(entry.second); });
    if (root != keys_.end()) keep(root->second);  // a restored folder
    return;
  }
  Key key = new_key(Role::admin, "root");
  keep(key);
  insert(key);
}

Caller Keys::assumed(const Key& key, std::string_view role_name, std::string_view session_name) const {
  std::string role_id = "AROA" + base::sha256_hex(role_name).substr(0, 17);
  std::ranges::transform(role_id, role_id.begin(), [](char c) { return static_cast<char>(std::toupper(c)); });
  return {.key = key.id,
          .name = key.name,
          .role = key.role,
          .arn = fmt::format("arn:aws:sts::{}:assumed-role/{}/{}", account_.id, role_name, session_name),
          .id = fmt::format("{}:{}", role_id, session_name)};
}

Caller Keys::caller_of(const Key& key) const {
  return assumed(key, fmt::format("textmill-{}", api::name(key.role)), key.name);
}

std::string Keys::session_secret(std::string_view token) const {
  auto mac = base::hmac_sha256(secret_, token);
  return base::base64_encode({reinterpret_cast<const char*>(mac.data()), 30});
}

// The token of a session is "ITS ID, KEY'S ID, END in microseconds, ATTEMPT or -, ROLE, NAME", sealed; its secret is derived.
Session Keys::open_session(const Caller& caller, std::string_view role_name, std::string_view session_name,
                           std::chrono::seconds lasts) const {
  Session session{.expires = base::wall_now() + lasts};
  std::string id = random_id("ASIA");
  std::string token = sessions_.seal(
      kSession, fmt::format("{} {} {} {} {} {}", id, caller.key, session.expires.time_since_epoch().count(),
                            caller.attempt.empty() ? kNoAttempt : caller.attempt, role_name, session_name));
  session.credentials = {.access_key = id, .secret = session_secret(token), .token = token};
  session.caller =
      assumed({.id = caller.key, .name = caller.name, .role = caller.role}, role_name, session_name);
  return session;
}

std::optional<Keys::Known> Keys::find(const wire::Claim& claim, Depth depth) const {
  auto active = [&](std::string_view id) -> std::optional<Key> {
    std::shared_lock lock(mutex_);
    auto found = keys_.find(id);
    return found != keys_.end() && found->second.active ? std::optional(found->second) : std::nullopt;
  };
  auto payload = sessions_.open_if_ours(kSession, claim.token);
  if (!payload) {  // no token; or one of somebody else, beside a key that may be ours: then the two do not match
    auto key = active(claim.access_key);
    return key ? std::optional(Known{{.secret = key->secret}, caller_of(*key)}) : std::nullopt;
  }
  std::vector<std::string> parts;
  for (size_t at = 0, end; parts.size() < 6; at = end + 1) {
    end = parts.size() < 5 ? payload->find(' ', at) : payload->size();
    parts.push_back(payload->substr(at, end - at));
  }
  auto key = active(parts[1]);
  if (!key || parts[0] != claim.access_key) return std::nullopt;
  base::WallTime expires(std::chrono::microseconds(std::stoll(parts[2])));
  Caller caller = assumed(*key, parts[4], parts[5]);
  if (parts[3] != kNoAttempt) {
    caller.attempt = parts[3];
    caller.role = std::min(caller.role, Role::write);  // what runs for an admin is none
    auto open = [&](store::Connection& c) {
      return records::attempt_is_open(c, caller.attempt).value_or(false);
    };
    if (depth == Depth::whole && !store_.database().read(open)) return std::nullopt;
  }
  return Known{{.secret = session_secret(claim.token), .token = claim.token, .expires = expires},
               std::move(caller)};
}

}  // namespace textmill::api
