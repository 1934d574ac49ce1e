"""Models and endpoint configurations: what only stores. Lists, tokens and filters while others create."""

import time

import pytest

from ..servers import others_create

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
ROLE = "arn:aws:iam::123456789012:role/service/Role"
CONTAINER = {"Image": "process://serve", "Environment": {"A": "b"}}


@pytest.fixture(scope="module")
def sagemaker(server):
    return server.client("sagemaker")


def make(sagemaker, name, **more):
    return sagemaker.create_model(ModelName=name, PrimaryContainer=CONTAINER, ExecutionRoleArn=ROLE, **more)["ModelArn"]


def test_model_from_creation_to_deletion(sagemaker, name, refused):
    model = name("My-Model")
    arn = f"{ARN}:model/{model.lower()}"
    assert make(sagemaker, model) == arn
    shown = sagemaker.describe_model(ModelName=model)
    assert (shown["ModelName"], shown["ModelArn"], shown["ExecutionRoleArn"]) == (model, arn, ROLE)
    assert shown["PrimaryContainer"] == CONTAINER | {"Mode": "SingleModel"}
    assert shown["EnableNetworkIsolation"] is False
    assert abs(shown["CreationTime"].timestamp() - time.time()) < 60
    assert sagemaker.describe_model(ModelName=model.upper())["ModelName"] == model
    assert refused(sagemaker.create_model, ModelName=model, PrimaryContainer=CONTAINER, ExecutionRoleArn=ROLE) == (
        "ValidationException", 400, f'Cannot create already existing model "{arn}".')
    sagemaker.delete_model(ModelName=model)
    missing = ("ValidationException", 400, f'Could not find model "{arn}".')
    assert refused(sagemaker.describe_model, ModelName=model) == missing
    assert refused(sagemaker.delete_model, ModelName=model) == missing


def test_a_container_or_several(sagemaker, name, refused):
    model = name()
    sagemaker.create_model(ModelName=model, Containers=[CONTAINER, CONTAINER], ExecutionRoleArn=ROLE)
    assert len(sagemaker.describe_model(ModelName=model)["Containers"]) == 2
    for wrong in ({}, {"PrimaryContainer": CONTAINER, "Containers": [CONTAINER]}, {"PrimaryContainer": {"ModelDataUrl": "s3://b/k"}}):
        assert refused(sagemaker.create_model, ModelName=name(), ExecutionRoleArn=ROLE, **wrong)[0] == "ValidationException"


def test_endpoint_config_from_creation_to_deletion(sagemaker, name, refused):
    model, config = name("model"), name("Config")
    make(sagemaker, model)
    variant = {"VariantName": "AllTraffic", "ModelName": model, "InstanceType": "ml.box.4cpu", "InitialInstanceCount": 1}
    arn = sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])["EndpointConfigArn"]
    assert arn == f"{ARN}:endpoint-config/{config.lower()}"
    shown = sagemaker.describe_endpoint_config(EndpointConfigName=config)
    assert shown["ProductionVariants"] == [variant | {"InitialVariantWeight": 1.0}]
    assert [c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs(NameContains=config)["EndpointConfigs"]] == [config]
    sagemaker.delete_model(ModelName=model)  # allowed while a configuration names it
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    assert refused(sagemaker.describe_endpoint_config, EndpointConfigName=config) == (
        "ValidationException", 400, f'Could not find endpoint configuration "{arn}".')


