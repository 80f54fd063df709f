//! int8: one signed byte a value, in 127ths of the chunk's scale, nearest rounding.
//!
//! Codes run from -127 to 127. Decoding multiplies `code / 127` by the scale, so that the largest
//! value comes back exactly and no finite scale can overflow.

use crate::codec::BadCode;

/// Codes in one direction.
const STEPS: f32 = 127.0;

pub(crate) fn code_bytes(values: usize) -> usize {
    values
}

pub(crate) fn encode_chunk(values: &[f32], scale: f32, bytes: &mut Vec<u8>) {
    if scale.is_nan() || scale == 0.0 {
        bytes.resize(bytes.len() + values.len(), 0);
        return;
    }
    // In f64 even a quotient of subnormals keeps more bits than the seven that are wanted.
    let scale = f64::from(scale);
    bytes.extend(values.iter().map(|&value| {
        let steps = (f64::from(value) / scale * f64::from(STEPS)).round_ties_even();
        (steps as i8).to_le_bytes()[0]
    }));
}

pub(crate) fn decode_chunk(codes: &[u8], scale: f32, values: &mut [f32]) -> Result<(), BadCode> {
    for (at, (&code, value)) in codes.iter().zip(values).enumerate() {
        let steps = i8::from_le_bytes([code]);
        if steps == i8::MIN {
            return Err(BadCode { at, code });
        }
        *value = f32::from(steps) / STEPS * scale;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use potluck_protocol::UpdateEncoding::Int8;

    use crate::{DecodeError, decode, encode};

    #[test]
    fn layout() {
        assert_eq!(encode(Int8, &[254.0, -254.0, 2.0, -3.1]), [0, 0, 0x7e, 0x43, 127, 129, 1, 254]);
    }

    #[test]
    fn the_largest_value_is_exact_at_any_scale() {
        for scale in [f32::MAX, 1.0, 0.1, f32::MIN_POSITIVE, f32::from_bits(1)] {
            let values = [scale, -scale];
            assert_eq!(decode(Int8, 2, &encode(Int8, &values)).unwrap(), values);
        }
    }

    #[test]
    fn the_code_that_no_encoder_writes_is_refused() {
        let bytes = [0, 0, 0x80, 0x3f, 127, 128];
        assert_eq!(decode(Int8, 2, &bytes), Err(DecodeError::Code { index: 1, code: 128 }));
    }
}
