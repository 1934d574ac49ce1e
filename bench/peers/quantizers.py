"""The peers of `textmill quantize`: what other tools lose on a text classifier, and how long they search.

    quantizers.py inc --model FOLDER --data ROWS.jsonl [--max-loss 0.01]    Neural Compressor's autotune, static by its PT2E path
    quantizers.py ort --model FOLDER --data ROWS.jsonl                      ONNX Runtime's dynamic int8 of the fused graph, no search

Both evaluate the model and what they made of it at batch 32, padded to the longest, in the file's order, 2 threads. One JSON
line: seconds from the loaded model to the last evaluation, accuracies, the share of labels that both give."""

import argparse
import json
import logging
import os
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")
BATCH = 32
CALIBRATION_ROWS = 100  # Neural Compressor's default


class Rows:
    def __init__(self, model, path, labels):
        from transformers import AutoTokenizer

        self.tokenizer, self.labels = AutoTokenizer.from_pretrained(model), labels
        self.rows = [json.loads(line) for line in open(path)]
        self.answers = []

    def encode(self, rows, tensors):
        pairs = [row["text_pair"] for row in rows] if "text_pair" in rows[0] else None
        encoded = self.tokenizer([row["text"] for row in rows], pairs, return_tensors=tensors, padding=True, truncation=True)
        return tuple(encoded[name] for name in ("input_ids", "attention_mask", "token_type_ids"))

    def evaluate(self, logits_of, tensors="pt"):
        """The accuracy of a function from the three inputs to logits; remembers its answers."""
        answers = []
        for first in range(0, len(self.rows), BATCH):
            answers += logits_of(*self.encode(self.rows[first : first + BATCH], tensors)).argmax(-1).tolist()
        self.answers.append(answers)
        return sum(self.labels[row["label"]] == answer for row, answer in zip(self.rows, answers)) / len(answers)

    def report(self, seconds, f32, quantized):
        same = sum(a == b for a, b in zip(self.answers[0], self.answers[-1])) / len(self.rows)
        print(json.dumps({"seconds": seconds, "evaluations": len(self.answers), "rows": len(self.rows), "f32": f32, "quantized": quantized, "agreement": same}))


def classifier(folder):
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(2)
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def inc(args):
    import torch
    from neural_compressor.torch.export import export
    from neural_compressor.torch.quantization import StaticQuantConfig, TuningConfig, autotune

    logging.disable(logging.INFO)
    net = classifier(args.model)
    rows = Rows(args.model, args.data, net.config.label2id)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, ids, mask, types):
            return self.net(input_ids=ids, attention_mask=mask, token_type_ids=types).logits

    accuracies = []

    def evaluate(model):
        with torch.no_grad():
            accuracies.append(rows.evaluate(model))
        return accuracies[-1]

    def calibrate(model):
        with torch.no_grad():
            for row in rows.rows[:CALIBRATION_ROWS]:
                model(*rows.encode([row], "pt"))

    begin = time.perf_counter()
    axes = {0: torch.export.Dim("batch", min=1, max=BATCH), 1: torch.export.Dim("length", min=2, max=net.config.max_position_embeddings)}
    example = rows.encode(rows.rows[:BATCH], "pt")
    graph = export(Logits().eval(), example, dynamic_shapes=(axes,) * 3)
    best = autotune(graph, TuningConfig(config_set=[StaticQuantConfig()], tolerable_loss=args.max_loss), eval_fn=evaluate, run_fn=calibrate,
                    example_inputs=example)
    seconds = time.perf_counter() - begin
    if best is None:
        raise SystemExit("Neural Compressor found nothing within the goal")
    rows.report(seconds, accuracies[0], max(accuracies[1:]))


def ort(args):
    import ort as peer

    net = classifier(args.model)
    rows = Rows(args.model, args.data, net.config.label2id)
    with tempfile.TemporaryDirectory() as work:
        fused, small = os.path.join(work, "fused.onnx"), os.path.join(work, "int8.onnx")
        peer.write_fused(net, net.config, "logits", fused)
        begin, accuracies = time.perf_counter(), []
        peer.quantize_dynamic_int8(fused, small)
        for graph in map(peer.session, (fused, small)):
            accuracies.append(rows.evaluate(lambda *inputs, graph=graph: graph.run(None, dict(zip(peer.INPUTS, inputs)))[0], "np"))
        rows.report(time.perf_counter() - begin, *accuracies)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=["inc", "ort"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--max-loss", type=float, default=0.01)
    args = parser.parse_args()
    {"inc": inc, "ort": ort}[args.tool](args)


if __name__ == "__main__":
    main()
