#include "fleet/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "store/objects.h"

namespace textmill::fleet {

using base::Error, base::Kind, base::Path;
using format::Json;

namespace {

constexpr int64_t kMostManifest = 64 << 20;

std::string text(const Json& object, std::string_view name, std::string_view absent = "") {
  const Json* value = object.find(name);
  return std::string(value && value->string() ? std::string_view(*value->string()) : absent);
}

store::Bucket bucket_of(store::Connection& connection, const S3Uri& uri) {
  auto bucket = store::find_bucket(connection, uri.bucket);
  if (!bucket) throw Error(Kind::invalid, fmt::format("the bucket {} does not exist", uri.bucket));
  return *bucket;
}

/// What follows a prefix: "data/train" and "data/train/" both leave "a.txt" of "data/train/a.txt"; "data/tr" leaves
/// "train/a.txt".
std::string below(std::string_view key, std::string_view prefix) {
  if (key.starts_with(prefix) && key.size() > prefix.size() && key[prefix.size()] == '/')
    return std::string(key.substr(prefix.size() + 1));
  size_t slash = prefix.rfind('/');
  return std::string(key.substr(slash == prefix.npos ? 0 : slash + 1));
}

void check_paths(const std::vector<Placed>& objects) {
  std::set<std::string_view> seen;
  for (const auto& [blob, path] : objects) {
    Path name(path);
    bool plain = name.is_relative() && !path.empty() && path.find('\0') == path.npos &&
                 std::ranges::none_of(
                     name, [](const Path& part) { return part == ".." || part == "." || part.empty(); });
    if (!plain) throw Error(Kind::invalid, fmt::format("the object key '{}' cannot be a file's name", path));
    for (const Path& part : name)
      if (part.native().size() > NAME_MAX)
        throw Error(Kind::invalid,
                    fmt::format("the object key '{}' cannot be a file's name: {} bytes of it are "
                                "without a /, and the system takes {}",
                                path, part.native().size(), NAME_MAX));
    if (!seen.insert(path).second)
      throw Error(Kind::invalid, fmt::format("two objects would be the file {}", path));
  }
  // "a" and "a/b": sorted, what is below a file follows it, maybe behind "a-" and the like.
  for (std::string_view path : seen)
    for (size_t at = path.find('/'); at != path.npos; at = path.find('/', at + 1))
      if (seen.contains(path.substr(0, at)))
        throw Error(Kind::invalid, fmt::format("{} would be a file and a folder", path.substr(0, at)));
}

std::vector<Placed> listed(store::Connection& connection, const S3Uri& uri) {
  auto bucket = bucket_of(connection, uri);
  std::vector<Placed> out;
  store::ListQuery query{.prefix = uri.key};
  while (true) {
    auto page = store::list_objects(connection, bucket.id, query);
    for (const auto& object : page.objects)
      if (!object.key.ends_with('/')) out.push_back({object.blob, below(object.key, uri.key)});
    if (!page.truncated) return out;
    query.after = page.last;
  }
}

/// [{"prefix": "s3://bucket/a/"}, "x", "y/z"]
std::vector<Placed> manifest(store::Connection& connection, store::Blobs& blobs,
                             const std::string& uri_text) {
  S3Uri uri = parse_s3_uri(uri_text);
  auto bucket = bucket_of(connection, uri);
  auto object = store::find_object(connection, bucket.id, uri.key);
  if (!object) throw Error(Kind::invalid, fmt::format("there is no manifest {}", uri_text));
  Json json = format::parse_json(content_of(connection, blobs, object->blob), uri_text);
  format::JsonView view(json, uri_text);
  auto entries = view.array();
  if (entries.empty()) view.fail("a list that begins with {\"prefix\": ...}");
  S3Uri prefix = parse_s3_uri(entries[0].at("prefix").string());
  auto from = bucket_of(connection, prefix);
  std::vector<Placed> out;
  for (size_t i = 1; i < entries.size(); ++i) {
    std::string name = entries[i].string();
    auto found = store::find_object(connection, from.id, prefix.key + name);
    if (!found)
      throw Error(Kind::invalid,
                  fmt::format("{}: there is no s3://{}/{}{}", uri_text, prefix.bucket, prefix.key, name));
    out.push_back({found->blob, name});
  }
  return out;
}

}  // namespace

std::string content_of(store::Connection& connection, store::Blobs& blobs, int64_t blob) {
  auto content = blobs.content(connection, blob);
  if (auto* bytes = std::get_if<std::string>(&content)) return *bytes;
  return base::read_file(std::get<Path>(content), kMostManifest);
}

S3Uri parse_s3_uri(std::string_view text) {
  constexpr std::string_view kScheme = "s3://";
  if (!text.starts_with(kScheme)) throw Error(Kind::invalid, fmt::format("'{}' is no s3://bucket/key", text));
  std::string_view rest = text.substr(kScheme.size());
  size_t slash = std::min(rest.find('/'), rest.size());
  return {std::string(rest.substr(0, slash)), std::string(rest.substr(std::min(slash + 1, rest.size())))};
}

std::vector<Placed> objects_of(store::Connection& connection, store::Blobs& blobs, const Json& source) {
  std::string uri = text(source, "S3Uri"), type = text(source, "S3DataType", "S3Prefix");
  auto out =
      type == "ManifestFile" ? manifest(connection, blobs, uri) : listed(connection, parse_s3_uri(uri));
  if (out.empty())
    throw Error(Kind::invalid,
                fmt::format("No S3 objects found under S3 URL \"{}\" given in input data source.", uri));
  check_paths(out);
  return out;
}

std::vector<Placed> objects_under(store::Connection& connection, const S3Uri& prefix) {
  auto out = listed(connection, prefix);
  check_paths(out);
  return out;
}

void place(store::Connection& connection, const store::Blobs& blobs, std::span<const Placed> objects,
           const Path& folder) {
  std::filesystem::create_directories(folder);
  for (const auto& [blob, path] : objects) {
    Path to = folder / path;
    std::filesystem::create_directories(to.parent_path());
    auto content = blobs.content(connection, blob);
    if (const auto* file = std::get_if<Path>(&content)) {
      std::error_code error;
      std::filesystem::create_hard_link(*file, to, error);
      if (error) std::filesystem::copy_file(*file, to);  // another file system
    } else {
      const auto& bytes = std::get<std::string>(content);
      std::ofstream out(to, std::ios::binary);
      if (!out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush())
        throw base::system_error(to.string(), errno);
    }
  }
}

}  // namespace textmill::fleet
