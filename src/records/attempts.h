#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "store/connection.h"

// Attempts: what was tried to make a resource real. A row is there before anything is started; it is open until what
// came of it is taken into the resource.

namespace textmill::records {

constexpr size_t kLongestReason = 1024;  // bytes of a FailureReason

struct Attempt {
  int64_t id = 0, resource = 0;
  int number = 1;     // of the resource's attempts, from 1
  std::string token;  // names its folder
  base::WallTime created;
  int64_t offset = 0, next = 0;  // how far its journal was taken
  std::string end;               // JSON, once its journal said how it ended
};

/// The next attempt. Throws conflict while one is open.
Attempt open_attempt(store::Connection& connection, int64_t resource);
std::optional<Attempt> last_attempt(store::Connection& connection, int64_t resource);
/// That are not closed.
std::vector<Attempt> open_attempts(store::Connection& connection);
/// Of whatever age; nothing for a token that was never given.
std::optional<bool> attempt_is_open(store::Connection& connection, std::string_view token);
/// Offset, next and end.
void advance_attempt(store::Connection& connection, const Attempt& attempt);
void close_attempt(store::Connection& connection, int64_t id);
void forget_attempts(store::Connection& connection, int64_t resource);

}  // namespace textmill::records
