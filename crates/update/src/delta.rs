//! Version deltas: how a version becomes the next one for everybody who holds it, in one byte a
//! parameter.
//!
//! A delta is a sequence of chunks of [`CHUNK_VALUES`] values, the last one shorter: one
//! little-endian f32 unit, the largest movement in the chunk over 127, then one signed byte a value.
//! A holder computes `theta + code x unit` in f32, one multiplication and one addition a value, in
//! index order: both are correctly rounded everywhere, so every holder gets the same bits, the
//! coordinator too, and the SHA-256 of the result tells that nothing went wrong on the way.
//!
//! What a delta cannot hold is not lost: [`publish`] returns it as feedback, and the next one moves
//! by it too. So the published version stays within half a unit of the exact one however many deltas
//! lie between a version and the first. A step that is not finite, or longer than the largest f32,
//! has no delta.

use potluck_protocol::BlobId;

use crate::bytes_from_weights;
use crate::codec::{CHUNK_VALUES, DecodeError, SCALE_BYTES, check_len, f32_from};

/// Codes in one direction.
const STEPS: f64 = 127.0;

/// Why a delta cannot be applied. The parameters are as they were.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// The bytes are not a delta of so many values.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A unit is NaN or infinite; none that is published ever is.
    #[error("the unit of chunk {chunk} is not finite")]
    UnitNotFinite {
        /// Index of the chunk.
        chunk: usize,
    },
    /// The result is not the version that was promised: the delta belongs to another base, or one
    /// of the two was damaged. Whoever sees this fetches the whole version.
    #[error("the delta leads to {got}, the manifest says {expected}")]
    OtherVersion {
        /// SHA-256 of the version that was promised.
        expected: BlobId,
        /// SHA-256 of what came out.
        got: BlobId,
    },
}

/// A version as it was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The delta that leads to it.
    pub delta: Vec<u8>,
    /// Its parameters, as every holder gets them.
    pub theta: Vec<f32>,
    /// What the delta could not hold: exact minus published. Goes into the next one.
    pub feedback: Vec<f32>,
}

/// Bytes of a delta of `count` values; saturates where no machine could hold them.
pub fn delta_len(count: usize) -> usize {
    count.saturating_add(count.div_ceil(CHUNK_VALUES).saturating_mul(SCALE_BYTES))
}

/// Publishes the version after `theta`. `target` is what the outer step made of `theta`; `feedback`
/// is what the delta before this one left over, empty for the first. `None` where the target or the
/// published parameters are not finite.
///
/// # Panics
/// Where the lengths differ: all of them belong to one program.
pub fn publish(theta: &[f32], target: &[f32], feedback: &[f32]) -> Option<Published> {
    assert_eq!(theta.len(), target.len(), "a version has as many values as the one before");
    assert!(feedback.is_empty() || feedback.len() == theta.len(), "feedback has as many values as the version");
    // In f64 the sum is exact but for magnitudes that lie 29 binary places apart.
    let owed = |index: usize| f64::from(feedback.get(index).copied().unwrap_or(0.0));
    let exact: Vec<f64> = target.iter().enumerate().map(|(index, &target)| f64::from(target) + owed(index)).collect();
    if !exact.iter().all(|value| value.is_finite()) {
        return None;
    }
    let wanted: Vec<f64> = exact.iter().zip(theta).map(|(exact, &theta)| exact - f64::from(theta)).collect();
    let delta = encode(&wanted);
    let published = advance(theta, &delta).ok()?;
    if !published.iter().all(|value| value.is_finite()) {
        return None;
    }
    let feedback = exact.iter().zip(&published).map(|(exact, &got)| (exact - f64::from(got)) as f32).collect();
    Some(Published { delta, theta: published, feedback })
}

/// Applies a delta to the version that it was made for, and makes sure that the result is the
/// version that was promised.
///
/// # Errors
/// Bytes that are no delta of so many values, or a result with another SHA-256.
pub fn apply_delta(theta: &[f32], delta: &[u8], expected: BlobId) -> Result<Vec<f32>, DeltaError> {
    let next = advance(theta, delta)?;
    match BlobId::of(&bytes_from_weights(&next)) {
        got if got == expected => Ok(next),
        got => Err(DeltaError::OtherVersion { expected, got }),
    }
}

