"""Every operation of `potluck-program/1` in jax.numpy, written from the format's documentation alone.

A value is an array; those with a batch have it as their first dimension, and `batched` says which
nodes these are, because axes count without the batch.
"""

import jax
import jax.numpy as jnp
import numpy

FUNCTIONS = {
    "relu": lambda x: jnp.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + jnp.exp(-x)),
    "tanh": jnp.tanh,
    "sigmoid": lambda x: 1 / (1 + jnp.exp(-x)),
    "exp": jnp.exp,
    "log": jnp.log,
    "sqrt": jnp.sqrt,
}

PAIRS = {"add": jnp.add, "sub": jnp.subtract, "mul": jnp.multiply, "div": jnp.divide, "pow": jnp.power}

REDUCTIONS = {"sum": jnp.sum, "mean": jnp.mean, "max": jnp.max}


def convolution(x, weight, window, groups):
    """NCHW images, OIHW filters."""
    padding = [(window["padding"], window["padding"])] * 2
    return jax.lax.conv_general_dilated(x, weight, [window["stride"]] * 2, padding, feature_group_count=groups)


def pooling(x, f, window):
    """The largest or the mean of each window; padding counts in the mean, as zeros."""
    sizes, strides = [(1, 1, n, n) for n in (window["size"], window["stride"])]
    padding = [(0, 0), (0, 0)] + [(window["padding"], window["padding"])] * 2
    if f == "max":
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, sizes, strides, padding)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, sizes, strides, padding) / window["size"] ** 2


def norm(x, weight, bias, eps):
    """Layer norm with a bias, RMS norm without."""
    if bias is None:
        return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def rotation(x, heads, width, base):
    """The first heads of [batch, t, packed] turn by their position, halves against each other."""
    batch, positions, _ = x.shape
    angle = jnp.arange(positions)[:, None] * base ** (-2.0 * jnp.arange(width // 2) / width)
    cos, sin = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
    turned = x[..., : heads * width].reshape(batch, positions, heads, width)
    left, right = turned[..., : width // 2], turned[..., width // 2 :]
    turned = jnp.concatenate([left * cos - right * sin, left * sin + right * cos], -1)
    return jnp.concatenate([turned.reshape(batch, positions, heads * width), x[..., heads * width :]], -1)


def attention(qkv, count, kv_count, causal):
    """softmax(q k^T / sqrt(d)) v of each head; queries share keys and values in groups."""
    batch, t, packed = qkv.shape
    width = packed // (count + 2 * kv_count)
    heads = qkv.reshape(batch, t, -1, width).transpose(0, 2, 1, 3)
    q, k, v = heads[:, :count], heads[:, count : count + kv_count], heads[:, count + kv_count :]
    k, v = [jnp.repeat(each, count // kv_count, axis=1) for each in (k, v)]
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / jnp.sqrt(width)
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -jnp.inf)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores, -1), v)
    return mixed.transpose(0, 2, 1, 3).reshape(batch, t, count * width)


def products(form, a, b):
    """One product for each index of the leading dimensions."""
    left = jnp.swapaxes(a, -1, -2) if form == "tn" else a
    right = jnp.swapaxes(b, -1, -2) if form == "nt" else b
    return left @ right


def kept(count, p, stream, seed):
    """Which values a dropout keeps: those whose hash of (seed, stream, index) is at least p 2^32."""

    def lowbias32(x):
        x = (x ^ (x >> 16)) * numpy.uint32(0x7FEB352D)
        x = (x ^ (x >> 15)) * numpy.uint32(0x846CA68B)
        return x ^ (x >> 16)

    index = numpy.arange(count, dtype=numpy.uint32)
    offset = numpy.uint32((stream * 0x9E3779B9) & 0xFFFFFFFF)
    return lowbias32(lowbias32(index ^ numpy.uint32(seed)) + offset) >= numpy.uint32(p * 2**32)


def row_losses(loss, values):
    """The loss of every row."""
    if loss["kind"] == "cross_entropy":
        logits, labels = values[loss["logits"]], values[loss["labels"]]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits, -1), labels[..., None], -1)[..., 0]
    if loss["kind"] == "mse":
        return (values[loss["prediction"]] - values[loss["target"]]) ** 2
    logits, target = values[loss["logits"]], values[loss["target"]]
    return -(target * jax.nn.log_sigmoid(logits) + (1 - target) * jax.nn.log_sigmoid(-logits))


