//! Launches of the kernels over rows: tables, norms, positions, attention, cross-entropy.

use super::launch::{GRID_MAX, Launch, row_grid, shader};
use super::launch_values::grid;
use crate::{AttentionSizes, Kernel, Tier};

/// Rows whose weight gradients one workgroup adds up before the next takes over: there is one
/// workgroup for each 64 columns.
const COLUMNS: u32 = 64;

pub(super) fn launch(kernel: &Kernel, tier: Tier) -> Launch {
    let shared = tier == Tier::Shared;
    match *kernel {
        Kernel::Embedding { rows, width, vocabulary, period } => {
            let constants = [("POSITIONS", u32::from(period > 0))];
            let words = vec![rows, width, vocabulary, period.max(1)];
            Launch::new(shader!("embedding"), 3, words, grid(rows * width)).with(&constants)
        }
        Kernel::EmbeddingGrad { rows, width, vocabulary } => {
            let words = vec![rows, width, vocabulary];
            match shared {
                true => Launch::new(
                    shader!("embedding_grad"),
                    2,
                    words,
                    [vocabulary.min(GRID_MAX), width.div_ceil(COLUMNS), 1],
                ),
                false => Launch::new(
                    shader!("embedding_grad_rows"),
                    2,
                    words,
                    lane_grid(vocabulary.saturating_mul(width / 4)),
                ),
            }
        }
        Kernel::Norm { rows, width, eps_bits, centred } => {
            let words = vec![rows, width, eps_bits];
            let launch = match shared {
                true => Launch::new(shader!("norm"), 3, words, row_grid(rows)),
                false => Launch::new(shader!("norm_rows"), 3, words, lane_grid(rows)),
            };
            launch.with(&[("CENTRED", u32::from(centred))])
        }
        Kernel::NormGrad { rows, width, eps_bits, centred, add } => {
            let constants = [("CENTRED", u32::from(centred)), ("ADD", u32::from(add))];
            let words = vec![rows, width, eps_bits];
            let launch = match shared {
                true => Launch::new(shader!("norm_grad"), 4, words, row_grid(rows)),
                false => Launch::new(shader!("norm_grad_rows"), 4, words, lane_grid(rows)),
            };
            launch.with(&constants)
        }
        Kernel::NormWeightGrad { rows, width, eps_bits, centred, bias } => {
            let constants = [("CENTRED", u32::from(centred)), ("BIAS", u32::from(bias))];
            let words = vec![rows, width, eps_bits];
            let launch = Launch::new(shader!("norm_weight_grad"), 2, words, [width.div_ceil(COLUMNS), 1, 1]);
            launch.with(&constants).writing(2)
        }
        Kernel::Rope { rows, packed, positions, heads, width, inverse } => {
            let sign: f32 = if inverse { -1.0 } else { 1.0 };
            let words = vec![rows, packed, positions, heads, width, sign.to_bits()];
            Launch::new(shader!("rope"), 2, words, grid(rows * packed))
        }
        Kernel::Attention { sizes } => match shared {
            true => attention(shader!("attention"), sizes, 1, 2),
            false => attention_blocks(shader!("attention_blocks"), sizes, 1, 2),
        },
        Kernel::AttentionGradQ { sizes } => match shared {
            true => attention(shader!("attention_grad_q"), sizes, 4, 2),
            false => attention_blocks(shader!("attention_grad_q_blocks"), sizes, 4, 2),
        },
        Kernel::AttentionGradKv { sizes } => {
            let mut launch = match shared {
                true => attention(shader!("attention_grad_kv"), sizes, 4, 1),
                false => attention_blocks(shader!("attention_grad_kv_blocks"), sizes, 4, 1),
            };
            launch.grid[1] = sizes.kv_heads;
            launch
        }
        Kernel::Softmax { rows, width } => softmax(rows, width, false),
        Kernel::SoftmaxGrad { rows, width } => softmax(rows, width, true),
        Kernel::CrossEntropy { rows, classes } => match shared {
            true => Launch::new(shader!("cross_entropy"), 2, vec![rows, classes], row_grid(rows)).writing(2),
            false => Launch::new(shader!("cross_entropy_rows"), 2, vec![rows, classes], lane_grid(rows)).writing(2),
        },
        _ => unreachable!("asked by its kind"),
    }
}

fn softmax(rows: u32, width: u32, gradient: bool) -> Launch {
    Launch::new(shader!("softmax"), 2, vec![rows, width], row_grid(rows)).with(&[("GRADIENT", u32::from(gradient))])
}

/// Positions that one workgroup of an attention kernel takes, one an invocation.
const ATTENTION_BLOCK: u32 = 32;

/// One workgroup a block of positions, a head and a sample.
fn attention(source: (&'static str, &'static str), sizes: AttentionSizes, reads: usize, writes: usize) -> Launch {
    let constants = [("WIDTH", sizes.width), ("CAUSAL", u32::from(sizes.causal))];
    let grid = [sizes.t.div_ceil(ATTENTION_BLOCK), sizes.heads, sizes.batch];
    Launch::new(source, reads, attention_words(sizes), grid).with(&constants).writing(writes)
}

/// One invocation four positions and sixteen values of a head of a sample.
fn attention_blocks(
    source: (&'static str, &'static str),
    sizes: AttentionSizes,
    reads: usize,
    writes: usize,
) -> Launch {
    let invocations = sizes.t.div_ceil(4) * sizes.width.div_ceil(16);
    let grid = [invocations.div_ceil(64), sizes.heads, sizes.batch];
    let constants = [("CAUSAL", u32::from(sizes.causal))];
    Launch::new(source, reads, attention_words(sizes), grid).with(&constants).writing(writes)
}

fn attention_words(sizes: AttentionSizes) -> Vec<u32> {
    let AttentionSizes { batch, t, heads, kv_heads, width, causal: _ } = sizes;
    vec![batch, t, heads, kv_heads, width, (1.0 / (width as f32).sqrt()).to_bits()]
}

/// An invocation a row, 64 to a workgroup.
fn lane_grid(rows: u32) -> [u32; 3] {
    row_grid(rows.div_ceil(64).max(1))
}
