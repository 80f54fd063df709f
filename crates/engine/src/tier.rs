//! The ways in which a kernel can be laid over a GPU's invocations. All of them compute the same
//! thing, each with its own order of additions: so the choice is part of a plan and of its id. The
//! processor's executor knows only one way and ignores the choice.

use serde::{Deserialize, Serialize};

use crate::{Form, Kernel, kernel::ConvSizes};

/// How a kernel is laid over a GPU's invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Any sizes, and the only way of most kernels. Products: tier A, a block of 4 x 4 in registers.
    Plain,
    /// More work an invocation in registers, no workgroup memory, certain sizes only. Products: a
    /// block of 8 x 8 of whole vec4. Rows: an invocation a row.
    Registers,
    /// Through workgroup memory. Products: tier B, a tile of 64 x 64. Rows: a workgroup a row.
    Shared,
    /// As `Registers`, and neighbours exchange what they have read: a device needs subgroups. Products:
    /// four invocations a block of 16 x 32.
    Quads,
}

impl Tier {
    /// The tiers in which a kernel exists, the first being the one for a GPU that nobody measured; it
    /// needs nothing but WebGPU's core.
    pub fn options(kernel: &Kernel) -> &'static [Tier] {
        use Tier::{Plain, Quads, Registers, Shared};
        match *kernel {
            Kernel::MatMul { form, m, n, k, .. } if fits_four(form, [m, n, k]) => &[Registers, Shared, Quads, Plain],
            Kernel::MatMul { .. } => &[Plain],
            Kernel::Norm { width, .. } | Kernel::NormGrad { width, .. } if width % 4 == 0 => &[Shared, Registers],
            Kernel::EmbeddingGrad { width, .. } if width % 4 == 0 => &[Shared, Registers],
            Kernel::Attention { sizes } | Kernel::AttentionGradQ { sizes } | Kernel::AttentionGradKv { sizes }
                if sizes.width % 4 == 0 =>
            {
                &[Shared, Registers]
            }
            Kernel::CrossEntropy { classes, .. } if classes <= LANE_CLASSES_MAX => &[Shared, Registers],
            Kernel::Norm { .. }
            | Kernel::NormGrad { .. }
            | Kernel::EmbeddingGrad { .. }
            | Kernel::CrossEntropy { .. }
            | Kernel::Attention { .. }
            | Kernel::AttentionGradQ { .. }
            | Kernel::AttentionGradKv { .. }
            | Kernel::Conv2dGradWeight { .. } => &[Shared],
            Kernel::Conv2dGradX { sizes } if slides(sizes) => &[Registers, Plain],
            Kernel::Pool2dGrad { sizes, .. } if apart(sizes) => &[Registers, Plain],
            _ => &[Plain],
        }
    }

    /// The tier of a GPU that nobody measured.
    pub fn usual(kernel: &Kernel) -> Tier {
        Self::options(kernel)[0]
    }

    /// The tier of an adapter that is a program: there a barrier costs more than what it saves, and a
    /// value from memory twenty times what one from a neighbour's register does.
    pub fn of_software(kernel: &Kernel, subgroups: bool) -> Tier {
        let options = Self::options(kernel);
        if subgroups && options.contains(&Tier::Quads) {
            return Tier::Quads;
        }
        options.iter().copied().find(|tier| !matches!(tier, Tier::Shared | Tier::Quads)).unwrap_or(options[0])
    }
}

/// Classes of a row that one invocation looks at, three times: Mesa's software driver ends the loops of an
/// invocation without a word after 65,535 turns in all.
const LANE_CLASSES_MAX: u32 = 16 << 10;

/// Every vec4 of the operands is whole.
fn fits_four(form: Form, [m, n, k]: [u32; 3]) -> bool {
    n % 4 == 0 && k % 4 == 0 && (m % 4 == 0 || form != Form::Tn)
}

/// The gradient is a convolution itself, with no fewer than no zeros around.
fn slides(sizes: ConvSizes) -> bool {
    sizes.stride == 1 && sizes.padding < sizes.size
}

/// No pixel is in two windows.
fn apart(sizes: ConvSizes) -> bool {
    sizes.stride >= sizes.size && sizes.padding == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Then;

    fn product(n: u32) -> Kernel {
        let (form, then) = (Form::Nn, Then::Store);
        Kernel::MatMul { form, m: 8, n, k: 8, bias: false, then, row_sums: false, batch: 1 }
    }

    #[track_caller]
    fn check(n: u32, subgroups: bool, expected: Tier) {
        assert_eq!(Tier::of_software(&product(n), subgroups), expected);
    }

    #[test]
    fn a_program_that_plays_the_gpu_takes_from_neighbours_what_it_can() {
        check(8, true, Tier::Quads);
        check(8, false, Tier::Registers);
        check(7, true, Tier::Plain);
    }

    #[test]
    fn what_nobody_measured_needs_no_subgroups() {
        assert_eq!(Tier::usual(&product(8)), Tier::Registers);
        assert!(Tier::options(&product(8)).contains(&Tier::Quads));
    }
}
