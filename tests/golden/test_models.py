"""Each model family against transformers on a tiny random checkpoint: outputs, loss, the gradient of every weight, by the
naive executor (single, double) and by the CPU engine (f32, bf16).

In double precision the reference's own roundings to f32 (norms, softmax, rotary) are lifted, and what is left is the
order of sums; otherwise it runs as it is.
"""

import functools
import os
import subprocess

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama
from transformers.models.mllama import modeling_mllama
from transformers.models.t5 import modeling_t5

LENGTHS = [5, 2, 4]  # 8 next tokens: weights of 1/8 are exact in f32
VOCAB = 40


PATHS = ["avx512-bf16", "avx512-vnni", "avx-vnni", "avx2", "portable"]  # best first; the last is everywhere
TOLERANCE = {"single": 1e-4, "double": 1e-9, "f32": 1e-4, "bf16": 0.1}


@pytest.fixture(params=TOLERANCE)
def precision(request, monkeypatch):
    torch.manual_seed(0)
    if request.param == "double":
        lift_roundings(monkeypatch)
    return request.param


def lift_roundings(monkeypatch):
    softmax = torch.nn.functional.softmax
    monkeypatch.setattr(torch.nn.functional, "softmax", lambda x, dim=None, dtype=None, **_: softmax(x, dim=dim))

    def rms(self, x):
        eps = getattr(self, "variance_epsilon", None) or self.eps
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))

    for norm in (modeling_llama.LlamaRMSNorm, modeling_t5.T5LayerNorm, modeling_mllama.MllamaTextRMSNorm):
        monkeypatch.setattr(norm, "forward", rms)

    def rotary(self, x, position_ids):
        c = self.config
        dim = int(c.hidden_size // c.num_attention_heads * c.rope_parameters.get("partial_rotary_factor", 1.0))
        frequencies = c.rope_parameters["rope_theta"] ** (-torch.arange(0, dim, 2).double() / dim)
        angles = (position_ids[..., None].double() * frequencies).repeat(1, 1, 2)
        return angles.cos(), angles.sin()

    for module in (modeling_llama.LlamaRotaryEmbedding, modeling_gpt_neox.GPTNeoXRotaryEmbedding):
        monkeypatch.setattr(module, "forward", rotary)


@functools.cache
def available_paths(program):
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("path", PATHS)
def test_path(path, golden):
    """Each of the tests below runs on each of these."""
    if path not in available_paths(golden("model")):
        pytest.skip(f"this machine lacks {path}: nothing here runs on it")


class Case:
    """A model with weights away from their initial values, and what it found."""

    def __init__(self, model, precision, tmp_path, golden, noise=0.3):
        for parameter in model.parameters():
            parameter.data.add_(noise * torch.randn_like(parameter))
        self.model = model.eval().to(torch.float64 if precision == "double" else torch.float32)
        self.precision, self.folder, self.program = precision, tmp_path, golden("model")
        self.batch = {}

    def give(self, **values):
        self.batch.update({k: torch.as_tensor(v).float() if torch.is_floating_point(torch.as_tensor(v)) else torch.as_tensor(v)
                           for k, v in values.items()})

    def runs(self):
        """What the program found on each path of this machine's CPU, or once on the naive executor's."""
        self.save()
        save_file({k: v.detach().contiguous() for k, v in self.batch.items()}, self.folder / "batch.safetensors")
        for path in available_paths(self.program) if self.precision in ("f32", "bf16") else PATHS[-1:]:
            subprocess.run([self.program, self.folder, self.folder / "found", self.precision], check=True,
                           env=os.environ | {"TEXTMILL_CPU": path})
            yield load_file(self.folder / "found")

    @property
    def size(self):
        """Roundings to bf16 are noise of each number: what is near is the whole. Otherwise every number is."""
        return np.linalg.norm if self.precision == "bf16" else lambda x: np.abs(x).max()

    def check(self, output, loss=None):
        for found in self.runs():
            self.compare(found, output, loss)

    def compare(self, found, output, loss):
        weights = {self.stored_name(name): weight for name, weight in self.model.named_parameters()}
        size, tolerance = self.size, TOLERANCE[self.precision]
        near(found.pop("output"), output, tolerance, "output", size)
        if loss is not None:
            near(found.pop("loss"), loss.reshape(1), tolerance, "loss", size)
        expected = {"grad/" + name: grad for name, weight in weights.items() if weight.grad is not None
                    for name, grad in self.parts(name, weight.grad)}
        assert found.keys() == expected.keys()
        largest = max(size(grad.numpy().ravel()) for grad in expected.values())
        for name, grad in expected.items():
            # Gradients that are 0 in exact arithmetic, such as those of key biases, are sums that cancel.
            near(found[name], grad, tolerance, name, size, floor=(2e-2 if self.precision == "bf16" else 1e-2) * largest)

    def save(self):
        state = {name: tensor.detach().float().contiguous() for name, tensor in self.model.state_dict().items()}
        if hasattr(self.model, "save_pretrained"):
            self.model.save_pretrained(self.folder, state_dict=state)
        else:
            self.model.config.save_pretrained(self.folder)
            save_file(state, self.folder / "model.safetensors")

    def stored_name(self, name):
        return "embed_out.weight" if name == "lm_head.weight" and self.model.config.model_type == "gpt_neox" else name

    def parts(self, name, grad):
        if "query_key_value" not in name:
            return [(name, grad)]
        blocks = grad.reshape(self.model.config.num_attention_heads, 3, -1)
        return [(f"{name}#{i}", blocks[:, i]) for i in range(3)]


def near(found, expected, tolerance, name, size, floor=1e-6):
    expected = expected.detach().double().numpy().ravel()
    assert found.shape == expected.shape, name
    error = size(found - expected) / max(size(expected), floor)
    assert error < tolerance, f"{name}: relative error {error:.2e}"


def sequences(lengths=LENGTHS, low=3):
    return [torch.randint(low, VOCAB, (length,)) for length in lengths]


def pad(rows, value=0):
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


ENCODER = dict(vocab_size=VOCAB, num_labels=3, attn_implementation="eager")
SIZES = dict(hidden_size=16, num_attention_heads=2, intermediate_size=32, num_hidden_layers=2, max_position_embeddings=32)
ENCODERS = {
    "bert": lambda: tf.BertForSequenceClassification(tf.BertConfig(**ENCODER, **SIZES)),
    "minilm": lambda: tf.BertForSequenceClassification(
        tf.BertConfig(**ENCODER, **SIZES | dict(num_attention_heads=4), hidden_act="gelu_new", layer_norm_eps=1e-5)),
    "distilbert": lambda: tf.DistilBertForSequenceClassification(
        tf.DistilBertConfig(**ENCODER, dim=16, n_heads=2, hidden_dim=32, n_layers=2, max_position_embeddings=32)),
    "roberta": lambda: tf.RobertaForSequenceClassification(tf.RobertaConfig(**ENCODER, **SIZES, type_vocab_size=1)),
    "xlm-roberta": lambda: tf.XLMRobertaForSequenceClassification(
        tf.XLMRobertaConfig(**ENCODER, **SIZES, type_vocab_size=1, pad_token_id=1)),
}


def run_encoder(case):
    ids, types = sequences(), [(torch.arange(length) > 2).long() for length in LENGTHS]
    inputs = dict(input_ids=pad(ids, 1), attention_mask=pad([torch.ones_like(row) for row in ids]))
    if getattr(case.model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = pad(types)
    else:
        types = [torch.zeros_like(row) for row in types]
    labels = torch.tensor([0, 2, 1])
    out = case.model(**inputs, labels=labels)
    out.loss.backward()
    case.give(lengths=LENGTHS, ids=torch.cat(ids), types=torch.cat(types), labels=labels)
    case.check(out.logits, out.loss)


@pytest.mark.parametrize("family", ENCODERS)
def test_classifier(family, precision, tmp_path, golden):
    torch.manual_seed(1)
    run_encoder(Case(ENCODERS[family](), precision, tmp_path, golden))


class LoraLinear(torch.nn.Linear):
    RANK, SCALE = 2, 1.5

    def __init__(self, linear):
        super().__init__(linear.in_features, linear.out_features)
        self.load_state_dict(linear.state_dict())
        self.lora_A = torch.nn.Linear(linear.in_features, self.RANK, bias=False)
        self.lora_B = torch.nn.Linear(self.RANK, linear.out_features, bias=False)

    def forward(self, x):
        return super().forward(x) + self.SCALE * self.lora_B(self.lora_A(x))


def test_lora(precision, tmp_path, golden):
    model = ENCODERS["bert"]()
    model.requires_grad_(False)
    for layer in model.bert.encoder.layer:
        attention = layer.attention.self
        attention.query, attention.value = LoraLinear(attention.query), LoraLinear(attention.value)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora" in name)
    case = Case(model, precision, tmp_path, golden)
    case.give(lora_rank=[LoraLinear.RANK], lora_scale=torch.tensor([LoraLinear.SCALE]))
    run_encoder(case)


DECODER = dict(vocab_size=VOCAB, hidden_size=16, num_attention_heads=4, intermediate_size=24, num_hidden_layers=2,
               attn_implementation="eager")
DECODERS = {
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**DECODER, num_key_value_heads=2, rms_norm_eps=1e-5)),
    "llama-tied": lambda: tf.LlamaForCausalLM(
        tf.LlamaConfig(**DECODER, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "gpt-neox": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**DECODER | dict(num_attention_heads=2))),
    "gpt-neox-serial": lambda: tf.GPTNeoXForCausalLM(
        tf.GPTNeoXConfig(**DECODER, use_parallel_residual=False, rope_parameters={
            "rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 1.0})),
}


@pytest.mark.parametrize("family", DECODERS)
def test_decoder(family, precision, tmp_path, golden):
    case = Case(DECODERS[family](), precision, tmp_path, golden)
    ids = sequences()
    logits = case.model(input_ids=pad(ids), attention_mask=pad([torch.ones_like(row) for row in ids])).logits
    count = sum(LENGTHS) - len(LENGTHS)
    loss = sum(cross_entropy(logits[i, : len(row) - 1], row[1:], reduction="sum") for i, row in enumerate(ids)) / count
    loss.backward()
    case.give(lengths=LENGTHS, ids=torch.cat(ids))
    case.check(torch.cat([logits[i, :length] for i, length in enumerate(LENGTHS)]), loss)


@pytest.mark.parametrize("family", DECODERS)
def test_generation(family, precision, tmp_path, golden):
    """Prefill alone, prefill beside decoding, and decoding alone, with our cache, against transformers' own."""
    case = Case(DECODERS[family](), precision, tmp_path, golden)
    ids = sequences()
    case.give(lengths=LENGTHS, ids=torch.cat(ids))
    check_turns(case, ids, lambda s, chunk, cache: case.model(input_ids=chunk, past_key_values=cache, use_cache=True),
                lambda: tf.DynamicCache(config=case.model.config))


def check_turns(case, ids, step, make_cache):
    take = torch.tensor([[3, 2, 0], [1, 0, 3], [1, 0, 1]])
    assert take.sum(0).tolist() == [len(row) for row in ids]
    caches, past, turns = [make_cache() for _ in ids], [0] * len(ids), []
    for turn in take.tolist():
        rows = []
        for s, more in enumerate(turn):
            if more:
                with torch.no_grad():
                    rows.append(step(s, ids[s][None, past[s]: past[s] + more], caches[s]).logits[0, -1])
                past[s] += more
        turns.append(torch.stack(rows))
        assert [cache.get_seq_length() for cache in caches] == past
    case.give(take=take.ravel())
    for found in case.runs():
        for i, expected in enumerate(turns):
            near(found.pop(f"turn/{i}"), expected, TOLERANCE[case.precision], f"turn {i}", case.size)
        assert not found


@pytest.mark.parametrize("mlp", ["relu", "gated-gelu"])
def test_t5(mlp, precision, tmp_path, golden):
    # Its scores are not scaled: the larger they are, the more they make of bf16's roundings.
    factor, noise = (0.3, 0.1) if precision == "bf16" else (1.0, 0.3)
    config = tf.T5Config(initializer_factor=factor, vocab_size=VOCAB, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_decoder_layers=3, num_heads=2,
                         relative_attention_num_buckets=8, relative_attention_max_distance=10, dropout_rate=0.0,
                         feed_forward_proj=mlp, tie_word_embeddings=mlp == "relu", attn_implementation="eager")
    case = Case(tf.T5ForConditionalGeneration(config), precision, tmp_path, golden, noise)
    target_lengths = [4, 3, 1]
    ids, labels = sequences(), sequences(target_lengths)
    targets = [torch.cat([torch.zeros(1, dtype=torch.long), row[:-1]]) for row in labels]
    out = case.model(input_ids=pad(ids), attention_mask=pad([torch.ones_like(row) for row in ids]),
                     decoder_input_ids=pad(targets), labels=pad(labels, -100))
    out.loss.backward()
    case.give(lengths=LENGTHS, target_lengths=target_lengths, ids=torch.cat(ids), target_ids=torch.cat(targets),
              labels=torch.cat(labels))
    case.check(torch.cat([out.logits[i, :length] for i, length in enumerate(target_lengths)]), out.loss)


class CrossLayer(modeling_mllama.MllamaCrossAttentionDecoderLayer):
    def __init__(self, config):
        super().__init__(config, 1)
        self.config = config


@pytest.mark.parametrize("precision", ["single", "double"], indirect=True)  # the CPU engine's caches are of one plan
def test_t5_generation(precision, tmp_path, golden):
    """The encoder once; then as above, the decoder with what it remembers of itself and of the encoder."""
    config = tf.T5Config(vocab_size=VOCAB, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=2, dropout_rate=0.0,
                         relative_attention_num_buckets=8, relative_attention_max_distance=10, attn_implementation="eager")
    case = Case(tf.T5ForConditionalGeneration(config), precision, tmp_path, golden)
    ids, targets = sequences(), sequences()
    with torch.no_grad():
        encoded = [case.model.encoder(input_ids=row[None]) for row in ids]
    case.give(lengths=LENGTHS, ids=torch.cat(ids), target_lengths=LENGTHS, target_ids=torch.cat(targets))
    check_turns(case, targets, lambda s, chunk, cache: case.model(
        encoder_outputs=encoded[s], decoder_input_ids=chunk, past_key_values=cache, use_cache=True),
        lambda: tf.EncoderDecoderCache(tf.DynamicCache(), tf.DynamicCache()))


def test_mllama_cross_layer(precision, tmp_path, golden):
    """One sequence of 6 text rows and 3 tiles of 3 image rows: two rows see nothing, two a tile, two the other tiles."""
    config = tf.models.mllama.MllamaTextConfig(
        vocab_size=VOCAB, hidden_size=16, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24,
        num_hidden_layers=2, cross_attention_layers=[1], pad_token_id=0, dropout=0.0)
    config._attn_implementation = "eager"
    case = Case(CrossLayer(config), precision, tmp_path, golden)
    dtype, tile = next(case.model.parameters()).dtype, 3
    x, image = torch.randn(1, 6, 16), torch.randn(1, 3 * tile, 16)
    visible = torch.zeros(1, 6, 1, 3)
    visible[0, 2:4, 0, 0] = 1
    visible[0, 4:, 0, 1:] = 1
    mask, rows = modeling_mllama._prepare_cross_attention_mask(visible, tile, dtype)
    out = case.model(x.to(dtype), image.to(dtype), mask, None, rows)
    out = out[0] if isinstance(out, tuple) else out
    d_output = torch.randn_like(x)
    (out * d_output).sum().backward()
    case.give(lengths=[6], image_lengths=[3 * tile], x=x.ravel(), image=image.ravel(), d_output=d_output.ravel(),
              sees=[0, 0, 1, 1, 1, 1], **{"from": [0, 0, 0, 0, 3, 3], "to": [0, 0, 3, 3, 9, 9]})
    case.check(out)
