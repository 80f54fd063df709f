//! Dense 4-bit E3M0: a sign and zero or one of seven powers of two of the chunk's scale.
//!
//! Two values a byte, the earlier one in the low half; a chunk of odd length leaves the last high
//! half zero. Bit 3 of a code is the sign (1 is negative), bits 0 to 2 the magnitude `m`: zero for
//! `m = 0`, else `scale x 2^(m - 7)`, so `m = 7` is the scale itself and `m = 1` its 64th part.
//! A value takes the nearest magnitude, the smaller one in the middle of a gap; zero has no sign.
//! Four-bit E3M0 deltas with f32 accumulation: Streaming DiLoCo, arXiv 2501.18512.

use crate::codec::BadCode;

const SIGN: u8 = 8;

/// What the codes 0 to 15 stand for, as parts of the scale. Code 8 would be a negative zero.
const PARTS: [f32; 16] = {
    let mut parts = [0.0; 16];
    let mut m = 1;
    while m <= 7 {
        let part = 1.0 / (1u32 << (7 - m)) as f32;
        parts[m] = part;
        parts[m + SIGN as usize] = -part;
        m += 1;
    }
    parts
};

/// The middles between neighbouring magnitudes: a value above the k-th has a magnitude above k.
const MIDDLES: [f64; 7] = [1.0 / 128.0, 1.5 / 64.0, 1.5 / 32.0, 1.5 / 16.0, 1.5 / 8.0, 1.5 / 4.0, 1.5 / 2.0];

pub(crate) fn code_bytes(values: usize) -> usize {
    values.div_ceil(2)
}

/// The scale is the chunk's largest magnitude, or NaN, which no comparison passes: all codes zero.
pub(crate) fn encode_chunk(values: &[f32], scale: f32, bytes: &mut Vec<u8>) {
    // 24-bit mantissas times two-bit ones are exact in f64, so "nearest" is exact too.
    let middles = MIDDLES.map(|m| m * f64::from(scale));
    bytes.extend(values.chunks(2).map(|pair| {
        let high = pair.get(1).map_or(0, |&v| code(v, &middles));
        code(pair[0], &middles) | (high << 4)
    }));
}

fn code(value: f32, middles: &[f64; 7]) -> u8 {
    let size = f64::from(value.abs());
    let magnitude: u8 = middles.iter().map(|&middle| u8::from(size > middle)).sum();
    let negative = value < 0.0 && magnitude > 0;
    magnitude | if negative { SIGN } else { 0 }
}

pub(crate) fn decode_chunk(codes: &[u8], scale: f32, values: &mut [f32]) -> Result<(), BadCode> {
    let table = PARTS.map(|part| part * scale);
    for (byte_index, byte) in codes.iter().enumerate() {
        for (half, code) in [byte & 15, byte >> 4].into_iter().enumerate() {
            let at = 2 * byte_index + half;
            match values.get_mut(at) {
                Some(value) if code != SIGN => *value = table[usize::from(code)],
                None if code == 0 => {}
                _ => return Err(BadCode { at, code }),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use potluck_protocol::UpdateEncoding::E3m0;

    use crate::{DecodeError, decode, encode};

    #[track_caller]
    fn check(values: &[f32], expected: &[f32]) {
        assert_eq!(decode(E3m0, values.len(), &encode(E3m0, values)).unwrap(), expected);
    }

    #[test]
    fn powers_of_two_of_the_scale_are_exact() {
        let exact = [3.0, 1.5, -0.75, 0.375, -0.1875, 0.09375, 0.046875, 0.0];
        check(&exact, &exact);
    }

    #[test]
    fn others_take_the_nearest() {
        check(&[1.0, 0.76, -0.74, 0.01, 0.007], &[1.0, 1.0, -0.5, 0.015625, 0.0]);
    }

    #[test]
    fn the_middle_goes_down() {
        check(&[1.0, 0.75, -0.375, 1.0 / 128.0], &[1.0, 0.5, -0.25, 0.0]);
    }

    #[test]
    fn layout() {
        let bytes = encode(E3m0, &[2.0, -1.0, 0.03125]);
        assert_eq!(bytes, [0, 0, 0, 0x40, 0xe7, 0x01]);
    }

    #[test]
    fn codes_that_no_encoder_writes_are_refused() {
        let negative_zero = [0, 0, 0, 0x40, 0x87, 0x01];
        assert_eq!(decode(E3m0, 3, &negative_zero), Err(DecodeError::Code { index: 1, code: 8 }));
        let padding = [0, 0, 0, 0x40, 0xe7, 0x11];
        assert_eq!(decode(E3m0, 3, &padding), Err(DecodeError::Code { index: 3, code: 1 }));
    }
}
