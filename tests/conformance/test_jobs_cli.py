"""Training with the aws command line alone, version 1 and 2: files up, a job, its log, the artifact down."""

import json
import tarfile

from .. import jobs


def test_a_job_by_the_command_line(aws, name, tmp_path):
    bucket, job = name("bucket"), name("Cli")
    aws("s3", "mb", f"s3://{bucket}")
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "a.txt").write_text("hello\n")
    (data / "sub/b.txt").write_text("world\n")
    aws("s3", "cp", "--recursive", data, f"s3://{bucket}/in")
    image = jobs.script(tmp_path, "train", "cat input/data/train/a.txt input/data/train/sub/b.txt; cp -r input/data/train model")
    (tmp_path / "job.json").write_text(json.dumps(jobs.request(job, image, bucket, InputDataConfig=[jobs.channel("train", f"s3://{bucket}/in")])))
    assert aws("sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path}/job.json")["TrainingJobArn"].endswith(f"/{job.lower()}")
    aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", job, timeout=200)
    listed = aws("sagemaker", "list-training-jobs", "--name-contains", job, "--status-equals", "Completed", "--max-items", "1")
    assert [j["TrainingJobName"] for j in listed["TrainingJobSummaries"]] == [job]

    group = "/aws/sagemaker/TrainingJobs"
    streams = aws("logs", "describe-log-streams", "--log-group-name", group, "--log-stream-name-prefix", f"{job}/")["logStreams"]
    events = aws("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", streams[0]["logStreamName"], "--start-from-head")["events"]
    assert [e["message"] for e in events][-2:] == ["hello", "world"]
    if aws.version == 2:
        assert "world" in aws("logs", "tail", group, "--log-stream-name-prefix", f"{job}/")

    artifact = aws("sagemaker", "describe-training-job", "--training-job-name", job)["ModelArtifacts"]["S3ModelArtifacts"]
    aws("s3", "cp", artifact, tmp_path / "model.tar.gz")
    with tarfile.open(tmp_path / "model.tar.gz") as archive:
        archive.extractall(tmp_path / "model", filter="data")
    assert (tmp_path / "model/train/sub/b.txt").read_text() == "world\n"
    said = aws("sagemaker", "stop-training-job", "--training-job-name", job, fails=True)
    assert "ValidationException" in said and "is in status Completed" in said
    assert "ResourceInUse" in aws("sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path}/job.json", fails=True)
