"""Model folders: what transformers wrote gives the same logits here, and what we write gives the same logits there."""

import json
import subprocess

import pytest
import torch
import transformers as tf

from tiny_models import BERT, SHAPE, reviews, tiny_bert, write_model

LABELS = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
ROBERTA = {**BERT, "pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 66}
DISTILBERT = dict(dim=64, n_layers=2, n_heads=4, hidden_dim=128, max_position_embeddings=64, **SHAPE)
MODELS = {
    "bert": lambda: tf.BertForSequenceClassification(tf.BertConfig(**BERT, **LABELS)),
    "bert-gelu-new": lambda: tf.BertForSequenceClassification(tf.BertConfig(**BERT, **LABELS, hidden_act="gelu_new", layer_norm_eps=1e-5)),
    "distilbert": lambda: tf.DistilBertForSequenceClassification(tf.DistilBertConfig(**DISTILBERT, **LABELS)),
    "roberta": lambda: tf.RobertaForSequenceClassification(tf.RobertaConfig(**ROBERTA, **LABELS)),
    "xlm-roberta": lambda: tf.XLMRobertaForSequenceClassification(tf.XLMRobertaConfig(**ROBERTA, **LABELS)),
}


def sequences():
    generator = torch.Generator().manual_seed(1)
    for length in (1, 2, 7, 30, 64):
        yield torch.randint(5, BERT["vocab_size"], (length,), generator=generator).tolist()


def reference(model, ids, types=None):
    with torch.no_grad():
        types = {"token_type_ids": torch.tensor([types])} if types else {}
        return model(input_ids=torch.tensor([ids]), **types).logits[0]


@pytest.fixture
def logits(golden):
    def run(folder, lines, precision="f32"):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        done = subprocess.run([golden("logits"), folder, precision], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [torch.tensor(json.loads(line)) for line in done.stdout.splitlines()]

    return run


@pytest.mark.parametrize("name", MODELS)
def test_every_family(name, tmp_path, logits):
    torch.manual_seed(0)
    model = MODELS[name]()
    write_model(tmp_path, model)
    model.eval()
    lines = list(sequences())
    for precision, tolerance in (("f32", 1e-4), ("bf16", 2e-2)):
        found = logits(tmp_path, [{"input_ids": ids} for ids in lines], precision)
        for ids, row in zip(lines, found):
            expected = reference(model, ids)
            assert torch.allclose(row, expected, atol=tolerance * max(1, expected.abs().max().item()), rtol=0), (precision, len(ids))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_is_the_same_model(name, tmp_path, golden):
    torch.manual_seed(0)
    write_model(tmp_path / "a", MODELS[name]())
    tokenizer = {"bert": ["vocab.txt"], "distilbert": ["vocab.txt"], "bert-gelu-new": ["vocab.txt", "added_tokens.json"],
                 "roberta": ["vocab.json", "merges.txt", "tokenizer.json", "special_tokens_map.json"], "xlm-roberta": ["sentencepiece.bpe.model"]}[name]
    for file in {*tokenizer, "tokenizer_config.json"} - {"vocab.txt"}:
        (tmp_path / "a" / file).write_bytes(b'{"of": "%s",\xff\0 \n}' % file.encode())
    subprocess.run([golden("logits"), tmp_path / "a", "--write", tmp_path / "b"], check=True)
    for file in {*tokenizer, "tokenizer_config.json"}:
        assert (tmp_path / "b" / file).read_bytes() == (tmp_path / "a" / file).read_bytes()
    before, after = (tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / folder).eval() for folder in "ab")
    assert after.config.id2label == LABELS["id2label"] and type(after) is type(before)
    for ids in sequences():
        assert torch.equal(reference(before, ids), reference(after, ids))


def test_types_and_padding(tmp_path, logits):
    model = tf.AutoModelForSequenceClassification.from_pretrained(tiny_bert(tmp_path, ["a", "b"])).eval()
    ids, types = [2, 9, 10, 3, 11, 12, 3], [0, 0, 0, 0, 1, 1, 1]
    padded = {"input_ids": ids + [0, 0], "attention_mask": [1] * 7 + [0, 0], "token_type_ids": types + [0, 0]}
    found = logits(tmp_path, [padded, {"input_ids": ids, "token_type_ids": types}, {"input_ids": ids}])
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found[0], reference(model, ids, types), atol=1e-4)
    assert torch.allclose(found[2], reference(model, ids), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files(dtype, tmp_path, logits):
    torch.manual_seed(0)
    write_model(tmp_path, MODELS["bert"](), dtype)
    model = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = list(sequences())[3]
    assert torch.allclose(logits(tmp_path, [{"input_ids": ids}])[0], reference(model, ids), atol=1e-4)


def test_shards(tmp_path, logits):
    torch.manual_seed(0)
    write_model(tmp_path, MODELS["bert"](), max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    model = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = list(sequences())[3]
    assert torch.allclose(logits(tmp_path, [{"input_ids": ids}])[0], reference(model, ids), atol=1e-4)


@pytest.mark.parametrize("bare", [True, False])
def test_what_training_writes_loads_in_transformers(bare, tmp_path, logits, textmill):
    base = tiny_bert(tmp_path / "base", None if bare else ["neg", "pos"])
    data = reviews(tmp_path / "train.tsv", 40)
    textmill("train", "--model", base, "--train", data, "--output", tmp_path / "out", "--epochs", 1, "--learning-rate", 1e-3)
    model, report = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.id2label == {0: "neg", 1: "pos"} and model.dtype == torch.float32
    tokenizer = tf.AutoTokenizer.from_pretrained(tmp_path / "out")
    for name in ("vocab.txt", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (base / name).read_bytes()
    texts = [("a great film", None), ("awful plot , the end", "not at all")]
    found = logits(tmp_path / "out", [{"text": a, **({"text_pair": b} if b else {})} for a, b in texts])
    for (a, b), row in zip(texts, found):
        encoded = tokenizer(a, b)
        expected = reference(model.eval(), encoded["input_ids"], encoded["token_type_ids"])
        assert torch.allclose(row, expected, atol=1e-4)
