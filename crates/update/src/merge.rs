//! Many updates become one: norms clipped to the median, then a weighted mean, or centered clipping
//! where there are enough of them.
//!
//! Centered clipping is that of Karimireddy, He and Jaggi (arXiv 2012.10333), started from the
//! coordinate-wise median and with the median distance as its radius, so that it has no constant to
//! tune. Updates whose steps or learning rates differ have norms that differ: the caller gives each its
//! scale.

use crate::median::median;

/// From this many updates on, merging is robust: with four, two that collude are half.
pub const ROBUST_PARTS_MIN: usize = 5;

/// Centered-clipping iterations.
const ITERATIONS: usize = 3;

/// The L2 norm, summed in f64 in index order.
pub fn norm(values: &[f32]) -> f32 {
    norm_f64(values) as f32
}

fn norm_f64(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

/// One update to merge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaled<'a> {
    /// Its share; the shares of a merge add up to 1.
    pub weight: f32,
    /// What its norm is expected to grow with, steps x learning rate: above 0. Norms are compared
    /// after division by it.
    pub scale: f32,
    /// Its values.
    pub values: &'a [f32],
}

/// One update with its share and the factor that brings its norm down to the median.
struct Part<'a> {
    weight: f64,
    clip: f64,
    values: &'a [f32],
}

impl Part<'_> {
    fn at(&self, index: usize) -> f64 {
        self.clip * f64::from(self.values[index])
    }
}

/// Merges updates of one scale in the order given, as [`merge_scaled`] does.
///
/// # Panics
/// Where the updates have different lengths: they were decoded for one program.
pub fn merge(parts: &[(f32, Vec<f32>)]) -> Vec<f32> {
    let parts: Vec<Scaled<'_>> =
        parts.iter().map(|(weight, values)| Scaled { weight: *weight, scale: 1.0, values }).collect();
    merge_scaled(&parts)
}

/// Merges updates in the order given; the weights add up to 1. Deterministic to the last bit for one
/// order; another order changes roundings only. One part of weight 1 comes back unchanged. What is
/// merged of finite values is finite.
///
/// # Panics
/// Where the updates have different lengths: they were decoded for one program.
pub fn merge_scaled(parts: &[Scaled<'_>]) -> Vec<f32> {
    let parts = clipped(parts);
    if parts.len() < ROBUST_PARTS_MIN { weighted_sum(&parts) } else { centered_clipping(&parts) }
}

fn clipped<'a>(parts: &[Scaled<'a>]) -> Vec<Part<'a>> {
    let norms: Vec<f64> = parts.iter().map(|part| norm_f64(part.values) / f64::from(part.scale)).collect();
    let middle = median(&mut norms.clone());
    let length = parts.first().map_or(0, |part| part.values.len());
    let clip = |(&Scaled { weight, scale: _, values }, norm): (&Scaled<'a>, f64)| {
        assert_eq!(values.len(), length, "updates of one program have one length");
        let clip = if norm > middle { middle / norm } else { 1.0 };
        Part { weight: f64::from(weight), clip, values }
    };
    parts.iter().zip(norms).map(clip).collect()
}

/// The nearest f32, the largest for what rounding took past it: a mean of finite values is finite.
fn narrow(value: f64) -> f32 {
    if value.is_finite() { value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32 } else { value as f32 }
}

