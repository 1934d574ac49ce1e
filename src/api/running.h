#pragma once

#include "api/exchange.h"

// Our own pages about what runs: for `textmill ps`, `logs`, `stop`, `clean`, `images`.

namespace textmill::api {

/// {"running": [{kind, name, status, secondary, since, message}]}: jobs that are not over, endpoints.
http::Response running_page(Platform& platform, const http::Request& request);
/// {"name", "kind"?, "after"?} -> {"kind", "status", "over", "reason", "events": [{time, stream, text}], "after", "news"}
http::Response logs_page(Platform& platform, const http::Request& request);
/// {"news"}: answers when there is some since then.
http::Response news_page(Platform& platform, const http::Request& request);
/// {"name", "kind"?}: a training job is stopped, an endpoint deleted.
http::Response stop_page(Platform& platform, const http::Request& request);
/// {"caches": [{what, name, bytes, in_use}]}
http::Response caches_page(Platform& platform, const http::Request& request);
/// {"freed": bytes}
http::Response clean_page(Platform& platform, const http::Request& request);

}  // namespace textmill::api
