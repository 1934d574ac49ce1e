#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace textmill::records {

/// Opaque strings that come back unchanged or are refused: where a list goes on. Signed, not secret.
class Tokens {
 public:
  explicit Tokens(std::string secret) : secret_(std::move(secret)) {}

  /// `scope` is what the token is good for: the operation, the order of the list.
  std::string seal(std::string_view scope, std::string_view payload) const;
  /// Throws invalid unless seal() made it for this scope.
  std::string open(std::string_view scope, std::string_view token) const;
  /// The same, but nothing for one that is not ours.
  std::optional<std::string> open_if_ours(std::string_view scope, std::string_view token) const;

 private:
  std::string signature(std::string_view scope, std::string_view payload) const;

  std::string secret_;
};

}  // namespace textmill::records
