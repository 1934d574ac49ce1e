#!/usr/bin/env python3
"""Training jobs of a program that does nothing: from CreateTrainingJob to Completed, how many a second, and how a server
answers that holds 100,000 of them. Prints JSON.

    jobs.py --textmill build/release/textmill [--stored 100000]"""

import argparse
import json
import re
import sqlite3
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import botocore.session
from botocore.config import Config

ROLE = "arn:aws:iam::123456789012:role/Role"


class Server:
    def __init__(self, textmill: str, folder: Path):
        self.process = subprocess.Popen([textmill, "up", "--data-dir", folder, "--listen", "127.0.0.1:0", "--log-level", "warning", "--job-cpus", "4"],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = re.search(r"https?://\S+", self.process.stdout.readline())[0]
        self.key = json.loads((folder / "root-key.json").read_text())

    def client(self, service: str):
        return botocore.session.Session().create_client(
            service, endpoint_url=self.url, region_name="us-east-1", config=Config(retries={"max_attempts": 0}),
            aws_access_key_id=self.key["access_key_id"], aws_secret_access_key=self.key["secret_access_key"])

    def passes(self) -> dict[float, int]:
        """The reconciler's passes by their time: how many took at most so many seconds."""
        text = urllib.request.urlopen(self.url + "/_textmill/metrics").read().decode()
        found = re.findall(r'textmill_reconciler_seconds_bucket\{.*?le="([^"]+)".*?\} (\d+)', text)
        return {float(bound.replace("+Inf", "inf")): int(count) for bound, count in found}

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


def create(sagemaker, name: str) -> None:
    sagemaker.create_training_job(
        TrainingJobName=name, RoleArn=ROLE, AlgorithmSpecification={"TrainingImage": "process:///bin/true", "TrainingInputMode": "File"},
        OutputDataConfig={"S3OutputPath": "s3://jobs/out"}, StoppingCondition={"MaxRuntimeInSeconds": 60},
        ResourceConfig={"InstanceType": "ml.box.1cpu", "InstanceCount": 1, "VolumeSizeInGB": 1})


def one_job(sagemaker, name: str) -> float:
    begin = time.perf_counter()
    create(sagemaker, name)
    while (status := sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]) == "InProgress":
        time.sleep(0.002)
    if status != "Completed":
        raise SystemExit(f"{name} is {status}")
    return time.perf_counter() - begin


def many_jobs(sagemaker, name: str, count: int = 100) -> float:
    """Jobs a second, all created first; the server runs 4 at a time."""
    begin = time.perf_counter()
    for i in range(count):
        create(sagemaker, f"{name}-{i}")
    while sagemaker.list_training_jobs(StatusEquals="InProgress", NameContains=name, MaxResults=1)["TrainingJobSummaries"]:
        time.sleep(0.01)
    seconds = time.perf_counter() - begin
    if sagemaker.list_training_jobs(StatusEquals="Failed", MaxResults=1)["TrainingJobSummaries"]:
        raise SystemExit("a job failed")
    return count / seconds


def store(folder: Path, count: int) -> None:
    """Copies of a job that is over, as rows."""
    db = sqlite3.connect(folder / "textmill.db")
    created, status, body = db.execute("SELECT created, status, body FROM resources WHERE kind = 'training-job' AND key = 'one-0'").fetchone()
    rows = ((f"stored-{i}", f"stored-{i}", created + i, created + i, status, body) for i in range(count))
    db.executemany("INSERT INTO resources (kind, key, name, created, modified, status, token, body) VALUES ('training-job', ?, ?, ?, ?, ?, '', ?)", rows)
    db.commit()
    db.close()


def p99(call, times: int = 500) -> float:
    """Milliseconds, as a client sees them."""
    taken = []
    for i in range(times):
        begin = time.perf_counter()
        call(i)
        taken.append((time.perf_counter() - begin) * 1000)
    return sorted(taken)[int(times * 0.99)]


def pages(sagemaker, **asked):
    token = {}

    def page(_):
        answer = sagemaker.list_training_jobs(MaxResults=100, **asked, **token)
        token.clear()
        if "NextToken" in answer:
            token["NextToken"] = answer["NextToken"]

    return page


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--textmill", required=True)
    options.add_argument("--stored", type=int, default=100_000)
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "data"
        server = Server(options.textmill, folder)
        server.client("s3").create_bucket(Bucket="jobs")
        sagemaker = server.client("sagemaker")
        one = [one_job(sagemaker, f"one-{i}") for i in range(30)]
        rate = statistics.median(many_jobs(sagemaker, f"many-{i}") for i in range(3))
        server.stop()
        store(folder, options.stored)
        server = Server(options.textmill, folder)
        sagemaker = server.client("sagemaker")
        listed, described = p99(pages(sagemaker)), p99(lambda i: sagemaker.describe_training_job(TrainingJobName=f"stored-{i * 97 % options.stored}"))
        none = {"NameContains": "no-such", "StatusEquals": "Failed"}
        filtered = [p99(pages(sagemaker, **asked), 100) for asked in ({k: v} for k, v in none.items())]
        by_name, by_status = (p99(pages(sagemaker, SortBy=sort), 100) for sort in ("Name", "Status"))
        before = server.passes()
        for i in range(100):
            one_job(sagemaker, f"late-{i}")
        after = server.passes()
        server.stop()
    passes = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    total = max(passes.values())
    print(json.dumps({"create_to_completed_s": statistics.median(one), "create_to_completed_worst_s": max(one), "jobs_per_second": rate,
                      "list_p99_ms": listed, "list_filtered_p99_ms": max(filtered),
                      "list_by_name_p99_ms": by_name, "list_by_status_p99_ms": by_status, "describe_p99_ms": described, "passes": total,
                      "pass_p99_ms_at_most": 1000 * min(bound for bound, count in passes.items() if count >= 0.99 * total)}))


if __name__ == "__main__":
    main()
