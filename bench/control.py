"""The rows of the server (`textmill up`): requests are signed beforehand and sent by bench_load, to it and to its peers."""

import hashlib
import itertools
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path

from table import BUILD, TEXTMILL, await_answer, free_port, resident, row, run_json

MIB = 1 << 20
CONNECTIONS = 32


class Up:
    """textmill up, with a fresh folder or one that is there."""

    def __init__(self, folder: Path, *options: str):
        self.folder, self.port = folder, free_port()
        self.begin = time.perf_counter()
        self.process = subprocess.Popen([TEXTMILL, "up", "--data-dir", folder, "--listen", f"127.0.0.1:{self.port}", "--log-format", "json", *options],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        await_answer(self.process, self.port, "/_textmill/health")
        self.ready = time.perf_counter() - self.begin
        key = json.loads((self.folder / "root-key.json").read_text())
        self.key = key["access_key_id"], key["secret_access_key"]
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


class Moto:
    def __enter__(self):
        self.port = free_port()
        self.process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_answer(self.process, self.port, "/moto-api/")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)


class Nginx:
    """Debian's, one worker, sendfile."""

    def __init__(self, work: Path, root: Path):
        self.work, self.root = work, root

    def __enter__(self):
        self.port = free_port()
        config = self.work / "nginx.conf"
        config.write_text(f"daemon off; pid {self.work}/nginx.pid; worker_processes 1; events {{}}\n"
                          f"http {{ sendfile on; tcp_nopush on; access_log off; keepalive_requests 100000;\n"
                          f"  server {{ listen 127.0.0.1:{self.port}; root {self.root}; }} }}\n" + ("user root;\n" if os.getuid() == 0 else ""))
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-c", config, "-e", self.work / "nginx.log"])
        await_answer(self.process, self.port, "/" + next(self.root.iterdir()).name)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)


