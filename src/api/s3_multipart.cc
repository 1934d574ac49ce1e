#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/s3_body.h"
#include "api/s3_copy.h"
#include "api/s3_plan.h"
#include "base/base64.h"
#include "wire/times.h"

namespace textmill::api {

using namespace s3;

namespace {

constexpr int64_t kMostParts = 10'000;
constexpr uint64_t kSmallestPart = 5 << 20;

std::string unhex(std::string_view hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return out;
}

Value create_multipart_upload(Exchange& ex) {
  refuse_unserved(ex);
  std::string algorithm = ex.text("ChecksumAlgorithm"), type = ex.text("ChecksumType");
  if (!algorithm.empty() && !find_algorithm(algorithm))
    throw fault("InvalidRequest", {}, "Checksum algorithm provided is unsupported.");
  if (algorithm.empty() && !type.empty())
    throw fault("InvalidRequest", {},
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.");
  bool sha = algorithm.starts_with("SHA");
  if (type.empty()) type = algorithm == "CRC64NVME" ? "FULL_OBJECT" : "COMPOSITE";
  if ((sha && type == "FULL_OBJECT") || (algorithm == "CRC64NVME" && type == "COMPOSITE")) {
    throw fault(
        "InvalidRequest", {},
        fmt::format("The {} checksum type cannot be used with the {} checksum algorithm.", type, algorithm));
  }
  Value properties = Value::object({{"Object", properties_of_input(ex)}});
  if (!algorithm.empty()) properties.set("Algorithm", algorithm), properties.set("Type", type);
  store::Upload upload{.id = base::hex(store::random_bytes(32)),
                       .key = key(ex),
                       .created = base::wall_now(),
                       .properties = format::to_text(properties)};
  ex.write([&](store::Connection& c) {
    upload.bucket = bucket(ex, c).id;
    store::create_upload(c, upload);
  });
  Value out = Value::object({{"Bucket", ex.text("Bucket")}, {"Key", upload.key}, {"UploadId", upload.id}});
  if (!algorithm.empty()) out.set("ChecksumAlgorithm", algorithm), out.set("ChecksumType", type);
  return out;
}

int part_number(Exchange& ex) {
  int64_t number = ex.integer("PartNumber", 0);
  if (number < 1 || number > kMostParts) {
    throw fault("InvalidArgument", Value::object({{"ArgumentName", "partNumber"}, {"ArgumentValue", number}}),
                "Part number must be an integer between 1 and 10000, inclusive");
  }
  return static_cast<int>(number);
}

/// Writes a part's row; a sum of another kind than the upload's is refused.
Value keep_part(Exchange& ex, const Plan& of, int number, const Received& body) {
  if (of.algorithm && body.checksum.algorithm != of.algorithm) {
    throw fault(
        "InvalidRequest", {},
        fmt::format("Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                    of.algorithm->name, body.checksum.algorithm ? body.checksum.algorithm->name : "null"));
  }
  Value properties = Value::object({});
  if (body.checksum.algorithm) properties.set("Checksum", pack_checksum(body.checksum));
  store::Part part{.number = number,
                   .size = body.staged.size(),
                   .etag = base::hex(body.md5),
                   .modified = base::wall_now(),
                   .properties = format::to_text(properties)};
  ex.write([&](store::Connection& c) {
    plan(ex, c);
    part.blob = ex.platform.store.blobs().enter(c, body.staged);
    store::put_part(c, of.upload.id, part);
  });
  return Value::object({{"ETag", in_quotes(part.etag)}, {"LastModified", wire::to_seconds(part.modified)}});
}

Value upload_part(Exchange& ex) {
  refuse_unserved(ex);
  int number = part_number(ex);
  Plan of = ex.read([&](store::Connection& c) { return plan(ex, c); });
  Received body = receive(ex, of.algorithm);
  Value out = Value::object({{"ETag", *keep_part(ex, of, number, body).find("ETag")}});
  if (body.checksum.algorithm) out.set(body.checksum.algorithm->member, body.checksum.value);
  return out;
}

/// "bytes=first-last" of x-amz-copy-source-range: both, and inside of the source.
Range range_of_source(const std::string& text, uint64_t size) {
  auto refuse = [&](std::string_view message) {
    return fault("InvalidArgument",
                 Value::object({{"ArgumentName", "x-amz-copy-source-range"}, {"ArgumentValue", text}}),
                 message);
  };
  auto asked = parse_range(text, size);
  auto dash = text.find('-');
  if (!asked || text[dash - 1] == '=' || dash + 1 == text.size())
    throw refuse(
        "The x-amz-copy-source-range value must be of the form bytes=first-last where first and "
        "last are the zero-based offsets of the first and last bytes to copy");
  if (std::stoull(text.substr(dash + 1)) >= size)
    throw refuse(fmt::format("Range specified is not valid for source object of size: {}", size));
  return *asked;
}

Value upload_part_copy(Exchange& ex) {
  refuse_unserved(ex);
  int number = part_number(ex);
  Source source = source_of(ex);
  Content content;
  store::Object from;
  Plan of = ex.read([&](store::Connection& c) {
    from = find_source(ex, c, source);
    content = ex.platform.store.blobs().content(c, from.blob);
    return plan(ex, c);
  });
  Range range{0, from.size};
  if (std::string text = ex.text("CopySourceRange"); !text.empty()) range = range_of_source(text, from.size);
  Received body = copy_range(ex, content, range, of.algorithm);
  Value result = keep_part(ex, of, number, body);
  if (body.checksum.algorithm) result.set(body.checksum.algorithm->member, body.checksum.value);
  return Value::object({{"CopyPartResult", std::move(result)}});
}

/// The parts that the client lists, in its order, as they were uploaded.
std::vector<store::Part> chosen_parts(Exchange& ex, const std::vector<store::Part>& uploaded) {
  const Value* list = ex.find("MultipartUpload");
  const Value* wanted = list ? list->find("Parts") : nullptr;
  if (!wanted || wanted->array()->empty()) throw fault("MalformedXML");
  std::map<int64_t, const store::Part*> by_number;
  for (const auto& part : uploaded) by_number[part.number] = &part;
  std::vector<store::Part> out;
  for (const Value& item : *wanted->array()) {
    const Value* number = item.find("PartNumber");
    if (!number) throw fault("MalformedXML");
    if (!out.empty() && *number->integer() <= out.back().number) throw fault("InvalidPartOrder");
    auto found = by_number.find(*number->integer());
    std::string etag = text_in(item, "ETag");
    std::erase(etag, '"');
    Value details =
        Value::object({{"UploadId", ex.text("UploadId")}, {"PartNumber", *number}, {"ETag", etag}});
    if (found == by_number.end() || found->second->etag != etag)
      throw fault("InvalidPart", std::move(details));
    Checksum claimed = checksum_in(item),
             known = unpack_checksum(parse_properties(found->second->properties));
    if (claimed.algorithm && (claimed.algorithm != known.algorithm || claimed.value != known.value))
      throw fault("InvalidPart", std::move(details));
    out.push_back(*found->second);
  }
  for (size_t i = 0; i + 1 < out.size(); ++i) {
    if (out[i].size < kSmallestPart) {
      throw fault("EntityTooSmall", Value::object({{"ProposedSize", out[i].size},
                                                   {"MinSizeAllowed", kSmallestPart},
                                                   {"PartNumber", out[i].number},
                                                   {"ETag", out[i].etag}}));
    }
  }
  return out;
}

/// Parts end to end, in one blob. Not all of them where the upload ended meanwhile.
struct Whole {
  std::optional<store::Blobs::Staged> staged;  // of several parts
  std::string etag;
  uint64_t size = 0;
  Checksum checksum;
};

Whole join(Exchange& ex, const Plan& of, const std::vector<store::Part>& parts) {
  Whole out;
  base::Hasher etags(base::HashKind::md5);
  std::optional<base::Hasher> sum;
  if (of.algorithm) sum.emplace(of.algorithm->kind);
  store::Blobs::Writer writer(ex.platform.store.blobs());
  bool read = parts.size() > 1 || (sum && !of.composite);
  for (const auto& part : parts) {
    out.size += part.size;
    etags.update(unhex(part.etag));
    if (sum && of.composite)
      sum->update(base::base64_decode(unpack_checksum(parse_properties(part.properties)).value));
    if (!read) continue;
    auto content = ex.read([&](store::Connection& c) -> std::optional<Content> {
      if (!store::find_upload(c, of.upload.id)) return std::nullopt;
      return ex.platform.store.blobs().content(c, part.blob);
    });
    if (!content) return out;
    read_content(*content, {0, part.size}, [&](std::string_view piece) {
      if (parts.size() > 1) writer.write(piece);
      if (sum && !of.composite) sum->update(piece);
    });
  }
  if (parts.size() > 1) out.staged.emplace(writer.finish());
  out.etag = fmt::format("{}-{}", base::hex(etags.digest()), parts.size());
  if (sum) out.checksum = {of.algorithm, base::base64_encode(sum->digest())};
  if (sum && of.composite) out.checksum.value += fmt::format("-{}", parts.size());
  return out;
}

Value completed(Exchange& ex, const store::Object& object) {
  Value out = Value::object({{"Location", fmt::format("{}://{}{}", ex.request.tls ? "https" : "http",
                                                      ex.request.headers.get("host"), ex.request.path())},
                             {"Bucket", ex.text("Bucket")},
                             {"Key", ex.text("Key")},
                             {"ETag", in_quotes(object.etag)}});
  show_checksum(unpack_checksum(parse_properties(object.properties)), out);
  return out;
}

/// The object that this upload became: for a client that asks again, after it lost the answer or before it came.
store::Object completed_before(Exchange& ex, store::Connection& c, const store::Bucket& in) {
  auto done = store::find_object(c, in.id, key(ex));
  if (!done || text_in(parse_properties(done->properties), "UploadId") != ex.text("UploadId"))
    throw fault("NoSuchUpload", Value::object({{"UploadId", ex.text("UploadId")}}));
  return *done;
}

void check_whole(Exchange& ex, const Whole& whole) {
  Checksum claimed = checksum_in(ex.request.headers);
  if (claimed.algorithm && claimed.algorithm == whole.checksum.algorithm &&
      claimed.value != whole.checksum.value) {
    throw fault(
        "BadDigest", {},
        fmt::format("The {} you specified did not match the calculated checksum.", claimed.algorithm->name));
  }
  if (const Value* size = ex.find("MpuObjectSize");
      size && static_cast<uint64_t>(*size->integer()) != whole.size) {
    throw fault(
        "InvalidRequest", {},
        fmt::format(
            "The provided 'x-amz-mp-object-size' header value {} does not match what was computed: {}",
            *size->integer(), whole.size));
  }
}

Value complete_multipart_upload(Exchange& ex) {
  std::string name = key(ex);
  // A client that lost patience asks again while its bytes are being joined.
  auto turn = ex.platform.completions.take(ex.text("UploadId"), ex.request.stop);
  if (!turn) throw base::Error(base::Kind::cancelled, ex.text("UploadId") + ": the client did not wait");
  std::vector<store::Part> uploaded;
  store::Object object{.key = name};
  auto of = ex.read([&](store::Connection& c) {
    auto in = bucket(ex, c);
    auto found = find_plan(ex, c, in);
    if (found) uploaded = store::list_parts(c, found->upload.id, 0, kMostParts);
    if (!found) object = completed_before(ex, c, in);
    return found;
  });
  if (!of) return completed(ex, object);
  auto parts = chosen_parts(ex, uploaded);
  Whole whole = join(ex, *of, parts);

  std::vector<uint64_t> sizes;
  for (const auto& part : parts) sizes.push_back(part.size);
  Value properties = of->object;
  properties.set("Parts", pack_sizes(sizes));
  properties.set("UploadId", of->upload.id);
  if (whole.checksum.algorithm) properties.set("Checksum", pack_checksum(whole.checksum));
  object.size = whole.size;
  object.etag = whole.etag;
  object.properties = format::to_text(properties);
  ex.write([&](store::Connection& c) {
    auto into = bucket(ex, c);
    if (!find_plan(ex, c, into)) {  // aborted meanwhile, or completed by the same request sent twice
      object = completed_before(ex, c, into);
      return;
    }
    check_whole(ex, whole);
    check_write(ex, c, into, name);
    object.blob = whole.staged ? ex.platform.store.blobs().enter(c, *whole.staged) : parts[0].blob;
    object.modified = base::wall_now();
    store::put_object(c, into.id, object);
    store::delete_upload(c, of->upload.id);
  });
  return completed(ex, object);
}

Value abort_multipart_upload(Exchange& ex) {
  ex.write([&](store::Connection& c) { store::delete_upload(c, plan(ex, c).upload.id); });
  return {};
}

constexpr Operation kOperations[] = {
    {"CreateMultipartUpload", Role::write, create_multipart_upload},
    {"UploadPart", Role::write, upload_part},
    {"UploadPartCopy", Role::write, upload_part_copy},
    {"CompleteMultipartUpload", Role::write, complete_multipart_upload},
    {"AbortMultipartUpload", Role::write, abort_multipart_upload},
};

}  // namespace

constexpr Family kS3Multipart{"s3", kOperations};

}  // namespace textmill::api
