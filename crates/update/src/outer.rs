//! The outer step: how a merged update moves the global parameters.

use potluck_protocol::OuterStep;

/// The step that [`OuterStep`] describes, in f32, value by value: `m' = momentum m + d`, then
/// `theta <- theta - lr (d + momentum m')` (Nesterov as in DiLoCo, arXiv 2311.08105), or with a lead
/// `theta <- theta - lr (m' + lead (m' - m))`. `None` stands for a momentum of zeros and becomes `Some`.
///
/// With a momentum of 0 the step is plain, `theta <- theta - lr d`, and `m` is neither used nor
/// changed: a round that holds stale updates is told to step so, and what is stale must not enter
/// the momentum of the barrier rounds around it.
///
/// Returns true where every parameter and every value of a momentum that was used is finite after
/// the step. Sums of finite values may overflow, and what did must not become a version.
///
/// # Panics
/// Where the lengths differ: all three belong to one program.
pub fn outer_step(theta: &mut [f32], momentum: &mut Option<Vec<f32>>, d: &[f32], outer: OuterStep) -> bool {
    let OuterStep { lr, momentum: mu, lead } = outer;
    assert_eq!(theta.len(), d.len(), "an update has as many values as the parameters");
    if mu == 0.0 {
        theta.iter_mut().zip(d).for_each(|(theta, d)| *theta -= lr * d);
        return is_finite(theta);
    }
    let m = momentum.get_or_insert_with(|| vec![0.0; d.len()]);
    assert_eq!(m.len(), d.len(), "momentum has as many values as the parameters");
    for ((theta, m), d) in theta.iter_mut().zip(&mut *m).zip(d) {
        let before = *m;
        *m = mu * before + d;
        let step = lead.map_or_else(|| d + mu * *m, |lead| *m + lead * (*m - before));
        *theta -= lr * step;
    }
    is_finite(theta) && is_finite(m)
}

fn is_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTEROV: OuterStep = OuterStep::nesterov(0.5, 0.5);

    #[track_caller]
    fn check(outer: OuterStep, momentum: Option<f32>, d: f32, theta_expected: f32, momentum_expected: Option<f32>) {
        let mut theta = [10.0];
        let mut momentum = momentum.map(|m| vec![m]);
        assert!(outer_step(&mut theta, &mut momentum, &[d], outer), "finite");
        assert_eq!((theta[0], momentum), (theta_expected, momentum_expected.map(|m| vec![m])));
    }

    #[test]
    fn the_first_step_starts_from_no_momentum() {
        check(NESTEROV, None, 2.0, 10.0 - 0.5 * (2.0 + 0.5 * 2.0), Some(2.0));
    }

    #[test]
    fn momentum_carries_on() {
        check(NESTEROV, Some(4.0), 2.0, 10.0 - 0.5 * (2.0 + 0.5 * 4.0), Some(4.0));
    }

    #[test]
    fn a_lead_is_ahead_of_momentum() {
        let ahead = |lead| OuterStep { lead: Some(lead), ..NESTEROV };
        check(ahead(3.0), None, 2.0, 10.0 - 0.5 * (1.0 + 3.0) * 2.0, Some(2.0));
        check(ahead(3.0), Some(8.0), 2.0, 10.0 - 0.5 * (6.0 - 3.0 * 2.0), Some(6.0));
        check(ahead(0.5), Some(4.0), 2.0, 10.0 - 0.5 * (2.0 + 0.5 * 4.0), Some(4.0));
    }

    #[test]
    fn without_momentum_the_step_is_plain_and_momentum_waits() {
        let plain = OuterStep::nesterov(0.5, 0.0);
        check(plain, None, 2.0, 9.0, None);
        check(plain, Some(4.0), 2.0, 9.0, Some(4.0));
    }

    #[test]
    fn an_overflow_is_told() {
        let plain = OuterStep::nesterov(2.0, 0.0);
        assert!(!outer_step(&mut [f32::MIN], &mut None, &[f32::MAX], plain));
        assert!(!outer_step(&mut [0.0], &mut Some(vec![f32::MAX]), &[f32::MAX], NESTEROV));
        assert!(!outer_step(&mut [0.0], &mut None, &[f32::NAN], NESTEROV));
    }
}
