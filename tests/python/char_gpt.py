"""Trains the character GPT of `cargo xtask models` in JAX, from the same first parameters and the same batches.

    python3 -m venv /tmp/jax && /tmp/jax/bin/pip install jax==0.10.2
    potluck-lab model-dump char-gpt target/models target/models/dump SEED     (once a seed)
    /tmp/jax/bin/python tests/python/char_gpt.py target/models/dump SEED [SEED ...]

Writes docs/measurements/jax-char-gpt.json. It never runs in CI: the command compares with what is committed.
"""

import json
import math
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

EVALUATED = 2048
OUT = Path(__file__).resolve().parents[2] / "docs/measurements/jax-char-gpt.json"


def read_u32(path, width):
    return np.fromfile(path, dtype="<u4").astype(np.int32).reshape(-1, width)


class Parameters:
    """Named tensors in one flat vector, in the program's order."""

    def __init__(self, specs):
        self.specs, self.at = [], 0
        for spec in specs:
            count = math.prod(spec["shape"])
            self.specs.append((spec["name"], self.at, count, tuple(spec["shape"])))
            self.at += count

    def named(self, flat):
        return {name: flat[at : at + count].reshape(shape) for name, at, count, shape in self.specs}

    def decays(self):
        """1 where weight decay applies: on matrices."""
        parts = [np.full(count, float(len(shape) >= 2), np.float32) for _, _, count, shape in self.specs]
        return jnp.asarray(np.concatenate(parts))


def layer_norm(x, p, name):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def attention(x, p, name, heads):
    batch, time_steps, width = x.shape
    qkv = linear(x, p, f"{name}.qkv").reshape(batch, time_steps, 3, heads, width // heads)
    q, k, v = (qkv[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(width // heads)
    seen = jnp.tril(jnp.ones((time_steps, time_steps), bool))
    mixed = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), -1) @ v
    return linear(mixed.transpose(0, 2, 1, 3).reshape(x.shape), p, f"{name}.out")


def loss_of(p, x, y, config):
    """Mean cross-entropy over all positions, in nats."""
    h = p["embedding.weight"][x] + p["positions.weight"]
    for layer in range(config["layers"]):
        block = f"blocks.{layer}"
        h = h + attention(layer_norm(h, p, f"{block}.norm1"), p, f"{block}.attention", config["heads"])
        up = jax.nn.gelu(linear(layer_norm(h, p, f"{block}.norm2"), p, f"{block}.mlp.up"), approximate=True)
        h = h + linear(up, p, f"{block}.mlp.down")
    logits = layer_norm(h, p, "norm") @ p["head.weight"].T
    picked = jnp.take_along_axis(logits, y[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(logits, -1) - picked).mean()


def train(folder, seed):
    about = json.loads((folder / "about.json").read_text())
    config, context = about["config"], about["config"]["context"]
    parameters = Parameters(about["parameters"])
    adamw = about["recipe"]["optimizer"]["adamw"]
    b1, b2, eps, decay = (adamw[key] for key in ("beta1", "beta2", "eps", "weight_decay"))
    decays, clip = decay * parameters.decays(), about["recipe"]["clip_norm"]
    columns = {s: [read_u32(folder / f"{s}-{c}.u32", context) for c in "xy"] for s in ("train", "valid", "test")}
    rows, lrs = read_u32(folder / f"rows-{seed}.u32", about["batch"]), np.fromfile(folder / "lr.f32", dtype="<f4")

    @jax.jit
    def step(state, x, y, lr, t):
        flat, m, v = state
        loss, g = jax.value_and_grad(lambda flat: loss_of(parameters.named(flat), x, y, config))(flat)
        norm = jnp.sqrt((g * g).sum())
        g = g * jnp.where(norm > clip, clip / norm, 1.0)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        moved = (m / (1 - b1**t)) / (jnp.sqrt(v / (1 - b2**t)) + eps) + decays * flat
        return (flat - lr * moved, m, v), loss

    evaluate_batch = jax.jit(lambda flat, x, y: loss_of(parameters.named(flat), x, y, config))

    def evaluate(flat, split):
        x, y = (column[:EVALUATED] for column in columns[split])
        losses = [evaluate_batch(flat, x[at : at + 64], y[at : at + 64]) for at in range(0, len(x) // 64 * 64, 64)]
        return float(np.mean([float(loss) for loss in losses]))

    flat = jnp.asarray(np.fromfile(folder / f"init-{seed}.f32", dtype="<f4"))
    state, first_loss, curve, began = (flat, jnp.zeros_like(flat), jnp.zeros_like(flat)), None, [], time.time()
    x, y = columns["train"]
    for number in range(about["steps"]):
        chosen = rows[number]
        state, loss = step(state, x[chosen], y[chosen], lrs[number], jnp.float32(number + 1))
        first_loss = float(loss) if first_loss is None else first_loss
        if number + 1 in about["looks"]:
            curve.append([number + 1, evaluate(state[0], "valid")])
            print(f"seed {seed}, step {number + 1}: valid loss {curve[-1][1]:.4f}", flush=True)
    seconds = int(time.time() - began)
    return {
        "seed": seed,
        "first_loss": first_loss,
        "valid_curve": curve,
        "test_loss": evaluate(state[0], "test"),
        "seconds": seconds,
    }


def main():
    folder = Path(sys.argv[1])
    about = json.loads((folder / "about.json").read_text())
    rows = [train(folder, int(seed)) for seed in sys.argv[2:]]
    result = {
        "name": "jax-char-gpt",
        "machine": f"jax {jax.__version__} on the processor",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "config": about["config"],
        "recipe": about["recipe"],
        "rows": rows,
        "limits": [],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
