//! What a kernel costs by its sizes: the arithmetic, the bytes that must move, and the bytes that our
//! tiling moves. With a device's arithmetic and bandwidth that gives the least time a step can take
//! there, and says which kernels are far from it, also where no such device can be had.
//!
//! A multiplication with an addition counts as two operations; a square root, an exponential or a
//! division as one. Bytes that must move are each operand read once and each result written once.
//! What the tiling moves is counted a workgroup: what several workgroups read is read again by each,
//! and what one reads twice comes from its own memory, registers or nearest cache.

use crate::{
    AttentionSizes, ConvSizes, Copy, Dispatch, Kernel, Plan, Reduce, Stack, Then, Tier, kernel::NORM_PARTIALS,
};

/// What one dispatch costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Operations on f32.
    pub flops: u64,
    /// Operands once and results once, in bytes.
    pub bytes_min: u64,
    /// What the workgroups read and write together, in bytes.
    pub bytes_moved: u64,
}

/// A device in two numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roof {
    /// Operations on f32 a second.
    pub flops: f64,
    /// Bytes a second to and from memory.
    pub bytes: f64,
}

impl Roof {
    /// A laptop's integrated GPU: 4 TFLOP/s and 100 GB/s.
    pub const LAPTOP: Self = Self { flops: 4e12, bytes: 100e9 };

    /// The least seconds for this arithmetic and these bytes: whichever takes longer.
    pub fn seconds(self, flops: u64, bytes: u64) -> f64 {
        (flops as f64 / self.flops).max(bytes as f64 / self.bytes)
    }
}

impl Plan {
    /// Every dispatch of a training step with its cost, in order.
    pub fn costs(&self) -> impl Iterator<Item = (&Dispatch, Cost)> {
        self.dispatches.iter().map(|dispatch| (dispatch, dispatch.cost()))
    }
}

impl Dispatch {
    /// What this dispatch costs in its tier.
    pub fn cost(&self) -> Cost {
        let Traffic { flops, once, again } = traffic(&self.kernel, self.tier);
        Cost { flops, bytes_min: 4 * once, bytes_moved: 4 * (once + again) }
    }
}

/// Counted in values of four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traffic {
    flops: u64,
    /// Operands and results, each once.
    once: u64,
    /// What is read beyond that.
    again: u64,
}

impl Traffic {
    /// Everything passes once.
    fn stream(flops: u64, once: u64) -> Self {
        Self { flops, once, again: 0 }
    }

    /// `values` are read `times` in all.
    fn rereading(mut self, values: u64, times: u64) -> Self {
        self.again += values * times.saturating_sub(1);
        self
    }
}

fn product<const N: usize>(dims: [u32; N]) -> u64 {
    dims.iter().map(|&d| u64::from(d)).product()
}

