"""Training against torch: AdamW, clipping and schedule are torch's, and so are the weights after 50 steps of MRPC."""

import json
import math

import pytest
import torch
import transformers as tf

from tiny_models import tiny_bert

MASK = 2**64 - 1
STEPS, BATCH, RATE, WARMUP, DECAY, SEED = 50, 4, 5e-5, 0.1, 0.01, 7


def scatter(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def epoch_order(seed, epoch, rows):
    """The order of the rows, as src/train/order.h documents it."""
    state = scatter(scatter(seed + 0x9E3779B97F4A7C15 & MASK) + epoch & MASK)
    order = list(range(rows))
    for i in range(rows - 1, 0, -1):
        state = state + 0x9E3779B97F4A7C15 & MASK
        j = scatter(state) * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return order


def read_mrpc(path):
    rows = [line.rstrip("\n").split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines()[1:]]
    return [(row[3], row[4], int(row[0])) for row in rows]


def train_with_torch(folder, rows, max_length, clip):
    """Losses and gradient norms of each step, and the weights at the end."""
    model = tf.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    model.train()
    named = list(model.named_parameters())
    groups = [{"params": [p for _, p in named if p.ndim > 1], "weight_decay": DECAY},
              {"params": [p for _, p in named if p.ndim == 1], "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    schedule = tf.get_linear_schedule_with_warmup(optimizer, math.ceil(STEPS * WARMUP), STEPS)
    order, losses, norms = epoch_order(SEED, 0, len(rows)), [], []
    for step in range(STEPS):
        batch = [rows[i] for i in order[step * BATCH:(step + 1) * BATCH]]
        inputs = tokenizer([r[0] for r in batch], [r[1] for r in batch], truncation=True, max_length=max_length,
                           padding=True, return_tensors="pt")
        loss = model(**inputs, labels=torch.tensor([r[2] for r in batch])).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip)))
        losses.append(loss.item())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return losses, norms, {name: p.detach() for name, p in named}


def base_model(kind, folder, request):
    """A classifier with labels 0 and 1, dropout 0."""
    if kind == "tiny":
        return tiny_bert(folder, ["0", "1"])
    source = request.getfixturevalue("minilm")
    torch.manual_seed(0)
    model = tf.AutoModelForSequenceClassification.from_pretrained(source, num_labels=2, id2label={0: "0", 1: "1"},
                                                                  label2id={"0": 0, "1": 1})
    model.save_pretrained(folder)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


@pytest.mark.parametrize("kind,max_length,clip", [("minilm", 128, 1.0), ("tiny", 64, 0.05)])
def test_fifty_steps_of_mrpc(kind, max_length, clip, tmp_path, data, textmill, request):
    base = base_model(kind, tmp_path / "base", request)
    config = json.loads((base / "config.json").read_text())
    config.update(hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    (base / "config.json").write_text(json.dumps(config))
    lines = data("mrpc", "glue_train.tsv").read_text(encoding="utf-8-sig").splitlines(keepends=True)[:1 + STEPS * BATCH]
    (tmp_path / "train.tsv").write_text("".join(lines))
    textmill("train", "--model", base, "--train", tmp_path / "train.tsv", "--output", tmp_path / "out", "--epochs", 1,
             "--batch-size", BATCH, "--learning-rate", RATE, "--warmup-ratio", WARMUP, "--weight-decay", DECAY,
             "--max-grad-norm", clip, "--seed", SEED, "--max-length", max_length, "--precision", "f32")
    history = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    losses, norms, weights = train_with_torch(base, read_mrpc(tmp_path / "train.tsv"), max_length, clip)

    assert [line["step"] for line in history] == list(range(1, STEPS + 1))
    assert max(norms) > clip and losses[0] - min(losses) > 0.05, "it clipped and it learned"
    for step, line in enumerate(history):
        assert line["loss"] == pytest.approx(losses[step], abs=1e-5), step
        assert line["gradient_norm"] == pytest.approx(norms[step], rel=1e-3), step
    found = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").state_dict()
    for name, expected in weights.items():
        if name.endswith("key.bias"):
            continue  # no loss depends on it: its gradient is rounding alone, which AdamW scales to full steps
        assert (found[name] - expected).abs().max() < 1e-5, name
