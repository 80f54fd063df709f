//! What `cargo xtask load` measures: how long a coordinator takes to start on a long log, how fast
//! facts become durable beside the storage engine's own limit, and how soon a result is acknowledged
//! when many come at once.
//!
//! Everything runs the real program or the real crates; only the crowd is made up.

pub mod crowd;
pub mod rounds;
pub mod start;
pub mod store;

use std::time::Duration;

use potluck_graph::random::SplitMix64;
use serde_json::{Value, json};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Facts in the long log.
    pub facts: u64,
    /// Results that are offered in a second, one row each.
    pub rates: Vec<u32>,
    /// Rounds of results at each of these rates.
    pub rounds: u32,
    /// The one part that is measured; all where it is `None`.
    pub only: Option<String>,
    /// Where everything random comes from.
    pub seed: u64,
}

/// Rows and limits in the project's form; `tell` hears how far it is.
///
/// # Panics
/// Where a program does not do what it should within its deadline.
pub fn run(plan: &Plan, mut tell: impl FnMut(&str)) -> Value {
    let mut rows = Vec::new();
    let mut limits = Vec::new();
    type Part = fn(&Plan, &mut dyn FnMut(&str)) -> Measured;
    let parts: [(&str, Part); 3] =
        [("store", store::measure), ("acknowledgement", rounds::measure), ("start", start::measure)];
    for (_, part) in parts.iter().filter(|(name, _)| plan.only.as_deref().is_none_or(|only| only == *name)) {
        let (more_rows, more_limits) = part(plan, &mut tell);
        rows.extend(more_rows);
        limits.extend(more_limits);
    }
    json!({"rows": rows, "limits": limits})
}

/// Rows and limits of one part.
pub type Measured = (Vec<Value>, Vec<Value>);

fn limit(what: &str, limit: u64, value: u64) -> Value {
    json!({"what": what, "limit": limit, "value": value})
}

/// The value below which this share of them lies.
fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(f64::NAN, |span| rounded(span.as_secs_f64() * 1e3))
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Bytes that nothing has in common with others.
fn bytes<const N: usize>(random: &mut SplitMix64) -> [u8; N] {
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&random.next_u64().to_le_bytes()[..part.len()]);
    }
    bytes
}
