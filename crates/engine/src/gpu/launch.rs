//! How a kernel is launched: its WGSL file, pipeline constants, uniform, bindings and grid.
//!
//! Every shader binds in the same order: 0 the sizes, then what it reads, then what it writes, then,
//! where it wants it, the step. An operand that a variant of a kernel does not use is bound all the
//! same, to the first operand or to a spare buffer.

use crate::{Form, Kernel, Stack, Then, Tier, kernel::NORM_PARTIALS};

use super::{launch_images as images, launch_rows as rows, launch_values as values};

/// Workgroups in one dimension of a grid (`maxComputeWorkgroupsPerDimension`).
pub(super) const GRID_MAX: u32 = 65_535;

/// Words of the sizes uniform at most.
pub(super) const SIZES_WORDS: usize = 32;

/// All that the executor needs to know of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Launch {
    /// Name and text of the WGSL file.
    pub(super) source: (&'static str, &'static str),
    /// Values of the shader's `override`s.
    pub(super) constants: Vec<(&'static str, u32)>,
    /// The sizes uniform.
    pub(super) words: Vec<u32>,
    /// Buffers that the shader binds to read.
    pub(super) reads: usize,
    /// Buffers that the shader binds to write.
    pub(super) writes: usize,
    /// Binds the step uniform last.
    pub(super) step: bool,
    /// Workgroups.
    pub(super) grid: [u32; 3],
}

/// What a pipeline is made of: shader and constants.
pub(super) type PipelineKey = (&'static str, Vec<(&'static str, u32)>);

macro_rules! shader {
    ($name:literal) => {
        // Without comments and blanks: see `build.rs`.
        ($name, include_str!(concat!(env!("OUT_DIR"), "/", $name, ".wgsl")))
    };
}
pub(super) use shader;

impl Launch {
    /// A launch with one output and no constants.
    pub(super) fn new(source: (&'static str, &'static str), reads: usize, words: Vec<u32>, grid: [u32; 3]) -> Self {
        Self { source, constants: Vec::new(), words, reads, writes: 1, step: false, grid }
    }

    /// Launches with the same key share a pipeline.
    pub(super) fn key(&self) -> PipelineKey {
        (self.source.0, self.constants.clone())
    }

