//! The kernels that a plan is made of: what each computes, in shapes and layout. How it is
//! computed is the executors' matter.
//!
//! All tensors are row-major f32 unless said otherwise. Constants are kept as the bits of an f32,
//! so that kernels can be compared and hashed.

pub use potluck_graph::Form;
use potluck_graph::{BinaryFn, PoolFn, UnaryFn};
use serde::Serialize;

/// A kernel with its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Kernel {
    /// `out = then(a . b + bias)`, `out` is `(m, n)`, summed over `k`. Reads `a`, `b`, then `bias`
    /// `(n)` where there is one, then the operand of `then` `(m, n)` where it has one. Writes `out`
    /// and, where `then` keeps it, the value before `then` `(m, n)`, or, with `row_sums`, the sums
    /// of the rows of `a` (in memory: of the columns of `(k, m)`), `(m)`.
    MatMul {
        /// How `a` and `b` lie in memory.
        form: Form,
        /// Rows of `out`.
        m: u32,
        /// Columns of `out`.
        n: u32,
        /// Length of the sums.
        k: u32,
        /// Adds `bias[column]`.
        bias: bool,
        /// What happens to a sum before it is stored.
        then: Then,
        /// Form TN only: also writes the sums over `k` of `a`, a bias's gradient.
        row_sums: bool,
        /// Products of this shape, one after another in every operand.
        batch: u32,
    },
    /// Convolution, with bias and ReLU; reads `x`, `weight`, and `bias` where there is one.
    Conv2d {
        /// Sizes.
        sizes: ConvSizes,
        /// Adds a bias a channel.
        bias: bool,
        /// Then `max(0)`.
        relu: bool,
    },
    /// Gradient of a convolution with respect to its images; reads `dy`, `weight`.
    Conv2dGradX {
        /// Sizes of the forward convolution.
        sizes: ConvSizes,
    },
    /// Gradient of a convolution with respect to its filters; reads `x`, `dy`.
    Conv2dGradWeight {
        /// Sizes of the forward convolution.
        sizes: ConvSizes,
    },
    /// Pooling; reads `x` (sizes with one group a channel, `n = c`).
    Pool2d {
        /// Which.
        f: PoolFn,
        /// Sizes.
        sizes: ConvSizes,
    },
    /// Gradient of a pooling; reads `x`, `dy`.
    Pool2dGrad {
        /// Which.
        f: PoolFn,
        /// Sizes of the forward pooling.
        sizes: ConvSizes,
        /// `x` came out of a ReLU, whose gradient this is as well.
        relu: bool,
    },
    /// `out[r] = table[tokens[r]]`, plus `positions[r % period]` where the period is not 0; reads
    /// tokens (u32, below the vocabulary), table `(vocabulary, width)`, positions `(period, width)`.
    Embedding {
        /// Rows.
        rows: u32,
        /// Width of a row.
        width: u32,
        /// Rows of the table.
        vocabulary: u32,
        /// Rows of positions, 0 for none.
        period: u32,
    },
    /// `out[v] = sum of dy[r] where tokens[r] = v`, rows in order; reads tokens, `dy`.
    EmbeddingGrad {
        /// Rows of `dy`.
        rows: u32,
        /// Width of a row.
        width: u32,
        /// Rows of `out`.
        vocabulary: u32,
    },
    /// Layer norm (`centred`: reads `x`, `weight`, `bias`) or RMS norm (reads `x`, `weight`).
    Norm {
        /// Rows and width.
        rows: u32,
        /// Values of a row.
        width: u32,
        /// Added to variance or mean square.
        eps_bits: u32,
        /// Layer norm.
        centred: bool,
    },
    /// Gradient of a norm with respect to `x`; reads `x`, `weight`, `dy`, and with `add` a tensor
    /// that is added.
    NormGrad {
        /// Rows.
        rows: u32,
        /// Values of a row.
        width: u32,
        /// As forward.
        eps_bits: u32,
        /// As forward.
        centred: bool,
        /// Adds a fourth operand.
        add: bool,
    },
    /// Gradient of a norm with respect to its weight `(width)`; reads `x`, `dy`; with `bias` it
    /// also writes the column sums of `dy`.
    NormWeightGrad {
        /// Rows.
        rows: u32,
        /// Values of a row.
        width: u32,
        /// As forward.
        eps_bits: u32,
        /// As forward.
        centred: bool,
        /// Also writes the bias's gradient.
        bias: bool,
    },
    /// Rotary positions: the first `heads x width` values of each row of `packed` values turn by
    /// their position `r % positions`, back where `inverse`; reads `x` and a table `(positions,
    /// width / 2, 2)` of cosines and sines. The table is made on the host: a GPU's own sine may be
    /// off by 2^-11.
    Rope {
        /// Rows.
        rows: u32,
        /// Values of a row.
        packed: u32,
        /// Positions in a sample.
        positions: u32,
        /// Heads that turn.
        heads: u32,
        /// Values of a head.
        width: u32,
        /// Turn back.
        inverse: bool,
    },
    /// Attention; reads packed `qkv` `(batch, t, (heads + 2 kv) width)`; writes `(batch, t, heads
    /// width)` and the log-sum-exp `(batch, t, heads)`.
    Attention {
        /// Sizes.
        sizes: AttentionSizes,
    },
    /// First half of attention's gradient; reads `qkv`, `y`, `dy`, `lse`; writes the part of
    /// `d qkv` that belongs to queries, and `sum(y dy)` a head `(batch, t, heads)`.
    AttentionGradQ {
        /// Sizes.
        sizes: AttentionSizes,
    },
    /// Second half; reads `qkv`, `dy`, `lse`, `sums`; writes the parts of `d qkv` that belong to
    /// keys and values and leaves the others alone.
    AttentionGradKv {
        /// Sizes.
        sizes: AttentionSizes,
    },
    /// `out[i] = f(x[i])`.
    Unary {
        /// Which.
        f: UnaryFn,
        /// Values.
        len: u32,
    },
    /// `out[i] = dy[i] f'(..)`; reads what [`potluck_graph::Derivative::UnaryGrad`] saved, `dy`.
    UnaryGrad {
        /// Which.
        f: UnaryFn,
        /// Values.
        len: u32,
    },
    /// `out[i] = f(a[i], b[i % period])`.
    Binary {
        /// Which.
        f: BinaryFn,
        /// Values of `a`.
        len: u32,
        /// Values of `b`.
        period: u32,
    },
    /// `out[i] = scale x[i] + shift`.
    Affine {
        /// Values.
        len: u32,
        /// Factor, as bits.
        scale_bits: u32,
        /// Term, as bits.
        shift_bits: u32,
    },
    /// `out[i] = min(max(x[i], min), max)`.
    Clamp {
        /// Values.
        len: u32,
        /// Lower end, as bits.
        min_bits: u32,
        /// Upper end, as bits.
        max_bits: u32,
    },
    /// `out[i] = min <= x[i] <= max ? dy[i] : 0`; reads `x`, `dy`.
    ClampGrad {
        /// Values.
        len: u32,
        /// Lower end, as bits.
        min_bits: u32,
        /// Upper end, as bits.
        max_bits: u32,
    },
    /// `out[i] = condition[i] > 0 ? a[i] : b[i]`; reads all three.
    Where {
        /// Values.
        len: u32,
    },
    /// `out[i] = (condition[i] > 0) == keep ? dy[i] : 0`; reads `condition`, `dy`.
    Mask {
        /// Values.
        len: u32,
        /// Which side stays.
        keep: bool,
    },
    /// Zero with probability `p`, else `x / (1 - p)`; value `i` is kept where the hash of (seed,
    /// stream, i) is at least `p 2^32`. The identity in evaluation.
    Dropout {
        /// Values.
        len: u32,
        /// Share dropped, as bits.
        p_bits: u32,
        /// The stream.
        stream: u32,
    },
    /// `exp(x) / sum(exp(x))` of each row.
    Softmax {
        /// Rows.
        rows: u32,
        /// Values of a row.
        width: u32,
    },
    /// `y (dy - sum(y dy))` of each row; reads `y`, `dy`.
    SoftmaxGrad {
        /// Rows.
        rows: u32,
        /// Values of a row.
        width: u32,
    },
    /// The largest along the middle of `(outputs / inner, count, inner)`.
    Max {
        /// Outputs.
        outputs: u32,
        /// Outputs next to each other.
        inner: u32,
        /// Values that each is the largest of.
        count: u32,
    },
    /// `dy` where `x` is the first of the largest, else 0; reads `x`, `dy`.
    MaxGrad {
        /// Outputs of the forward kernel.
        outputs: u32,
        /// Outputs next to each other.
        inner: u32,
        /// Values that each is the largest of.
        count: u32,
    },
    /// A strided copy; see [`struct@Copy`].
    Copy(Copy),
    /// Sums; see [`Reduce`].
    Reduce(Reduce),
    /// Softmax cross-entropy: reads logits `(rows, classes)` and u32 labels `(rows)`; writes
    /// `(loss, correct)` `(rows, 2)` and the gradient of the mean loss `(rows, classes)`.
    CrossEntropy {
        /// Rows.
        rows: u32,
        /// Classes.
        classes: u32,
    },
    /// Squared error: reads prediction and target `(len)`; writes `(loss, 0)` `(len, 2)` and the
    /// gradient of the mean.
    Mse {
        /// Values.
        len: u32,
    },
    /// Binary cross-entropy: reads logits and targets `(len)`; writes `(loss, correct)` and the
    /// gradient of the mean.
    BinaryCrossEntropy {
        /// Values.
        len: u32,
    },
    /// Partial sums of squares of the gradients: `out[p]` is the sum over the arena's values `p`, `p +
    /// NORM_PARTIALS`, and so on. A segment that is not the first adds to what is in `out`.
    NormPartials {
        /// Values of the segment.
        len: u32,
        /// The segment's first value in the arena.
        start: u32,
    },
    /// `out[0] = min(1, clip / sqrt(sum of partials))`.
    ClipScale {
        /// The clipping norm, as bits.
        clip_bits: u32,
    },
    /// One AdamW step over a segment of the arenas; reads gradients and the clip scale, changes
    /// parameters and both moments.
    AdamW {
        /// Values of the segment.
        len: u32,
        /// Values before this one are matrices and decay.
        decay_len: u32,
        /// beta1, beta2, eps and weight decay, as bits.
        constants: [u32; 4],
        /// First value that another optimizer takes care of.
        skip_start: u32,
        /// One past the last.
        skip_end: u32,
    },
    /// One step of SGD with Nesterov momentum over a segment of the arenas: `m <- mu m + g; p <- p -
    /// lr (g + mu m + decay p)`; reads gradients and the clip scale, changes parameters and the first
    /// moment.
    Sgd {
        /// Values of the segment.
        len: u32,
        /// Values before this one are matrices and decay.
        decay_len: u32,
        /// Momentum, as bits.
        momentum_bits: u32,
        /// Weight decay, as bits.
        decay_bits: u32,
    },
    /// Gathers the Nesterov updates of many matrices into one stack `(count, n, m)`, each lying with
    /// its shorter side as rows and padded with zeros, scaled to a Frobenius norm of 1 at most:
    /// `m <- mu m + g; u = g + mu m; out = u / (|u| + 1e-7)`. Reads gradients, the clip scale and the
    /// table; changes the first moment. Takes the matrices of one segment; the others of the stack
    /// stay as they are.
    MuonGather(Stack),
    /// Puts a stack back: `p <- p - lr (0.2 sqrt(larger side) x + decay p)`; reads the stack and
    /// the table, changes parameters.
    MuonApply {
        /// The stack.
        stack: Stack,
        /// Weight decay, as bits.
        decay_bits: u32,
    },
}

