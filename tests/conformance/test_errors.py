"""What is asked of things that are not there, are there already, or are busy: codes, statuses and words, which SDKs match, by
table. Nothing is changed by any of it."""

import boto3
import pytest

from .. import jobs
from ..servers import await_that

ARN = "arn:aws:sagemaker:us-east-1:123456789012"


def config(model, **variant):
    return [{"VariantName": "v", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1} | variant]


@pytest.fixture(scope="module")
def sagemaker(server, tmp_path_factory):
    """One of each, and an endpoint that stays Creating: its program says nothing."""
    client = server.client("sagemaker")
    server.client("s3").create_bucket(Bucket="jobs")
    folder = tmp_path_factory.mktemp("programs")
    client.create_model(ModelName="Model", PrimaryContainer={"Image": jobs.script(folder, "silent", "exec sleep 600")}, ExecutionRoleArn=jobs.ROLE)
    client.create_endpoint_config(EndpointConfigName="Config", ProductionVariants=config("Model", ContainerStartupHealthCheckTimeoutInSeconds=60))
    client.create_endpoint(EndpointName="Endpoint", EndpointConfigName="Config")
    client.create_training_job(**jobs.request("Job", "process:///bin/true"))
    jobs.finish(client, "Job")
    return client


def everything(client):
    """All that describes what is there."""
    out = [client.describe_model(ModelName="Model"), client.describe_endpoint_config(EndpointConfigName="Config"),
           client.describe_training_job(TrainingJobName="Job"), client.describe_endpoint(EndpointName="Endpoint"),
           client.list_models(), client.list_endpoint_configs(), client.list_endpoints(), client.list_training_jobs()]
    for one in out:
        one.pop("ResponseMetadata")
    return out


VALID = "ValidationException"
NO_JOB = (VALID, "Requested resource not found.")
NO_ENDPOINT = (VALID, f'Could not find endpoint "{ARN}:endpoint/nobody".')
NO_CONFIG = (VALID, f'Could not find endpoint configuration "{ARN}:endpoint-config/nobody".')
NO_MODEL = (VALID, f'Could not find model "{ARN}:model/nobody".')
BUSY = (VALID, f'Cannot update in-progress endpoint "{ARN}:endpoint/endpoint".')
PATTERN = "Member must satisfy regular expression pattern"


def request(**more):
    return jobs.request("other", "process:///bin/true") | more


TABLE = [
    # what is not there
    ("describe_training_job", {"TrainingJobName": "nobody"}, *NO_JOB),
    ("stop_training_job", {"TrainingJobName": "nobody"}, *NO_JOB),
    ("describe_endpoint", {"EndpointName": "nobody"}, *NO_ENDPOINT),
    ("update_endpoint", {"EndpointName": "nobody", "EndpointConfigName": "Config"}, *NO_ENDPOINT),
    ("delete_endpoint", {"EndpointName": "nobody"}, *NO_ENDPOINT),
    ("describe_endpoint_config", {"EndpointConfigName": "nobody"}, *NO_CONFIG),
    ("delete_endpoint_config", {"EndpointConfigName": "nobody"}, *NO_CONFIG),
    ("create_endpoint", {"EndpointName": "other", "EndpointConfigName": "nobody"}, *NO_CONFIG),
    ("describe_model", {"ModelName": "nobody"}, *NO_MODEL),
    ("delete_model", {"ModelName": "nobody"}, *NO_MODEL),
    ("create_endpoint_config", {"EndpointConfigName": "other", "ProductionVariants": config("nobody")}, *NO_MODEL),
    # what is there already, whatever the case of its letters
    ("create_model", {"ModelName": "MODEL", "PrimaryContainer": {"Image": "x"}, "ExecutionRoleArn": jobs.ROLE}, VALID,
     f'Cannot create already existing model "{ARN}:model/model".'),
    ("create_endpoint_config", {"EndpointConfigName": "CONFIG", "ProductionVariants": config("Model")}, VALID,
     f'Cannot create already existing endpoint configuration "{ARN}:endpoint-config/config".'),
    ("create_endpoint", {"EndpointName": "ENDPOINT", "EndpointConfigName": "Config"}, VALID, f'Cannot create already existing endpoint "{ARN}:endpoint/endpoint".'),
    ("create_training_job", jobs.request("JOB", "process:///bin/true"), "ResourceInUse",
     f"Training job names must be unique within an AWS account and region, and a training job with this name already exists ({ARN}:training-job/job)"),
    # what is busy, or over
    ("update_endpoint", {"EndpointName": "Endpoint", "EndpointConfigName": "Config"}, *BUSY),
    ("stop_training_job", {"TrainingJobName": "Job"}, VALID, "The request was rejected because the training job is in status Completed."),
    # names, enums, ranges, lengths
    ("create_model", {"ModelName": "no_underscores", "PrimaryContainer": {"Image": "x"}, "ExecutionRoleArn": jobs.ROLE}, VALID,
     f"1 validation error detected: Value 'no_underscores' at 'modelName' failed to satisfy constraint: {PATTERN}"),
    ("create_training_job", request(TrainingJobName="-x"), VALID, f"1 validation error detected: Value '-x' at 'trainingJobName' failed to satisfy constraint: {PATTERN}"),
    ("create_training_job", request(TrainingJobName="x" * 64), VALID, "2 validation errors detected: Value '" + "x" * 64 + "' at 'trainingJobName' failed to satisfy constraint: "
     "Member must have length less than or equal to 63"),
    ("create_training_job", request(ResourceConfig={"InstanceType": "ml.box.1cpu", "InstanceCount": 0, "VolumeSizeInGB": 1}), VALID,
     "InstanceCount must be from 1 to 20."),
    ("list_training_jobs", {"MaxResults": 101}, VALID, "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100"),
    ("list_training_jobs", {"StatusEquals": "Done"}, VALID, "1 validation error detected: Value 'Done' at 'statusEquals' failed to satisfy constraint: Member must satisfy enum value set"),
    ("list_endpoints", {"SortBy": "Size"}, VALID, "1 validation error detected: Value 'Size' at 'sortBy' failed to satisfy constraint: Member must satisfy enum value set"),
    ("list_models", {"NextToken": "made up"}, VALID, ""),
]


