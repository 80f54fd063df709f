//! How far two updates are apart: what a verdict goes by.

/// `|a - b| / |b|`, the relative L2 distance of an update `a` from a replay `b`; both as they were
/// decoded, in the program's parameter order. Accumulated in f64 in index order. Infinite where `b`
/// is zero and `a` is not, 0 where both are.
///
/// # Panics
/// Where they are not of one length; they are decoded for one program.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "updates of one program");
    let (mut apart, mut size) = (0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        apart += (a - b) * (a - b);
        size += b * b;
    }
    if apart == 0.0 { 0.0 } else { (apart / size).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_relative() {
        assert_eq!(distance(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(distance(&[-3.0, -4.0], &[3.0, 4.0]), 2.0);
        assert_eq!(distance(&[6.0, 8.0], &[3.0, 4.0]), 1.0);
        assert_eq!(distance(&[0.0], &[0.0]), 0.0);
        assert_eq!(distance(&[1.0], &[0.0]), f64::INFINITY);
    }
}
