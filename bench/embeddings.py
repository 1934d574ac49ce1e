"""The rows of embeddings, and of what the planner says beforehand: MiniLM's own folder, time and memory."""

import json
import statistics
import subprocess
import sys

from encoders import Bench, Server, data, minilm
from quantization import quantize, stsb
from table import BUILD, HERE, row

TEXTS = 512  # sentences a round


class Sentences:
    """A peer beside the server."""

    def __init__(self, *flags):
        self.process = subprocess.Popen([sys.executable, HERE / "peers" / "sentences.py", "serve", "--model", minilm(), *map(str, flags)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def per_second(self, texts: list[str]) -> float:
        self.process.stdin.write(json.dumps({"texts": texts}) + "\n")
        self.process.stdin.flush()
        return len(texts) / json.loads(self.process.stdout.readline())["seconds"][0]

    def __enter__(self):
        self.per_second(["once, so that all is loaded"])
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def mrpc_tokens(texts: list[str]) -> float:
    """Of a sentence, on average."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.no_padding()
    return statistics.fmean(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))


def embeddings(bench: Bench) -> None:
    """MiniLM-L6 embeddings of MRPC's sentences, over HTTP, beside sentence-transformers"""
    lines = open(data("mrpc", "glue_train.tsv"), encoding="utf-8-sig").read().split("\n")[1 : TEXTS // 2 + 1]
    texts = [text for line in lines for text in line.split("\t")[3:5]]
    bodies = bench.work / "sentences.jsonl"
    bodies.write_text("".join(json.dumps({"inputs": texts[i : i + 32]}) + "\n" for i in range(0, len(texts), 32)))
    graph = bench.work / "minilm-int8.onnx"
    subprocess.run([sys.executable, HERE / "peers" / "sentences.py", "export", "--model", minilm(), "--output", graph], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, small = quantize(bench, minilm(), stsb(bench, "dev"))
    tokens = mrpc_tokens(texts)
    with Sentences() as peer, Sentences("--onnx", graph) as int8:
        for form, model in (("bf16", minilm()), ("int8", small)):
            ours, torch, onnx = [], [], []
            with Server(model) as server:
                for _ in range(bench.rounds):
                    ours.append(32 * server.load(bodies, 2, len(texts) // 32, 2)["per_second"])
                    torch.append(peer.per_second(texts))
                    onnx.append(int8.per_second(texts))
            a, b, c = map(statistics.median, (ours, torch, onnx))
            row(f"MiniLM-L6 embeddings ({form}), MRPC sentences", f"{a:.0f} /s; {bench.of_peak(minilm(), form, a * tokens)}",
                f"{b:.0f} /s (torch bf16); {c:.0f} /s (ONNX Runtime int8)", f"{a / b:.2f}x (goal >= 5x); {a / c:.2f}x (goal >= 2x)")


def prediction(bench: Bench) -> None:
    """the time of passes over shapes that were not measured, predicted after about a second of calibration"""
    for name, model in (("BERT-base", bench.bert_base()), ("BERT-base int8", bench.bert_base_int8())):
        out = subprocess.run([BUILD / "bench" / "bench_timing", model, "2"], check=True, capture_output=True, text=True).stdout
        rows = [json.loads(line) for line in out.splitlines()]
        for precision in ("f32", "bf16"):
            mine = [r for r in rows if r["precision"] == precision]
            off = {r["shape"]: 100 * (r["predicted_ms"] / r["measured_ms"] - 1) for r in mine}
            row(f"{name}, {precision}: predicted time", ", ".join(f"{shape} {error:+.0f} %" for shape, error in off.items()),
                f"calibrated in {mine[0]['calibration_s']:.1f} s", f"at most {max(map(abs, off.values())):.0f} % off (goal 20 %)")


ROWS = [embeddings, prediction]
