//! How each kernel is launched: its WGSL file, its pipeline constants, its uniform and its grid.

use crate::{Epilogue, Form, Kernel, kernel::NORM_PARTIALS};

/// Workgroups of an elementwise kernel at most; each then loops. 1,024 x 256 invocations fill any
/// GPU, and the grid stays far below WebGPU's 65,535.
const ELEMENTWISE_GROUPS_MAX: u32 = 1024;

/// Workgroups in one dimension of a grid (`maxComputeWorkgroupsPerDimension`).
const GRID_MAX: u32 = 65_535;

/// What makes two kernels share a compiled pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Launch {
    pub(super) source: &'static str,
    pub(super) epilogue: Option<u8>,
}

macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!("../../../../shaders/", $name, ".wgsl"))
    };
}

impl Launch {
    pub(super) fn of(kernel: &Kernel) -> Self {
        let source = match kernel {
            Kernel::MatMul { .. } => shader!("matmul"),
            Kernel::Relu { .. } => shader!("relu"),
            Kernel::ReluGrad { .. } => shader!("relu_grad"),
            Kernel::Add { .. } => shader!("add"),
            Kernel::ColumnSum { .. } => shader!("column_sum"),
            Kernel::CrossEntropyStats { .. } => shader!("cross_entropy_stats"),
            Kernel::CrossEntropyGrad { .. } => shader!("cross_entropy_grad"),
            Kernel::NormPartials { .. } => shader!("norm_partials"),
            Kernel::ClipScale { .. } => shader!("clip_scale"),
            Kernel::AdamW { .. } => shader!("adamw"),
        };
        let epilogue = match kernel {
            Kernel::MatMul { epilogue, .. } => Some(match epilogue {
                Epilogue::None => 0,
                Epilogue::Bias => 1,
                Epilogue::BiasRelu => 2,
                Epilogue::Mask => 3,
            }),
            _ => None,
        };
        Self { source, epilogue }
    }
}

/// The words of the kernel's `Sizes` uniform.
pub(super) fn uniform(kernel: &Kernel) -> [u32; 8] {
    match *kernel {
        Kernel::MatMul { form, m, n, k, epilogue: _ } => {
            let [a_row, a_column, b_row, b_column] = match form {
                Form::Nn => [k, 1, n, 1],
                Form::Nt => [k, 1, 1, k],
                Form::Tn => [1, m, n, 1],
            };
            [m, n, k, a_row, a_column, b_row, b_column, 0]
        }
        Kernel::Relu { len } | Kernel::ReluGrad { len } | Kernel::Add { len } | Kernel::NormPartials { len } => {
            [len, 0, 0, 0, 0, 0, 0, 0]
        }
        Kernel::ColumnSum { rows, columns: second }
        | Kernel::CrossEntropyStats { rows, classes: second }
        | Kernel::CrossEntropyGrad { rows, classes: second } => [rows, second, 0, 0, 0, 0, 0, 0],
        Kernel::ClipScale { clip_bits } => [clip_bits, 0, 0, 0, 0, 0, 0, 0],
        Kernel::AdamW { len, decay_len, constants: [beta1, beta2, eps, decay] } => {
            [len, decay_len, beta1, beta2, eps, decay, 0, 0]
        }
    }
}

/// The grid of workgroups.
pub(super) fn grid(kernel: &Kernel) -> [u32; 3] {
    match *kernel {
        Kernel::MatMul { m, n, .. } => [n.div_ceil(32), m.div_ceil(32), 1],
        Kernel::Relu { len } | Kernel::ReluGrad { len } | Kernel::Add { len } | Kernel::AdamW { len, .. } => {
            [len.div_ceil(256).clamp(1, ELEMENTWISE_GROUPS_MAX), 1, 1]
        }
        Kernel::ColumnSum { columns, .. } => [columns.div_ceil(64), 1, 1],
        Kernel::CrossEntropyStats { rows, .. } | Kernel::CrossEntropyGrad { rows, .. } => {
            [rows.min(GRID_MAX), rows.div_ceil(GRID_MAX), 1]
        }
        Kernel::NormPartials { .. } => [NORM_PARTIALS / 64, 1, 1],
        Kernel::ClipScale { .. } => [1, 1, 1],
    }
}
