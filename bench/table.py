"""What the rows of run.py share: where the programs are, running them, and the table they fill."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("TEXTMILL_BUILD", HERE.parent / "build" / "release"))
TEXTMILL = BUILD / "textmill"
TABLE: list[tuple[str, str, str, str]] = []


def row(work: str, ours: str, peer: str, reached: str) -> None:
    TABLE.append((work, ours, peer, reached))
    print(f"   {work}: {ours} | {peer} | {reached}", flush=True)


def run_json(*command, **kwargs):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    out = done.stdout.strip()
    return json.loads(out if out.endswith("\n}") else out.split("\n")[-1])  # indented, or one line after others


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def await_answer(process: subprocess.Popen, port: int, path: str, seconds: float = 60) -> None:
    """Until the process answers 200 there."""
    end = time.perf_counter() + seconds
    while process.poll() is None and time.perf_counter() < end:
        try:
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                if s.recv(64)[9:12] == b"200":
                    return
        except OSError:
            pass
        time.sleep(0.001)
    raise SystemExit(f"{process.args[0]} did not become ready")


def resident(pid: int) -> int:
    """Bytes."""
    return next(int(line.split()[1]) * 1024 for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))
