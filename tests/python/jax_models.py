"""The benchmark's models and optimizers in jax.numpy, written by hand: nothing here reads a program.

A curve is ten steps on one batch, whose seeds, like those of the weights, any language can repeat.
"""

import hashlib

import jax
import jax.numpy as jnp
import numpy

from splitmix import SplitMix64, initial, mix

WEIGHTS_SEED, DATA_SEED, STEPS, CLIP = 1, 2, 10, 1.0
BETA1, BETA2, EPS, DECAY, MOMENTUM = [float(numpy.float32(v)) for v in (0.9, 0.95, 1e-8, 0.1, 0.9)]


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def gelu(x):
    return 0.5 * x * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (x + 0.044715 * x**3)))


def mean_cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits, -1), labels[..., None], -1).mean()


class Gpt:
    """GPT-2 as the preset builds it: pre-norm, learned positions, untied head."""

    def __init__(self, layers, width, heads, context, batch, vocabulary):
        self.layers, self.width, self.heads, self.context = layers, width, heads, context
        self.batch, self.vocabulary = batch, vocabulary
        self.columns = [((batch, context), vocabulary), ((batch, context), vocabulary)]

    def parameters(self):
        width, std = self.width, ("normal", 0.02)
        deep = ("normal", numpy.float32(0.02) / numpy.sqrt(numpy.float32(2 * self.layers)))
        zeros, ones = ("zeros", 0), ("ones", 0)
        yield "embedding.weight", (self.vocabulary, width), std
        yield "positions.weight", (self.context, width), std
        for block in range(self.layers):
            for name, shape, init in [
                ("norm1.weight", (width,), ones),
                ("norm1.bias", (width,), zeros),
                ("attention.qkv.weight", (3 * width, width), std),
                ("attention.qkv.bias", (3 * width,), zeros),
                ("attention.out.weight", (width, width), deep),
                ("attention.out.bias", (width,), zeros),
                ("norm2.weight", (width,), ones),
                ("norm2.bias", (width,), zeros),
                ("mlp.up.weight", (4 * width, width), std),
                ("mlp.up.bias", (4 * width,), zeros),
                ("mlp.down.weight", (width, 4 * width), deep),
                ("mlp.down.bias", (width,), zeros),
            ]:
                yield f"blocks.{block}.{name}", shape, init
        yield "norm.weight", (width,), ones
        yield "norm.bias", (width,), zeros
        yield "head.weight", (self.vocabulary, width), std

    @staticmethod
    def is_layer_weight(name):
        return name.startswith(("blocks.", "head.")) and name.endswith(".weight") and "norm" not in name

    def loss(self, p, tokens, labels):
        x = p["embedding.weight"][tokens] + p["positions.weight"]
        for block in range(self.layers):
            q = {name.split(".", 2)[2]: v for name, v in p.items() if name.startswith(f"blocks.{block}.")}
            h = layer_norm(x, q["norm1.weight"], q["norm1.bias"])
            x = x + self.attention(h, q)
            h = layer_norm(x, q["norm2.weight"], q["norm2.bias"])
            h = gelu(h @ q["mlp.up.weight"].T + q["mlp.up.bias"])
            x = x + h @ q["mlp.down.weight"].T + q["mlp.down.bias"]
        x = layer_norm(x, p["norm.weight"], p["norm.bias"])
        return mean_cross_entropy(x @ p["head.weight"].T, labels)

    def attention(self, x, q):
        qkv = x @ q["attention.qkv.weight"].T + q["attention.qkv.bias"]
        split = [part.reshape(*part.shape[:2], self.heads, -1) for part in jnp.split(qkv, 3, -1)]
        scores = jnp.einsum("bqhd,bkhd->bhqk", split[0], split[1]) / jnp.sqrt(self.width // self.heads)
        scores = jnp.where(jnp.tril(jnp.ones((self.context, self.context), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), split[2]).reshape(x.shape)
        return mixed @ q["attention.out.weight"].T + q["attention.out.bias"]


class Cnn:
    """Blocks of 3x3 convolution, ReLU and 2x2 max-pooling, then a linear layer."""

    def __init__(self, side, channels, classes, batch):
        self.side, self.channels, self.classes = side, channels, classes
        self.columns = [((batch, 1, side, side), None), ((batch,), classes)]

    def parameters(self):
        before = 1
        for block, count in enumerate(self.channels):
            init = ("uniform", 1 / numpy.sqrt(9.0 * before))
            yield f"blocks.{block}.conv.weight", (count, before, 3, 3), init
            yield f"blocks.{block}.conv.bias", (count,), init
            before = count
        flat = before * (self.side >> len(self.channels)) ** 2
        init = ("uniform", numpy.float32(1) / numpy.sqrt(numpy.float32(flat)))
        yield "head.weight", (self.classes, flat), init
        yield "head.bias", (self.classes,), init

    @staticmethod
    def is_layer_weight(name):
        return name.endswith("conv.weight") or name == "head.weight"

    def loss(self, p, x, labels):
        for block in range(len(self.channels)):
            x = jax.lax.conv_general_dilated(x, p[f"blocks.{block}.conv.weight"], (1, 1), [(1, 1), (1, 1)])
            x = jnp.maximum(x + p[f"blocks.{block}.conv.bias"][:, None, None], 0)
            batch, channels, height, width = x.shape
            x = x.reshape(batch, channels, height // 2, 2, width // 2, 2).max((3, 5))
        logits = x.reshape(len(x), -1) @ p["head.weight"].T + p["head.bias"]
        return mean_cross_entropy(logits, labels)


WORKLOADS = [
    ("gpt-l2-c64-h4-t64-b8-v65", "adamw", 1e-3),
    ("gpt-l2-c64-h4-t64-b8-v65", "muon", 1e-3),
    ("cnn-28x28-b64", "adamw", 1e-3),
]


def model(workload):
    return Gpt(2, 64, 4, 64, 8, 65) if workload.startswith("gpt") else Cnn(28, [8, 16], 10, 64)


def column(stream, shape, below):
    """Whole numbers below a bound, or values in [0, 1)."""
    random = SplitMix64(mix(DATA_SEED, stream))
    count = int(numpy.prod(shape))
    if below is None:
        return numpy.array([random.unit() for _ in range(count)], numpy.float32).reshape(shape)
    return numpy.array([random.below(below) for _ in range(count)], numpy.uint32).reshape(shape)


def orthogonalised(x):
    """Five Newton-Schulz steps (Jordan 2024) with the shorter side as rows."""
    a, b, c = [float(numpy.float32(v)) for v in (3.4445, -4.7750, 2.0315)]
    wide = x.T if x.shape[0] > x.shape[1] else x
    wide = wide / (jnp.linalg.norm(wide) + 1e-7)
    for _ in range(5):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if x.shape[0] > x.shape[1] else wide


def step(optimizer, is_layer_weight, lr, t, p, gradients, m, v):
    """One step of AdamW, or of Muon for the weights of layers; decay is for matrices only."""
    norm = jnp.sqrt(sum((g**2).sum() for g in gradients.values()))
    scale = jnp.minimum(1.0, CLIP / norm)
    for name, value in p.items():
        g = gradients[name] * scale
        decay = DECAY if value.ndim >= 2 else 0.0
        if optimizer == "muon" and is_layer_weight(name):
            m[name] = MOMENTUM * m[name] + g
            matrix = (g + MOMENTUM * m[name]).reshape(len(value), -1)
            update = 0.2 * jnp.sqrt(max(matrix.shape)) * orthogonalised(matrix).reshape(value.shape)
        else:
            m[name] = BETA1 * m[name] + (1 - BETA1) * g
            v[name] = BETA2 * v[name] + (1 - BETA2) * g**2
            update = m[name] / (1 - BETA1**t) / (jnp.sqrt(v[name] / (1 - BETA2**t)) + EPS)
        p[name] = value - lr * (update + decay * value)


def curve(workload):
    """The losses before each of ten steps, and hashes of what they start from."""
    name, optimizer, lr = workload
    network = model(name)
    start = initial(network.parameters(), WEIGHTS_SEED)
    columns = [column(stream, *spec) for stream, spec in enumerate(network.columns)]
    p = {key: jnp.asarray(value, jnp.float64) for key, value in start.items()}
    m, v = [{key: jnp.zeros_like(value) for key, value in p.items()} for _ in range(2)]
    x, labels = columns
    x = x if x.dtype == numpy.uint32 else x.astype(numpy.float64)
    both = jax.jit(jax.value_and_grad(network.loss))
    losses = []
    for t in range(1, STEPS + 1):
        loss, gradients = both(p, x, labels)
        losses.append(float(loss))
        step(optimizer, network.is_layer_weight, float(numpy.float32(lr)), t, p, gradients, m, v)
    digest = lambda arrays: hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()  # noqa: E731
    return {
        "workload": name,
        "optimizer": optimizer,
        "lr": lr,
        "clip": CLIP,
        "weights_sha256": digest(start.values()),
        "data_sha256": digest(columns),
        "losses": losses,
    }
