"""A textmill server for tests: its process, its folder, its clients."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from . import shapes

# A wrapper, for root: a user namespace that maps all users as they are, and may make no others.
NO_NAMESPACES = (sys.executable, "-c", """
import ctypes, os, sys
go, gone = os.pipe()
me = os.getpid()
if os.fork() == 0:
    os.close(gone); os.read(go, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{me}/{name}", "w") as out: out.write("0 0 65536")
    os._exit(0)
assert ctypes.CDLL(None, use_errno=True).unshare(0x10000000) == 0
os.close(gone); os.wait()
with open("/proc/sys/user/max_user_namespaces", "w") as out: out.write("0")
os.execv(sys.argv[1], sys.argv[1:])
""")


class Server:
    """`textmill up` on a free port. Its data folder may outlive it: start() takes it up again."""

    def __init__(self, program: Path, folder: Path, *options: str, environment: dict | None = None):
        self.program, self.folder, self.options = program, folder, options
        # Only the tests of containers ask for an engine: it would make its folders on the machine.
        self.environment = {"TEXTMILL_CONTAINER_ENGINE": "none"} | (environment or {})
        self.process = None

    def start(self, wrapper: tuple[str, ...] = ()):
        command = [*wrapper, self.program, "up", "--data-dir", self.folder, "--log-format", "json", *self.options]
        if "--listen" not in self.options:
            command += ["--listen", "127.0.0.1:0"]
        self.log = open(self.folder.with_suffix(".log"), "ab")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TEXTMILL_")} | self.environment
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=self.log, env=environment, text=True)
        first = self.process.stdout.readline()
        match = re.search(r"https?://\S+", first)
        assert match, f"the server did not start: {first!r}; {self.folder.with_suffix('.log').read_text()[-2000:]}"
        self.url = match[0]
        key = json.loads((self.folder / "root-key.json").read_text())
        self.access_key, self.secret = key["access_key_id"], key["secret_access_key"]
        return self

    def stop(self) -> int:
        """Asks for a graceful end."""
        if self.process and self.process.poll() is None:
            os.kill(json.loads((self.folder / "server.json").read_text())["pid"], signal.SIGTERM)
        return self._reap()

    def kill(self):
        self.process.kill()
        self._reap()

    def _reap(self) -> int:
        status = self.process.wait(timeout=30) if self.process else 0
        if self.process:
            self.process.stdout.close()
            self.log.close()
        return status

    def log_lines(self) -> list[dict]:
        return [json.loads(line) for line in self.folder.with_suffix(".log").read_text().splitlines() if line.startswith("{")]

    def client(self, service: str, key: tuple[str, str] | None = None, token: str | None = None, check=True, **kwargs):
        """A boto3 client; every answer is held against botocore's output shapes."""
        access_key, secret = key or (self.access_key, self.secret)
        config = Config(retries={"max_attempts": 0, "mode": "standard"}, read_timeout=30).merge(kwargs.pop("config", None) or Config())
        session = kwargs.pop("session", None) or boto3.Session()
        client = session.client(service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=access_key,
                              aws_secret_access_key=secret, aws_session_token=token, config=config, **kwargs)
        if check:
            shapes.watch(client)
        return client

    def health(self) -> tuple[int, dict]:
        try:
            with urllib.request.urlopen(f"{self.url}/_textmill/health") as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def env(self) -> dict:
        """What the command line clients need."""
        return os.environ | {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret,
                             "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": "", "AWS_EC2_METADATA_DISABLED": "true",
                             "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int):
    """A file system of its own at `folder`, in memory."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not allowed here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def others_create(create, pause: float = 0):
    """A thread that calls create(0), create(1), ... all the while."""
    done = threading.Event()

    def work():
        for i in range(10_000):
            if done.is_set():
                return
            create(i)
            done.wait(pause)

    creator = threading.Thread(target=work)
    creator.start()
    try:
        yield
    finally:
        done.set()
        creator.join()


def await_that(condition, what: str, seconds: float = 20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value