/// Matrices side by side; where each lies is said by a table of u32 `(count, 4)`: its first value in
/// the segment, its rows, its columns, and twice its place in the stack, plus 1 where it is put in
/// transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Stack {
    /// Matrices.
    pub count: u32,
    /// Rows: the shorter side, the same for all.
    pub n: u32,
    /// Columns: the longest longer side.
    pub m: u32,
    /// Nesterov momentum, as bits.
    pub momentum_bits: u32,
}

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Then {
    /// Nothing.
    Store,
    /// A function; with `keep` the value before it is written too.
    Unary {
        /// Which.
        f: UnaryFn,
        /// Also writes the argument.
        keep: bool,
    },
    /// Times the derivative of a function, from the extra operand that it saved.
    UnaryGrad {
        /// Which.
        f: UnaryFn,
    },
    /// Plus the extra operand.
    Add,
    /// `alpha sum + beta extra`.
    Blend {
        /// Factor of the sum, as bits.
        alpha_bits: u32,
        /// Factor of the extra operand, as bits.
        beta_bits: u32,
    },
}

/// Sizes of a convolution or a pooling over NCHW images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct ConvSizes {
    /// Images.
    pub batch: u32,
    /// Channels in.
    pub c: u32,
    /// Rows in.
    pub h: u32,
    /// Columns in.
    pub w: u32,
    /// Channels out.
    pub n: u32,
    /// Rows out.
    pub out_h: u32,
    /// Columns out.
    pub out_w: u32,
    /// Rows and columns of the window.
    pub size: u32,
    /// Distance between windows.
    pub stride: u32,
    /// Zeros around the image.
    pub padding: u32,
    /// Groups of channels.
    pub groups: u32,
}