fn traffic(kernel: &Kernel, tier: Tier) -> Traffic {
    match *kernel {
        Kernel::MatMul { .. } => matmul(kernel, tier),
        Kernel::Conv2d { sizes, .. } => convolution(sizes, sizes.output_len() as u64),
        Kernel::Conv2dGradX { sizes } => convolution(sizes, sizes.input_len() as u64),
        Kernel::Conv2dGradWeight { sizes } => convolution_weights(sizes),
        Kernel::Pool2d { sizes, .. } => pooling(sizes, 1),
        Kernel::Pool2dGrad { sizes, .. } => pooling(sizes, 2),
        Kernel::Attention { sizes } => attention(sizes, Half::Forward),
        Kernel::AttentionGradQ { sizes } => attention(sizes, Half::Queries),
        Kernel::AttentionGradKv { sizes } => attention(sizes, Half::Keys),
        Kernel::Embedding { rows, width, period, .. } => {
            let (out, positions) = (product([rows, width]), product([period, width]));
            // Of the table only the rows that are asked for, at most all of them.
            Traffic::stream(if period > 0 { out } else { 0 }, u64::from(rows) + 2 * out + positions)
        }
        Kernel::EmbeddingGrad { rows, width, vocabulary } => {
            let (dy, out) = (product([rows, width]), product([vocabulary, width]));
            let columns = match tier {
                Tier::Shared => u64::from(width.div_ceil(64)),
                _ => u64::from(width.div_ceil(4)),
            };
            // Every word's lanes look at all tokens.
            Traffic::stream(dy, u64::from(rows) + dy + out).rereading(rows.into(), u64::from(vocabulary) * columns)
        }
        Kernel::Norm { rows, width, centred, .. } => {
            let x = product([rows, width]);
            Traffic::stream(if centred { 8 } else { 5 } * x, 2 * x + u64::from(width) * if centred { 2 } else { 1 })
        }
        Kernel::NormGrad { rows, width, centred, add, .. } => {
            let x = product([rows, width]);
            let operands = if add { 3 } else { 2 };
            Traffic::stream(if centred { 14 } else { 11 } * x, (operands + 1) * x + u64::from(width))
        }
        Kernel::NormWeightGrad { rows, width, bias, .. } => {
            let x = product([rows, width]);
            // Mean and spread are of whole rows, and a workgroup has 64 columns of them.
            Traffic::stream(8 * x, 2 * x + u64::from(width) * if bias { 2 } else { 1 })
                .rereading(x, width.div_ceil(64).into())
        }
        Kernel::Rope { rows, packed, positions, width, .. } => {
            let x = product([rows, packed]);
            Traffic::stream(3 * x, 2 * x + product([positions, width]))
        }
        Kernel::Unary { len, .. } | Kernel::Affine { len, .. } | Kernel::Clamp { len, .. } => elementwise(len, 2),
        Kernel::Dropout { len, .. } => elementwise(len, 2),
        Kernel::UnaryGrad { len, .. } | Kernel::ClampGrad { len, .. } | Kernel::Mask { len, .. } => elementwise(len, 3),
        Kernel::Where { len } => elementwise(len, 4),
        Kernel::Binary { len, period, .. } => Traffic::stream(len.into(), 2 * u64::from(len) + u64::from(period)),
        Kernel::Softmax { rows, width } => Traffic::stream(4 * product([rows, width]), 2 * product([rows, width])),
        Kernel::SoftmaxGrad { rows, width } => Traffic::stream(4 * product([rows, width]), 3 * product([rows, width])),
        Kernel::Max { outputs, count, .. } => {
            let x = product([outputs, count]);
            Traffic::stream(x, x + u64::from(outputs))
        }
        Kernel::MaxGrad { outputs, count, .. } => {
            let x = product([outputs, count]);
            Traffic::stream(x, 2 * x + u64::from(outputs))
        }
        Kernel::Copy(Copy { dims, add, .. }) => Traffic::stream(product(dims), if add { 3 } else { 2 } * product(dims)),
        Kernel::Reduce(Reduce { outputs, counts, .. }) => {
            let x = u64::from(outputs) * product(counts);
            Traffic::stream(x, x + u64::from(outputs))
        }
        Kernel::CrossEntropy { rows, classes } => {
            let x = product([rows, classes]);
            Traffic::stream(6 * x, 2 * x + 3 * u64::from(rows))
        }
        Kernel::Mse { len } | Kernel::BinaryCrossEntropy { len } => elementwise(len, 5),
        Kernel::NormPartials { len, .. } => Traffic::stream(2 * u64::from(len), u64::from(len + NORM_PARTIALS)),
        Kernel::ClipScale { .. } => Traffic::stream(NORM_PARTIALS.into(), u64::from(NORM_PARTIALS) + 1),
        // Reads weight, gradient and both moments, writes all but the gradient.
        Kernel::AdamW { len, skip_start, skip_end, .. } => {
            let moved = u64::from(len - (skip_end - skip_start));
            Traffic::stream(15 * moved, 7 * moved)
        }
        Kernel::Sgd { len, .. } => Traffic::stream(6 * u64::from(len), 5 * u64::from(len)),
        Kernel::MuonGather(Stack { count, n, m, .. }) => {
            let stack = product([count, n, m]);
            // Gradient and momentum in, momentum and stack out; and the stack again to be scaled.
            Traffic::stream(6 * stack, 4 * stack).rereading(stack, 3)
        }
        Kernel::MuonApply { stack: Stack { count, n, m, .. }, .. } => {
            let stack = product([count, n, m]);
            Traffic::stream(4 * stack, 3 * stack)
        }
    }
}

fn elementwise(len: u32, tensors: u64) -> Traffic {
    Traffic::stream(len.into(), tensors * u64::from(len))
}

