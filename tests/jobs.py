"""Training jobs for tests: scripts as images, requests, waiting."""

import time

ROLE = "arn:aws:iam::123456789012:role/service/Role"


def script(folder, name, text, interpreter="/bin/sh"):
    """An executable script; its image."""
    path = folder / name
    path.write_text(f"#!{interpreter}\n{text}\n")
    path.chmod(0o755)
    return f"process://{path}"


def request(name, image, bucket="jobs", **more):
    """What CreateTrainingJob takes. `algorithm` and `resources` add to their structures."""
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File"} | more.pop("algorithm", {})
    resources = {"InstanceType": "ml.box.1cpu", "InstanceCount": 1, "VolumeSizeInGB": 1} | more.pop("resources", {})
    return {"TrainingJobName": name, "AlgorithmSpecification": algorithm, "RoleArn": ROLE, "ResourceConfig": resources,
            "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out"}, "StoppingCondition": {"MaxRuntimeInSeconds": 3600}} | more


def channel(name, uri, distribution="FullyReplicated", kind="S3Prefix", **more):
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": distribution}}} | more


def finish(sagemaker, name, seconds=60):
    """Waits for the job's end; what describes it then."""
    end = time.monotonic() + seconds
    while (job := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] in ("InProgress", "Stopping"):
        assert time.monotonic() < end, job
        time.sleep(0.02)
    return job


def statuses(job):
    return [t["Status"] for t in job["SecondaryStatusTransitions"]]


def log_of(logs, name, host="algo-1"):
    """All that a host of the job said."""
    group = "/aws/sagemaker/TrainingJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/{host}-")["logStreams"]
    lines = []
    for stream in streams:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, logStreamNames=[stream["logStreamName"]])
        lines += [e["message"] for page in pages for e in page["events"]]
    return lines
