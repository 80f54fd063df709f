"""Makes the golden vectors and curves under tests/golden/ with JAX in float64 on the processor.

    python -m venv target/goldens && target/goldens/bin/pip install -r tests/python/goldens-requirements.txt
    target/goldens/bin/python tests/python/goldens.py

A case is a program in the project's own format, a batch, parameters, and what must come out: the loss,
the prediction, and the gradient of every parameter, of the sum of the rows' losses. The operations are
computed by jax_operations.py, the models of the curves by jax_models.py. Inputs are exact in float32.

`ops.safetensors` holds for case `i` the tensors `i/0`, `i/1`, .. (columns), `i/parameters`,
`i/prediction` and `i/gradients` (all parameters one after another), and in its metadata under `cases` a
JSON list of `{name, op, loss, program}`.
"""

import json
import math
import pathlib

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

import jax.numpy as jnp  # noqa: E402  (after the configuration)
import numpy  # noqa: E402
from safetensors.numpy import save  # noqa: E402

import jax_models  # noqa: E402
from jax_operations import Run, row_losses  # noqa: E402
from splitmix import mix  # noqa: E402

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden"
BYTES_MAX = 2 << 20
BATCH = 3
# The generator's seed of dropout in the first step of a trainer with seed 0.
DROPOUT = mix(0, 1) & 0xFFFFFFFF


class Case:
    """A program under construction, with its data."""

    def __init__(self, name, op, batch=BATCH):
        self.name, self.op, self.batch = name, op, batch
        self.random = numpy.random.default_rng(list(name.encode()))
        self.columns, self.tensors = {}, {}
        self.program = {"format": "potluck-program/1", "inputs": [], "parameters": [], "nodes": []}

    def draw(self, shape, low=-1.0, high=1.0):
        """Values that are exact in float32."""
        return self.random.uniform(low, high, shape).astype(numpy.float32)

    def add(self, op, **fields):
        """A node; its index."""
        self.program["nodes"].append({"op": op, **fields})
        return len(self.program["nodes"]) - 1

    def input(self, values):
        name, dtype = f"x{len(self.columns)}", "u32" if values.dtype == numpy.uint32 else "f32"
        self.program["inputs"].append({"name": name, "shape": list(values.shape[1:]), "dtype": dtype})
        self.columns[name] = values
        return self.add("input", input=len(self.columns) - 1)

    def whole(self, shape, below):
        """An input of whole numbers."""
        return self.input(self.random.integers(0, below, (self.batch, *shape)).astype(numpy.uint32))

    def parameter(self, shape, low=-1.0, high=1.0):
        name = f"p{len(self.tensors)}"
        self.program["parameters"].append({"name": name, "shape": list(shape), "init": {"kind": "zeros"}})
        self.tensors[name] = self.draw(shape, low, high)
        return self.add("parameter", parameter=len(self.tensors) - 1)

    def x(self, *shape, low=-1.0, high=1.0):
        """Data plus a parameter: its gradient is the sum over the batch of the data's gradients."""
        middle, half = (low + high) / 2, (high - low) / 4
        data = self.input(self.draw((self.batch, *shape), middle - half, middle + half))
        return self.add("binary", f="add", a=data, b=self.parameter(shape, -half, half))

    def run(self, tensors):
        return Run(self.program, self.wide(self.columns), tensors, DROPOUT)

    @staticmethod
    def wide(arrays):
        return {key: v if v.dtype == numpy.uint32 else v.astype(numpy.float64) for key, v in arrays.items()}

    def mse(self, prediction):
        """Closes the program with a squared error, so that the prediction is the operation's result."""
        self.program["loss"] = {"kind": "mse", "prediction": prediction, "target": 0}
        shape = self.run(self.wide(self.tensors)).values[prediction].shape
        self.program["loss"]["target"] = self.input(self.draw(shape))
        return self

    def loss(self, kind, **fields):
        self.program["loss"] = {"kind": kind, **fields}
        return self

    def golden(self):
        """Loss, prediction, and gradients in float64."""
        loss = self.program["loss"]
        output = loss["prediction"] if loss["kind"] == "mse" else loss["logits"]

        def total(tensors):
            values = self.run(tensors).values
            rows = row_losses(loss, values)
            return rows.sum(), (rows.mean(), values[output])

        (_, (mean, prediction)), gradients = jax.value_and_grad(total, has_aux=True)(self.wide(self.tensors))
        return float(mean), prediction, gradients


