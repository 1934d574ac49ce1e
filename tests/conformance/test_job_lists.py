"""Lists of training jobs: paging under concurrent creation, filters, orders, tokens; Search; tags."""

import time

import pytest

from .. import jobs
from ..servers import others_create


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return jobs.script(tmp_path_factory.mktemp("scripts"), "done", "exit 0")


@pytest.fixture(scope="module")
def sagemaker(server):
    server.client("s3").create_bucket(Bucket="jobs")
    return server.client("sagemaker")


def names(sagemaker, **query):
    return [j["TrainingJobName"] for page in sagemaker.get_paginator("list_training_jobs").paginate(**query) for j in page["TrainingJobSummaries"]]


def test_each_once_and_in_order_while_others_create(server, sagemaker, image):
    for i in range(250):
        sagemaker.create_training_job(**jobs.request(f"page-{i:03}", image))
    mine = server.client("sagemaker")
    with others_create(lambda i: mine.create_training_job(**jobs.request(f"other-{i}", image)), pause=0.01):
        expected = [f"page-{i:03}" for i in range(250)]
        for sort, order in (("Name", "Ascending"), ("CreationTime", "Descending"), ("CreationTime", "Ascending")):
            found = names(sagemaker, SortBy=sort, SortOrder=order, NameContains="page-", PaginationConfig={"PageSize": 7})
            assert found == (expected if order == "Ascending" else expected[::-1])
        assert names(sagemaker, NameContains="page-") == expected  # the usual order
    for i in range(250):
        assert jobs.finish(sagemaker, f"page-{i:03}")["TrainingJobStatus"] == "Completed"


def test_filters(sagemaker, image, name):
    first, second = name("filter-a"), name("filter-b")
    sagemaker.create_training_job(**jobs.request(first, image))
    jobs.finish(sagemaker, first)
    time.sleep(1.1)  # clients send whole seconds
    sagemaker.create_training_job(**jobs.request(second, image.replace("done", "nothing")))
    jobs.finish(sagemaker, second)
    created = sagemaker.describe_training_job(TrainingJobName=second)["CreationTime"].replace(microsecond=0)
    find = lambda **query: names(sagemaker, NameContains="filter-", **query)
    assert find() == [first, second]
    assert find(StatusEquals="Completed") == [first] and find(StatusEquals="Failed") == [second] and find(StatusEquals="Stopping") == []
    assert find(CreationTimeAfter=created) == find(LastModifiedTimeAfter=created) == [second]
    assert find(CreationTimeBefore=created) == find(LastModifiedTimeBefore=created) == [first]
    assert find(SortBy="Status") == [first, second] and find(SortBy="Status", SortOrder="Descending") == [second, first]
    summary = sagemaker.list_training_jobs(NameContains=first)["TrainingJobSummaries"][0]
    assert summary["TrainingJobStatus"] == summary["SecondaryStatus"] == "Completed" and summary["TrainingEndTime"] >= summary["CreationTime"]


def test_tokens(sagemaker, refused):
    token = sagemaker.list_training_jobs(MaxResults=2)["NextToken"]
    assert sagemaker.list_training_jobs(MaxResults=2, NextToken=token)["TrainingJobSummaries"]
    for wrong in (token[:-1], token.swapcase(), "x"):
        assert refused(sagemaker.list_training_jobs, NextToken=wrong)[0] == "ValidationException"
    assert refused(sagemaker.list_models, NextToken=token)[0] == "ValidationException"
    assert refused(sagemaker.list_training_jobs, MaxResults=101)[2] == (
        "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100")