fn encode(wanted: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(delta_len(wanted.len()));
    for chunk in wanted.chunks(CHUNK_VALUES) {
        let most = chunk.iter().fold(0.0, |most: f64, wanted| most.max(wanted.abs()));
        let unit = (most / STEPS) as f32;
        bytes.extend_from_slice(&unit.to_le_bytes());
        let code = |wanted: &f64| match unit {
            0.0 => 0,
            unit => (wanted / f64::from(unit)).round_ties_even().clamp(-STEPS, STEPS) as i8,
        };
        bytes.extend(chunk.iter().map(|wanted| code(wanted).to_le_bytes()[0]));
    }
    bytes
}

/// Applies a delta without a look at what comes out, for who applies several in a row: the last goes
/// through [`apply_delta`].
///
/// # Errors
/// Bytes that are no delta of so many values.
pub fn advance(theta: &[f32], delta: &[u8]) -> Result<Vec<f32>, DeltaError> {
    check_len(delta, delta_len(theta.len()), theta.len())?;
    let mut next = Vec::with_capacity(theta.len());
    let mut rest = delta;
    for (chunk, values) in theta.chunks(CHUNK_VALUES).enumerate() {
        let (unit, after) = rest.split_at(SCALE_BYTES);
        let (codes, after) = after.split_at(values.len());
        rest = after;
        let unit = f32_from(unit);
        if !unit.is_finite() {
            return Err(DeltaError::UnitNotFinite { chunk });
        }
        if unit.is_sign_negative() {
            return Err(DecodeError::NegativeScale { chunk }.into());
        }
        for (at, (&value, &byte)) in values.iter().zip(codes).enumerate() {
            let code = i8::from_le_bytes([byte]);
            if code == i8::MIN {
                return Err(DecodeError::Code { index: chunk * CHUNK_VALUES + at, code: byte }.into());
            }
            next.push(value + f32::from(code) * unit);
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn hash(theta: &[f32]) -> BlobId {
        BlobId::of(&bytes_from_weights(theta))
    }

    /// Parameters and the movements of some steps.
    fn chains() -> impl Strategy<Value = (Vec<f32>, Vec<Vec<f32>>)> {
        (1usize..60).prop_flat_map(|len| (vec(-2.0f32..2.0, len), vec(vec(-0.1f32..0.1, len), 1..20)))
    }

    /// Publishes step after step; each target is the step from what was published before it.
    fn publish_all(first: &[f32], steps: &[Vec<f32>]) -> Vec<Published> {
        let mut versions: Vec<Published> = Vec::new();
        for step in steps {
            let (theta, feedback) = versions.last().map_or((first, [].as_slice()), |v| (&v.theta, &v.feedback));
            let target: Vec<f32> = theta.iter().zip(step).map(|(t, s)| t + s).collect();
            versions.push(publish(theta, &target, feedback).expect("finite"));
        }
        versions
    }

    proptest! {
        #[test]
        fn every_holder_ends_with_the_same_bits((first, steps) in chains(), joined in any::<prop::sample::Index>()) {
            let versions = publish_all(&first, &steps);
            let last = &versions.last().expect("a version").theta;
            // One was there from the beginning, one came later and fetched a whole version.
            let joined = joined.index(versions.len());
            for (mut theta, from) in [(first, 0), (versions[joined].theta.clone(), joined + 1)] {
                for version in &versions[from..] {
                    theta = apply_delta(&theta, &version.delta, hash(&version.theta)).expect("a good delta");
                }
                prop_assert_eq!(bits(&theta), bits(last));
            }
        }

        #[test]
        fn feedback_keeps_the_published_version_near_the_exact_one((first, steps) in chains()) {
            let versions = publish_all(&first, &steps);
            let mut exact: Vec<f64> = first.iter().copied().map(f64::from).collect();
            let mut before = &first;
            for (version, step) in versions.iter().zip(&steps) {
                // The step as f32 made it, from where everybody was.
                for ((exact, theta), step) in exact.iter_mut().zip(before).zip(step) {
                    *exact += f64::from(theta + step) - f64::from(*theta);
                }
                let unit = f64::from(f32_from(&version.delta[..SCALE_BYTES]));
                for (exact, got) in exact.iter().zip(&version.theta) {
                    let gap = (exact - f64::from(*got)).abs();
                    // Half a unit, the rounding of the addition, and that of the feedback itself.
                    prop_assert!(gap <= 0.5 * unit + 1e-6, "{gap} is more than half of {unit}");
                }
                before = &version.theta;
            }
        }

        #[test]
        fn damaged_deltas_are_refused_and_never_panic(
            (first, steps) in chains(), at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
        ) {
            let Published { delta, theta, .. } = publish_all(&first, &steps[..1]).remove(0);
            let expected = hash(&theta);
            let mut flipped = delta.clone();
            let bit = at.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A flip may change nothing: the sign of a movement that is too small for its parameter.
            match apply_delta(&first, &flipped, expected) {
                Ok(same) => prop_assert_eq!(bits(&same), bits(&theta)),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
            let shorter = &delta[..cut.index(delta.len())];
            let is_length = |result| matches!(result, Err(DeltaError::Malformed(DecodeError::Length { .. })));
            prop_assert!(is_length(apply_delta(&first, shorter, expected)));
            prop_assert!(is_length(apply_delta(&first, &[&delta[..], &[0]].concat(), expected)));
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200), theta in vec(any::<u32>().prop_map(f32::from_bits), 0..200)) {
            let mut fitting = bytes;
            let _ = apply_delta(&theta, &fitting, hash(&theta));
            fitting.resize(delta_len(theta.len()), 0xa5);
            let _ = apply_delta(&theta, &fitting, hash(&theta));
            let target: Vec<f32> = theta.iter().rev().copied().collect();
            let published = publish(&theta, &target, &[]);
            prop_assert!(published.is_none_or(|p| p.theta.iter().all(|value| value.is_finite())));
        }
    }

    #[test]
    fn layout() {
        let published = publish(&[1.0, 2.0, 3.0], &[2.0, 1.5, 3.0], &[]).unwrap();
        assert_eq!(published.delta[..4], (1.0f32 / 127.0).to_le_bytes());
        assert_eq!(published.delta[4..], [127, (-64i8).to_le_bytes()[0], 0]);
        assert_eq!(delta_len(4097), 4 + 4096 + 4 + 1);
    }

    #[test]
    fn what_one_delta_could_not_hold_the_next_one_does() {
        // The second value moves by less than half a unit each time.
        let mut version = publish(&[0.0, 0.0], &[1.27, 0.004], &[]).unwrap();
        assert_eq!(version.theta[1], 0.0);
        for _ in 0..9 {
            let target = [version.theta[0] + 1.27, version.theta[1] + 0.004];
            version = publish(&version.theta, &target, &version.feedback).unwrap();
        }
        assert!((version.theta[1] - 0.04).abs() <= 0.005, "{:?}", version.theta);
    }

    #[test]
    fn another_base_is_told() {
        let published = publish(&[1.0, 2.0], &[1.5, 2.0], &[]).unwrap();
        let expected = hash(&published.theta);
        let refused = apply_delta(&[1.0, 2.5], &published.delta, expected);
        assert!(matches!(refused, Err(DeltaError::OtherVersion { expected: e, .. }) if e == expected), "{refused:?}");
    }

    #[test]
    fn units_that_nobody_publishes_are_refused() {
        let published = publish(&[1.0; 5000], &[1.5; 5000], &[]).unwrap();
        let second = delta_len(CHUNK_VALUES);
        for (unit, expected) in [
            (f32::NAN, DeltaError::UnitNotFinite { chunk: 1 }),
            (f32::INFINITY, DeltaError::UnitNotFinite { chunk: 1 }),
            (-1.0, DeltaError::Malformed(DecodeError::NegativeScale { chunk: 1 })),
        ] {
            let mut delta = published.delta.clone();
            delta[second..][..4].copy_from_slice(&unit.to_le_bytes());
            assert_eq!(apply_delta(&[1.0; 5000], &delta, hash(&published.theta)), Err(expected));
        }
        let mut delta = published.delta.clone();
        delta[second + 4 + 7] = 0x80;
        let refused = DecodeError::Code { index: CHUNK_VALUES + 7, code: 0x80 };
        assert_eq!(apply_delta(&[1.0; 5000], &delta, hash(&published.theta)), Err(refused.into()));
    }

    #[test]
    fn what_is_not_finite_has_no_delta() {
        assert_eq!(publish(&[1.0], &[f32::NAN], &[]), None);
        assert_eq!(publish(&[1.0], &[f32::INFINITY], &[]), None);
        assert_eq!(publish(&[1.0, 1.0], &[f32::NAN, 2.0], &[]), None);
        // Twice the largest f32 is no movement that a holder could make.
        assert_eq!(publish(&[-f32::MAX], &[f32::MAX], &[]), None);
    }
}
