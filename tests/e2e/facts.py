"""Workers that load a server with writes and remember each fact that it acknowledged, to check them later.

Every worker has names of its own. A request that was cut off leaves its fact in doubt: before or after, but nothing
else. What is found then is what holds from there on."""

import hashlib
import random
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

ABSENT = None
SESSION = boto3.Session()  # one, which reads the services' models once


class Lost(AssertionError):
    pass


class Worker:
    """One kind of fact: `states` maps a name to what was acknowledged last, `doubts` to what may hold instead."""

    service: str

    def __init__(self, number: int, seed: int):
        self.number, self.random = number, random.Random(seed)
        self.states, self.doubts, self.touched = {}, {}, set()
        self.acknowledged = self.cut_off = self.happened = 0

    def connect(self, server):
        config = Config(max_pool_connections=1, tcp_keepalive=True)
        self.client = server.client(self.service, check=False, config=config, session=SESSION)

    def names(self) -> str:
        return f"w{self.number}-{self.random.randrange(200)}"

    def load(self, stop: threading.Event):
        """Writes until the server dies."""
        while not stop.is_set():
            name = self.names()
            state, call = self.next(name)
            self.touched.add(name)
            self.doubts[name] = state
            try:
                call()
            except EndpointConnectionError:  # nobody to connect to: the request was never sent
                return
            except BotoCoreError:  # the connection broke under it
                self.cut_off += 1
                return
            self.states[name] = self.doubts.pop(name)
            self.acknowledged += 1

    def check(self, everything=False):
        """Throws Lost unless all that was touched since the last check (or everything) is as it must be."""
        for name in self.states.keys() | self.doubts.keys() if everything else self.touched:
            try:
                found, expected = self.look(name), self.states.get(name, ABSENT)
            except ClientError as error:  # what it belongs to is gone
                raise Lost(f"{type(self).__name__} {name}: {error}") from error
            if name in self.doubts:
                doubt = self.doubts.pop(name)
                self.happened += found == doubt
                if found not in (expected, doubt):
                    raise Lost(f"{type(self).__name__} {name}: expected {expected!r} or {doubt!r}, found {found!r}")
                self.states[name] = found
            elif found != expected:
                raise Lost(f"{type(self).__name__} {name}: acknowledged as {expected!r}, found {found!r}")
        self.touched.clear()

    def next(self, name):
        """A new state for the name, and the call that makes it so."""
        raise NotImplementedError

    def look(self, name):
        raise NotImplementedError


class Models(Worker):
    """Created with tags, and deleted."""

    service = "sagemaker"

    def next(self, name):
        if self.states.get(name):
            return ABSENT, lambda: self.client.delete_model(ModelName=name)
        image, tag = f"image-{self.random.random()}", f"{self.random.random()}"
        return (image, tag), lambda: self.client.create_model(
            ModelName=name, PrimaryContainer={"Image": image}, Tags=[{"Key": "t", "Value": tag}])

    def look(self, name):
        try:
            model = self.client.describe_model(ModelName=name)
        except ClientError as error:
            assert error.response["Error"]["Message"].startswith("Could not find model"), error
            return ABSENT
        tags = self.client.list_tags(ResourceArn=model["ModelArn"])["Tags"]
        return model["PrimaryContainer"]["Image"], tags[0]["Value"]


class Tags(Worker):
    """Set over and over on one model."""

    service = "sagemaker"

    def connect(self, server):
        super().connect(server)
        self.model = f"tagged-{self.number}"
        try:
            arn = self.client.create_model(ModelName=self.model, PrimaryContainer={"Image": "i"})["ModelArn"]
        except ClientError:
            arn = self.client.describe_model(ModelName=self.model)["ModelArn"]
        self.arn = arn

    def names(self):
        return f"k{self.random.randrange(40)}"

    def next(self, name):
        value = f"{self.random.random()}"
        return value, lambda: self.client.add_tags(ResourceArn=self.arn, Tags=[{"Key": name, "Value": value}])

    def look(self, name):
        return {t["Key"]: t["Value"] for t in self.client.list_tags(ResourceArn=self.arn)["Tags"]}.get(name)


class EndpointConfigs(Worker):
    """Created over a model, and deleted."""

    service = "sagemaker"

    def connect(self, server):
        super().connect(server)
        try:
            self.client.create_model(ModelName="of-configs", PrimaryContainer={"Image": "i"})
        except ClientError as error:
            assert "already existing" in str(error), error

    def next(self, name):
        if self.states.get(name):
            return ABSENT, lambda: self.client.delete_endpoint_config(EndpointConfigName=name)
        weight = self.random.randrange(1, 1000)
        variant = {"VariantName": "v", "ModelName": "of-configs", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1, "InitialVariantWeight": weight}
        return weight, lambda: self.client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])

    def look(self, name):
        try:
            return self.client.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"][0]["InitialVariantWeight"]
        except ClientError as error:
            assert error.response["Error"]["Message"].startswith("Could not find endpoint configuration"), error
            return ABSENT