/// A workgroup covers `side x side` of the result: `a` is read once for every block of columns, `b`
/// once for every block of rows.
fn matmul(kernel: &Kernel, tier: Tier) -> Traffic {
    let &Kernel::MatMul { m, n, k, bias, then, row_sums, batch, .. } = kernel else {
        unreachable!("asked by its kind")
    };
    let side = if tier == Tier::Plain { 32 } else { 64 };
    let [a, b, out] = [product([batch, m, k]), product([batch, k, n]), product([batch, m, n])];
    let (extra_reads, extra_writes, slope) = match then {
        Then::Store => (0, 0, 0),
        Then::Unary { keep, .. } => (0, if keep { out } else { 0 }, 8),
        Then::UnaryGrad { .. } => (out, 0, 10),
        Then::Add => (out, 0, 1),
        Then::Blend { .. } => (out, 0, 3),
    };
    let bias = if bias { u64::from(n) } else { 0 };
    let sums = if row_sums { u64::from(m) } else { 0 };
    let flops =
        2 * product([batch, m, n, k]) + slope * out + if bias > 0 { out } else { 0 } + if sums > 0 { a } else { 0 };
    Traffic::stream(flops, a + b + out + bias + sums + extra_reads + extra_writes)
        .rereading(a, n.div_ceil(side).into())
        .rereading(b, m.div_ceil(side).into())
}

/// The images are read again for every four channels of the result, the filters by every image.
fn convolution(sizes: ConvSizes, result: u64) -> Traffic {
    let (x, y, weights) = (sizes.input_len() as u64, sizes.output_len() as u64, sizes.weight_len() as u64);
    let source = x + y - result;
    let channels = if result == y { sizes.n } else { sizes.c } / sizes.groups;
    Traffic::stream(convolution_flops(sizes), source + weights + result)
        .rereading(source, channels.div_ceil(4).into())
        .rereading(weights, sizes.batch.into())
}

/// Images are read once for every four filters and each 3 x 4 of their taps, gradients once for every
/// channel of the images and the same.
fn convolution_weights(sizes: ConvSizes) -> Traffic {
    let (x, y, weights) = (sizes.input_len() as u64, sizes.output_len() as u64, sizes.weight_len() as u64);
    let taps = u64::from(sizes.size.div_ceil(3).pow(2));
    Traffic::stream(convolution_flops(sizes), x + y + weights)
        .rereading(x, taps * u64::from((sizes.n / sizes.groups).div_ceil(4)))
        .rereading(y, taps * u64::from(sizes.c / sizes.groups))
}

fn convolution_flops(sizes: ConvSizes) -> u64 {
    2 * sizes.output_len() as u64 * product([sizes.c / sizes.groups, sizes.size, sizes.size])
}

fn pooling(sizes: ConvSizes, inputs: u64) -> Traffic {
    let (x, y) = (sizes.input_len() as u64, sizes.output_len() as u64);
    // Forward reads x and writes y; backward reads x and dy and writes dx.
    Traffic::stream(y * product([sizes.size, sizes.size]), inputs * x + y)
}

/// The three kernels of attention.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    Forward,
    Queries,
    Keys,
}

/// Positions that a workgroup of attention takes.
const ATTENTION_BLOCK: u64 = 32;

/// A workgroup takes 32 positions of a head and walks past the others; with a mask, past half of
/// them.
fn attention(sizes: AttentionSizes, half: Half) -> Traffic {
    let AttentionSizes { batch, t, heads, kv_heads, width, causal } = sizes;
    let t64 = u64::from(t);
    let pairs = if causal { t64 * (t64 + 1) / 2 } else { t64 * t64 };
    let blocks = t64.div_ceil(ATTENTION_BLOCK);
    // Whole blocks that are walked past by all blocks together.
    let walks = if causal { blocks * (blocks + 1) / 2 } else { blocks * blocks };
    let walked = walks * ATTENTION_BLOCK.min(t64);
    let [per_head, per_kv] = [heads, kv_heads].map(|count| product([batch, count, width]));
    let (q, kv, lse) = (per_head * t64, per_kv * t64, product([batch, heads, t]));
    // Products of a pair, each twice the width: scores and sum forward; scores, dp and dq; scores, dp,
    // dk and dv.
    let (products, exponential) = match half {
        Half::Forward => (2, 6),
        Half::Queries => (3, 5),
        Half::Keys => (4, 5),
    };
    let flops = product([batch, heads]) * pairs * (2 * products * u64::from(width) + exponential);
    let once = match half {
        // q, k, v; y, lse.
        Half::Forward => q + 2 * kv + q + lse,
        // q, k, v, y, dy, lse; dq, sums.
        Half::Queries => q + 2 * kv + 2 * q + lse + q + lse,
        // q, k, v, dy, lse, sums; dk, dv.
        Half::Keys => q + 2 * kv + q + 2 * lse + 2 * kv,
    };
    // What passes by: keys and values for every query head; queries and dy for every block of keys.
    let (passing, needed) = match half {
        Half::Forward | Half::Queries => (2 * per_head * walked, 2 * kv),
        Half::Keys => (2 * per_head * walked, 2 * q),
    };
    Traffic { flops, once, again: passing.saturating_sub(needed) }
}

