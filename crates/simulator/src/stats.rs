//! Mean and spread of a few numbers.

/// What several seeds came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) mean: f64,
    /// Largest minus smallest.
    pub(crate) spread: f64,
}

/// NaN where there is nothing, or where one of the numbers is NaN: a run that diverged must show.
pub(crate) fn summary(values: &[f64]) -> Summary {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
    Summary { mean, spread: if mean.is_finite() { high - low } else { f64::NAN } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_spread() {
        assert_eq!(summary(&[1.0, 2.0, 6.0]), Summary { mean: 3.0, spread: 5.0 });
        assert!(summary(&[1.0, f64::NAN]).mean.is_nan());
        assert!(summary(&[1.0, f64::NAN]).spread.is_nan());
        assert!(summary(&[]).mean.is_nan());
    }
}
