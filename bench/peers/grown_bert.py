"""A model of BERT-base's shapes that computes nearly what MiniLM does, so that it learns in minutes.

    grown_bert.py MINILM OUTPUT

Every dimension is doubled: copies get the same input, and what reads them splits each weight at random between the two, so that
they learn apart (Net2Net, Chen et al. 2016; bert2BERT, Chen et al. 2022). Between two layers stands one that adds nothing yet."""

import shutil
import sys
from pathlib import Path

import torch
import transformers

torch.manual_seed(1)


def doubled(weight, rows, columns):
    """[out, in] -> [2 out, 2 in]; `rows` and `columns` say of which old one each new one is a copy."""
    out = weight[rows]
    share = torch.rand(out.shape)
    wide = torch.empty(len(rows), len(columns))
    for old in range(weight.shape[1]):
        first, second = (columns == old).nonzero().flatten().tolist()
        wide[:, first], wide[:, second] = out[:, old] * share[:, old], out[:, old] * (1 - share[:, old])
    return wide


def main():
    small = transformers.AutoModel.from_pretrained(sys.argv[1]).eval()
    c = small.config
    head = c.hidden_size // c.num_attention_heads
    hidden, mlp = torch.arange(c.hidden_size).repeat(2), torch.arange(c.intermediate_size).repeat(2)
    heads = torch.arange(c.hidden_size).view(-1, head).repeat(1, 2).flatten()  # copies within a head
    shape = {name: 2 * getattr(c, name) for name in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    large = transformers.BertModel(transformers.BertConfig(**{**c.to_dict(), **shape}))

    def linear(to, of, rows, columns, scale=1.0):
        to.weight.data, to.bias.data = scale * doubled(of.weight.data, rows, columns), scale * of.bias.data[rows]

    def norm(to, of):
        to.weight.data, to.bias.data = of.weight.data[hidden], of.bias.data[hidden]

    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        getattr(large.embeddings, name).weight.data = getattr(small.embeddings, name).weight.data[:, hidden]
    norm(large.embeddings.LayerNorm, small.embeddings.LayerNorm)
    for i, of in enumerate(small.encoder.layer):
        to, after = large.encoder.layer[2 * i], large.encoder.layer[2 * i + 1]
        mine, its = to.attention.self, of.attention.self
        linear(mine.query, its.query, heads, hidden, 2**-0.5)  # twice the products, over the root of twice the width
        linear(mine.key, its.key, heads, hidden)
        linear(mine.value, its.value, heads, hidden)
        linear(to.attention.output.dense, of.attention.output.dense, hidden, heads)
        norm(to.attention.output.LayerNorm, of.attention.output.LayerNorm)
        linear(to.intermediate.dense, of.intermediate.dense, mlp, hidden)
        linear(to.output.dense, of.output.dense, hidden, mlp)
        norm(to.output.LayerNorm, of.output.LayerNorm)
        scale, shift = of.output.LayerNorm.weight.data, of.output.LayerNorm.bias.data
        for nothing in (after.attention.output, after.output):
            torch.nn.init.zeros_(nothing.dense.weight)
            torch.nn.init.constant_(nothing.LayerNorm.weight, (scale.square().mean() + shift.var()).sqrt())
            torch.nn.init.constant_(nothing.LayerNorm.bias, shift.mean())
    large.save_pretrained(sys.argv[2])
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Path(sys.argv[1]) / name, sys.argv[2])


if __name__ == "__main__":
    main()
