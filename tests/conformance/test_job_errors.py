"""What CreateTrainingJob and its family refuse: code, status and words, and that nothing came of it."""

import pytest

from .. import jobs

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job"
NAME = "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"


@pytest.fixture(scope="module")
def sagemaker(server):
    server.client("s3").create_bucket(Bucket="jobs")
    return server.client("sagemaker")


def wanted(**more):
    return jobs.request("never", "process:///bin/true", **more)


def without(*path):
    request = wanted()
    part = request
    for step in path[:-1]:
        part = part[step]
    del part[path[-1]]
    return request


def stopping(**condition):
    return wanted(StoppingCondition=condition)


CASES = {
    "an invalid name": (wanted() | {"TrainingJobName": "a_b"}, "1 validation error detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern"),
    "a name that is too long": (wanted() | {"TrainingJobName": "a" * 64}, "2 validation errors detected: Value"),
    "an invalid role": (wanted() | {"RoleArn": "arn:aws:iam::1:user/somebody-else"}, "1 validation error detected: Value 'arn:aws:iam::1:user/somebody-else' at 'roleArn' failed"),
    "an unknown mode": (wanted(algorithm={"TrainingInputMode": "Tape"}), "1 validation error detected: Value 'Tape' at 'algorithmSpecification.trainingInputMode' failed to satisfy constraint: Member must satisfy enum value set"),
    "no image": (without("AlgorithmSpecification", "TrainingImage"), "AlgorithmSpecification needs a TrainingImage"),
    "no algorithm": (without("AlgorithmSpecification"), "AlgorithmSpecification needs a TrainingImage"),
    "no resources": (without("ResourceConfig"), "ResourceConfig needs an InstanceType"),
    "no instance type": (without("ResourceConfig", "InstanceType"), "ResourceConfig needs an InstanceType"),
    "no instances": (wanted(resources={"InstanceCount": 0}), "InstanceCount must be from 1 to 20."),
    "too many instances": (wanted(resources={"InstanceCount": 21}), "InstanceCount must be from 1 to 20."),
    "a metric that is no pattern": (wanted(algorithm={"MetricDefinitions": [{"Name": "m", "Regex": "("}]}), "The pattern '(' of the metric m is not valid"),
    "a channel twice": (wanted(InputDataConfig=[jobs.channel("a", "s3://b/k")] * 2), "Two channels are named a."),
    "a channel that is a folder of ours": (wanted(InputDataConfig=[jobs.channel("..", "s3://b/k")]), "A channel cannot be named .."),
    "no S3 address": (wanted(InputDataConfig=[jobs.channel("a", "https://b/k")]), "'https://b/k' is no s3://bucket/key"),
    "a file system": (wanted(InputDataConfig=[{"ChannelName": "a", "DataSource": {"FileSystemDataSource": {
        "FileSystemId": "fs-12345678", "FileSystemAccessMode": "ro", "FileSystemType": "EFS", "DirectoryPath": "/x"}}}]), "Channel a: only an S3DataSource is served."),
    "an augmented manifest": (wanted(InputDataConfig=[jobs.channel("a", "s3://b/k", kind="AugmentedManifestFile", InputMode="Pipe")]), "Channel a: an AugmentedManifestFile needs AttributeNames."),
    "a channel named as a pipe": (wanted(InputDataConfig=[jobs.channel("a", "s3://b/k", InputMode="Pipe"), jobs.channel("a_0", "s3://b/k")]), "The channel a_0 has the name of a pipe of channel a."),
    "a kind of data that is not served": (wanted(InputDataConfig=[jobs.channel("a", "s3://b/k", kind="Converse")]), "Channel a: S3DataType Converse is not served"),
    "too long": (stopping(MaxRuntimeInSeconds=28 * 86_400 + 1), "MaxRuntimeInSeconds must not be greater than 2419200."),
    "not at all": (stopping(MaxRuntimeInSeconds=0), None),  # boto3 itself knows the minimum
    "waiting without spot": (stopping(MaxRuntimeInSeconds=1, MaxWaitTimeInSeconds=2), "MaxWaitTimeInSeconds can only be specified when EnableManagedSpotTraining"),
    "spot without waiting": (wanted(EnableManagedSpotTraining=True), "MaxWaitTimeInSeconds is required when EnableManagedSpotTraining is set to true."),
    "spot that waits too short": (stopping(MaxRuntimeInSeconds=3, MaxWaitTimeInSeconds=2) | {"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds."),
    "checkpoints elsewhere": (wanted(CheckpointConfig={"S3Uri": "s3://b/k", "LocalPath": "/etc"}), "/etc: expected a path below /opt/ml"),
    "checkpoints that leave": (wanted(CheckpointConfig={"S3Uri": "s3://b/k", "LocalPath": "/opt/ml/../x"}), "/opt/ml/../x: expected a path below /opt/ml"),
    "checkpoints among the inputs": (wanted(CheckpointConfig={"S3Uri": "s3://b/k", "LocalPath": "/opt/ml/input/data/train"}), "CheckpointConfig: LocalPath /opt/ml/input/data/train lies among the inputs"),
    "events among the inputs": (wanted(TensorBoardOutputConfig={"S3OutputPath": "s3://b/k", "LocalPath": "/opt/ml/input/x"}), "TensorBoardOutputConfig: LocalPath /opt/ml/input/x lies among"),
    "events nowhere": (wanted(TensorBoardOutputConfig={"S3OutputPath": "https://b/k"}), "'https://b/k' is no s3://bucket/key"),
    "an algorithm and an image": (wanted(algorithm={"AlgorithmName": "mine"}), "AlgorithmSpecification has an AlgorithmName beside its TrainingImage"),
    "instance groups": (wanted(resources={"InstanceGroups": [{"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "g"}]}), "ResourceConfig: InstanceGroups are not served"),
    "a reserved tag": (wanted(Tags=[{"Key": "aws:x", "Value": ""}]), "aws: prefixed tag key names are not allowed for external use."),
    "too many retries": (wanted(RetryStrategy={"MaximumRetryAttempts": 31}), "1 validation error detected: Value '31' at 'retryStrategy.maximumRetryAttempts'"),
    "serverless": (wanted(ServerlessJobConfig={"JobType": "FineTuning", "BaseModelArn": "arn:aws:sagemaker:us-east-1:aws:hub-content/x/Model/y/1"}), None),
}


@pytest.mark.parametrize("what", CASES)
def test_refused(sagemaker, refused, what):
    request, message = CASES[what]
    if message is None:
        with pytest.raises(Exception):
            sagemaker.create_training_job(**request)
    else:
        code, status, said = refused(sagemaker.create_training_job, **request)
        assert (code, status) == ("ValidationException", 400) and said.startswith(message), said
    assert not sagemaker.list_training_jobs()["TrainingJobSummaries"]


def test_missing_and_finished_and_twice(sagemaker, refused, name):
    missing = ("ValidationException", 400, "Requested resource not found.")
    assert refused(sagemaker.describe_training_job, TrainingJobName="nobody") == missing
    assert refused(sagemaker.stop_training_job, TrainingJobName="nobody") == missing
    assert refused(sagemaker.delete_training_job, TrainingJobName="nobody") == ("ResourceNotFound", 400, "Requested resource not found.")
    assert refused(sagemaker.update_training_job, TrainingJobName="nobody")[0] == "ResourceNotFound"
    job = name("Twice")
    sagemaker.create_training_job(**jobs.request(job, "process:///bin/true"))
    assert refused(sagemaker.create_training_job, **jobs.request(job.upper(), "process:///bin/true")) == (
        "ResourceInUse", 400, "Training job names must be unique within an AWS account and region, and a training job with this name already exists "
        f"({ARN}/{job.lower()})")
    before = jobs.finish(sagemaker, job)
    assert refused(sagemaker.stop_training_job, TrainingJobName=job) == (
        "ValidationException", 400, "The request was rejected because the training job is in status Completed.")
    after = sagemaker.describe_training_job(TrainingJobName=job)
    before.pop("ResponseMetadata"), after.pop("ResponseMetadata")
    assert before == after