fn weighted_sum(parts: &[Part<'_>]) -> Vec<f32> {
    let count = parts.first().map_or(0, |p| p.values.len());
    (0..count).map(|index| narrow(parts.iter().map(|p| p.weight * p.at(index)).sum())).collect()
}

fn centered_clipping(parts: &[Part<'_>]) -> Vec<f32> {
    let mut centre = coordinate_median(parts);
    for _ in 0..ITERATIONS {
        let distances: Vec<f64> = parts.iter().map(|p| distance(p, &centre)).collect();
        let radius = median(&mut distances.clone());
        let pulls: Vec<f64> = parts
            .iter()
            .zip(distances)
            .map(|(p, distance)| p.weight * if distance > radius { radius / distance } else { 1.0 })
            .collect();
        for (index, value) in centre.iter_mut().enumerate() {
            let from = f64::from(*value);
            let pull: f64 = parts.iter().zip(&pulls).map(|(p, pull)| pull * (p.at(index) - from)).sum();
            *value = narrow(from + pull);
        }
    }
    centre
}

fn coordinate_median(parts: &[Part<'_>]) -> Vec<f32> {
    let count = parts.first().map_or(0, |p| p.values.len());
    let mut column = vec![0.0; parts.len()];
    (0..count)
        .map(|index| {
            column.iter_mut().zip(parts).for_each(|(cell, p)| *cell = p.at(index));
            narrow(median(&mut column))
        })
        .collect()
}

fn distance(part: &Part<'_>, centre: &[f32]) -> f64 {
    let squares = centre.iter().enumerate().map(|(index, &c)| {
        let gap = part.at(index) - f64::from(c);
        gap * gap
    });
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// `parts` updates of equal weight, each of `len` values.
    fn updates(parts: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(f32, Vec<f32>)>> {
        (parts, 1usize..40).prop_flat_map(|(parts, len)| {
            vec(vec(-1.0f32..1.0, len), parts).prop_map(|all| {
                let weight = 1.0 / all.len() as f32;
                all.into_iter().map(|values| (weight, values)).collect()
            })
        })
    }

    #[track_caller]
    fn check(parts: &[(f32, &[f32])], expected: &[f32]) {
        let parts: Vec<(f32, Vec<f32>)> = parts.iter().map(|(w, v)| (*w, v.to_vec())).collect();
        let merged = merge(&parts);
        assert_eq!(merged.len(), expected.len());
        for (got, want) in merged.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{merged:?} is not {expected:?}");
        }
    }

    fn relative_gap(a: &[f32], b: &[f32]) -> f32 {
        let gap: Vec<f32> = a.iter().zip(b).map(|(x, y)| x - y).collect();
        norm(&gap) / norm(b).max(1e-3)
    }

    proptest! {
        #[test]
        fn one_part_comes_back_unchanged(values in vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 0..50)) {
            prop_assert_eq!(merge(&[(1.0, values.clone())]), values);
        }

        #[test]
        fn the_same_order_gives_the_same_bits(parts in updates(1..12)) {
            let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            prop_assert_eq!(bits(merge(&parts)), bits(merge(&parts.clone())));
        }

        #[test]
        fn another_order_changes_roundings_only(parts in updates(1..12), by in 0usize..12) {
            let mut turned = parts.clone();
            turned.rotate_left(by % parts.len());
            prop_assert!(relative_gap(&merge(&turned), &merge(&parts)) < 1e-4);
        }

        #[test]
        fn equal_parts_merge_to_themselves(values in vec(-1.0f32..1.0, 1..40), parts in 1usize..12) {
            let all = vec![(1.0 / parts as f32, values.clone()); parts];
            prop_assert!(relative_gap(&merge(&all), &values) < 1e-6);
        }

        #[test]
        fn the_merged_norm_is_at_most_the_largest_clipped_one(parts in updates(1..5)) {
            let mut norms: Vec<f64> = parts.iter().map(|(_, v)| f64::from(norm(v))).collect();
            prop_assert!(f64::from(norm(&merge(&parts))) <= median(&mut norms) * (1.0 + 1e-5));
        }

        #[test]
        fn a_minority_of_giants_moves_the_merge_little(
            direction in vec(-1.0f32..1.0, 20), noise in vec(vec(-0.1f32..0.1, 20), 10), size in 2.0f32..1e6,
        ) {
            prop_assume!(norm(&direction) > 1.0);
            let honest: Vec<Vec<f32>> =
                noise.iter().map(|n| n.iter().zip(&direction).map(|(n, d)| n + d).collect()).collect();
            let attacked: Vec<(f32, Vec<f32>)> = honest.iter().enumerate().map(|(i, values)| {
                let by = if i < 3 { -size } else { 1.0 };
                (0.1, values.iter().map(|v| v * by).collect())
            }).collect();
            prop_assert!(relative_gap(&merge(&attacked), &direction) < 0.5);
        }

        #[test]
        fn nothing_panics(parts in updates(0..8), bad in any::<u32>().prop_map(f32::from_bits)) {
            let mut parts = parts;
            if let Some((_, values)) = parts.first_mut() { values[0] = bad; }
            let _ = merge(&parts);
        }
    }

    #[test]
    fn nothing_merges_to_nothing() {
        check(&[], &[]);
    }

    #[test]
    fn weights_are_shares() {
        check(&[(0.75, &[1.0, 0.0]), (0.25, &[0.0, 1.0])], &[0.75, 0.25]);
    }

    #[test]
    fn a_long_update_is_clipped_to_the_median() {
        check(&[(0.5, &[1.0]), (0.25, &[1.0]), (0.25, &[100.0])], &[1.0]);
    }

    #[test]
    fn two_are_clipped_to_their_mean() {
        check(&[(0.5, &[1.0]), (0.5, &[3.0])], &[1.5]);
    }

    #[test]
    fn norms_are_compared_by_their_scale() {
        let part = |weight, scale, values| Scaled { weight, scale, values };
        let merged = |parts: &[Scaled<'_>]| merge_scaled(parts);
        // Twice the steps, twice the norm: nothing is clipped.
        assert_eq!(merged(&[part(0.5, 4.0, &[1.0]), part(0.5, 8.0, &[2.0])]), [1.5]);
        assert_eq!(merged(&[part(0.5, 8.0, &[1.0]), part(0.25, 8.0, &[1.0]), part(0.25, 4.0, &[2.0])]), [0.875]);
        assert_eq!(merged(&[part(1.0, 0.25, &[3.0, 4.0])]), [3.0, 4.0]);
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        for count in [1u8, 3, 7] {
            let weight = (1.0 / f32::from(count)).next_up();
            let merged = merge(&vec![(weight, vec![f32::MAX, f32::MIN]); count.into()]);
            assert!(merged.iter().all(|value| value.is_finite()), "{count}: {merged:?}");
        }
    }

    #[test]
    fn zeros_do_not_divide() {
        check(&[(0.5, &[0.0, 0.0]), (0.5, &[0.0, 0.0])], &[0.0, 0.0]);
        check(&[(0.2, &[0.0]), (0.2, &[0.0]), (0.2, &[0.0]), (0.2, &[0.0]), (0.2, &[5.0])], &[0.0]);
    }

    #[test]
    fn five_outvote_a_sign_flip() {
        let parts: [(f32, &[f32]); 5] = [(0.2, &[1.0]), (0.2, &[1.0]), (0.2, &[1.0]), (0.2, &[1.0]), (0.2, &[-50.0])];
        check(&parts, &[1.0]);
    }

    #[test]
    fn norms() {
        assert_eq!(norm(&[3.0, -4.0]), 5.0);
        assert_eq!(norm(&[]), 0.0);
        assert_eq!(norm(&[1e30, 0.0]), 1e30);
        assert!(norm(&[f32::NAN]).is_nan());
    }
}
