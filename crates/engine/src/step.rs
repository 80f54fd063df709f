//! What changes from step to step; everything else of a plan is fixed.

/// The values of the step uniform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepValues {
    /// Learning rate.
    pub(crate) lr: f32,
    /// `1 / (1 - beta1^t)`.
    pub(crate) correction1: f32,
    /// `1 / (1 - beta2^t)`.
    pub(crate) correction2: f32,
    /// Seed of this step's dropout; `None` in evaluation, where nothing is dropped.
    pub(crate) dropout: Option<u32>,
}

impl StepValues {
    /// The values of step `t`, counted from 1.
    pub(crate) fn training(lr: f32, betas: [f32; 2], t: u32, seed: u64) -> Self {
        let [correction1, correction2] = betas.map(|beta| (1.0 / (1.0 - f64::from(beta).powi(t as i32))) as f32);
        let dropout = potluck_graph::random::mix(seed, t.into()) as u32;
        Self { lr, correction1, correction2, dropout: Some(dropout) }
    }

    /// Nothing is learned and nothing is dropped.
    pub(crate) fn evaluation() -> Self {
        Self { lr: 0.0, correction1: 1.0, correction2: 1.0, dropout: None }
    }

    /// The uniform: lr, corrections, then whether and how to drop.
    pub(crate) fn words(self) -> [u32; 8] {
        let Self { lr, correction1, correction2, dropout } = self;
        let (on, seed) = dropout.map_or((0, 0), |seed| (1, seed));
        [lr.to_bits(), correction1.to_bits(), correction2.to_bits(), on, seed, 0, 0, 0]
    }
}

/// The hash that decides dropout: value `i` of a stream in a step. Wrapping 32-bit arithmetic, so
/// that WGSL computes the same bits ("lowbias32", Ettinger 2018, applied twice).
pub(crate) fn dropout_hash(seed: u32, stream: u32, index: u32) -> u32 {
    lowbias32(lowbias32(index ^ seed).wrapping_add(stream.wrapping_mul(0x9E37_79B9)))
}

fn lowbias32(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// The threshold below which a hash means "dropped".
pub(crate) fn dropout_threshold(p: f32) -> u32 {
    (f64::from(p) * 4_294_967_296.0) as u32
}
