#!/usr/bin/env python3
"""Log events: how fast a server takes them, and how long a fresh process needs to find 100 of them by a word. Prints JSON.

    logs.py --textmill build/release/textmill [--events 10000000] [--connections 4]"""

import argparse
import json
import random
import re
import resource
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session
from botocore.config import Config

BATCH, ROUND, HITS = 10_000, 100, 100  # events of a request, requests of a round, events with the needle
NEEDLE = "needle42"
STREAMS = 8


class Server:
    def __init__(self, textmill: str, folder: Path):
        self.process = subprocess.Popen([textmill, "up", "--data-dir", folder, "--listen", "127.0.0.1:0", "--log-level", "warning"],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = re.search(r"https?://\S+", self.process.stdout.readline())[0]
        key = json.loads((folder / "root-key.json").read_text())
        self.credentials = botocore.credentials.Credentials(key["access_key_id"], key["secret_access_key"])

    def client(self):
        return botocore.session.Session().create_client(
            "logs", endpoint_url=self.url, region_name="us-east-1", config=Config(read_timeout=60, retries={"max_attempts": 0}),
            aws_access_key_id=self.credentials.access_key, aws_secret_access_key=self.credentials.secret_key)

    def peak_resident(self) -> int:
        return next(int(line.split()[1]) // 1024 for line in open(f"/proc/{self.process.pid}/status") if line.startswith("VmHWM"))

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)

    def signed(self, body: bytes) -> bytes:
        """PutLogEvents as bytes."""
        request = botocore.awsrequest.AWSRequest("POST", self.url + "/", data=body, headers={
            "X-Amz-Target": "Logs_20140328.PutLogEvents", "Content-Type": "application/x-amz-json-1.1", "Host": self.url.split("//")[1]})
        botocore.auth.SigV4Auth(self.credentials, "logs", "us-east-1").add_auth(request)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        return f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def batch(chance: random.Random, number: int, begin: int, needles: set[int]) -> bytes:
    """10,000 lines as a service writes them, about 75 bytes each, within some seconds."""
    events = []
    for i in range(BATCH):
        extra = NEEDLE if number * BATCH + i in needles else "ok"
        message = f"INFO worker-{i % 16} request {chance.getrandbits(48):012x} took {chance.getrandbits(16)} us, status 200 {extra}"
        events.append(f'{{"timestamp":{begin + number * 1000 + i // 10},"message":"{message}"}}')
    return f'{{"logGroupName":"/bench","logStreamName":"s{number % STREAMS}","logEvents":[{",".join(events)}]}}'.encode()


def send(url: str, requests: list[bytes], connections: int) -> float:
    """Seconds until all are answered with 200."""
    host, port = re.search(r"//([^:]+):(\d+)", url).groups()
    left, failures = list(requests), []

    def work(s: socket.socket):
        while left and not failures:
            s.sendall(left.pop())
            answer = s.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200"):
                failures.append(answer)

    sockets = [socket.create_connection((host, int(port))) for _ in range(connections)]
    threads = [threading.Thread(target=work, args=(s,)) for s in sockets]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    for s in sockets:
        s.close()
    if failures:
        raise SystemExit(f"the server answered {failures[0][:500]}")
    return seconds


def ingest(server: Server, events: int, connections: int) -> dict:
    logs = server.client()
    logs.create_log_group(logGroupName="/bench")
    for i in range(STREAMS):
        logs.create_log_stream(logGroupName="/bench", logStreamName=f"s{i}")
    chance = random.Random(1)
    needles, begin = set(chance.sample(range(events), HITS)), int(time.time() * 1000) - 3_600_000
    seconds = cpu = 0.0
    for first in range(0, events // BATCH, ROUND):
        requests = [server.signed(batch(chance, n, begin, needles)) for n in range(first, min(first + ROUND, events // BATCH))]
        before = resource.getrusage(resource.RUSAGE_SELF)
        seconds += send(server.url, requests, connections)
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"events_per_second": events / seconds, "generator_cpu_share": cpu / seconds}


def search(server: Server) -> dict:
    logs = server.client()
    begin = time.perf_counter()
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName="/bench", filterPattern=NEEDLE))
    seconds = time.perf_counter() - begin
    return {"search_seconds": seconds, "pages": len(pages), "hits": sum(len(p["events"]) for p in pages)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textmill", required=True)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--connections", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as folder:
        data = Path(folder) / "data"
        server = Server(arguments.textmill, data)
        try:
            result = ingest(server, arguments.events, arguments.connections)
        finally:
            server.stop()
        server = Server(arguments.textmill, data)
        try:
            result |= search(server) | {"peak_resident_mb": server.peak_resident()}
        finally:
            server.stop()
        result["disk_mb"] = sum(p.stat().st_size for p in data.rglob("*") if p.is_file()) / 1e6
    if result["hits"] != HITS:
        raise SystemExit(f"{result['hits']} of {HITS} events were found")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
