"""A script as users of SageMaker's Python SDK 2 write it: train in script mode, deploy, predict, delete. Run in that SDK's environment."""

import pathlib
import sys

import sagemaker
from sagemaker.analytics import TrainingJobAnalytics
from sagemaker.deserializers import JSONDeserializer
from sagemaker.pytorch import PyTorch
from sagemaker.serializers import JSONSerializer
from sagemaker.sklearn import SKLearn

source = pathlib.Path(sys.argv[1])
session = sagemaker.Session()
role = "arn:aws:iam::123456789012:role/service/Role"

inputs = session.upload_data(str(source / "data"), key_prefix="texts")
estimator = PyTorch(entry_point="train.py", source_dir=str(source / "code"), role=role, framework_version="2.1", py_version="py310",
                    instance_count=1, instance_type="ml.box.1cpu", hyperparameters={"epochs": 3, "name": "some words"},
                    metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+)"}])
estimator.fit({"train": inputs})

losses = TrainingJobAnalytics(estimator.latest_training_job.name, metric_names=["loss"]).dataframe()
print("\nLOSSES", list(losses["value"]))

again = PyTorch.attach(estimator.latest_training_job.name)
assert again.model_data == estimator.model_data, again.model_data

predictor = estimator.deploy(1, "ml.box.1cpu", entry_point="inference.py", source_dir=str(source / "code"),
                             serializer=JSONSerializer(), deserializer=JSONDeserializer())
print("\nPREDICTION", predictor.predict({"inputs": ["a b", "c"]}))
predictor.delete_model()
predictor.delete_endpoint()

# One script for both, which stays beside its model.
whole = SKLearn(entry_point="whole.py", source_dir=str(source / "code"), role=role, framework_version="1.2-1", py_version="py3",
                instance_count=1, instance_type="ml.box.1cpu", hyperparameters={"epochs": 1, "name": "some words"})
whole.fit({"train": inputs}, logs=False)
beside = whole.deploy(1, "ml.box.1cpu", serializer=JSONSerializer(), deserializer=JSONDeserializer())
print("\nWHOLE", beside.predict({"inputs": ["a b", "c"]}))
beside.delete_model()
beside.delete_endpoint()
alone = PyTorch(entry_point="train.py", source_dir=str(source / "code"), role=role, framework_version="2.1", py_version="py310", instance_count=1,
                instance_type="ml.box.1cpu", hyperparameters={"epochs": 1, "name": "some words"}, enable_network_isolation=True)
alone.fit({"train": inputs}, logs=False)
print("\nJOB", estimator.latest_training_job.name, "ENDPOINT", predictor.endpoint_name)