def test_endpoint_configs_that_cannot_be(sagemaker, name, refused):
    model = name("model")
    make(sagemaker, model)
    variant = {"VariantName": "v", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    serverless = {"VariantName": "v", "ModelName": model, "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 2}}
    sagemaker.create_endpoint_config(EndpointConfigName=name(), ProductionVariants=[serverless])
    cases = {
        "an unknown model": [variant | {"ModelName": "nobody"}],
        "a name twice": [variant, variant],
        "neither instances nor serverless": [{"VariantName": "v", "ModelName": model}],
        "both": [variant | {"ServerlessConfig": serverless["ServerlessConfig"]}],
        "a memory between the steps": [serverless | {"ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 2}}],
        "no count": [{k: v for k, v in variant.items() if k != "InitialInstanceCount"}],
        "too many": [variant | {"VariantName": f"v{i}"} for i in range(11)],
    }
    before = sagemaker.list_endpoint_configs(MaxResults=100)["EndpointConfigs"]
    for what, variants in cases.items():
        assert refused(sagemaker.create_endpoint_config, EndpointConfigName=name(), ProductionVariants=variants)[0] == "ValidationException", what
    assert sagemaker.list_endpoint_configs(MaxResults=100)["EndpointConfigs"] == before


def test_lists_hold_each_once_while_others_create(server, sagemaker):
    """250 models, pages of 7, and a thread that creates more all the time."""
    for i in range(250):
        make(sagemaker, f"page-{i:03}")
    mine = server.client("sagemaker")
    with others_create(lambda i: make(mine, f"other-{i}")):
        for sort, order in (("Name", "Ascending"), ("CreationTime", "Descending"), ("CreationTime", "Ascending")):
            pages = sagemaker.get_paginator("list_models").paginate(SortBy=sort, SortOrder=order, NameContains="page-", PaginationConfig={"PageSize": 7})
            names = [m["ModelName"] for page in pages for m in page["Models"]]
            expected = [f"page-{i:03}" for i in range(250)]
            assert names == (expected if order == "Ascending" else expected[::-1])


def test_filters(sagemaker, name):
    first, second = name("filter-a"), name("filter-b")
    make(sagemaker, first)
    time.sleep(1.1)  # clients send whole seconds
    make(sagemaker, second)
    created = sagemaker.describe_model(ModelName=second)["CreationTime"]
    names = lambda **query: [m["ModelName"] for m in sagemaker.list_models(NameContains="FILTER-", **query)["Models"]]
    assert names() == [second, first]
    assert names(SortOrder="Ascending") == [first, second]
    assert names(CreationTimeAfter=created.replace(microsecond=0)) == [second]
    assert names(CreationTimeBefore=created.replace(microsecond=0)) == [first]
    assert len(sagemaker.list_models(MaxResults=1)["Models"]) == 1


def test_tokens_are_opaque(sagemaker, name, refused):
    for _ in range(3):
        make(sagemaker, name("token"))
    page = sagemaker.list_models(MaxResults=2)
    token = page["NextToken"]
    assert sagemaker.list_models(MaxResults=2, NextToken=token)["Models"]
    for wrong in (token[:-1], token[::-1], token.swapcase(), "x", "QUFBQQ=="):
        assert refused(sagemaker.list_models, NextToken=wrong)[0] == "ValidationException"
    assert refused(sagemaker.list_endpoint_configs, NextToken=token)[0] == "ValidationException"
    code, status, message = refused(sagemaker.list_models, MaxResults=101)
    assert (code, status) == ("ValidationException", 400)
    assert message == "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100"


def test_tags(sagemaker, name, refused):
    model = name()
    arn = make(sagemaker, model, Tags=[{"Key": "team", "Value": "nlp"}])
    pairs = lambda: {t["Key"]: t["Value"] for t in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert pairs() == {"team": "nlp"}
    answer = sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "search"}, {"Key": "stage", "Value": ""}])
    assert {t["Key"]: t["Value"] for t in answer["Tags"]} == pairs() == {"team": "search", "stage": ""}
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team", "never"])
    assert pairs() == {"stage": ""}
    assert refused(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": "aws:x", "Value": ""}])[0] == "ValidationException"
    assert refused(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": f"k{i}", "Value": ""} for i in range(50)])[0] == "ResourceLimitExceeded"
    assert refused(sagemaker.list_tags, ResourceArn=f"{ARN}:model/nobody")[0] == "ValidationException"
    assert pairs() == {"stage": ""}


def test_search(sagemaker, name, refused):
    for i in range(5):
        make(sagemaker, name("search"), Tags=[{"Key": "group", "Value": f"g{i % 2}"}])
    search = lambda *filters, **more: sagemaker.get_paginator("search").paginate(
        Resource="Model", SearchExpression={"Filters": [{"Name": n, "Operator": o, "Value": v} for n, o, v in filters]}, **more)
    names = lambda *filters: sorted(r["Model"]["Model"]["ModelName"] for page in search(*filters, PaginationConfig={"PageSize": 2}) for r in page["Results"])
    assert len(names(("Tags.group", "Equals", "g0"))) == 3
    assert len(names(("ModelName", "Contains", "search"), ("Tags.group", "Equals", "g1"))) == 2
    assert names(("PrimaryContainer.Image", "Equals", "nothing")) == []
    assert refused(sagemaker.search, Resource="Endpoint")[0] == "UnsupportedOperation"