class Objects(Worker):
    """Put (in a row, in a file), uploaded in parts, copied, replaced and deleted; a state is the SHA-256 of the bytes."""

    service = "s3"
    bucket = "facts"

    def connect(self, server):
        super().connect(server)
        self.source = self.random.randbytes(200_000)
        try:
            self.client.create_bucket(Bucket=self.bucket)
        except ClientError:
            self.client.head_bucket(Bucket=self.bucket)
        self.client.put_object(Bucket=self.bucket, Key=f"source-{self.number}", Body=self.source)

    def names(self):
        return f"w{self.number}-{self.random.randrange(60)}"

    def next(self, name):
        where = {"Bucket": self.bucket, "Key": name}
        kind = self.random.choice(["small", "small", "large", "parts", "copy", "delete"])
        if kind == "delete":
            return ABSENT, lambda: self.client.delete_object(**where)
        if kind == "copy":
            source = {"Bucket": self.bucket, "Key": f"source-{self.number}"}
            return self.sum(self.source), lambda: self.client.copy_object(CopySource=source, **where)
        body = self.random.randbytes(self.random.randrange(1, 3_000_000 if kind == "large" else 100_000))
        return self.sum(body), lambda: self.in_parts(where, body) if kind == "parts" else self.client.put_object(Body=body, **where)

    def in_parts(self, where, body):
        upload = where | {"UploadId": self.client.create_multipart_upload(**where)["UploadId"]}
        tag = self.client.upload_part(PartNumber=1, Body=body, **upload)["ETag"]
        self.client.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}, **upload)

    def look(self, name):
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=name, ChecksumMode="ENABLED")  # botocore holds it against its sum
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return ABSENT
        return self.sum(found["Body"].read())

    @staticmethod
    def sum(body):
        return hashlib.sha256(body).hexdigest()


class Events(Worker):
    """Batches of log events: all of one, once and in order, or none of it."""

    service = "logs"

    def connect(self, server):
        super().connect(server)
        self.where = {"logGroupName": "facts", "logStreamName": f"w{self.number}"}
        for create, names in ((self.client.create_log_group, ["logGroupName"]), (self.client.create_log_stream, list(self.where))):
            try:
                create(**{n: self.where[n] for n in names})
            except self.client.exceptions.ResourceAlreadyExistsException:
                pass

    def names(self):
        return f"batch-{self.random.randrange(1 << 60)}"

    def next(self, name):
        count = self.random.randrange(1, 20)
        events = [{"timestamp": int(time.time() * 1000), "message": f"{name} {i}"} for i in range(count)]
        return list(range(count)), lambda: self.client.put_log_events(logEvents=events, **self.where)

    def check(self, everything=False):
        self.found, token = {}, {}
        while True:
            try:
                page = self.client.get_log_events(startFromHead=True, **self.where, **token)
            except self.client.exceptions.ResourceNotFoundException as error:
                raise Lost(f"the log stream: {error}") from error
            for event in page["events"]:
                name, number = event["message"].split()
                self.found.setdefault(name, []).append(int(number))
            if token.get("nextToken") == page["nextForwardToken"]:
                break
            token = {"nextToken": page["nextForwardToken"]}
        super().check(everything)

    def look(self, name):
        return self.found.get(name, ABSENT)


class Values(Worker):
    """Values of metrics, two metrics in one request: a state is the sum and the number of all that came before."""

    service = "cloudwatch"

    def __init__(self, number, seed):
        super().__init__(number, seed)
        self.begin = int(time.time()) // 60 * 60

    def names(self):
        return f"w{self.number}-{self.random.randrange(20)}"

    def next(self, name):
        value, (sum, count) = self.random.randrange(1000), self.states.get(name) or (0, 0)
        data = [{"MetricName": name + half, "Value": value, "Timestamp": self.begin} for half in ("", "-twin")]
        return (sum + value, count + 1), lambda: self.client.put_metric_data(Namespace="Facts", MetricData=data)

    def look(self, name):
        def values(metric):
            points = self.client.get_metric_statistics(Namespace="Facts", MetricName=metric, StartTime=self.begin, EndTime=self.begin + 60, Period=60,
                                                       Statistics=["Sum", "SampleCount"])["Datapoints"]
            return (points[0]["Sum"], points[0]["SampleCount"]) if points else ABSENT

        found, twin = values(name), values(name + "-twin")
        if found != twin:
            raise Lost(f"the halves of one request: {found!r} and {twin!r}")
        return found
