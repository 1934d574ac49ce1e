"""Small models with random weights, made in the test: folders that transformers wrote."""

import json

import torch
import transformers as tf

WORDS = ("the a film movie was is not very really good bad fine poor great awful plot actor scene ending music "
         "long short old new true false one two three four , . ! ? ' \" - and or but of in on at to for with").split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS + list("bcdefghijklmnopqrstuvwxyz0123456789") + [
    "##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"]

SHAPE = dict(vocab_size=len(VOCABULARY), pad_token_id=0)
BERT = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, max_position_embeddings=64, **SHAPE)


def write_tokenizer(folder):
    """vocab.txt and tokenizer_config.json: enough for us and for transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "tokenizer_class": "BertTokenizer", "model_max_length": 64}')


def write_model(folder, model, dtype=torch.float32, **save):
    """Weights away from their initial values, so that every one of them matters."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    write_tokenizer(folder)
    model.to(dtype).save_pretrained(folder, **save)


def tiny_bert(folder, labels=None, **overrides):
    """A classifier with these labels, or a bare encoder."""
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(labels)), "label2id": {l: i for i, l in enumerate(labels)}} if labels else {}
    config = tf.BertConfig(**{**BERT, **overrides}, **names)
    write_model(folder, tf.BertForSequenceClassification(config) if labels else tf.BertModel(config))
    return folder


def reviews(path, rows, seed=0, labels=("neg", "pos")):
    """A TSV of made-up sentences, whose label is a word that stands in them. With the labels the other way round it is
    validation data that gets the worse the more is learned."""
    generator = torch.Generator().manual_seed(seed)
    lines = ["label\ttext"]
    for _ in range(rows):
        length = int(torch.randint(3, 20, (1,), generator=generator))
        words = [WORDS[int(i)] for i in torch.randint(15, len(WORDS) - 12, (length,), generator=generator)]
        positive = int(torch.randint(0, 2, (1,), generator=generator))
        words.insert(length // 2, "great" if positive else "awful")
        lines.append(f"{labels[positive]}\t{' '.join(words)}")
    path.write_text("\n".join(lines) + "\n")
    return path


POOLING = {"mean": ("pooling_mode_mean_tokens", "mean"), "cls": ("pooling_mode_cls_token", "cls"),
           "last-token": ("pooling_mode_lasttoken", "lasttoken")}


def pooling_config(pooling, today):
    if today:
        return {"embedding_dimension": 64, "pooling_mode": POOLING[pooling][1], "include_prompt": True}
    return {"word_embedding_dimension": 64} | {flag: name == pooling for name, (flag, _) in POOLING.items()}


def sentence_model(folder, pooling="mean", normalize=True, prompts=None, default_prompt=None, today=False):
    """The layout that sentence-transformers writes, `today` (6.2) or before."""
    tiny_bert(folder)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")] + [("Normalize", "2_Normalize")] * normalize
    (folder / "modules.json").write_text(json.dumps([
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(modules)]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling_config(pooling, today)))
    if prompts:
        (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts, "default_prompt_name": default_prompt}))
    return folder
