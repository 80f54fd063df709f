//! How far two honest updates of one task may be apart: the one table that verdicts go by.
//!
//! The numbers come from `cargo xtask trust`, which computes the same tasks on every executor and
//! beside them what cheats would hand in; `docs/trust.md` has the whole table and how they were
//! chosen. A test holds them against `docs/measurements/trust.json`.

use crate::{Optimizer, UpdateEncoding, limits};

/// The largest relative L2 distance, `|a - b| / |b|` of decoded updates, at which two results of one
/// task of `steps` agree. Honest results grow apart with the steps and a skipped one shrinks, so a
/// number of steps that was not measured takes the next that was.
///
/// `None` where an honest result and one that skipped a step cannot be told apart with a margin of
/// three: such tasks must not be leased to strangers.
pub fn agreement_distance(optimizer: &Optimizer, encoding: UpdateEncoding, steps: u32) -> Option<f32> {
    let column = match steps {
        0..=4 => 0,
        5..=8 => 1,
        9..=limits::TASK_STEPS_MAX => 2,
        _ => return None,
    };
    let row = match (optimizer, encoding) {
        // SGD divides by nothing and so has less to amplify than AdamW; it was not measured.
        (Optimizer::Adamw { .. } | Optimizer::Sgd { .. }, UpdateEncoding::E3m0) => [Some(0.03), Some(0.03), Some(0.02)],
        (Optimizer::Adamw { .. } | Optimizer::Sgd { .. }, UpdateEncoding::Int8) => {
            [Some(0.01), Some(0.01), Some(0.008)]
        }
        (Optimizer::Muon { .. }, UpdateEncoding::E3m0) => [Some(0.06), Some(0.06), None],
        (Optimizer::Muon { .. }, UpdateEncoding::Int8) => [Some(0.06), Some(0.035), Some(0.05)],
    };
    row[column]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The largest honest distance and the smallest of a skipped step, over all models.
    fn measured(rows: &[Value], optimizer: &str, encoding: &str, steps: u32) -> (f64, f64) {
        let of = |row: &&Value| {
            row["optimizer"] == optimizer && row["encoding"] == encoding && row["steps"].as_u64() == Some(steps.into())
        };
        let mine: Vec<&Value> = rows.iter().filter(of).collect();
        let honest = mine.iter().filter(|row| row["kind"] == "honest").filter_map(|row| row["max"].as_f64());
        let skips = |row: &&&Value| row["what"].as_str().is_some_and(|what| what.starts_with("cheat-skip"));
        let skipped = mine.iter().filter(skips).filter_map(|row| row["min"].as_f64());
        (honest.fold(0.0, f64::max), skipped.fold(f64::INFINITY, f64::min))
    }

    #[test]
    fn the_table_is_what_was_measured() {
        let text = include_str!("../../../docs/measurements/trust.json");
        let measurement: Value = serde_json::from_str(text).expect("JSON");
        let rows = measurement["rows"].as_array().expect("rows");
        for (optimizer_name, optimizer) in [("adamw", Optimizer::default()), ("muon", Optimizer::muon())] {
            for (encoding_name, encoding) in [("e3m0", UpdateEncoding::E3m0), ("int8", UpdateEncoding::Int8)] {
                for steps in [4, 8, 16] {
                    let (honest, skipped) = measured(rows, optimizer_name, encoding_name, steps);
                    assert!(honest > 0.0 && skipped.is_finite(), "{optimizer_name} {encoding_name} {steps}");
                    let Some(distance) = agreement_distance(&optimizer, encoding, steps) else { continue };
                    let distance = f64::from(distance);
                    let what = format!("{optimizer_name} {encoding_name} {steps}: {honest} {distance} {skipped}");
                    assert!(3.0 * honest <= distance && distance < skipped, "{what}");
                }
            }
        }
    }

    #[test]
    fn only_long_tasks_of_muon_in_four_bits_cannot_be_judged() {
        for steps in limits::TASK_STEPS_MIN..=limits::TASK_STEPS_MAX {
            let of = |optimizer: &Optimizer, encoding| agreement_distance(optimizer, encoding, steps).is_some();
            assert!(of(&Optimizer::default(), UpdateEncoding::E3m0) && of(&Optimizer::default(), UpdateEncoding::Int8));
            assert!(of(&Optimizer::muon(), UpdateEncoding::Int8));
            assert_eq!(of(&Optimizer::muon(), UpdateEncoding::E3m0), steps <= 8);
        }
    }
}
