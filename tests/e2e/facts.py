"""Workers that load a server with writes and remember each fact that it acknowledged, to check them later.

Every worker has names of its own. A request that was cut off leaves its fact in doubt: before or after, but nothing
else. What is found then is what holds from there on."""

import random
import threading

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ABSENT = None


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
        self.client = server.client(self.service, check=False, config=config)

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
            except BotoCoreError:  # the connection broke, or there is nobody to connect to
                self.cut_off += 1
                return
            self.states[name] = self.doubts.pop(name)
            self.acknowledged += 1

    def check(self, everything=False):
        """Throws Lost unless all that was touched since the last check (or everything) is as it must be."""
        for name in self.states.keys() | self.doubts.keys() if everything else self.touched:
            found, expected = self.look(name), self.states.get(name, ABSENT)
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