#[cfg(test)]
mod tests {
    use potluck_graph::preset::{self, GptConfig};

    use super::*;
    use crate::Form;

    #[track_caller]
    fn check(kernel: Kernel, tier: Tier, flops: u64, bytes_min: u64, bytes_moved: u64) {
        let cost = Dispatch { kernel, tier, reads: Vec::new(), writes: Vec::new() }.cost();
        assert_eq!(cost, Cost { flops, bytes_min, bytes_moved });
    }

    fn square(form: Form, then: Then) -> Kernel {
        Kernel::MatMul { form, m: 128, n: 64, k: 32, bias: false, then, row_sums: false, batch: 1 }
    }

    #[test]
    fn a_product_by_hand() {
        // a is 128 x 32, b is 32 x 64, out is 128 x 64. One block of 64 columns: a once. Two blocks of
        // 64 rows: b twice.
        let (a, b, out) = (4096, 2048, 8192);
        let flops = 2 * 128 * 64 * 32;
        check(square(Form::Nn, Then::Store), Tier::Shared, flops, 4 * (a + b + out), 4 * (a + 2 * b + out));
        // Blocks of 32: two of columns, four of rows.
        check(square(Form::Nt, Then::Store), Tier::Plain, flops, 4 * (a + b + out), 4 * (2 * a + 4 * b + out));
        let (min, moved) = (4 * (a + b + 2 * out), 4 * (a + 2 * b + 2 * out));
        check(square(Form::Nn, Then::Add), Tier::Shared, flops + out, min, moved);
    }

    #[test]
    fn attention_by_hand() {
        // One head of width 8 over 64 positions, masked: 64 * 65 / 2 pairs, each 2 products of 2 * 8 and
        // 6. Two blocks: the first walks past 32 keys and values, the second past 64.
        let sizes = AttentionSizes { batch: 1, t: 64, heads: 1, kv_heads: 1, width: 8, causal: true };
        let (tensor, walked) = (64 * 8, 96 * 8);
        let once = 4 * tensor + 64;
        let flops = 2080 * (2 * 2 * 8 + 6);
        check(Kernel::Attention { sizes }, Tier::Shared, flops, 4 * once, 4 * (once + 2 * (walked - tensor)));
    }

    #[test]
    fn an_update_streams_seven_tensors() {
        let kernel = Kernel::AdamW { len: 1000, decay_len: 0, constants: [0; 4], skip_start: 100, skip_end: 300 };
        check(kernel, Tier::Plain, 15 * 800, 28 * 800, 28 * 800);
    }

    #[test]
    fn a_table_is_searched_by_every_word() {
        let kernel = Kernel::EmbeddingGrad { rows: 10, width: 64, vocabulary: 5 };
        let once = 10 + 640 + 320;
        check(kernel, Tier::Shared, 640, 4 * once, 4 * (once + 10 * 4));
    }

    #[test]
    fn a_step_has_the_flops_of_its_program() {
        let program = preset::gpt(&GptConfig::gpt2(65, 64, 2, 64, 4)).expect("a good program");
        let plan = Plan::new(&program, &crate::tests::recipe(8)).expect("it fits");
        let flops: u64 = plan.costs().map(|(_, cost)| cost.flops).sum();
        let counted = 8 * program.facts().train_flops_per_sample;
        // The program counts products alone; norms, functions and the update are a tenth on top.
        assert!(flops > counted && flops < counted * 5 / 4, "{flops} against {counted}");
        assert!(plan.costs().all(|(_, cost)| cost.bytes_min > 0 && cost.bytes_moved >= cost.bytes_min));
    }

    #[test]
    fn the_roof_is_the_slower_of_two() {
        let roof = Roof { flops: 100.0, bytes: 10.0 };
        assert_eq!([roof.seconds(100, 5), roof.seconds(100, 20)], [1.0, 2.0]);
    }
}