def linear_cases():
    for name, shape, width, bias in [("rows", (7,), 5, True), ("positions", (4, 9), 11, False), ("wide", (130,), 67, True)]:
        c = Case(f"linear, {name}", "linear")
        fields = {"x": c.x(*shape), "weight": c.parameter((width, shape[-1]))}
        if bias:
            fields["bias"] = c.parameter((width,))
        yield c.mse(c.add("linear", **fields))
    for f in ["relu", "gelu", "tanh"]:
        c = Case(f"linear, then {f}, then linear", "linear")
        h = c.add("linear", x=c.x(6), weight=c.parameter((9, 6)), bias=c.parameter((9,)))
        h = c.add("unary", f=f, x=h)
        yield c.mse(c.add("linear", x=h, weight=c.parameter((5, 9)), bias=c.parameter((5,))))
    c = Case("linear with what was before it added", "linear")
    x = c.x(5, 6)
    yield c.mse(c.add("binary", f="add", a=x, b=c.add("linear", x=x, weight=c.parameter((6, 6)))))


def matmul_cases():
    for form, left, right in [
        ("nn", (5, 7), (7, 3)),
        ("nt", (2, 5, 7), (2, 3, 7)),
        ("tn", (3, 2, 9, 5), (3, 2, 9, 4)),
        ("nn", (33, 17), (17, 35)),
    ]:
        c = Case(f"matmul {form} of {left} and {right}", "matmul")
        yield c.mse(c.add("matmul", form=form, a=c.x(*left), b=c.x(*right)))
    c = Case("matmul of one tensor with itself", "matmul")
    x = c.x(4, 6)
    yield c.mse(c.add("matmul", form="nt", a=x, b=x))


