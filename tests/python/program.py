"""Runs a Potluck program with numpy, from its JSON and a safetensors file alone.

The format, `potluck-program/1`, is a list of nodes in topological order; a node names its operands by
their index. All tensors are row-major, and the first dimension of an input is the batch.
"""

import numpy


class UnknownOperation(Exception):
    """The program holds an operation that this file does not know."""


def linear(value, node):
    """`x . weight^T + bias`; the weight is (out, in), as PyTorch stores it."""
    product = value(node["x"]) @ value(node["weight"]).T
    return product + value(node["bias"]) if "bias" in node else product


def embedding(value, node):
    """A row of the table for each token."""
    return value(node["weight"])[value(node["tokens"])]


def binary(value, node):
    """A function of two tensors; the second may lack the batch."""
    if node["f"] != "add":
        raise UnknownOperation(node["f"])
    return value(node["a"]) + value(node["b"])


def layer_norm(value, node):
    """Mean 0 and variance 1 over the last dimension, then scale and shift."""
    x = value(node["x"])
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / numpy.sqrt(variance + node["eps"]) * value(node["weight"]) + value(node["bias"])


def attention(value, node):
    """Queries, keys and values lie side by side in the last dimension, head after head."""
    heads = node["heads"]
    count, kv_count = heads["count"], heads["kv_count"]
    qkv = value(node["qkv"])
    samples, positions, width = qkv.shape
    split = qkv.reshape(samples, positions, count + 2 * kv_count, -1).transpose(0, 2, 1, 3)
    q, k, v = numpy.split(split, [count, count + kv_count], axis=1)
    k, v = (numpy.repeat(part, count // kv_count, axis=1) for part in (k, v))
    scores = q @ k.transpose(0, 1, 3, 2) / numpy.sqrt(q.shape[-1])
    if heads["causal"]:
        scores = numpy.where(numpy.tri(positions, dtype=bool), scores, -numpy.inf)
    weights = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = weights / weights.sum(axis=-1, keepdims=True) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(samples, positions, -1)


FUNCTIONS = {
    "relu": lambda x: numpy.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + numpy.tanh(numpy.sqrt(2 / numpy.pi) * (x + 0.044715 * x**3))),
}


def unary(value, node):
    """A function of each value, by its name."""
    if node["f"] not in FUNCTIONS:
        raise UnknownOperation(node["f"])
    return FUNCTIONS[node["f"]](value(node["x"]))


OPERATIONS = {
    "attention": attention,
    "binary": binary,
    "embedding": embedding,
    "layer_norm": layer_norm,
    "linear": linear,
    "unary": unary,
}


def values_of(program, tensors, columns):
    """The output of every node. `tensors` by parameter name, `columns` by input name."""
    values = []

    def value(index):
        return values[index]

    for node in program["nodes"]:
        if node["op"] == "input":
            values.append(columns[program["inputs"][node["input"]]["name"]])
        elif node["op"] == "parameter":
            tensor = tensors[program["parameters"][node["parameter"]]["name"]]
            values.append(tensor.astype(numpy.float64))
        elif node["op"] in OPERATIONS:
            values.append(OPERATIONS[node["op"]](value, node))
        else:
            raise UnknownOperation(node["op"])
    return values


def evaluate(program, tensors, columns):
    """Mean loss, and how many rows (samples, or positions of text) are predicted right."""
    loss = program["loss"]
    if loss["kind"] != "cross_entropy":
        raise UnknownOperation(loss["kind"])
    values = values_of(program, tensors, columns)
    logits, labels = values[loss["logits"]], values[loss["labels"]]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_softmax = shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))
    mean_loss = -numpy.take_along_axis(log_softmax, labels[..., None], axis=-1).mean()
    return float(mean_loss), int((logits.argmax(axis=-1) == labels).sum())
