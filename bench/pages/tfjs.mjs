// TensorFlow.js: variables, `variableGrads` and its own Adam (it has no AdamW, so nothing decays),
// images as NHWC, which is how its convolutions are made.

import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import "@tensorflow/tfjs-backend-webgpu";
import { ADAMW } from "../workloads.mjs";
import { serve } from "./page.mjs";

const linear = (p, name, x) => tf.add(tf.matMul(x, p[`${name}.weight`]), p[`${name}.bias`]);

function norm(p, name, x) {
  const { mean, variance } = tf.moments(x, -1, true);
  const flat = tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)));
  return tf.add(tf.mul(flat, p[`${name}.weight`]), p[`${name}.bias`]);
}

/** The tanh form. */
function gelu(x) {
  const inner = tf.mul(tf.add(x, tf.mul(tf.mul(tf.mul(x, x), x), 0.044715)), Math.sqrt(2 / Math.PI));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
}

/** Rows of a table. The wasm backend has no gradient of a gather, so there it is a product. */
const look = (rows, tokens, vocabulary) =>
  tf.getBackend() === "wasm"
    ? tf.matMul(tf.cast(tf.oneHot(tokens, vocabulary), "float32"), rows)
    : tf.gather(rows, tokens);

const MODELS = {
  mlp: ({ features, hidden, classes }, batch) => ({
    classes,
    columns: ({ x, y }) => [tf.tensor2d(x, [batch, features]), labels(y)],
    logits(p, x) {
      hidden.forEach((_, layer) => (x = tf.relu(linear(p, `layers.${layer}`, x))));
      return linear(p, `layers.${hidden.length}`, x);
    },
  }),

  cnn: ({ image: [c, h, w], channels, classes }, batch) => ({
    classes,
    columns: ({ x, y }) => [tf.tensor4d(x, [batch, c, h, w]).transpose([0, 2, 3, 1]), labels(y)],
    logits(p, x) {
      channels.forEach((_, block) => {
        const name = `blocks.${block}.conv`;
        x = tf.relu(tf.add(tf.conv2d(x, p[`${name}.weight`], 1, "same"), p[`${name}.bias`]));
        x = tf.maxPool(x, 2, 2, "valid");
      });
      return linear(p, "head", tf.reshape(x, [batch, -1]));
    },
  }),

  gpt: ({ vocabulary, context, layers, width, heads }, batch) => {
    const ones = tf.linalg.bandPart(tf.ones([context, context]), -1, 0);
    const later = tf.mul(tf.sub(1, ones), -1e9);
    const perHead = (x) => tf.transpose(tf.reshape(x, [batch, context, heads, width / heads]), [0, 2, 1, 3]);
    const attention = (p, name, x) => {
      const [q, k, v] = tf.split(linear(p, `${name}.qkv`, x), 3, -1).map(perHead);
      const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(width / heads));
      const seen = tf.matMul(tf.softmax(tf.add(scores, later)), v);
      return linear(p, `${name}.out`, tf.reshape(tf.transpose(seen, [0, 2, 1, 3]), [batch * context, width]));
    };
    return {
      classes: vocabulary,
      columns: ({ x, y }) => [labels(x), labels(y)],
      logits(p, x) {
        const rows = look(p["embedding.weight"], x, vocabulary);
        const placed = tf.add(tf.reshape(rows, [batch, context, width]), p["positions.weight"]);
        x = tf.reshape(placed, [batch * context, width]);
        for (let layer = 0; layer < layers; layer += 1) {
          const name = `blocks.${layer}`;
          x = tf.add(x, attention(p, `${name}.attention`, norm(p, `${name}.norm1`, x)));
          const up = gelu(linear(p, `${name}.mlp.up`, norm(p, `${name}.norm2`, x)));
          x = tf.add(x, linear(p, `${name}.mlp.down`, up));
        }
        return tf.matMul(norm(p, "norm", x), p["head.weight"]);
      },
    };
  },
};

const labels = (values) => tf.tensor1d(new Int32Array(values.buffer), "int32");

/** Linear weights as `[in, out]`, filters as HWIO, and a dense layer behind images in NHWC's order. */
function parameter({ name, shape, values }, config) {
  const whole = tf.tensor(values, shape);
  if (shape.length === 4) return whole.transpose([2, 3, 1, 0]);
  if (shape.length !== 2 || name === "embedding.weight" || name === "positions.weight") return whole;
  if (name === "head.weight" && config.image) {
    const side = Math.sqrt(shape[1] / config.channels.at(-1));
    const split = whole.reshape([shape[0], config.channels.at(-1), side, side]);
    return split.transpose([2, 3, 1, 0]).reshape([shape[1], shape[0]]);
  }
  return whole.transpose();
}

async function device(backend) {
  setWasmPaths("/tfjs-wasm/");
  const set = await tf.setBackend(backend);
  await tf.ready();
  if (!set) throw new Error(`tfjs has no ${backend} here`);
  const { vendor, architecture } = tf.backend().device?.adapterInfo ?? {};
  return [vendor, architecture].filter(Boolean).join(", ");
}

function openProduct({ form, size }, operands) {
  const [a, b] = operands.map((values) => tf.tensor2d(values, [size, size]));
  let last;
  const multiply = async () => {
    last?.dispose();
    last = tf.matMul(a, b, form === "tn", form === "nt");
    const queue = tf.backend().device?.queue;
    if (!queue) return;
    tf.backend().submitQueue();
    await queue.onSubmittedWorkDone();
  };
  return { multiply, corner: async () => (await last.data())[0] };
}

function openTraining({ workload, parameters }) {
  const { classes, columns, logits } = MODELS[workload.preset](workload.config, workload.batch);
  const p = Object.fromEntries(
    parameters.map((one) => [one.name, tf.variable(tf.tidy(() => parameter(one, workload.config)), true, one.name)]),
  );
  const { lr, beta1, beta2, eps } = ADAMW;
  const optimizer = tf.train.adam(lr, beta1, beta2, eps);
  return async (batch) => {
    const value = tf.tidy(() => {
      const [x, y] = columns(batch);
      const hot = tf.oneHot(y, classes);
      return optimizer.minimize(() => tf.losses.softmaxCrossEntropy(hot, logits(p, x)), true);
    });
    const [read] = await value.data();
    value.dispose();
    return read;
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