def image_cases():
    windows = [((3, 7, 9), 5, (3, 1, 1), 1), ((4, 8, 6), 6, (3, 2, 1), 2), ((6, 11, 5), 6, (5, 3, 2), 6), ((2, 4, 4), 3, (1, 1, 0), 1)]
    for index, (image, channels, (size, stride, padding), groups) in enumerate(windows):
        c = Case(f"conv2d of {image}, {size}x{size}, stride {stride}, padding {padding}, {groups} groups", "conv2d")
        window = {"size": size, "stride": stride, "padding": padding}
        fields = {"x": c.x(*image), "weight": c.parameter((channels, image[0] // groups, size, size))}
        if index % 2 == 0:
            fields["bias"] = c.parameter((channels,))
        h = c.add("conv2d", **fields, window=window, groups=groups)
        yield c.mse(c.add("unary", f="relu", x=h) if index == 0 else h)
    for f in ["max", "average"]:
        for image, (size, stride, padding) in [((3, 8, 6), (2, 2, 0)), ((2, 7, 9), (3, 2, 1)), ((2, 5, 5), (5, 1, 0))]:
            c = Case(f"pool2d {f} of {image}, {size}x{size}, stride {stride}, padding {padding}", "pool2d")
            window = {"size": size, "stride": stride, "padding": padding}
            yield c.mse(c.add("pool2d", x=c.x(*image), f=f, window=window))


def row_cases():
    for positions in [False, True]:
        c = Case(f"embedding{' plus positions' if positions else ''}", "embedding")
        h = c.add("embedding", tokens=c.whole((7,), 5), weight=c.parameter((5, 9)))
        yield c.mse(c.add("binary", f="add", a=h, b=c.parameter((7, 9))) if positions else h)
    eps = float(numpy.float32(1e-5))
    for shape in [(2,), (5, 33), (130,)]:
        for op in ["layer_norm", "rms_norm"]:
            c = Case(f"{op} of {shape}", op)
            bias = {"bias": c.parameter(shape[-1:])} if op == "layer_norm" else {}
            yield c.mse(c.add(op, x=c.x(*shape), weight=c.parameter(shape[-1:]), **bias, eps=eps))
    c = Case("layer_norm with what was before it added", "layer_norm")
    x = c.x(4, 6)
    h = c.add("layer_norm", x=x, weight=c.parameter((6,)), bias=c.parameter((6,)), eps=eps)
    yield c.mse(c.add("binary", f="add", a=x, b=h))
    for heads, width, packed in [(2, 6, 18), (1, 4, 4)]:
        c = Case(f"rope of {heads} heads of {width} in {packed}", "rope")
        yield c.mse(c.add("rope", x=c.x(11, packed), heads=heads, width=width, base=10000.0))
    for t, count, kv_count, width, causal in [
        (1, 1, 1, 1, True), (7, 2, 2, 4, True), (7, 2, 2, 4, False), (13, 4, 2, 6, True), (37, 3, 1, 5, False),
    ]:
        c = Case(f"attention over {t}, {count}/{kv_count} heads of {width}, {'causal' if causal else 'full'}", "attention")
        heads = {"count": count, "kv_count": kv_count, "causal": causal}
        yield c.mse(c.add("attention", qkv=c.x(t, (count + 2 * kv_count) * width, low=-2, high=2), heads=heads))
    for shape in [(5,), (4, 33), (2, 3, 70)]:
        c = Case(f"softmax of {shape}", "softmax")
        yield c.mse(c.add("softmax", x=c.x(*shape, low=-4, high=4)))


def value_cases():
    for f in ["relu", "gelu", "silu", "tanh", "sigmoid", "exp", "log", "sqrt"]:
        c = Case(f, f)
        low, high = (0.1, 3.0) if f in ("log", "sqrt") else (-3.0, 3.0)
        yield c.mse(c.add("unary", f=f, x=c.x(5, 61, low=low, high=high)))
    for f in ["add", "sub", "mul", "div", "pow"]:
        c = Case(f"{f} of equal shapes", f)
        yield c.mse(c.add("binary", f=f, a=c.x(3, 43, low=0.2, high=2.0), b=c.x(3, 43, low=0.2, high=2.0)))
        c = Case(f"{f} with a row", f)
        yield c.mse(c.add("binary", f=f, a=c.x(4, 31, low=0.2, high=2.0), b=c.parameter((31,), 0.2, 2.0)))
    c = Case("affine", "affine")
    yield c.mse(c.add("affine", x=c.x(67), scale=-1.5, shift=0.25))
    c = Case("clamp", "clamp")
    yield c.mse(c.add("clamp", x=c.x(129), min=-0.5, max=0.25))
    c = Case("where", "where")
    condition = c.input(c.draw((BATCH, 67)))
    yield c.mse(c.add("where", condition=condition, a=c.x(67), b=c.x(67)))
    c = Case("dropout", "dropout")
    yield c.mse(c.add("dropout", x=c.x(5, 37), p=float(numpy.float32(0.3)), stream=5))
    c = Case("custom: squared relu", "custom")
    nodes = [{"op": "input", "input": 0}, {"op": "unary", "f": "relu", "x": 0}, {"op": "binary", "f": "mul", "a": 1, "b": 1}]
    yield c.mse(c.add("custom", name="squared_relu", operands=[c.x(67)], reference={"nodes": nodes, "output": 2}))


def shape_cases():
    for f in ["sum", "mean", "max"]:
        for shape, axis in [((5, 7), 0), ((5, 7), 1), ((2, 9, 3, 5), 1)]:
            c = Case(f"{f} of {shape} along {axis}", "reduce")
            yield c.mse(c.add("reduce", x=c.x(*shape), f=f, axis=axis))
    c = Case("reshape", "reshape")
    yield c.mse(c.add("reshape", x=c.x(4, 9), shape=[2, 3, 6]))
    for shape, axes in [((4, 9), [1, 0]), ((2, 3, 5, 7), [3, 1, 0, 2])]:
        c = Case(f"transpose of {shape} to {axes}", "transpose")
        yield c.mse(c.add("transpose", x=c.x(*shape), axes=axes))
    for axis, start, end in [(0, 1, 3), (2, 2, 7)]:
        c = Case(f"slice {start}..{end} of dimension {axis}", "slice")
        yield c.mse(c.add("slice", x=c.x(4, 3, 7), axis=axis, start=start, end=end))
    for axis, left, right in [(0, (2, 5), (3, 5)), (1, (3, 4), (3, 1))]:
        c = Case(f"concat of {left} and {right}", "concat")
        yield c.mse(c.add("concat", a=c.x(*left), b=c.x(*right), axis=axis))
    for axis in [0, 1, 2]:
        c = Case(f"broadcast at {axis}", "broadcast")
        yield c.mse(c.add("broadcast", x=c.x(3, 5), axis=axis, count=4))
    c = Case("repeat", "repeat")
    x = c.input(c.draw((BATCH, 3, 5)))
    yield c.mse(c.add("binary", f="mul", a=x, b=c.add("repeat", x=c.parameter((3, 5)))))


def loss_cases():
    for shape, classes in [((), 2), ((5,), 11), ((), 300)]:
        c = Case(f"cross_entropy of {classes} classes", "cross_entropy")
        logits = c.x(*shape, classes, low=-4, high=4)
        yield c.loss("cross_entropy", logits=logits, labels=c.whole(shape, classes))
    c = Case("mse", "mse")
    yield c.mse(c.x(7, 19))
    c = Case("binary_cross_entropy", "binary_cross_entropy")
    logits = c.x(3, 19, low=-4, high=4)
    yield c.loss("binary_cross_entropy", logits=logits, target=c.input(c.draw((BATCH, 3, 19), 0, 1)))


def all_cases():
    for group in [linear_cases, matmul_cases, image_cases, row_cases, value_cases, shape_cases, loss_cases]:
        yield from group()


def write_operations():
    listed, tensors = [], {}
    for index, case in enumerate(all_cases()):
        loss, prediction, gradients = case.golden()
        order = [spec["name"] for spec in case.program["parameters"]]
        for column, spec in enumerate(case.program["inputs"]):
            tensors[f"{index}/{column}"] = case.columns[spec["name"]]
        flat = lambda arrays: numpy.concatenate([numpy.ravel(arrays[name]) for name in order])  # noqa: E731
        tensors[f"{index}/parameters"] = flat(case.tensors)
        tensors[f"{index}/prediction"] = numpy.ravel(prediction)
        tensors[f"{index}/gradients"] = flat(gradients)
        assert all(numpy.isfinite(tensors[f"{index}/{part}"]).all() for part in ["prediction", "gradients"]), case.name
        listed.append({"name": case.name, "op": case.op, "loss": loss, "program": case.program})
    contents = save(tensors, {"cases": json.dumps(listed, separators=(",", ":"))})
    (FOLDER / "ops.safetensors").write_bytes(contents)
    print(f"{len(listed)} cases, {len(contents)} bytes")


def write_curves():
    curves = [jax_models.curve(workload) for workload in jax_models.WORKLOADS]
    for curve in curves:
        print(curve["workload"], curve["optimizer"], [round(loss, 5) for loss in curve["losses"]])
    (FOLDER / "curves.json").write_text(json.dumps(curves, indent=2) + "\n")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write_operations()
    write_curves()
    size = sum(file.stat().st_size for file in FOLDER.iterdir())
    assert size <= BYTES_MAX, f"{size} bytes of goldens, at most {BYTES_MAX}"
