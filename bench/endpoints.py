"""The rows of endpoints: how soon one is in service, what InvokeEndpoint adds to the replica's own answer, what it costs idle."""

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from control import Up, cpu_seconds, load, sagemaker, signed
from encoders import minilm
from table import BUILD, row

ROLE = "arn:aws:iam::123456789012:role/Role"
CLIENTS = 8


def call(up, operation: str, **members) -> dict:
    """One signed request; its answer."""
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", up.port)
    head, body = sagemaker(up.key, operation, **members).split(b"\r\n\r\n", 1)
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    connection.request("POST", "/", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{operation}: {answer.status} {text}")
    return json.loads(text or b"{}")


def deploy(up, name: str, image: str, **container) -> float:
    """Seconds from CreateEndpoint to InService."""
    call(up, "CreateModel", ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": image, **container})
    call(up, "CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=[
        {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}])
    begin = time.perf_counter()
    call(up, "CreateEndpoint", EndpointName=name, EndpointConfigName=name)
    while (status := call(up, "DescribeEndpoint", EndpointName=name)["EndpointStatus"]) == "Creating":
        time.sleep(0.005)
    if status != "InService":
        raise SystemExit(f"{name} is {status}")
    return time.perf_counter() - begin


def delete(up, name: str) -> None:
    call(up, "DeleteEndpoint", EndpointName=name)
    while call(up, "ListEndpoints")["Endpoints"]:
        time.sleep(0.02)


def replica(up) -> tuple[int, int]:
    """The only instance's runner and port."""
    task = next((up.folder / "attempts").glob("*/task.json"))
    runner = json.loads((task.parent / "journal").read_text().split("\n", 1)[0])["pid"]
    return runner, int(json.loads(task.read_text())["environment"]["SAGEMAKER_BIND_TO_PORT"])


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = [int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    return [pid] + [p for child in children for p in family(child)]


def endpoint_start(bench) -> None:
    """CreateEndpoint with MiniLM to InService; CPU of server and endpoint when nothing happens"""
    bench.train("served", minilm(), bench.first_rows(32), "--epochs", 1)
    archive, seconds = bench.work / "model.tar.gz", []
    subprocess.run(["tar", "czf", archive, "-C", bench.work / "served", *(p.name for p in (bench.work / "served").iterdir() if p.is_file())], check=True)
    with Up(bench.work / "endpoint") as up:
        load(up.port, [signed(up.key, "s3", "PUT", "/bench")], bench.work / "requests", 1)
        for i in range(2 * bench.rounds):  # its bytes are others each time, as another model's
            body = archive.read_bytes() + bytes(i)
            load(up.port, [signed(up.key, "s3", "PUT", f"/bench/{i}", body)], bench.work / "requests", 1)
            seconds.append(deploy(up, f"e{i}", "textmill/serve", ModelDataUrl=f"s3://bench/{i}"))
            if i < 2 * bench.rounds - 1:
                delete(up, f"e{i}")
        time.sleep(3)
        everybody = [up.process.pid, *family(replica(up)[0])]
        before = sum(map(cpu_seconds, everybody))
        time.sleep(30)
        idle = (sum(map(cpu_seconds, everybody)) - before) / 30
        delete(up, f"e{2 * bench.rounds - 1}")
    row("CreateEndpoint with MiniLM (an artifact that was not there before), to InService", f"{statistics.median(seconds):.2f} s (worst {max(seconds):.2f} s)", "-", "(goal <= 1.0 s, stretch 0.5 s)")
    row("idle with one MiniLM endpoint: CPU of server, runner and replica", f"{100 * idle:.2f} %", "-", "(goal <= 0.5 %)")


def invoke_overhead(bench) -> None:
    """what InvokeEndpoint adds to an echo program's own /invocations, 8 clients at half of its capacity"""
    file, body = bench.work / "requests", b"x" * 1000
    added = {"p50_ms": [], "p99_ms": []}
    with tempfile.TemporaryDirectory() as folder, Up(Path(folder) / "data") as up:
        deploy(up, "echo", f"process://{BUILD / 'bench' / 'bench_echo'}")
        own = [f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body]
        invoke = lambda count: [signed(up.key, "sagemaker", "POST", "/endpoints/echo/invocations", body, {"Content-Type": "text/plain"})] * count
        port = replica(up)[1]
        load(port, own, file, CLIENTS, 2000)
        capacity = statistics.median(load(up.port, invoke(1), file, CLIENTS, 10_000, 1000)["per_second"] for _ in range(bench.rounds))
        for _ in range(2 * bench.rounds + 1):
            direct, through = (load(p, r, file, CLIENTS, int(capacity), 500, int(capacity / 2)) for p, r in ((port, own), (up.port, invoke(1))))
            for what, values in added.items():
                values.append(through[what] - direct[what])
        delete(up, "echo")
    p50, p99 = (statistics.median(v) for v in added.values())
    row(f"InvokeEndpoint over the replica's own answer, 8 clients at half of {capacity:.0f} /s: p50 / p99", f"{p50:.2f} / {p99:.2f} ms", "-", "(goal <= 0.3 / 2 ms)")


ROWS = [endpoint_start, invoke_overhead]
