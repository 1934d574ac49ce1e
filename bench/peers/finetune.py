"""The peer of fine-tuning: transformers and torch as their users run them on a CPU.

bf16 autocast, dynamic padding, fused AdamW, clipping, linear schedule with warm-up, dropout on; two threads;
tokenization inside the loop's data loader; loading and saving outside of the clock.

    finetune.py --model FOLDER --train F.tsv [--dev F.tsv] [--batch-size 32] [--epochs 1] [--learning-rate 5e-5]
                [--seed 1] [--rows N]

Prints one JSON object."""

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup, logging

logging.set_verbosity_error()


def read_mrpc(path, rows=None):
    lines = open(path, encoding="utf-8-sig").read().rstrip("\n").split("\n")[1:]
    fields = [line.rstrip("\r").split("\t") for line in lines[:rows]]
    return [(int(f[0]), f[3], f[4]) for f in fields]


def evaluate(model, tokenizer, rows):
    model.eval()
    hits = positives = predicted = true_positives = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for i in range(0, len(rows), 32):
            batch = rows[i : i + 32]
            x = tokenizer([r[1] for r in batch], [r[2] for r in batch], padding=True, truncation=True, max_length=128, return_tensors="pt")
            best = model(**x).logits.argmax(-1).tolist()
            for r, b in zip(batch, best):
                hits += r[0] == b
                positives += r[0]
                predicted += b
                true_positives += r[0] & b
    model.train()
    return hits / len(rows), 2 * true_positives / max(1, positives + predicted)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--dev")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int)
    args = parser.parse_args()

    torch.set_num_threads(2)
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=2, dtype=torch.float32)
    model.train()
    train = read_mrpc(args.train, args.rows)
    steps = (len(train) + args.batch_size - 1) // args.batch_size * args.epochs
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.01, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.1 * steps), steps)

    begin, seen = time.perf_counter(), 0
    for _ in range(args.epochs):
        order = torch.randperm(len(train)).tolist()
        for i in range(0, len(order), args.batch_size):
            batch = [train[k] for k in order[i : i + args.batch_size]]
            x = tokenizer([r[1] for r in batch], [r[2] for r in batch], padding=True, truncation=True, max_length=128, return_tensors="pt")
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**x, labels=torch.tensor([r[0] for r in batch])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            seen += len(batch)
    seconds = time.perf_counter() - begin
    result = {"samples_per_second": seen / seconds, "seconds": seconds, "loss": float(loss)}
    if args.dev:
        result["accuracy"], result["f1"] = evaluate(model, tokenizer, read_mrpc(args.dev))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
