//! From values to bytes and back: the frame that both encodings share, and plain f32 parameters.
//!
//! An encoded update has no header: its recipe names the encoding and its program the count. It is
//! a sequence of chunks of [`CHUNK_VALUES`] values, the last one shorter; each chunk is one
//! little-endian f32 scale, the largest magnitude in it, followed by its codes
//! (`e3m0`: two values a byte; `int8`: one). Decoding is strict, so that one update has few
//! spellings: exactly the right length, no code that an encoder never writes.
//!
//! A chunk that holds NaN or infinity is encoded with the scale NaN and decodes to NaN throughout:
//! the bytes stay well formed and whoever reads them sees that the values are not finite. An
//! all-zero chunk has the scale zero and decodes to zeros.

use potluck_protocol::UpdateEncoding;

use crate::{e3m0, int8};

/// Values that share one scale. 4 bytes of scale over 4,096 values add 0.001 byte a value.
pub const CHUNK_VALUES: usize = 4096;

/// Bytes of a scale.
pub(crate) const SCALE_BYTES: usize = 4;

/// Why bytes are not an encoded update, or not parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are too few or too many.
    #[error("{got} bytes, expected {expected} for {count} values")]
    Length {
        /// Bytes that were given.
        got: usize,
        /// Bytes that this count takes.
        expected: usize,
        /// Values that were expected.
        count: usize,
    },
    /// A scale is below zero; a largest magnitude never is.
    #[error("the scale of chunk {chunk} is negative")]
    NegativeScale {
        /// Index of the chunk.
        chunk: usize,
    },
    /// A code, or the unused half of the last byte, holds bits that no encoder writes.
    #[error("the code of value {index} is {code:#04x}, which no encoder writes")]
    Code {
        /// Index of the value; the count itself where the padding is meant.
        index: usize,
        /// The bits that were found.
        code: u8,
    },
}

type DecodeChunk = fn(&[u8], f32, &mut [f32]) -> Result<(), BadCode>;

/// What an encoding does with one chunk.
struct Codec {
    code_bytes: fn(usize) -> usize,
    encode: fn(&[f32], f32, &mut Vec<u8>),
    decode: DecodeChunk,
}

/// A code that no encoder writes, `at` values into its chunk.
pub(crate) struct BadCode {
    pub(crate) at: usize,
    pub(crate) code: u8,
}

/// # Panics
/// Where the protocol names an encoding that this crate does not have: a fault of the build.
fn codec(encoding: UpdateEncoding) -> Codec {
    match encoding {
        UpdateEncoding::E3m0 => {
            Codec { code_bytes: e3m0::code_bytes, encode: e3m0::encode_chunk, decode: e3m0::decode_chunk }
        }
        UpdateEncoding::Int8 => {
            Codec { code_bytes: int8::code_bytes, encode: int8::encode_chunk, decode: int8::decode_chunk }
        }
        other => unreachable!("{other:?} has no codec in this build"),
    }
}

/// Bytes that `count` values take; saturates where no machine could hold them.
pub fn encoded_len(encoding: UpdateEncoding, count: usize) -> usize {
    let code_bytes = codec(encoding).code_bytes;
    let whole = (count / CHUNK_VALUES).saturating_mul(SCALE_BYTES + code_bytes(CHUNK_VALUES));
    match count % CHUNK_VALUES {
        0 => whole,
        rest => whole.saturating_add(SCALE_BYTES + code_bytes(rest)),
    }
}

/// Encodes an update. Stateless: what the format cannot hold is dropped, not carried over.
pub fn encode(encoding: UpdateEncoding, values: &[f32]) -> Vec<u8> {
    let codec = codec(encoding);
    let mut bytes = Vec::with_capacity(encoded_len(encoding, values.len()));
    for chunk in values.chunks(CHUNK_VALUES) {
        let scale = scale_of(chunk);
        bytes.extend_from_slice(&scale.to_le_bytes());
        (codec.encode)(chunk, scale, &mut bytes);
    }
    bytes
}