def test_search_by_what_a_job_came_to(sagemaker, tmp_path, name, refused):
    image = jobs.script(tmp_path, "accuracy", "grep -o '[0-9.]*' input/config/hyperparameters.json | tail -1 | sed s/^/acc=0./")
    made = {epochs: name("Metric") for epochs in ("9", "10", "2")}
    for epochs, job in made.items():
        metric = {"MetricDefinitions": [{"Name": "validation:accuracy", "Regex": "acc=(.*)"}]}
        sagemaker.create_training_job(**jobs.request(job, image, HyperParameters={"epochs": epochs}, algorithm=metric))
        assert jobs.finish(sagemaker, job)["TrainingJobStatus"] == "Completed"

    def find(*filters, **order):
        expression = {"Filters": [{"Name": "TrainingJobName", "Operator": "Contains", "Value": "Metric-"}] + [{"Name": n, "Operator": o, "Value": v} for n, o, v in filters]}
        pages = sagemaker.get_paginator("search").paginate(Resource="TrainingJob", SearchExpression=expression, PaginationConfig={"PageSize": 2}, **order)
        return [r["TrainingJob"]["HyperParameters"]["epochs"] for page in pages for r in page["Results"]]

    assert sorted(find(("HyperParameters.epochs", "GreaterThan", "5"))) == ["10", "9"]
    assert sorted(find(("Metrics.validation:accuracy", "GreaterThan", "0.15"))) == ["2", "9"]
    assert find(SortBy="Metrics.validation:accuracy", SortOrder="Ascending") == ["10", "2", "9"]
    assert find(SortBy="HyperParameters.epochs") == ["10", "9", "2"]
    assert find(SortBy="TrainingEndTime", SortOrder="Ascending") == ["9", "10", "2"]
    assert refused(sagemaker.search, Resource="TrainingJob", SortBy="nonsense")[0] == "ValidationException"


def test_members_that_not_every_answer_has(sagemaker, image, name):
    """Whatever a request may say about a job, describing, listing and searching show it, or leave it out."""
    job = name("Everything")
    sagemaker.create_training_job(**jobs.request(
        job, image, InfraCheckConfig={"EnableInfraCheck": True}, RemoteDebugConfig={"EnableRemoteDebug": True},
        ProfilerConfig={"S3OutputPath": "s3://jobs/profile"}, ProfilerRuleConfigurations=[{"RuleConfigurationName": "r", "RuleEvaluatorImage": "i"}],
        DebugHookConfig={"S3OutputPath": "s3://jobs/debug"}, DebugRuleConfigurations=[{"RuleConfigurationName": "r", "RuleEvaluatorImage": "i"}],
        SessionChainingConfig={"EnableSessionTagChaining": True}, ExperimentConfig={"TrialName": "t"}, VpcConfig={"SecurityGroupIds": ["sg"], "Subnets": ["s"]},
        EnableInterContainerTrafficEncryption=True, RetryStrategy={"MaximumRetryAttempts": 1}, Environment={"A": "b"}))
    described = jobs.finish(sagemaker, job)
    assert described["InfraCheckConfig"] == {"EnableInfraCheck": True} and described["RemoteDebugConfig"] == {"EnableRemoteDebug": True}
    assert described["OutputDataConfig"] == {"S3OutputPath": "s3://jobs/out", "KmsKeyId": "", "CompressionType": "GZIP"}, "the SDK's attach() reads all three"
    assert sagemaker.list_training_jobs(NameContains=job)["TrainingJobSummaries"][0]["TrainingJobName"] == job
    [found] = sagemaker.search(Resource="TrainingJob", SearchExpression={"Filters": [{"Name": "TrainingJobName", "Operator": "Equals", "Value": job}]})["Results"]
    assert found["TrainingJob"]["ProfilerConfig"]["S3OutputPath"] == "s3://jobs/profile" and "RemoteDebugConfig" not in found["TrainingJob"]


def test_search_and_tags(sagemaker, image, name):
    made = [name("Search") for _ in range(4)]
    for i, job in enumerate(made):
        sagemaker.create_training_job(**jobs.request(job, image, HyperParameters={"n": str(i)}, Tags=[{"Key": "group", "Value": f"g{i % 2}"}]))
        jobs.finish(sagemaker, job)

    def find(*filters):
        expression = {"Filters": [{"Name": n, "Operator": o, "Value": v} for n, o, v in filters]}
        pages = sagemaker.get_paginator("search").paginate(Resource="TrainingJob", SearchExpression=expression, PaginationConfig={"PageSize": 2})
        return sorted(r["TrainingJob"]["TrainingJobName"] for page in pages for r in page["Results"])

    assert find(("Tags.group", "Equals", "g0")) == made[::2]
    assert find(("HyperParameters.n", "Equals", "3"), ("TrainingJobStatus", "Equals", "Completed")) == [made[3]]
    arn = sagemaker.describe_training_job(TrainingJobName=made[0])["TrainingJobArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "x"}])
    assert {t["Key"]: t["Value"] for t in sagemaker.list_tags(ResourceArn=arn)["Tags"]} == {"group": "g0", "stage": "x"}
