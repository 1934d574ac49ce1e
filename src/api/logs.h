#pragma once

#include "api/exchange.h"
#include "store/logs.h"

namespace textmill::api {

/// Milliseconds since 1970, as Logs has its times.
int64_t to_milliseconds(base::WallTime time);

/// The group that logGroupName or logGroupIdentifier (a name or an ARN) means. Throws invalid, not_found.
records::Resource log_group_in(Exchange& ex, store::Connection& connection);

/// Throws not_found.
store::LogStream log_stream_in(store::Connection& connection, const records::Resource& group,
                               std::string_view name);

/// The oldest time whose events a group still shows.
int64_t oldest_kept(store::Connection& connection, const records::Resource& group);

/// What fluentd and its like still send along; nothing looks at it.
std::string sequence_token(int64_t stream);

}  // namespace textmill::api