def signed(key, service: str, method: str, path: str, body: bytes = b"", headers=()) -> bytes:
    """A whole HTTP request with its signature."""
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest(method, f"http://127.0.0.1{path}", data=body, headers=dict(headers))
    request.context["payload_signing_enabled"] = True
    (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials(*key), service, "us-east-1").add_auth(request)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in ("host", "content-length")]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def sagemaker(key, operation: str, **members) -> bytes:
    return signed(key, "sagemaker", "POST", "/", json.dumps(members).encode(),
                  {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"})


def put(key, path: str, body: bytes) -> bytes:
    import base64
    import zlib

    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    return signed(key, "s3", "PUT", path, body, {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": crc})


def load(port: int, requests, file: Path, connections: int = CONNECTIONS, count: int = 0, warmup: int = 0, rate: int = 0) -> dict:
    requests = list(requests)
    file.write_bytes(b"".join(requests))
    done = run_json(BUILD / "bench" / "bench_load", "--port", port, "--raw", file, "--connections", connections,
                    "--requests", count or len(requests), "--warmup", warmup, "--rate", rate)
    if set(done["statuses"]) - {"200", "204"}:
        raise SystemExit(f"the server answered {done['statuses']}")
    return done


def compare(name: str, ours: list[dict], theirs: list[dict], goal: str) -> None:
    a, b = (statistics.median(r["per_second"] for r in runs) for runs in (ours, theirs))
    share = statistics.median(r["cpu_share"] for r in ours)
    row(name, f"{a:.0f} /s (generator's CPU: {100 * share:.0f} %)", f"{b:.0f} /s", f"{a / b:.1f}x (goal {goal})")


def control_plane(bench) -> None:
    """CreateModel, DescribeModel, ListModels(10) beside moto, 32 connections"""
    results = {operation: ([], []) for operation in ("CreateModel", "DescribeModel", "ListModels")}
    numbers, file = itertools.count(), bench.work / "requests"
    with Up(bench.work / "control") as up, Moto() as moto:
        for _ in range(bench.rounds):
            for which, port, count in ((0, up.port, 8000), (1, moto.port, 800)):
                names = [f"model-{next(numbers)}" for _ in range(count)]
                creates = [sagemaker(up.key, "CreateModel", ModelName=n, PrimaryContainer={"Image": "image"}, ExecutionRoleArn="arn:aws:iam::123456789012:role/Any") for n in names]
                results["CreateModel"][which].append(load(port, creates, file))
                results["DescribeModel"][which].append(load(port, [sagemaker(up.key, "DescribeModel", ModelName=n) for n in names], file, count=2 * count))
                results["ListModels"][which].append(load(port, [sagemaker(up.key, "ListModels", MaxResults=10)], file, count=count))
    for operation, (ours, theirs) in results.items():
        compare(operation, ours, theirs, ">= 20x")


def objects_4k(bench) -> None:
    """S3 PUT and GET of 4 KiB beside moto, 32 connections; --sync full beside process"""
    file, body = bench.work / "requests", os.urandom(4096)
    runs = {name: ([], []) for name in ("process", "full", "moto")}
    servers = {"process": Up(bench.work / "process", "--sync", "process"), "full": Up(bench.work / "full"), "moto": Moto()}
    with servers["process"] as process, servers["full"] as full, servers["moto"] as moto:
        for name, server in (("process", process), ("full", full), ("moto", moto)):
            load(server.port, [signed(getattr(server, "key", full.key), "s3", "PUT", "/bench")], file, 1)
        for turn in range(bench.rounds):
            for name, server in (("process", process), ("full", full), ("moto", moto)):
                key, count = getattr(server, "key", full.key), 1000 if name == "moto" else 8000
                paths = [f"/bench/{turn}/{i}" for i in range(count)]
                bodies = [i.to_bytes(4, "big") + body[4:] for i in range(turn * count, (turn + 1) * count)]
                runs[name][0].append(load(server.port, [put(key, p, b) for p, b in zip(paths, bodies)], file))
                runs[name][1].append(load(server.port, [signed(key, "s3", "GET", p) for p in paths], file))
    for i, verb in enumerate(("PUT", "GET")):
        compare(f"S3 {verb} of 4 KiB, --sync process", runs["process"][i], runs["moto"][i], ">= 10x, stretch 20x")
        a, b = (statistics.median(r["per_second"] for r in runs[name][i]) for name in ("full", "process"))
        row(f"S3 {verb} of 4 KiB, --sync full", f"{a:.0f} /s", f"{b:.0f} /s (--sync process)", f"{100 * a / b:.0f} % (goal >= 50 %)")


def disk_rate(folder: Path, body: bytes) -> float:
    """Bytes per second of writing and syncing a file."""
    begin = time.perf_counter()
    with open(folder / "disk", "wb") as f:
        f.write(body)
        f.flush()
        os.fsync(f.fileno())
    rate = len(body) / (time.perf_counter() - begin)
    os.unlink(folder / "disk")
    return rate


def md5_rate(body: bytes) -> float:
    begin = time.perf_counter()
    hashlib.md5(body).digest()
    return len(body) / (time.perf_counter() - begin)


def objects_64m(bench) -> None:
    """S3 GET of 64 MiB beside nginx; PUT beside the disk and one core's MD5"""
    body, root, file = os.urandom(64 * MIB), bench.work / "root", bench.work / "requests"
    root.mkdir(exist_ok=True)
    (root / "file").write_bytes(body)
    puts, disks, md5s, ours, theirs = [], [], [], [], []
    with Up(bench.work / "large") as up, Nginx(bench.work, root) as nginx:
        load(up.port, [signed(up.key, "s3", "PUT", "/bench")], file, 1)
        for i in range(3 * bench.rounds):
            fresh = i.to_bytes(8, "big") + body[8:]
            puts.append(load(up.port, [put(up.key, f"/bench/{i}", fresh)], file, 1)["bytes_per_second"])
            disks.append(disk_rate(bench.work, fresh))
            md5s.append(md5_rate(fresh))
        for _ in range(bench.rounds):
            ours.append(load(up.port, [signed(up.key, "s3", "GET", "/bench/0")], file, 1, 20, 2)["bytes_per_second"])
            theirs.append(load(nginx.port, [b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n"], file, 1, 20, 2)["bytes_per_second"])
    a, b = statistics.median(ours), statistics.median(theirs)
    row("S3 GET of 64 MiB, 1 connection", f"{a / 1e6:.0f} MB/s", f"{b / 1e6:.0f} MB/s (nginx)", f"{100 * a / b:.0f} % (goal >= 70 %)")
    a, disk, md5 = (statistics.median(x) for x in (puts, disks, md5s))
    row("S3 PUT of 64 MiB, 1 connection, --sync full", f"{a / 1e6:.0f} MB/s", f"disk {disk / 1e6:.0f}, MD5 {md5 / 1e6:.0f} MB/s",
        f"{100 * a / min(disk, md5):.0f} % of the lower (goal >= 90 %)")


def fill(folder: Path) -> None:
    """999,000 keys below m/ and 1,000 in folders around it, straight into the tables: copies of one object's row."""
    keys = [f"{c}{i:03}/x" for c in "az" for i in range(500)] + [f"m/{i:07}" for i in range(999_000)]
    with sqlite3.connect(folder / "textmill.db") as database:
        bucket, blob, size, etag, modified, properties = database.execute("SELECT bucket, blob, size, etag, modified, properties FROM objects").fetchone()
        database.executemany("INSERT INTO objects (bucket, key, blob, size, etag, modified, properties) VALUES (?, CAST(? AS BLOB), ?, ?, ?, ?, ?)",
                             ((bucket, k, blob, size, etag, modified, properties) for k in sorted(keys)))
        database.execute("UPDATE blobs SET uses = uses + ? WHERE id = ?", (len(keys), blob))


def listing(bench) -> None:
    """ListObjectsV2 in a bucket of 1,000,000 keys"""
    folder, file = bench.work / "listing", bench.work / "requests"
    with Up(folder) as up:
        load(up.port, [signed(up.key, "s3", "PUT", "/bench")], file, 1)
        load(up.port, [put(up.key, "/bench/0", b"x")], file, 1)
    fill(folder)
    chance = random.Random(1)
    with Up(folder) as up:
        for name, query in (("plain", "list-type=2&start-after=m%2F{:07}"), ("prefix of 999,000", "list-type=2&prefix=m%2F&start-after=m%2F{:07}"),
                            ("delimiter", "delimiter=%2F&list-type=2"), ("delimiter behind the prefix", "delimiter=%2F&list-type=2&start-after=a499%2F")):
            requests = [signed(up.key, "s3", "GET", "/bench?" + query.format(chance.randrange(998_000))) for _ in range(300)]
            done = load(up.port, requests, file, 1, warmup=10)
            row(f"ListObjectsV2 of 1,000,000 keys, {name}", f"p99 {done['p99_ms']:.1f} ms, p50 {done['p50_ms']:.1f} ms", "-", "(goal: p99 <= 10 ms)")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(bench) -> None:
    """the idle server: memory, CPU, start to first answer"""
    ready = []
    for i in range(5):
        with Up(bench.work / "idle") as up:
            ready.append(1000 * up.ready)
            if i < 4:
                continue
            time.sleep(2)
            before = cpu_seconds(up.process.pid)
            time.sleep(20)
            row("idle: resident memory", f"{resident(up.process.pid) / 1e6:.0f} MB", "-", "(goal <= 40 MB)")
            row("idle: CPU", f"{100 * (cpu_seconds(up.process.pid) - before) / 20:.2f} %", "-", "(goal <= 0.2 %)")
    row("start to first answer (a folder that is there)", f"{statistics.median(ready[1:]):.0f} ms", "-", "(goal <= 50 ms)")


def slow_connections(bench) -> None:
    """10,000 connections that send a byte a second for a minute, beside normal load"""
    file = bench.work / "requests"
    with Up(bench.work / "slow") as up:
        load(up.port, [sagemaker(up.key, "CreateModel", ModelName="m", PrimaryContainer={"Image": "image"})], file, 1)
        normal = lambda: load(up.port, [sagemaker(up.key, "DescribeModel", ModelName="m")], file, 4, 20_000, 200)["p99_ms"]
        quiet, before = statistics.median(normal() for _ in range(5)), resident(up.process.pid)
        slow = subprocess.Popen([BUILD / "bench" / "bench_load", "--port", str(up.port), "--slow", "60", "--connections", "10000"], stdout=subprocess.PIPE, text=True)
        slow.stdout.readline()
        beside, most = [], 0
        while slow.poll() is None:
            beside.append(normal())
            most = max(most, resident(up.process.pid))
        done = json.loads(slow.stdout.read().strip())
        a = statistics.median(beside)
        row("10,000 slow connections: p99 of DescribeModel, 4 connections", f"{a:.2f} ms", f"{quiet:.2f} ms (quiet)",
            f"{a / quiet:.2f}x (goal <= 2x; {len(beside)} runs; {done['again']} were cut by the server and came again)")
        row("the same: memory", f"{(most - before) / 1e6:+.0f} MB", "-", "(goal <= +200 MB)")


ROWS = [control_plane, objects_4k, objects_64m, listing, idle, slow_connections]
