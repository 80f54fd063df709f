// jax-js: one jitted function a step, loss, gradients and AdamW in it, as JAX programs are written.
// It is lazy, but reading the loss sends the whole function, and a queue is done in order: once the
// loss is here, so are the new weights.

import { defaultDevice, getWebGPUDevice, init, jit, lax, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { ADAMW } from "../workloads.mjs";
import { serve } from "./page.mjs";

// Every function owns its arguments; `.ref` is one more use.

/** `x . weight + bias`, weights as `[in, out]`. */
const linear = (p, name, x) => np.matmul(x, p[`${name}.weight`].ref).add(p[`${name}.bias`].ref);

const norm = (p, name, x) =>
  nn.standardize(x, -1, { epsilon: 1e-5 }).mul(p[`${name}.weight`].ref).add(p[`${name}.bias`].ref);

/** Mean cross-entropy of `[rows, classes]` with whole labels `[rows]`. */
function crossEntropy(logits, labels, classes) {
  const rows = logits.shape[0];
  return nn.logSoftmax(logits, -1).mul(nn.oneHot(labels, classes)).sum().mul(-1 / rows);
}

const MODELS = {
  mlp: ({ features, hidden, classes }, batch) => ({
    shapeX: [batch, features],
    shapeY: [batch],
    loss(p, x, y) {
      hidden.forEach((_, layer) => (x = nn.relu(linear(p, `layers.${layer}`, x))));
      return crossEntropy(linear(p, `layers.${hidden.length}`, x), y, classes);
    },
  }),

  cnn: ({ image: [c, h, w], channels, classes }, batch) => ({
    shapeX: [batch, c, h, w],
    shapeY: [batch],
    loss(p, x, y) {
      channels.forEach((width, block) => {
        const bias = p[`blocks.${block}.conv.bias`].ref.reshape([1, width, 1, 1]);
        x = nn.relu(lax.conv(x, p[`blocks.${block}.conv.weight`].ref, [1, 1], "SAME").add(bias));
        const [n, , rows, columns] = x.shape;
        x = np.max(x.reshape([n, width, rows / 2, 2, columns / 2, 2]), [3, 5]);
      });
      return crossEntropy(linear(p, "head", x.reshape([batch, -1])), y, classes);
    },
  }),

  gpt: ({ vocabulary, context, layers, width, heads }, batch) => ({
    shapeX: [batch, context],
    shapeY: [batch * context],
    loss(p, x, y) {
      x = np.take(p["embedding.weight"].ref, x, 0).add(p["positions.weight"].ref);
      for (let layer = 0; layer < layers; layer += 1) {
        const name = `blocks.${layer}`;
        const packed = linear(p, `${name}.attention.qkv`, norm(p, `${name}.norm1`, x.ref));
        const [q, k, v] = np
          .split(packed, 3, -1)
          .map((one) => one.reshape([batch, context, heads, width / heads]));
        const seen = nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([batch, context, width]);
        x = x.add(linear(p, `${name}.attention.out`, seen));
        const up = nn.gelu(linear(p, `${name}.mlp.up`, norm(p, `${name}.norm2`, x.ref)), { approximate: true });
        x = x.add(linear(p, `${name}.mlp.down`, up));
      }
      const logits = np.matmul(norm(p, "norm", x), p["head.weight"].ref);
      return crossEntropy(logits.reshape([batch * context, vocabulary]), y, vocabulary);
    },
  }),
};

/** AdamW on one parameter. `rates` are `lr / (1 - beta1^t)` and `1 / (1 - beta2^t)`. */
function adamw(p, m, v, g, rates) {
  const { lr, beta1, beta2, eps, weightDecay } = ADAMW;
  const decay = p.ndim >= 2 ? 1 - lr * weightDecay : 1;
  m = m.mul(beta1).add(g.ref.mul(1 - beta1));
  v = v.mul(beta2).add(np.square(g).mul(1 - beta2));
  const step = m.ref.mul(rates[0]).div(np.sqrt(v.ref.mul(rates[1])).add(eps));
  return [p.mul(decay).sub(step), m, v];
}

/** Linear weights come as `[out, in]`; tables and filters stay as they are. */
function parameter({ name, shape, values }) {
  const whole = np.array(values, { dtype: np.float32 }).reshape(shape);
  const isTable = name === "embedding.weight" || name === "positions.weight";
  return shape.length === 2 && !isTable ? whole.transpose() : whole;
}

async function device(backend) {
  const name = backend === "wasm" ? "wasm" : "webgpu";
  const started = await init(name);
  if (!started.includes(name)) throw new Error(`jax-js has no ${name} here`);
  defaultDevice(name);
  if (name === "wasm") return "";
  const { vendor, architecture } = getWebGPUDevice().adapterInfo ?? {};
  return [vendor, architecture].filter(Boolean).join(", ");
}

function openProduct({ form, size }, operands) {
  const [a, b] = operands.map((values) => np.array(values, { dtype: np.float32 }).reshape([size, size]));
  const product = jit((x, y) => {
    if (form === "tn") return np.matmul(x.transpose(), y);
    return form === "nt" ? np.matmul(x, y.transpose()) : np.matmul(x, y);
  });
  let last;
  const multiply = async () => {
    last?.dispose();
    last = product(a.ref, b.ref);
    await last.blockUntilReady();
  };
  return { multiply, corner: async () => (await last.ref.data())[0] };
}

function openTraining({ workload, parameters }) {
  const { shapeX, shapeY, loss } = MODELS[workload.preset](workload.config, workload.batch);
  const names = parameters.map(({ name }) => name);
  let p = Object.fromEntries(parameters.map((one) => [one.name, parameter(one)]));
  let m = tree.map((one) => np.zerosLike(one.ref), p);
  let v = tree.map((one) => np.zerosLike(one.ref), p);
  const train = jit((p, m, v, x, y, rate1, rate2) => {
    const [value, g] = valueAndGrad((q) => loss(q, x, y))(tree.ref(p));
    const next = [{}, {}, {}];
    for (const name of names) {
      const moved = adamw(p[name], m[name], v[name], g[name], [rate1.ref, rate2.ref]);
      moved.forEach((one, index) => (next[index][name] = one));
    }
    rate1.dispose();
    rate2.dispose();
    return [value, ...next];
  });
  let steps = 0;
  const column = (values, shape) =>
    np.array(values instanceof Uint32Array ? new Int32Array(values.buffer) : values).reshape(shape);
  return async ({ x, y }) => {
    steps += 1;
    const rates = [ADAMW.lr / (1 - ADAMW.beta1 ** steps), 1 / (1 - ADAMW.beta2 ** steps)].map((rate) => np.array(rate));
    let value;
    [value, p, m, v] = train(p, m, v, column(x, shapeX), column(y, shapeY), ...rates);
    return (await value.data())[0];
  };
}

serve({
  async prepare() {},
  async open(job, backend) {
    const adapter = await device(backend);
    if (job.workload.kind === "matmul") return { adapter, ...openProduct(job.workload, job.operands) };
    return { adapter, step: openTraining(job) };
  },
});