class Run:
    """One forward pass. `seed` is the step's, for dropout."""

    def __init__(self, program, columns, parameters, seed):
        self.seed = seed
        self.batch_size = len(columns[program["inputs"][0]["name"]])
        self.values, self.batched = self.nodes(
            program["nodes"],
            [(jnp.asarray(columns[spec["name"]]), True) for spec in program["inputs"]],
            [(jnp.asarray(parameters[spec["name"]]), False) for spec in program["parameters"]],
        )

    def nodes(self, nodes, inputs, parameters):
        values, batched = [], []
        for node in nodes:
            value, has_batch = self.node(node, values, batched, inputs, parameters)
            values.append(value)
            batched.append(has_batch)
        return values, batched

    def node(self, node, values, batched, inputs, parameters):
        op = node["op"]
        if op == "input":
            return inputs[node["input"]]
        if op == "parameter":
            return parameters[node["parameter"]]
        if op == "custom":
            operands = [(values[i], batched[i]) for i in node["operands"]]
            inner, inner_batched = self.nodes(node["reference"]["nodes"], operands, [])
            output = node["reference"]["output"]
            return inner[output], inner_batched[output]
        first = next(node[key] for key in ("x", "a", "qkv", "tokens", "condition") if key in node)
        value = getattr(self, op)(node, lambda key: values[node[key]] if key in node else None, batched[first])
        return value, batched[first] or op == "repeat"

    def linear(self, node, of, _):
        product = of("x") @ of("weight").T
        return product + of("bias") if "bias" in node else product

    def matmul(self, node, of, _):
        return products(node["form"], of("a"), of("b"))

    def conv2d(self, node, of, _):
        out = convolution(of("x"), of("weight"), node["window"], node["groups"])
        return out + of("bias")[:, None, None] if "bias" in node else out

    def pool2d(self, node, of, _):
        return pooling(of("x"), node["f"], node["window"])

    def embedding(self, node, of, _):
        return of("weight")[of("tokens")]

    def layer_norm(self, node, of, _):
        return norm(of("x"), of("weight"), of("bias"), node["eps"])

    def rms_norm(self, node, of, _):
        return norm(of("x"), of("weight"), None, node["eps"])

    def rope(self, node, of, _):
        return rotation(of("x"), node["heads"], node["width"], node["base"])

    def attention(self, node, of, _):
        return attention(of("qkv"), **node["heads"])

    def unary(self, node, of, _):
        return FUNCTIONS[node["f"]](of("x"))

    def binary(self, node, of, _):
        return PAIRS[node["f"]](of("a"), of("b"))

    def affine(self, node, of, _):
        return node["scale"] * of("x") + node["shift"]

    def clamp(self, node, of, _):
        return jnp.clip(of("x"), node["min"], node["max"])

    def where(self, node, of, _):
        return jnp.where(of("condition") > 0, of("a"), of("b"))

    def softmax(self, node, of, _):
        return jax.nn.softmax(of("x"), -1)

    def reduce(self, node, of, batched):
        return REDUCTIONS[node["f"]](of("x"), axis=node["axis"] + batched)

    def reshape(self, node, of, batched):
        x = of("x")
        return x.reshape(x.shape[:batched] + tuple(node["shape"]))

    def transpose(self, node, of, batched):
        return of("x").transpose([0][:batched] + [axis + batched for axis in node["axes"]])

    def slice(self, node, of, batched):
        return jax.lax.slice_in_dim(of("x"), node["start"], node["end"], axis=node["axis"] + batched)

    def concat(self, node, of, batched):
        return jnp.concatenate([of("a"), of("b")], node["axis"] + batched)

    def broadcast(self, node, of, batched):
        return jnp.repeat(jnp.expand_dims(of("x"), node["axis"] + batched), node["count"], node["axis"] + batched)

    def repeat(self, node, of, _):
        return jnp.repeat(of("x")[None], self.batch_size, 0)

    def dropout(self, node, of, _):
        x = of("x")
        keep = kept(x.size, node["p"], node["stream"], self.seed).reshape(x.shape)
        return jnp.where(keep, x / (1 - node["p"]), 0)