/// Decodes `count` values. Allocates only after the length was found right. The values are not
/// finite where a scale is not: whether that is refused is the caller's to say.
pub fn decode(encoding: UpdateEncoding, count: usize, bytes: &[u8]) -> Result<Vec<f32>, DecodeError> {
    check_len(bytes, encoded_len(encoding, count), count)?;
    let codec = codec(encoding);
    let mut values = vec![0.0; count];
    let mut rest = bytes;
    for (chunk, out) in values.chunks_mut(CHUNK_VALUES).enumerate() {
        let (scale, after) = rest.split_at(SCALE_BYTES);
        let (codes, after) = after.split_at((codec.code_bytes)(out.len()));
        rest = after;
        let scale = f32_from(scale);
        if scale.is_sign_negative() && !scale.is_nan() {
            return Err(DecodeError::NegativeScale { chunk });
        }
        (codec.decode)(codes, scale, out)
            .map_err(|bad| DecodeError::Code { index: chunk * CHUNK_VALUES + bad.at, code: bad.code })?;
    }
    Ok(values)
}

/// Parameters as they are stored and served: little-endian f32, nothing else.
pub fn bytes_from_weights(weights: &[f32]) -> Vec<u8> {
    weights.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Reads `count` parameters that [`bytes_from_weights`] wrote.
pub fn weights_from_bytes(bytes: &[u8], count: usize) -> Result<Vec<f32>, DecodeError> {
    check_len(bytes, count.saturating_mul(4), count)?;
    Ok(bytes.chunks_exact(4).map(f32_from).collect())
}

pub(crate) fn check_len(bytes: &[u8], expected: usize, count: usize) -> Result<(), DecodeError> {
    if bytes.len() == expected { Ok(()) } else { Err(DecodeError::Length { got: bytes.len(), expected, count }) }
}

/// Four bytes as f32; the caller has cut them to length.
pub(crate) fn f32_from(bytes: &[u8]) -> f32 {
    let mut four = [0; 4];
    four.copy_from_slice(bytes);
    f32::from_le_bytes(four)
}

/// The largest magnitude, or NaN where a value is not finite.
fn scale_of(chunk: &[f32]) -> f32 {
    if chunk.iter().all(|v| v.is_finite()) { chunk.iter().fold(0.0, |max, v| max.max(v.abs())) } else { f32::NAN }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const BOTH: [UpdateEncoding; 2] = [UpdateEncoding::E3m0, UpdateEncoding::Int8];

    /// Largest error that an encoding may make on `value` in a chunk of this scale.
    fn bound(encoding: UpdateEncoding, value: f32, scale: f32) -> f64 {
        let (value, scale) = (f64::from(value.abs()), f64::from(scale));
        let exact = match encoding {
            // Powers of two: the middle of a gap is a third of its value away from either end; below
            // the smallest, 2^-6, it is half of that.
            UpdateEncoding::E3m0 => (value / 3.0).max(scale / 128.0),
            _ => scale / 254.0,
        };
        // Two roundings to f32 while encoding and decoding, and the spacing of subnormals.
        exact * (1.0 + 1e-6) + scale * 1e-6 + 3e-45
    }

    #[track_caller]
    fn check_round_trip(encoding: UpdateEncoding, values: &[f32]) {
        let bytes = encode(encoding, values);
        assert_eq!(bytes.len(), encoded_len(encoding, values.len()));
        let back = decode(encoding, values.len(), &bytes).unwrap();
        for (chunk, back) in values.chunks(CHUNK_VALUES).zip(back.chunks(CHUNK_VALUES)) {
            let scale = scale_of(chunk);
            for (&value, &back) in chunk.iter().zip(back) {
                let error = (f64::from(value) - f64::from(back)).abs();
                let bound = bound(encoding, value, scale);
                assert!(error <= bound, "{encoding:?}: {value} came back as {back} at scale {scale}");
            }
        }
    }

    fn any_finite() -> impl Strategy<Value = f32> {
        any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |v| v.is_finite())
    }

    proptest! {
        #[test]
        fn round_trips_within_the_bound(values in vec(-1.0f32..1.0, 0..300), exponent in -40i32..38) {
            let values: Vec<f32> = values.iter().map(|v| v * 10f32.powi(exponent)).collect();
            BOTH.iter().for_each(|&encoding| check_round_trip(encoding, &values));
        }

        #[test]
        fn round_trips_any_finite_values(values in vec(any_finite(), 0..300)) {
            BOTH.iter().for_each(|&encoding| check_round_trip(encoding, &values));
        }

        #[test]
        fn a_decoded_update_encodes_to_the_same_bytes(values in vec(-1.0f32..1.0, 0..300)) {
            for encoding in BOTH {
                let bytes = encode(encoding, &values);
                let back = decode(encoding, values.len(), &bytes).unwrap();
                prop_assert_eq!(encode(encoding, &back), bytes);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..600), count in 0usize..1200) {
            for encoding in BOTH {
                let _ = decode(encoding, count, &bytes);
                let mut fitting = bytes.clone();
                fitting.resize(encoded_len(encoding, count), 0xa5);
                let _ = decode(encoding, count, &fitting);
            }
            let _ = weights_from_bytes(&bytes, count);
        }

        #[test]
        fn another_length_is_refused(count in 0usize..9000, change in -5isize..5) {
            for encoding in BOTH {
                let len = encoded_len(encoding, count);
                let got = len.saturating_add_signed(change);
                let result = decode(encoding, count, &vec![0; got]);
                prop_assert_eq!(result.is_ok(), got == len);
            }
        }

        #[test]
        fn one_flipped_bit_never_panics(values in vec(-1.0f32..1.0, 1..50), at in any::<prop::sample::Index>()) {
            for encoding in BOTH {
                let mut bytes = encode(encoding, &values);
                let bit = at.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                let _ = decode(encoding, values.len(), &bytes);
            }
        }

        #[test]
        fn weights_round_trip(bits in vec(any::<u32>(), 0..100)) {
            let weights: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
            let back = weights_from_bytes(&bytes_from_weights(&weights), weights.len()).unwrap();
            let back: Vec<u32> = back.iter().map(|w| w.to_bits()).collect();
            prop_assert_eq!(back, bits);
        }
    }

    #[test]
    fn sizes_are_those_of_the_formats() {
        let million = 1 << 20;
        assert_eq!(encoded_len(UpdateEncoding::E3m0, million), million / 2 + million / 1024);
        assert_eq!(encoded_len(UpdateEncoding::Int8, million), million + million / 1024);
        assert_eq!(encoded_len(UpdateEncoding::E3m0, 4097), 4 + 2048 + 4 + 1);
        assert_eq!(encoded_len(UpdateEncoding::Int8, 4097), 4 + 4096 + 4 + 1);
        assert!(BOTH.iter().all(|&e| encoded_len(e, 0) == 0));
        let largest = potluck_protocol::limits::PARAMETERS_MAX as usize;
        assert!(encoded_len(UpdateEncoding::Int8, largest) <= potluck_protocol::limits::UPDATE_BYTES_MAX);
    }

    #[test]
    fn chunks_have_their_own_scales() {
        let mut values = vec![1000.0; CHUNK_VALUES];
        values.extend([1e-3, 0.0, -1e-3]);
        for encoding in BOTH {
            assert_eq!(decode(encoding, values.len(), &encode(encoding, &values)).unwrap(), values);
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        for encoding in BOTH {
            let bytes = encode(encoding, &[0.0, -0.0, 0.0]);
            assert!(bytes.iter().all(|&b| b == 0), "{bytes:?}");
            let back = decode(encoding, 3, &bytes).unwrap();
            assert!(back.iter().all(|v| v.to_bits() == 0), "{back:?}");
        }
    }

    #[test]
    fn what_is_not_finite_decodes_to_nothing_finite() {
        for encoding in BOTH {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let bytes = encode(encoding, &[1.0, bad, 0.0]);
                let back = decode(encoding, 3, &bytes).unwrap();
                assert!(back.iter().all(|v| !v.is_finite()), "{back:?}");
            }
            let mut forged = encode(encoding, &[1.0, 0.5, 0.0]);
            forged[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            let back = decode(encoding, 3, &forged).unwrap();
            assert!(back.iter().all(|v| !v.is_finite()), "{back:?}");
        }
    }

    #[test]
    fn only_the_chunk_that_is_not_finite_is_lost() {
        let mut values = vec![1.0; CHUNK_VALUES];
        values.push(f32::NAN);
        for encoding in BOTH {
            let back = decode(encoding, values.len(), &encode(encoding, &values)).unwrap();
            assert!(back[..CHUNK_VALUES].iter().all(|&v| v == 1.0) && back[CHUNK_VALUES].is_nan());
        }
    }

    #[test]
    fn negative_scales_are_refused() {
        for encoding in BOTH {
            for scale in [-1.0f32, -0.0, f32::NEG_INFINITY] {
                let mut bytes = encode(encoding, &[1.0; 5000]);
                let second = encoded_len(encoding, CHUNK_VALUES);
                bytes[second..second + 4].copy_from_slice(&scale.to_le_bytes());
                assert_eq!(decode(encoding, 5000, &bytes), Err(DecodeError::NegativeScale { chunk: 1 }));
            }
        }
    }
}
