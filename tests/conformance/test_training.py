"""Train on the built-in image, artifact out: as a user's script does it with boto3."""

import io
import tarfile

import pytest

from .. import jobs
from ..tiny_models import reviews, tiny_bert


@pytest.fixture(scope="module")
def clients(server):
    return server.client("sagemaker"), server.client("s3"), server.client("logs"), server.client("cloudwatch")


@pytest.fixture(scope="module")
def data(clients, tmp_path_factory):
    """A bucket with a model folder, and sentences."""
    s3, folder = clients[1], tmp_path_factory.mktemp("data")
    s3.create_bucket(Bucket="jobs")
    for path in tiny_bert(folder / "model").iterdir():
        s3.upload_file(str(path), "jobs", f"model/{path.name}")
    for name, rows in (("train", 200), ("validation", 60)):
        s3.upload_file(str(reviews(folder / f"{name}.tsv", rows)), "jobs", f"{name}/{name}.tsv")


def test_train_to_artifact(clients, data, name):
    sagemaker, s3, logs, cloudwatch = clients
    job = name("Train")
    channels = [jobs.channel(c, f"s3://jobs/{c}") for c in ("model", "train", "validation")]
    answer = sagemaker.create_training_job(**jobs.request(
        job, "123456789012.dkr.ecr.us-east-1.amazonaws.com/textmill/text-classification:latest", InputDataConfig=channels,
        HyperParameters={"epochs": "3", "learning-rate": "0.001", "seed": "7"}))
    assert answer["TrainingJobArn"] == f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{job.lower()}"
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=job, WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    done = sagemaker.describe_training_job(TrainingJobName=job)
    assert done["TrainingJobStatus"] == done["SecondaryStatus"] == "Completed"
    assert jobs.statuses(done) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    times = [t["StartTime"] for t in done["SecondaryStatusTransitions"]]
    assert times == sorted(times) and all(t["EndTime"] >= t["StartTime"] and t["StatusMessage"] for t in done["SecondaryStatusTransitions"])
    assert done["TrainingEndTime"] >= done["TrainingStartTime"] >= done["CreationTime"]
    assert done["TrainingTimeInSeconds"] >= 1 and done["BillableTimeInSeconds"] >= 1

    metrics = {m["MetricName"]: m["Value"] for m in done["FinalMetricDataList"]}
    assert set(metrics) == {"train:loss", "validation:accuracy", "validation:f1"} and 0 <= metrics["validation:accuracy"] <= 1
    found = cloudwatch.list_metrics(Namespace="/aws/sagemaker/TrainingJobs", Dimensions=[{"Name": "TrainingJobName", "Value": job}])["Metrics"]
    assert {m["MetricName"] for m in found} == set(metrics)

    artifact = done["ModelArtifacts"]["S3ModelArtifacts"]
    assert artifact == f"s3://jobs/out/{job}/output/model.tar.gz"
    body = s3.get_object(Bucket="jobs", Key=artifact.removeprefix("s3://jobs/"))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        assert {"model.safetensors", "config.json", "vocab.txt"} <= set(archive.getnames())
    streams = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{job}/algo-1-")["logStreams"]
    assert len(streams) == 1
    lines = jobs.log_of(logs, job)
    assert any("validation_accuracy=" in line for line in lines) and any(line.startswith("Limits: ") for line in lines)
    assert [j["TrainingJobName"] for j in sagemaker.list_training_jobs(NameContains=job)["TrainingJobSummaries"]] == [job]


def test_the_builtin_says_what_is_wrong(clients, data, name):
    sagemaker = clients[0]
    cases = {
        "a channel that is missing": ([jobs.channel("train", "s3://jobs/train")], {}, "AlgorithmError: /opt/ml/input/data/model: the channel is missing"),
        "a hyperparameter that is none": ([jobs.channel("train", "s3://jobs/train"), jobs.channel("model", "s3://jobs/model")], {"epoch": "3"}, "AlgorithmError: "),
    }
    for what, (channels, parameters, reason) in cases.items():
        job = name()
        sagemaker.create_training_job(**jobs.request(job, "textmill/text-classification", InputDataConfig=channels, HyperParameters=parameters))
        done = jobs.finish(sagemaker, job)
        assert done["TrainingJobStatus"] == "Failed" and done["FailureReason"].startswith(reason) and ", exit code: 2" in done["FailureReason"], (what, done["FailureReason"])
