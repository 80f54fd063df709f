//! The median: the middle value, or the mean of the two in the middle.

/// Sorts the values and returns their median; zero where there are none. Total order, so that NaN
/// cannot panic.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
