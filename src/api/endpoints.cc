#include <fmt/format.h>

#include "api/stored.h"
#include "wire/times.h"

namespace textmill::api {

namespace {

using records::Resource;

base::Error invalid(const std::string& message) { return {base::Kind::invalid, message}; }

constexpr Stored kStoredEndpoint{records::kEndpoint, "EndpointName", "EndpointArn",
                                 "Endpoints",        nullptr,        "EndpointStatus"};

/// Where a model's files are: a model.tar.gz, or the files themselves below "s3://bucket/prefix/".
std::string url_of(const Value& source, const std::string& model) {
  const Value* s3 = source.find("S3DataSource");
  if (!s3)
    throw invalid(fmt::format("Model {}: a ModelDataSource without S3DataSource is not served.", model));
  std::string url = text_in(*s3, "S3Uri"), type = text_in(*s3, "S3DataType"),
              compression = text_in(*s3, "CompressionType");
  for (const char* unserved : {"ManifestS3Uri", "HubAccessConfig"})
    if (s3->find(unserved)) throw invalid(fmt::format("Model {}: {} is not served.", model, unserved));
  bool files = type == "S3Prefix";
  if (files != (compression == "None"))
    throw invalid(fmt::format(
        "Model {}: {} with CompressionType {} is not served: an S3Object is a model.tar.gz (Gzip), "
        "an S3Prefix has the files themselves (None).",
        model, type, compression));
  return files && !url.ends_with('/') ? url + '/' : url;
}

/// A variant of a configuration with the container that its model has now: what both become later changes nothing.
Value deployed(Exchange& ex, store::Connection& connection, const Value& variant) {
  std::string name = text_in(variant, "VariantName");
  for (const char* unserved : {"ServerlessConfig", "InstancePools"})
    if (variant.find(unserved)) throw invalid(fmt::format("Variant {}: {} is not served.", name, unserved));
  std::string model = text_in(variant, "ModelName");
  if (model.empty())
    throw invalid(fmt::format("Variant {}: endpoints without a model are not served.", name));
  Value body = ex.platform.resources.get(connection, records::kModel, model).body;
  const Value* container = body.find("PrimaryContainer");
  if (const Value* several = body.find("Containers"); several && several->array()->size() == 1)
    container = &several->array()->front();
  if (!container)
    throw invalid(fmt::format(
        "Variant {}: model {} has several containers; inference pipelines are not served.", name, model));
  if (text_in(*container, "Mode") == "MultiModel")
    throw invalid(fmt::format("Model {}: the mode MultiModel is not served.", model));
  Value out = variant;
  Value started = *container;
  if (const Value* source = container->find("ModelDataSource"))
    started.set("ModelDataUrl", url_of(*source, model));
  out.set("Container", std::move(started));
  if (const Value* alone = body.find("EnableNetworkIsolation"); alone && *alone->boolean())
    out.set(fleet::kIsolated, true);
  return out;
}

Value create_endpoint(Exchange& ex) {
  std::string name = ex.text("EndpointName"), config = ex.text("EndpointConfigName");
  records::NewResource wanted{.name = name, .tags = tags_in(ex.list("Tags"))};
  ex.write([&](store::Connection& c) {
    Value body = ex.platform.resources.get(c, records::kEndpointConfig, config).body;
    for (const char* unserved : {"AsyncInferenceConfig", "ShadowProductionVariants", "ExplainerConfig"})
      if (const Value* value = body.find(unserved); value && !(value->array() && value->array()->empty()))
        throw invalid(fmt::format("{} of endpoint configuration {} is not served.", unserved, config));
    if (const Value* capture = body.find("DataCaptureConfig"))
      if (const Value* on = capture->find("EnableCapture"); on && on->boolean() && *on->boolean())
        throw invalid(fmt::format("DataCaptureConfig of endpoint configuration {} is not served.", config));
    Value::Array variants;
    for (const Value& variant : *body.find("ProductionVariants")->array())
      variants.push_back(deployed(ex, c, variant));
    wanted.body = Value::object(
        {{"EndpointConfigName", config}, {"Variants", std::move(variants)}, {"_Caller", caller_of(ex)}});
    ex.platform.resources.create(c, records::kEndpoint, wanted);
  });
  ex.platform.endpoints.wake();
  return Value::object({{"EndpointArn", ex.platform.resources.arn(records::kEndpoint, name)}});
}

/// How many instances of each variant take requests.
std::map<std::string, int64_t> ready_instances(Exchange& ex, store::Connection& c,
                                               const std::string& endpoint) {
  std::map<std::string, int64_t> ready;
  records::ListQuery query{
      .sort = records::SortBy::name, .status = "Ready", .limit = 100'000, .bodies = true};
  for (const Resource& replica : ex.platform.resources.list(c, records::kReplica, query).resources)
    if (text_in(replica.body, "Endpoint") == endpoint) ++ready[text_in(replica.body, "Variant")];
  return ready;
}

Value variant_summary(const Value& variant, int64_t ready, bool creating, base::WallTime since) {
  std::string image = text_in(*variant.find("Container"), "Image");
  Value weight = *variant.find("InitialVariantWeight"), count = *variant.find("InitialInstanceCount");
  Value deployed = Value::object(
      {{"SpecifiedImage", image}, {"ResolvedImage", image}, {"ResolutionTime", wire::to_seconds(since)}});
  Value out = Value::object({{"VariantName", text_in(variant, "VariantName")},
                             {"DeployedImages", Value::Array{std::move(deployed)}},
                             {"CurrentWeight", weight},
                             {"DesiredWeight", weight},
                             {"CurrentInstanceCount", ready},
                             {"DesiredInstanceCount", count}});
  if (creating)
    out.set("VariantStatus",
            Value::Array{Value::object({{"Status", "Creating"}, {"StartTime", wire::to_seconds(since)}})});
  return out;
}

Value describe_endpoint(Exchange& ex) {
  Resource endpoint;
  std::map<std::string, int64_t> ready;
  ex.read([&](store::Connection& c) {
    endpoint = ex.platform.resources.get(c, records::kEndpoint, ex.text("EndpointName"));
    ready = ready_instances(ex, c, endpoint.name);
  });
  Value out = Value::object({{"EndpointName", endpoint.name},
                             {"EndpointArn", ex.platform.resources.arn(records::kEndpoint, endpoint.name)},
                             {"EndpointConfigName", text_in(endpoint.body, "EndpointConfigName")},
                             {"EndpointStatus", endpoint.status},
                             {"CreationTime", wire::to_seconds(endpoint.created)},
                             {"LastModifiedTime", wire::to_seconds(endpoint.modified)}});
  if (std::string reason = text_in(endpoint.body, "FailureReason"); !reason.empty())
    out.set("FailureReason", reason);
  Value::Array variants;
  for (const Value& variant : *endpoint.body.find("Variants")->array())
    variants.push_back(variant_summary(variant, ready[text_in(variant, "VariantName")],
                                       endpoint.status == "Creating", endpoint.created));
  // Until something was deployed there is nothing to show.
  if (endpoint.status != "Failed") out.set("ProductionVariants", std::move(variants));
  return out;
}

base::Error busy(Exchange& ex, const Resource& endpoint) {
  return invalid(fmt::format("Cannot update in-progress endpoint \"{}\".",
                             ex.platform.resources.arn(records::kEndpoint, endpoint.name)));
}

Value delete_endpoint(Exchange& ex) {
  ex.write([&](store::Connection& c) {
    const auto& resources = ex.platform.resources;
    Resource endpoint = resources.get(c, records::kEndpoint, ex.text("EndpointName"));
    if (endpoint.status == "Deleting") throw busy(ex, endpoint);  // one that is being made may go
    resources.set_status(c, records::kEndpoint, endpoint, "Deleting");
  });
  ex.platform.endpoints.wake();
  return {};
}

Value update_endpoint(Exchange& ex) {
  ex.read([&](store::Connection& c) {
    Resource endpoint = ex.platform.resources.get(c, records::kEndpoint, ex.text("EndpointName"));
    if (endpoint.status != "InService" && endpoint.status != "Failed") throw busy(ex, endpoint);
    ex.platform.resources.get(c, records::kEndpointConfig, ex.text("EndpointConfigName"));
  });
  throw invalid(
      "UpdateEndpoint is not served yet. Create a second endpoint with the new configuration, send requests "
      "there once "
      "it is InService, then delete the first one.");
}

constexpr Operation kOperations[] = {
    {"CreateEndpoint", Role::write, create_endpoint},
    {"DescribeEndpoint", Role::read, describe_endpoint},
    {"ListEndpoints", Role::read, list<kStoredEndpoint>},
    {"UpdateEndpoint", Role::write, update_endpoint, Effect::refused},
    {"DeleteEndpoint", Role::write, delete_endpoint},
};

}  // namespace

constexpr Family kEndpoints{"sagemaker", kOperations};

}  // namespace textmill::api
