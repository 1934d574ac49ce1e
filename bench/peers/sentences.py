"""The peers of embeddings: sentence-transformers (torch, bf16) and its pipeline over ONNX Runtime in int8, two threads.

    sentences.py serve --model FOLDER               reads {"texts": [...], "repeat": n} from stdin, answers seconds
    sentences.py serve --model FOLDER --onnx FILE   the same through an int8 graph: tokenized, padded, pooled, normalized
    sentences.py export --model FOLDER --output F   the encoder's fused graph in int8 (dynamic)"""

import argparse
import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")
BATCH = 32  # sentence-transformers' own


def export(args):
    import ort
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()

    class States(torch.nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        def forward(self, *inputs):
            return self.encoder(**dict(zip(ort.INPUTS, inputs))).last_hidden_state

    fused = args.output + ".fused"
    ort.write_fused(States(model).eval(), model.config, "states", fused)
    ort.quantize(argparse.Namespace(file=fused, output=args.output))
    os.remove(fused)


def torch_encoder(args):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(2)
    model = SentenceTransformer(args.model, device="cpu", model_kwargs={"torch_dtype": torch.bfloat16})
    return lambda texts: model.encode(texts, batch_size=BATCH, show_progress_bar=False)


def onnx_encoder(args):
    """What sentence-transformers does around its onnx backend: sorted by length, batches of 32, the mean, length one."""
    import numpy
    import ort
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    graph = ort.session(args.onnx)

    def encode(texts):
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        rows = [None] * len(texts)
        for first in range(0, len(order), BATCH):
            part = order[first : first + BATCH]
            encoded = tokenizer.encode_batch([texts[i] for i in part])
            ids, mask, types = (numpy.array([getattr(e, name) for e in encoded], dtype=numpy.int64) for name in ("ids", "attention_mask", "type_ids"))
            states = graph.run(["states"], dict(zip(ort.INPUTS, (ids, mask, types))))[0]
            mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            for i, row in zip(part, mean / numpy.linalg.norm(mean, axis=1, keepdims=True)):
                rows[i] = row
        return numpy.stack(rows)

    return encode


def serve(args):
    encode = onnx_encoder(args) if args.onnx else torch_encoder(args)
    for line in sys.stdin:
        request = json.loads(line)
        seconds = []
        for _ in range(request.get("repeat", 1)):
            begin = time.perf_counter()
            rows = encode(request["texts"])
            seconds.append(time.perf_counter() - begin)
        print(json.dumps({"seconds": seconds, "first": [float(x) for x in rows[0]]}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for name, run in (("export", export), ("serve", serve)):
        command = commands.add_parser(name)
        command.add_argument("--model", required=True)
        command.add_argument("--output")
        command.add_argument("--onnx")
        command.set_defaults(run=run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
