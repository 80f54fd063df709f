//! The register tile of the packed product: 4 rows by 8 columns, eight accumulators of four values.
//! More of them spill in V8, fewer leave its multipliers idle.
//!
//! Three forms of one multiply-add: wasm with relaxed SIMD (one rounding where the processor has
//! it), wasm with plain SIMD, and plain Rust, in which native tests exercise the packing.

/// Rows of a tile.
pub(super) const ROWS: usize = 4;
/// Columns of a tile.
pub(super) const COLUMNS: usize = 8;

/// Where a tile goes, from its first value on: rows `row` apart, scaled, and with `add` on top of
/// what is there.
pub(super) struct Target<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) row: usize,
    pub(super) alpha: f32,
    pub(super) add: bool,
}

/// Sums the products of two packed panels of the same depth.
#[cfg_attr(all(target_arch = "wasm32", feature = "relaxed"), target_feature(enable = "relaxed-simd"))]
pub(super) fn tile(a: &[[f32; ROWS]], b: &[[f32; COLUMNS]], target: Target<'_>) {
    let mut sums = [[lanes::splat(0.0); 2]; ROWS];
    for (a, b) in a.iter().zip(b) {
        let (low, high) = lanes::load(b);
        // Written out: as a loop it stays one where code is compiled for size, with its sums in memory.
        let [a0, a1, a2, a3] = a.map(lanes::splat);
        let [s0, s1, s2, s3] = sums;
        sums = [
            [lanes::multiply_add(a0, low, s0[0]), lanes::multiply_add(a0, high, s0[1])],
            [lanes::multiply_add(a1, low, s1[0]), lanes::multiply_add(a1, high, s1[1])],
            [lanes::multiply_add(a2, low, s2[0]), lanes::multiply_add(a2, high, s2[1])],
            [lanes::multiply_add(a3, low, s3[0]), lanes::multiply_add(a3, high, s3[1])],
        ];
    }
    let Target { values, row, alpha, add } = target;
    for (at, sums) in sums.into_iter().enumerate() {
        let Some(out) = values[at * row..].first_chunk_mut::<COLUMNS>() else { return };
        lanes::store(sums, alpha, add, out);
    }
}

#[cfg(target_arch = "wasm32")]
mod lanes {
    use std::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128, v128_load, v128_store};

    use super::COLUMNS;

    #[inline(always)]
    pub(super) fn splat(value: f32) -> v128 {
        f32x4_splat(value)
    }

    #[inline(always)]
    pub(super) fn load(values: &[f32; COLUMNS]) -> (v128, v128) {
        let at = values.as_ptr().cast::<v128>();
        // SAFETY: the array is two vectors long, and wasm loads them from any address.
        #[allow(unsafe_code, reason = "the intrinsic takes a pointer")]
        unsafe {
            (v128_load(at), v128_load(at.add(1)))
        }
    }

    /// `a b + c`, rounded once or twice, as the processor likes it best.
    #[cfg(feature = "relaxed")]
    #[inline]
    #[target_feature(enable = "relaxed-simd")]
    pub(super) fn multiply_add(a: v128, b: v128, c: v128) -> v128 {
        std::arch::wasm32::f32x4_relaxed_madd(a, b, c)
    }

    /// `a b + c`, rounded twice.
    #[cfg(not(feature = "relaxed"))]
    #[inline(always)]
    pub(super) fn multiply_add(a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(f32x4_mul(a, b), c)
    }

    #[inline(always)]
    pub(super) fn store(sums: [v128; 2], alpha: f32, add: bool, out: &mut [f32; COLUMNS]) {
        let alpha = f32x4_splat(alpha);
        let mut sums = sums.map(|sum| f32x4_mul(alpha, sum));
        if add {
            let (low, high) = load(out);
            sums = [f32x4_add(sums[0], low), f32x4_add(sums[1], high)];
        }
        let at = out.as_mut_ptr().cast::<v128>();
        // SAFETY: the array is two vectors long, and wasm stores them to any address.
        #[allow(unsafe_code, reason = "the intrinsic takes a pointer")]
        unsafe {
            v128_store(at, sums[0]);
            v128_store(at.add(1), sums[1]);
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod lanes {
    use super::COLUMNS;

    type Lanes = [f32; 4];

    pub(super) fn splat(value: f32) -> Lanes {
        [value; 4]
    }

    pub(super) fn load(values: &[f32; COLUMNS]) -> (Lanes, Lanes) {
        (std::array::from_fn(|at| values[at]), std::array::from_fn(|at| values[4 + at]))
    }

    pub(super) fn multiply_add(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        std::array::from_fn(|at| a[at] * b[at] + c[at])
    }

    pub(super) fn store(sums: [Lanes; 2], alpha: f32, add: bool, out: &mut [f32; COLUMNS]) {
        for (out, sum) in out.iter_mut().zip(sums.as_flattened()) {
            *out = alpha * sum + if add { *out } else { 0.0 };
        }
    }
}
