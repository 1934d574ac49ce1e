"""From sentences to an endpoint that answers, as a user's script does it with boto3; and the same where the server is killed
on the way."""

import io
import json
import tarfile

import pytest
from botocore.exceptions import ClientError

from .. import jobs
from ..servers import Server, await_that
from ..tiny_models import reviews, tiny_bert

LABELS = ["neg", "pos"]


def upload(server, folder):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="jobs")
    for path in tiny_bert(folder / "model").iterdir():
        s3.upload_file(str(path), "jobs", f"model/{path.name}")
    for name, rows in (("train", 400), ("validation", 60)):
        s3.upload_file(str(reviews(folder / f"{name}.tsv", rows)), "jobs", f"{name}/{name}.tsv")


def train(server, epochs="8"):
    channels = [jobs.channel(c, f"s3://jobs/{c}") for c in ("model", "train", "validation")]
    server.client("sagemaker").create_training_job(**jobs.request(
        "Train", "textmill/text-classification", InputDataConfig=channels, HyperParameters={"epochs": epochs, "learning-rate": "0.002", "seed": "7"}))


def trained(server):
    sagemaker = server.client("sagemaker")
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="Train", WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    done = sagemaker.describe_training_job(TrainingJobName="Train")
    assert done["TrainingJobStatus"] == "Completed", done
    keys = [o["Key"] for o in server.client("s3").list_objects_v2(Bucket="jobs", Prefix="out/")["Contents"]]
    assert keys == ["out/Train/output/model.tar.gz"]  # one, whatever happened
    return f"s3://jobs/{keys[0]}"


def deploy(server, artifact):
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName="Trained", PrimaryContainer={"Image": "textmill/serve", "ModelDataUrl": artifact}, ExecutionRoleArn=jobs.ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": "Trained", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="Config", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="Endpoint", EndpointConfigName="Config")


def in_service(server):
    server.client("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="Endpoint", WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def check_answers(server, folder):
    runtime = server.client("sagemaker-runtime")
    ask = lambda **body: runtime.invoke_endpoint(EndpointName="Endpoint", ContentType="application/json", Body=json.dumps(body))
    answer = ask(inputs=["a great film"], parameters={"top_k": 2})
    assert answer["InvokedProductionVariant"] == "AllTraffic" and answer["ContentType"].startswith("application/json")
    one, = json.load(answer["Body"])
    assert {p["label"] for p in one} == set(LABELS) and one[0]["score"] >= one[1]["score"] and abs(sum(p["score"] for p in one) - 1) < 1e-3
    rows = [line.split("\t") for line in reviews(folder / "fresh.tsv", 100, seed=5).read_text().splitlines()[1:]]
    answers = json.load(ask(inputs=[text for _, text in rows], parameters={"top_k": 1})["Body"])
    found = [(a[0] if isinstance(a, list) else a)["label"] for a in answers]
    assert len(found) == 100 and sum(f == label for f, (label, _) in zip(found, rows)) > 90


def delete(server):
    sagemaker = server.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName="Endpoint")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="Endpoint", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    with pytest.raises(ClientError, match="Could not find endpoint ") as caught:
        sagemaker.describe_endpoint(EndpointName="Endpoint")
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError) as caught:
        server.client("sagemaker-runtime").invoke_endpoint(EndpointName="Endpoint", Body=b"{}")
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_train_deploy_invoke_delete(server, tmp_path):
    upload(server, tmp_path)
    train(server)
    artifact = trained(server)
    with tarfile.open(fileobj=io.BytesIO(server.client("s3").get_object(Bucket="jobs", Key=artifact.removeprefix("s3://jobs/"))["Body"].read())) as archive:
        assert {"model.safetensors", "config.json"} <= set(archive.getnames())
    deploy(server, artifact)
    in_service(server)
    check_answers(server, tmp_path)
    delete(server)


def test_the_same_with_a_server_that_is_killed(build, tmp_path):
    server = Server(build / "textmill", tmp_path / "data").start()
    try:
        upload(server, tmp_path)
        train(server)
        job = lambda: server.client("sagemaker").describe_training_job(TrainingJobName="Train")
        # In its history: so small a job may be through before anybody looks.
        await_that(lambda: any(step["Status"] == "Training" for step in job()["SecondaryStatusTransitions"]), "it trains")
        server.kill()
        server.start()
        deploy(server, trained(server))
        server.kill()  # Creating
        server.start()
        in_service(server)
        check_answers(server, tmp_path)
        server.kill()
        server.start()
        assert server.client("sagemaker").describe_endpoint(EndpointName="Endpoint")["EndpointStatus"] == "InService"
        check_answers(server, tmp_path)
        delete(server)
    finally:
        assert server.stop() == 0
    assert not [line for line in server.log_lines() if line["level"] == "error"]