@pytest.fixture(scope="module")
def unchecked(server, sagemaker):
    """The client does not look at what it sends."""
    from botocore.config import Config
    return server.client("sagemaker", config=Config(parameter_validation=False))


@pytest.mark.parametrize("operation, members, code, message", TABLE, ids=[f"{row[0]}-{i}" for i, row in enumerate(TABLE)])
def test_sagemaker(sagemaker, unchecked, refused, operation, members, code, message):
    before = everything(sagemaker)
    got = refused(getattr(unchecked, operation), **members)
    assert got[:2] == (code, 400) and got[2].startswith(message), got
    assert everything(sagemaker) == before


def test_the_runtime(server, sagemaker, refused):
    runtime = server.client("sagemaker-runtime", check=False)
    for name in ("nobody", "Endpoint"):  # one that is not there, one that is not in service yet
        assert refused(runtime.invoke_endpoint, EndpointName=name, Body=b"x") == ("ValidationError", 400, f"Endpoint {name} of account 123456789012 not found.")
    for operation in ("invoke_endpoint", "invoke_endpoint_with_response_stream"):
        code, status, message = refused(getattr(runtime, operation), EndpointName="Endpoint", Body=b"x" * ((6 << 20) + 1))
        assert (code, status) == ("ValidationError", 413) or status == 400, (code, status, message)


def test_operations_that_are_not_served_say_so(sagemaker, refused):
    for operation, members in (("describe_processing_job", {"ProcessingJobName": "x"}), ("describe_transform_job", {"TransformJobName": "x"}),
                               ("describe_notebook_instance", {"NotebookInstanceName": "x"}), ("describe_hyper_parameter_tuning_job", {"HyperParameterTuningJobName": "xx"})):
        code, status, message = refused(getattr(sagemaker, operation), **members)
        assert status in (400, 501) and "".join(word.title() for word in operation.split("_"))[:12] in message, (code, status, message)


def test_an_endpoint_that_is_being_made_is_deleted(sagemaker):
    sagemaker.delete_endpoint(EndpointName="Endpoint")
    await_that(lambda: not sagemaker.list_endpoints()["Endpoints"], "it is gone", 60)


def test_what_aws_serves_to_everybody_is_refused_in_the_same_words(server, refused):
    """The client sends it unsigned."""
    code, status, message = refused(server.client("sts").assume_role_with_web_identity, RoleArn="arn:aws:iam::123456789012:role/R", RoleSessionName="me", WebIdentityToken="token")
    scaling = boto3.client("autoscaling", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=server.access_key, aws_secret_access_key=server.secret)
    assert refused(scaling.delete_policy, AutoScalingGroupName="g", PolicyName="p")[:2] == ("UnsupportedOperation", 400), "IAM has an action of that name"
    assert (code, status) == ("UnsupportedOperation", 400) and "sts:AssumeRoleWithWebIdentity" in message