/// Sizes of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct AttentionSizes {
    /// Samples.
    pub batch: u32,
    /// Positions.
    pub t: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Values of a head.
    pub width: u32,
    /// A position sees itself and earlier ones only.
    pub causal: bool,
}

/// A strided copy with up to six dimensions: `out[i0..i5] = scale x[sum of i_d stride_d - shift]`
/// where `start <= i_axis < end`, else 0; with `add` on top of what is in `out`.
///
/// Transposition, slicing, expansion (stride 0), padding and concatenation are all of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Copy {
    /// Dimensions of `out`, outermost first, padded with ones in front.
    pub dims: [u32; 6],
    /// What a step in each dimension of `out` is in `x`.
    pub strides: [u32; 6],
    /// Values to go forward (positive) or back in `x`.
    pub offset: i32,
    /// The dimension that is padded.
    pub axis: u32,
    /// First index of it that has a value.
    pub start: u32,
    /// One past the last that has.
    pub end: u32,
    /// Factor, as bits.
    pub scale_bits: u32,
    /// Adds to `out`.
    pub add: bool,
}

/// Sums over two nested ranges: `out[o] = scale sum over i < counts[0], j < counts[1] of
/// x[(o / inner) outer_stride + (o % inner) inner_stride + i strides[0] + j strides[1]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Reduce {
    /// Outputs.
    pub outputs: u32,
    /// Outputs next to each other before the outer stride.
    pub inner: u32,
    /// Step of `o / inner`.
    pub outer_stride: u32,
    /// Step of `o % inner`.
    pub inner_stride: u32,
    /// Lengths of the two ranges.
    pub counts: [u32; 2],
    /// Their steps.
    pub strides: [u32; 2],
    /// Factor, as bits.
    pub scale_bits: u32,
}

