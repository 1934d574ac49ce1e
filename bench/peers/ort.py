"""The peer of serving encoders: ONNX Runtime in process, fused graph, two threads.

    ort.py export --model FOLDER --output FILE      the fused f32 graph of an encoder classifier
    ort.py quantize FILE --output FILE              its dynamic int8 form, as ONNX Runtime makes it
    ort.py serve FILE                               reads batches from stdin, answers seconds (see `serve`)

A driver alternates between this process and the server that it is compared with."""

import argparse
import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")


INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def write_fused(model, config, output, path):
    """The fused graph of a module that takes the three inputs; `output` names what it gives. Returns what was fused."""
    import torch
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    example = (torch.ones(2, 16, dtype=torch.int64),) * 3
    with torch.no_grad():
        torch.onnx.export(model, example, path + ".raw", input_names=INPUTS, output_names=[output], dynamo=False,
                          opset_version=14, dynamic_axes={n: {0: "batch", 1: "length"} for n in INPUTS})
    fused = optimizer.optimize_model(path + ".raw", model_type="bert", num_heads=config.num_attention_heads,
                                     hidden_size=config.hidden_size, optimization_options=FusionOptions("bert"))
    fused.save_model_to_file(path)
    os.remove(path + ".raw")
    return fused.get_fused_operator_statistics()


def export(args):
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    print(json.dumps(write_fused(model, model.config, "logits", args.output)))


def quantize_dynamic_int8(file, output):
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(file, output, weight_type=QuantType.QInt8,
                     extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT})


def quantize(args):
    quantize_dynamic_int8(args.file, args.output)
    print(json.dumps({"bytes": os.path.getsize(args.output)}))


def session(path):
    """Of two threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def serve(args):
    """One JSON line in: {"input_ids": [[...], ...], "repeat": n}; ragged rows are padded to the longest. One out:
    {"seconds": [...]}: the time of each repetition, padding included, making the lists into arrays excluded."""
    import numpy

    graph = session(args.file)
    for line in sys.stdin:
        request = json.loads(line)
        rows = [numpy.array(r, dtype=numpy.int64) for r in request["input_ids"]]
        seconds = []
        for _ in range(request.get("repeat", 1)):
            begin = time.perf_counter()
            width = max(len(r) for r in rows)
            ids = numpy.zeros((len(rows), width), dtype=numpy.int64)
            mask = numpy.zeros_like(ids)
            for i, r in enumerate(rows):
                ids[i, : len(r)], mask[i, : len(r)] = r, 1
            logits = graph.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)})[0]
            seconds.append(time.perf_counter() - begin)
        resident = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
        print(json.dumps({"seconds": seconds, "logits": logits.tolist(), "resident": resident}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    e = commands.add_parser("export")
    e.add_argument("--model", required=True)
    e.add_argument("--output", required=True)
    e.set_defaults(run=export)
    q = commands.add_parser("quantize")
    q.add_argument("file")
    q.add_argument("--output", required=True)
    q.set_defaults(run=quantize)
    s = commands.add_parser("serve")
    s.add_argument("file")
    s.set_defaults(run=serve)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
