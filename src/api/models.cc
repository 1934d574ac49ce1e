#include <fmt/format.h>

#include <set>

#include "api/stored.h"

namespace textmill::api {

namespace {

base::Error invalid(const std::string& message) { return {base::Kind::invalid, message}; }

void check_container(Value& container) {
  if (const Value* package = container.find("ModelPackageName"))
    throw invalid(fmt::format("Could not find model package \"{}\".", *package->string()));
  if (!container.find("Image")) throw invalid("A container of a model needs an Image.");
  if (!container.find("Mode")) container.set("Mode", "SingleModel");
}

void check_model(Exchange&, store::Connection&, Value& body) {
  bool primary = body.find("PrimaryContainer"), several = body.find("Containers");
  if (primary == several) throw invalid("A model needs either a PrimaryContainer or Containers, not both.");
  for (auto& [name, value] : *body.object()) {
    if (name == "PrimaryContainer") check_container(value);
    if (name == "Containers")
      for (Value& container : *value.array()) check_container(container);
  }
}

void check_variant(Exchange& ex, store::Connection& connection, Value& variant) {
  std::string name = text_in(variant, "VariantName"), model = text_in(variant, "ModelName");
  if (!model.empty()) ex.platform.resources.get(connection, records::kModel, model);
  const Value* serverless = variant.find("ServerlessConfig");
  bool instances = variant.find("InstanceType") || variant.find("InstancePools");
  if (!instances == !serverless)
    throw invalid(fmt::format("Variant {} needs either an InstanceType or a ServerlessConfig.", name));
  if (serverless && *serverless->find("MemorySizeInMB")->integer() % 1024 != 0)
    throw invalid(fmt::format("Variant {}: MemorySizeInMB must be a multiple of 1024.", name));
  if (instances && model.empty() == false && !variant.find("InitialInstanceCount"))
    throw invalid(fmt::format("Variant {} needs an InitialInstanceCount.", name));
  if (!variant.find("InitialVariantWeight")) variant.set("InitialVariantWeight", 1.0);
}

void check_endpoint_config(Exchange& ex, store::Connection& connection, Value& body) {
  std::set<std::string> names;
  for (auto& [name, value] : *body.object()) {
    if (name != "ProductionVariants" && name != "ShadowProductionVariants") continue;
    for (Value& variant : *value.array()) {
      check_variant(ex, connection, variant);
      if (std::string variant_name = text_in(variant, "VariantName"); !names.insert(variant_name).second)
        throw invalid(fmt::format("Two variants are named {}.", variant_name));
    }
  }
}

constexpr Stored kStoredEndpointConfig{records::kEndpointConfig, "EndpointConfigName", "EndpointConfigArn",
                                       "EndpointConfigs", check_endpoint_config};

}  // namespace

constexpr Stored kStoredModel{records::kModel, "ModelName", "ModelArn", "Models", check_model};

namespace {

constexpr Operation kOperations[] = {
    {"CreateModel", Role::write, create<kStoredModel>, Effect::stored},
    {"DescribeModel", Role::read, describe<kStoredModel>},
    {"ListModels", Role::read, list<kStoredModel>},
    {"DeleteModel", Role::write, remove<kStoredModel>},
    {"CreateEndpointConfig", Role::write, create<kStoredEndpointConfig>, Effect::stored},
    {"DescribeEndpointConfig", Role::read, describe<kStoredEndpointConfig>},
    {"ListEndpointConfigs", Role::read, list<kStoredEndpointConfig>},
    {"DeleteEndpointConfig", Role::write, remove<kStoredEndpointConfig>},
};

}  // namespace

constexpr Family kModels{"sagemaker", kOperations};

}  // namespace textmill::api
