//! Four values at a time: one type over wasm's simd128 and over plain Rust, with the same operations
//! in the same order, so that both give the same bits. Written out because the wasm package is
//! compiled for size, where nobody vectorises loops.

use std::ops::{Add, Div, Mul, Sub};

pub(super) use target::Lanes;

/// Values of a [`Lanes`].
pub(super) const COUNT: usize = 4;

/// `ln 2` in two parts; the first has so few bits that its multiples up to 2^8 are exact.
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// Adding it rounds a number below 2^22 to a whole one, which then lies in the lowest bits.
const ROUNDER: f32 = 12_582_912.0;

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl $trait for Lanes {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Lanes::$method(self, other)
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl Lanes {
    /// The first values of a slice, with zeros where it is shorter.
    #[inline(always)]
    pub(super) fn load_front(values: &[f32]) -> Self {
        match values.first_chunk() {
            Some(values) => Self::load(values),
            None => Self::load(&padded(values)),
        }
    }

    /// Writes as many values as the slice has room for.
    #[inline(always)]
    pub(super) fn store_front(self, out: &mut [f32]) {
        match out.first_chunk_mut() {
            Some(out) => self.store(out),
            None => copy(&self.to_array(), out),
        }
    }

    /// `(v0 + v2) + (v1 + v3)`.
    #[inline(always)]
    pub(super) fn sum(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        (a + c) + (b + d)
    }

    /// The largest.
    #[inline(always)]
    pub(super) fn largest(self) -> f32 {
        self.to_array().into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    pub(super) fn to_array(self) -> [f32; COUNT] {
        let mut values = [0.0; COUNT];
        self.store(&mut values);
        values
    }

    /// `e^x` within one unit in the last place: `e^x = 2^n e^r` with `|r| <= ln 2 / 2`, and a polynomial
    /// for `e^r` (Moshier, Cephes `expf`). 0 below -104, infinity above 88.8, NaN for NaN.
    #[inline(always)]
    pub(super) fn exp(self) -> Self {
        // Beyond these the result is 0 or infinity; NaN passes.
        let x = self.min(Self::splat(100.0)).max(Self::splat(-110.0));
        let rounded = x * Self::splat(std::f32::consts::LOG2_E) + Self::splat(ROUNDER);
        let n = rounded - Self::splat(ROUNDER);
        let r = x - n * Self::splat(LN2[0]) - n * Self::splat(LN2[1]);
        let mut p = Self::splat(1.987_569_1e-4);
        for term in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = p * r + Self::splat(term);
        }
        (p * (r * r) + r + Self::splat(1.0)).times_power(rounded)
    }

    /// `1 / (1 + e^-x)`.
    #[inline(always)]
    pub(super) fn sigmoid(self) -> Self {
        let one = Self::splat(1.0);
        one / (one + (Self::splat(0.0) - self).exp())
    }

    /// Near 0 an odd polynomial, else `1 - 2 / (e^2|x| + 1)` with the sign of `x` (Cephes `tanhf`).
    #[inline(always)]
    pub(super) fn tanh(self) -> Self {
        let (one, square, size) = (Self::splat(1.0), self * self, self.abs());
        let mut p = Self::splat(-5.704_988_7e-3);
        for term in [2.063_909e-2, -5.373_971e-2, 1.333_144_2e-1, -3.333_328e-1] {
            p = p * square + Self::splat(term);
        }
        let near = p * square * self + self;
        let far = one - Self::splat(2.0) / ((size + size).exp() + one);
        near.or_beyond(size, 0.625, far.signed_as(self))
    }
}

// The ends of slices stay out of line: they are rare, and every loop has two.

#[cold]
#[inline(never)]
fn padded(values: &[f32]) -> [f32; COUNT] {
    let mut padded = [0.0; COUNT];
    copy(values, &mut padded);
    padded
}

/// `out <- values`, as far as both go.
#[cold]
#[inline(never)]
pub(super) fn copy(values: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
}

#[cfg(target_arch = "wasm32")]
mod target {
    use std::arch::wasm32::*;

    use super::{COUNT, ROUNDER};

    /// Four values.
    #[derive(Clone, Copy)]
    pub(in crate::cpu) struct Lanes(v128);

    macro_rules! operations {
        ($($(#[$doc:meta])* $name:ident: $intrinsic:ident),*) => {
            $($(#[$doc])* #[inline(always)]
            pub(in crate::cpu) fn $name(self, other: Self) -> Self {
                Self($intrinsic(self.0, other.0))
            })*
        };
    }

    impl Lanes {
        operations! {
            add: f32x4_add, sub: f32x4_sub, mul: f32x4_mul, div: f32x4_div,
            /// `other < self ? other : self`.
            min: f32x4_pmin,
            /// `self < other ? other : self`.
            max: f32x4_pmax
        }

        #[inline(always)]
        pub(in crate::cpu) fn splat(value: f32) -> Self {
            Self(f32x4_splat(value))
        }

        #[inline(always)]
        pub(in crate::cpu) fn load(values: &[f32; COUNT]) -> Self {
            // SAFETY: the array is one vector long, and wasm loads it from any address.
            #[allow(unsafe_code, reason = "the intrinsic takes a pointer")]
            unsafe {
                Self(v128_load(values.as_ptr().cast()))
            }
        }

        #[inline(always)]
        pub(in crate::cpu) fn store(self, out: &mut [f32; COUNT]) {
            // SAFETY: the array is one vector long, and wasm stores it to any address.
            #[allow(unsafe_code, reason = "the intrinsic takes a pointer")]
            unsafe {
                v128_store(out.as_mut_ptr().cast(), self.0);
            }
        }

        #[inline(always)]
        pub(in crate::cpu) fn abs(self) -> Self {
            Self(f32x4_abs(self.0))
        }

        #[inline(always)]
        pub(in crate::cpu) fn sqrt(self) -> Self {
            Self(f32x4_sqrt(self.0))
        }

        /// Its size with the sign of `sign`.
        #[inline(always)]
        pub(in crate::cpu) fn signed_as(self, sign: Self) -> Self {
            Self(v128_bitselect(sign.0, self.0, f32x4_splat(-0.0)))
        }

        /// `other` where `size > limit`.
        #[inline(always)]
        pub(in crate::cpu) fn or_beyond(self, size: Self, limit: f32, other: Self) -> Self {
            Self(v128_bitselect(other.0, self.0, f32x4_gt(size.0, f32x4_splat(limit))))
        }

        /// `self 2^n` with `n` in the lowest bits of `rounded`, in two steps, for one would overflow.
        #[inline(always)]
        pub(super) fn times_power(self, rounded: Self) -> Self {
            let n = i32x4_sub(rounded.0, f32x4_splat(ROUNDER));
            let half = i32x4_shr(n, 1);
            let power = |n| i32x4_shl(i32x4_add(n, i32x4_splat(127)), 23);
            Self(f32x4_mul(f32x4_mul(self.0, power(half)), power(i32x4_sub(n, half))))
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod target {
    use std::array::from_fn;

    use super::{COUNT, ROUNDER};

    /// Four values.
    #[derive(Clone, Copy)]
    pub(in crate::cpu) struct Lanes([f32; COUNT]);

    macro_rules! operations {
        ($($(#[$doc:meta])* $name:ident: $of:expr),*) => {
            $($(#[$doc])* #[inline(always)]
            pub(in crate::cpu) fn $name(self, other: Self) -> Self {
                let of: fn(f32, f32) -> f32 = $of;
                Self(from_fn(|at| of(self.0[at], other.0[at])))
            })*
        };
    }

    impl Lanes {
        operations! {
            add: |a, b| a + b, sub: |a, b| a - b, mul: |a, b| a * b, div: |a, b| a / b,
            /// `other < self ? other : self`.
            min: |a, b| if b < a { b } else { a },
            /// `self < other ? other : self`.
            max: |a, b| if a < b { b } else { a },
            /// Its size with the sign of `sign`.
            signed_as: |a, sign| a.copysign(sign)
        }

        #[inline(always)]
        pub(in crate::cpu) fn splat(value: f32) -> Self {
            Self([value; COUNT])
        }

        #[inline(always)]
        pub(in crate::cpu) fn load(values: &[f32; COUNT]) -> Self {
            Self(*values)
        }

        #[inline(always)]
        pub(in crate::cpu) fn store(self, out: &mut [f32; COUNT]) {
            *out = self.0;
        }

        #[inline(always)]
        pub(in crate::cpu) fn abs(self) -> Self {
            Self(self.0.map(f32::abs))
        }

        #[inline(always)]
        pub(in crate::cpu) fn sqrt(self) -> Self {
            Self(self.0.map(f32::sqrt))
        }

        /// `other` where `size > limit`.
        #[inline(always)]
        pub(in crate::cpu) fn or_beyond(self, size: Self, limit: f32, other: Self) -> Self {
            Self(from_fn(|at| if size.0[at] > limit { other.0[at] } else { self.0[at] }))
        }

        /// `self 2^n` with `n` in the lowest bits of `rounded`, in two steps, for one would overflow.
        #[inline(always)]
        pub(super) fn times_power(self, rounded: Self) -> Self {
            let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned());
            Self(from_fn(|at| {
                let n = rounded.0[at].to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
                let half = n >> 1;
                self.0[at] * power(half) * power(n.wrapping_sub(half))
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error of `got` over `-limit..limit`, in units of `allowed(expected)`.
    #[track_caller]
    fn check(got: fn(Lanes) -> Lanes, expected: fn(f64) -> f64, limit: f32, allowed: fn(f64) -> f64) {
        for step in -200_000i32..=200_000 {
            let x = limit * step as f32 / 200_000.0;
            let (got, expected) = (f64::from(got(Lanes::splat(x)).to_array()[0]), expected(f64::from(x)));
            assert!((got - expected).abs() <= allowed(expected.abs()), "at {x}: got {got}, expected {expected}");
        }
    }

    #[test]
    fn functions_are_within_units_of_their_last_place() {
        const UNIT: f64 = f32::EPSILON as f64;
        // Below the smallest normal number a unit is absolute.
        check(Lanes::exp, f64::exp, 88.0, |y| UNIT * y.max(f64::from(f32::MIN_POSITIVE)));
        check(Lanes::exp, f64::exp, 1.0, |y| UNIT * y);
        check(Lanes::tanh, f64::tanh, 12.0, |y| 1.5 * UNIT * y);
        check(Lanes::tanh, f64::tanh, 1.0, |y| 1.5 * UNIT * y);
        check(Lanes::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 80.0, |y| 2.0 * UNIT * y);
    }

    #[test]
    fn ends_of_the_line() {
        let ends = Lanes::load(&[f32::NEG_INFINITY, f32::INFINITY, -103.0, 88.7]);
        assert_eq!(ends.exp().to_array(), [0.0, f32::INFINITY, (-103.0f32).exp(), 88.7f32.exp()]);
        assert_eq!(ends.tanh().to_array(), [-1.0, 1.0, -1.0, 1.0]);
        assert_eq!(ends.sigmoid().to_array(), [0.0, 1.0, 0.0, 1.0]);
        let nan = Lanes::splat(f32::NAN);
        for of in [Lanes::exp, Lanes::tanh, Lanes::sigmoid] {
            assert!(of(nan).to_array().iter().all(|value| value.is_nan()));
        }
    }

    #[test]
    fn short_slices_are_filled_up_with_zeros() {
        let mut out = [9.0; 3];
        Lanes::load_front(&[1.0, 2.0]).store_front(&mut out);
        assert_eq!(out, [1.0, 2.0, 0.0]);
    }
}
