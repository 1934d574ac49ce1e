"""Models that are files below a prefix."""

import json

from .. import tiny_models
from .test_endpoints import deploy, runtime, sagemaker  # noqa: F401


def test_a_model_that_is_no_archive(server, runtime, sagemaker, deploy, name, refused, tmp_path):
    """As a job of CompressionType NONE leaves it (the SDK's disable_output_compression): its files, below a prefix."""
    bucket, s3 = name("bucket"), server.client("s3")
    s3.create_bucket(Bucket=bucket)
    for file in tiny_models.tiny_bert(tmp_path / "model", ["no", "yes"]).iterdir():
        s3.upload_file(file, bucket, f"model/{file.name}")
    source = {"S3Uri": f"s3://{bucket}/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    shown = deploy("textmill/serve", source)
    assert shown["EndpointStatus"] == "InService", shown.get("FailureReason")
    answer = runtime.invoke_endpoint(EndpointName=shown["EndpointName"], ContentType="application/json", Body=b'{"inputs": "good"}')
    assert json.load(answer["Body"])[0]["label"] in ("no", "yes")
    again = deploy("textmill/serve", source | {"S3Uri": f"s3://{bucket}/model"})
    assert again["EndpointStatus"] == "InService" and len([p for p in (server.folder / "cache/models").iterdir() if (p / "vocab.txt").exists()]) == 1
    assert "s3://" + bucket + "/none/" in deploy("textmill/serve", source | {"S3Uri": f"s3://{bucket}/none/"})["FailureReason"]
    assert "S3Prefix with CompressionType Gzip is not served" in refused(deploy, image="textmill/serve", url=source | {"CompressionType": "Gzip"})[2]
