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


FUNCTIONS = {
    "relu": lambda x: numpy.maximum(x, 0),
}


def unary(value, node):
    """A function of each value, by its name."""
    if node["f"] not in FUNCTIONS:
        raise UnknownOperation(node["f"])
    return FUNCTIONS[node["f"]](value(node["x"]))


OPERATIONS = {
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
    """Mean loss, and how many samples are predicted right."""
    loss = program["loss"]
    if loss["kind"] != "cross_entropy":
        raise UnknownOperation(loss["kind"])
    values = values_of(program, tensors, columns)
    logits, labels = values[loss["logits"]], values[loss["labels"]]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_softmax = shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))
    mean_loss = -numpy.take_along_axis(log_softmax, labels[..., None], axis=-1).mean()
    return float(mean_loss), int((logits.argmax(axis=-1) == labels).sum())
