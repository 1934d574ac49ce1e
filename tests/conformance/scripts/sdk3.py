"""A script as users of SageMaker's Python SDK 3 write it: train, deploy, invoke, delete. Run in that SDK's environment."""

import json
import pathlib
import sys

from sagemaker.core.resources import EndpointConfig, TrainingJob
from sagemaker.core.training.configs import Compute, InputData, SourceCode
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.train import ModelTrainer

source = pathlib.Path(sys.argv[1])
role = "arn:aws:iam::123456789012:role/service/Role"
registry = "763104351884.dkr.ecr.us-east-1.amazonaws.com"

trainer = ModelTrainer(training_image=f"{registry}/pytorch-training:2.1-cpu-py310", role=role, base_job_name="words",
                       source_code=SourceCode(source_dir=str(source / "code"), entry_script="train.py"),
                       compute=Compute(instance_type="ml.box.1cpu", instance_count=1),
                       hyperparameters={"epochs": 3, "name": "some words"})
trainer.train(input_data_config=[InputData(channel_name="train", data_source=str(source / "data"))])
job = TrainingJob.get(trainer._latest_training_job.training_job_name)
print("\nJOB", job.training_job_name, job.training_job_status)
print("ALL", [one.training_job_name for one in TrainingJob.get_all()])

builder = ModelBuilder(image_uri=f"{registry}/pytorch-inference:2.1-cpu-py310", role_arn=role, instance_type="ml.box.1cpu",
                       s3_model_data_url=job.model_artifacts.s3_model_artifacts, env_vars={"SAGEMAKER_PROGRAM": "inference.py"})
model = builder.build(model_name="words-model")
endpoint = builder.deploy(endpoint_name="words-endpoint", initial_instance_count=1, instance_type="ml.box.1cpu")
answer = endpoint.invoke(body=json.dumps({"inputs": ["a b", "c"]}), content_type="application/json")
print("\nPREDICTION", answer.body.read().decode() if hasattr(answer.body, "read") else answer)
endpoint.delete()
EndpointConfig.get("words-endpoint").delete()
model.delete()