    /// With these pipeline constants.
    pub(super) fn with(mut self, constants: &[(&'static str, u32)]) -> Self {
        self.constants.extend_from_slice(constants);
        self
    }

    /// With so many outputs.
    pub(super) fn writing(mut self, writes: usize) -> Self {
        self.writes = writes;
        self
    }

    /// With the step uniform.
    pub(super) fn stepped(mut self) -> Self {
        self.step = true;
        self
    }

    /// The launch of a kernel in one of the tiers that it has.
    pub(super) fn of(kernel: &Kernel, tier: Tier) -> Self {
        match *kernel {
            Kernel::MatMul { .. } => matmul(kernel, tier),
            Kernel::Conv2d { .. }
            | Kernel::Conv2dGradX { .. }
            | Kernel::Conv2dGradWeight { .. }
            | Kernel::Pool2d { .. }
            | Kernel::Pool2dGrad { .. } => images::launch(kernel, tier),
            Kernel::Embedding { .. }
            | Kernel::EmbeddingGrad { .. }
            | Kernel::Norm { .. }
            | Kernel::NormGrad { .. }
            | Kernel::NormWeightGrad { .. }
            | Kernel::Rope { .. }
            | Kernel::Attention { .. }
            | Kernel::AttentionGradQ { .. }
            | Kernel::AttentionGradKv { .. }
            | Kernel::Softmax { .. }
            | Kernel::SoftmaxGrad { .. }
            | Kernel::CrossEntropy { .. } => rows::launch(kernel, tier),
            Kernel::Unary { .. }
            | Kernel::UnaryGrad { .. }
            | Kernel::Binary { .. }
            | Kernel::Affine { .. }
            | Kernel::Clamp { .. }
            | Kernel::ClampGrad { .. }
            | Kernel::Where { .. }
            | Kernel::Mask { .. }
            | Kernel::Dropout { .. }
            | Kernel::Max { .. }
            | Kernel::MaxGrad { .. }
            | Kernel::Copy(_)
            | Kernel::Reduce(_)
            | Kernel::Mse { .. }
            | Kernel::BinaryCrossEntropy { .. } => values::launch(kernel),
            Kernel::NormPartials { len, start } => {
                Self::new(shader!("norm_partials"), 1, vec![len, start], [NORM_PARTIALS / 64, 1, 1])
            }
            Kernel::ClipScale { clip_bits } => Self::new(shader!("clip_scale"), 1, vec![clip_bits], [1, 1, 1]),
            Kernel::AdamW { len, decay_len, constants: [beta1, beta2, eps, decay], skip_start, skip_end } => {
                let words = vec![len, decay_len, beta1, beta2, eps, decay, skip_start, skip_end];
                Self::new(shader!("adamw"), 2, words, values::grid(len / 4)).writing(3).stepped()
            }
            Kernel::Sgd { len, decay_len, momentum_bits, decay_bits } => {
                let words = vec![len, decay_len, momentum_bits, decay_bits];
                Self::new(shader!("sgd"), 2, words, values::grid(len)).writing(2).stepped()
            }
            Kernel::MuonGather(Stack { count, n, m, momentum_bits }) => {
                Self::new(shader!("muon_gather"), 3, vec![count, n, m, momentum_bits], row_grid(count)).writing(2)
            }
            Kernel::MuonApply { stack: Stack { count, n, m, .. }, decay_bits } => {
                let words = vec![count, n, m, decay_bits];
                Self::new(shader!("muon_apply"), 2, words, values::grid(count * n * m)).stepped()
            }
        }
    }
}

/// One workgroup a row, in two dimensions where there are more than a grid has in one.
pub(super) fn row_grid(rows: u32) -> [u32; 3] {
    [rows.min(GRID_MAX), rows.div_ceil(GRID_MAX), 1]
}

fn matmul(kernel: &Kernel, tier: Tier) -> Launch {
    let &Kernel::MatMul { form, m, n, k, bias, then, row_sums, batch } = kernel else {
        unreachable!("asked by its kind")
    };
    let then_of = then;
    let [a_row, a_column, b_row, b_column] = match form {
        Form::Nn => [k, 1, n, 1],
        Form::Nt => [k, 1, 1, k],
        Form::Tn => [1, m, n, 1],
    };
    let (then, f, second) = match then {
        Then::Store => (0, 0, false),
        Then::Unary { f, keep } => (1, values::unary_code(f), keep),
        Then::UnaryGrad { f } => (2, values::unary_code(f), false),
        Then::Add => (3, 0, false),
        Then::Blend { .. } => (4, 0, false),
    };
    let (alpha, beta) = match then_of {
        Then::Blend { alpha_bits, beta_bits } => (alpha_bits, beta_bits),
        _ => (0, 0),
    };
    let mut constants = vec![
        ("BIAS", u32::from(bias)),
        ("THEN", then),
        ("FUNCTION", f),
        ("KEEP", u32::from(second)),
        ("ROW_SUMS", u32::from(row_sums)),
    ];
    let words = vec![m, n, k, a_row, a_column, b_row, b_column, alpha, beta];
    let grid = |side: u32| [n.div_ceil(side), m.div_ceil(side).min(GRID_MAX), batch];
    let turned = [("LEFT_TURNED", u32::from(form == Form::Tn)), ("RIGHT_TURNED", u32::from(form == Form::Nt))];
    let (source, grid) = match tier {
        Tier::Plain => (shader!("matmul"), grid(32)),
        Tier::Registers => (shader!("matmul_wide"), grid(64)),
        Tier::Shared => (shader!("matmul_shared"), grid(64)),
        Tier::Quads => (shader!("matmul_quads"), grid(64)),
    };
    if tier != Tier::Plain {
        constants.extend(turned);
    }
    Launch::new(source, 4, words, grid).with(&constants).writing(2)
}