/// Products of one batch: workgroups in one dimension of a grid (`maxComputeWorkgroupsPerDimension`).
pub(crate) const PRODUCTS_MAX: u32 = 65_535;

/// Partial sums of the gradient norm: one workgroup's worth, so that a second pass of one
/// workgroup can add them up in a fixed order.
pub(crate) const NORM_PARTIALS: u32 = 256;

impl ConvSizes {
    /// Values of the images that go in.
    pub fn input_len(&self) -> usize {
        [self.batch, self.c, self.h, self.w].map(|d| d as usize).iter().product()
    }

    /// Values of the images that come out.
    pub fn output_len(&self) -> usize {
        [self.batch, self.n, self.out_h, self.out_w].map(|d| d as usize).iter().product()
    }

    /// Values of the filters.
    pub fn weight_len(&self) -> usize {
        [self.n, self.c / self.groups, self.size, self.size].map(|d| d as usize).iter().product()
    }
}

impl AttentionSizes {
    /// Values of a row of packed queries, keys and values.
    pub fn packed(&self) -> u32 {
        (self.heads + 2 * self.kv_heads) * self.width
    }
}

impl Kernel {
    /// The kernel's name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::MatMul { .. } => "matmul",
            Kernel::Conv2d { .. } => "conv2d",
            Kernel::Conv2dGradX { .. } => "conv2d_grad_x",
            Kernel::Conv2dGradWeight { .. } => "conv2d_grad_weight",
            Kernel::Pool2d { .. } => "pool2d",
            Kernel::Pool2dGrad { .. } => "pool2d_grad",
            Kernel::Embedding { .. } => "embedding",
            Kernel::EmbeddingGrad { .. } => "embedding_grad",
            Kernel::Norm { .. } => "norm",
            Kernel::NormGrad { .. } => "norm_grad",
            Kernel::NormWeightGrad { .. } => "norm_weight_grad",
            Kernel::Rope { .. } => "rope",
            Kernel::Attention { .. } => "attention",
            Kernel::AttentionGradQ { .. } => "attention_grad_q",
            Kernel::AttentionGradKv { .. } => "attention_grad_kv",
            Kernel::Unary { .. } => "unary",
            Kernel::UnaryGrad { .. } => "unary_grad",
            Kernel::Binary { .. } => "binary",
            Kernel::Affine { .. } => "affine",
            Kernel::Clamp { .. } => "clamp",
            Kernel::ClampGrad { .. } => "clamp_grad",
            Kernel::Where { .. } => "where",
            Kernel::Mask { .. } => "mask",
            Kernel::Dropout { .. } => "dropout",
            Kernel::Softmax { .. } => "softmax",
            Kernel::SoftmaxGrad { .. } => "softmax_grad",
            Kernel::Max { .. } => "max",
            Kernel::MaxGrad { .. } => "max_grad",
            Kernel::Copy(_) => "copy",
            Kernel::Reduce(_) => "reduce",
            Kernel::CrossEntropy { .. } => "cross_entropy",
            Kernel::Mse { .. } => "mse",
            Kernel::BinaryCrossEntropy { .. } => "binary_cross_entropy",
            Kernel::NormPartials { .. } => "norm_partials",
            Kernel::ClipScale { .. } => "clip_scale",
            Kernel::AdamW { .. } => "adamw",
            Kernel::Sgd { .. } => "sgd",
            Kernel::MuonGather(_) => "muon_gather",
            Kernel::MuonApply { .. } => "muon_apply",
        }
    }

    /// Values that the processor's executor takes beside the operands: unfolded images, the scores of
    /// one head, and a row of a norm.
    pub fn scratch_values(&self) -> u64 {
        let product = |dims: &[u32]| dims.iter().fold(1u64, |product, &d| product.saturating_mul(d.into()));
        match *self {
            Kernel::Conv2d { sizes: s, .. }
            | Kernel::Conv2dGradX { sizes: s }
            | Kernel::Conv2dGradWeight { sizes: s } => product(&[s.c / s.groups, s.size, s.size, s.out_h, s.out_w]),
            Kernel::Pool2d { sizes: s, .. } | Kernel::Pool2dGrad { sizes: s, .. } => product(&[s.size, s.size, 2]),
            Kernel::Attention { sizes: s } => product(&[s.t, s.t]),
            Kernel::AttentionGradQ { sizes: s } | Kernel::AttentionGradKv { sizes: s } => product(&[s.t, s.t, 2]),
            Kernel::NormGrad { width, .. } | Kernel::NormWeightGrad { width, .. } => width.into(),
            _ => 0,
        }
    }

    /// Values of each output, first to last.
    pub fn output_lens(&self) -> Vec<usize> {
        let product = |dims: &[u32]| dims.iter().map(|&d| d as usize).product::<usize>();
        match *self {
            Kernel::MatMul { m, n, then, row_sums, batch, .. } => {
                let out = product(&[batch, m, n]);
                match then {
                    Then::Unary { keep: true, .. } => vec![out, out],
                    _ if row_sums => vec![out, m as usize],
                    _ => vec![out],
                }
            }
            Kernel::Conv2d { sizes, .. } | Kernel::Pool2d { sizes, .. } => vec![sizes.output_len()],
            Kernel::Conv2dGradX { sizes } | Kernel::Pool2dGrad { sizes, .. } => vec![sizes.input_len()],
            Kernel::Conv2dGradWeight { sizes } => vec![sizes.weight_len()],
            Kernel::Embedding { rows, width, .. }
            | Kernel::Norm { rows, width, .. }
            | Kernel::NormGrad { rows, width, .. } => {
                vec![product(&[rows, width])]
            }
            Kernel::EmbeddingGrad { width, vocabulary, .. } => vec![product(&[vocabulary, width])],
            Kernel::NormWeightGrad { width, bias, .. } => vec![width as usize; if bias { 2 } else { 1 }],
            Kernel::Rope { rows, packed, .. } => vec![product(&[rows, packed])],
            Kernel::Attention { sizes: s } => {
                vec![product(&[s.batch, s.t, s.heads, s.width]), product(&[s.batch, s.t, s.heads])]
            }
            Kernel::AttentionGradQ { sizes: s } => {
                vec![product(&[s.batch, s.t, s.packed()]), product(&[s.batch, s.t, s.heads])]
            }
            Kernel::AttentionGradKv { sizes: s } => vec![product(&[s.batch, s.t, s.packed()])],
            Kernel::Unary { len, .. }
            | Kernel::UnaryGrad { len, .. }
            | Kernel::Binary { len, .. }
            | Kernel::Affine { len, .. }
            | Kernel::Clamp { len, .. }
            | Kernel::ClampGrad { len, .. }
            | Kernel::Where { len }
            | Kernel::Mask { len, .. }
            | Kernel::Dropout { len, .. }
            | Kernel::AdamW { len, .. }
            | Kernel::Sgd { len, .. } => vec![len as usize],
            Kernel::Softmax { rows, width } | Kernel::SoftmaxGrad { rows, width } => vec![product(&[rows, width])],
            Kernel::Max { outputs, .. } => vec![outputs as usize],
            Kernel::MaxGrad { outputs, count, .. } => vec![product(&[outputs, count])],
            Kernel::Copy(Copy { dims, .. }) => vec![product(&dims)],
            Kernel::Reduce(Reduce { outputs, .. }) => vec![outputs as usize],
            Kernel::CrossEntropy { rows, classes } => vec![2 * rows as usize, product(&[rows, classes])],
            Kernel::Mse { len } | Kernel::BinaryCrossEntropy { len } => vec![2 * len as usize, len as usize],
            Kernel::NormPartials { .. } => vec![NORM_PARTIALS as usize],
            Kernel::ClipScale { .. } => vec![1],
            Kernel::MuonGather(Stack { count, n, m, .. }) => vec![product(&[count, n, m])],
            Kernel::MuonApply { .. } => vec![],
        }
    }
}
