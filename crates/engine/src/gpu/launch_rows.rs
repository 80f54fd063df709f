//! Launches of the kernels over rows: tables, norms, positions, attention, cross-entropy.

use super::launch::{Launch, row_grid, shader};
use super::launch_values::grid;
use crate::{AttentionSizes, Kernel};

/// Rows whose weight gradients one workgroup adds up before the next takes over: there is one
/// workgroup for each 64 columns.
const COLUMNS: u32 = 64;

pub(super) fn launch(kernel: &Kernel) -> Launch {
    match *kernel {
        Kernel::Embedding { rows, width, vocabulary, period } => {
            let constants = [("POSITIONS", u32::from(period > 0))];
            let words = vec![rows, width, vocabulary, period.max(1)];
            Launch::new(shader!("embedding"), 3, words, grid(rows * width)).with(&constants)
        }
        Kernel::EmbeddingGrad { rows, width, vocabulary } => {
            let words = vec![rows, width, vocabulary];
            Launch::new(shader!("embedding_grad"), 2, words, grid(vocabulary * width))
        }
        Kernel::Norm { rows, width, eps_bits, centred } => {
            let words = vec![rows, width, eps_bits];
            Launch::new(shader!("norm"), 3, words, row_grid(rows)).with(&[("CENTRED", u32::from(centred))])
        }
        Kernel::NormGrad { rows, width, eps_bits, centred, add } => {
            let constants = [("CENTRED", u32::from(centred)), ("ADD", u32::from(add))];
            Launch::new(shader!("norm_grad"), 4, vec![rows, width, eps_bits], row_grid(rows)).with(&constants)
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
        Kernel::Attention { sizes } => attention(shader!("attention"), sizes, 1, 2),
        Kernel::AttentionGradQ { sizes } => attention(shader!("attention_grad_q"), sizes, 4, 2),
        Kernel::AttentionGradKv { sizes } => {
            let mut launch = attention(shader!("attention_grad_kv"), sizes, 4, 1);
            launch.grid[1] = sizes.kv_heads;
            launch
        }
        Kernel::Softmax { rows, width } => softmax(rows, width, false),
        Kernel::SoftmaxGrad { rows, width } => softmax(rows, width, true),
        Kernel::CrossEntropy { rows, classes } => {
            Launch::new(shader!("cross_entropy"), 2, vec![rows, classes], row_grid(rows)).writing(2)
        }
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
    let AttentionSizes { batch, t, heads, kv_heads, width, causal } = sizes;
    let scale = 1.0 / (width as f32).sqrt();
    let words = vec![batch, t, heads, kv_heads, width, scale.to_bits()];
    let constants = [("WIDTH", width), ("CAUSAL", u32::from(causal))];
    Launch::new(source, reads, words, [t.div_ceil(ATTENTION_BLOCK), heads, batch]).with(&constants).writing(writes)
}
