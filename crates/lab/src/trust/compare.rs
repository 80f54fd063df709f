//! The table: distances of decoded updates, between every two executors and from an honest replay
//! to every cheat.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use potluck_protocol::{UpdateEncoding, agreement_distance};
use potluck_update::{decode, distance, encode, weights_from_bytes};
use serde_json::{Value, json};

use super::{read_task, task_names};

/// What everything is compared with: the stack that checks in a coordinator.
const REFERENCE: &str = "native-cpu";

const ENCODINGS: [(&str, UpdateEncoding); 2] = [("e3m0", UpdateEncoding::E3m0), ("int8", UpdateEncoding::Int8)];

/// Model, optimizer, steps, encoding and what was compared.
type Key = (String, String, u32, &'static str, String);

/// Smallest and largest distance of one row.
#[derive(Clone, Copy)]
struct Range {
    min: f64,
    max: f64,
    count: u32,
}

/// Prints `{rows, kinds, limits}`: the measurement, and its summary for people.
pub(crate) fn compare(folder: &Path) -> Result<()> {
    let mut honest = BTreeMap::new();
    let mut cheats = BTreeMap::new();
    for name in task_names(folder)? {
        let updates = updates_of(folder, &name)?;
        if !updates.contains_key(REFERENCE) {
            bail!("{name} was not computed on {REFERENCE}");
        }
        let [model, optimizer, steps, ..] = name.split('-').collect::<Vec<_>>()[..] else { bail!("{name}") };
        let steps: u32 = steps.trim_start_matches('h').parse()?;
        for (encoding_name, encoding) in ENCODINGS {
            let travelled = |update: &[f32]| decode(encoding, update.len(), &encode(encoding, update));
            let decoded: BTreeMap<&str, Vec<f32>> = updates
                .iter()
                .map(|(stack, update)| Ok((stack.as_str(), travelled(update)?)))
                .collect::<Result<_>>()?;
            let note = |table: &mut BTreeMap<Key, Range>, what: String, value: f64| {
                let key = (model.to_owned(), optimizer.to_owned(), steps, encoding_name, what);
                let range = table.entry(key).or_insert(Range { min: value, max: value, count: 0 });
                *range = Range { min: range.min.min(value), max: range.max.max(value), count: range.count + 1 };
            };
            let stacks: Vec<&str> = decoded.keys().copied().filter(|stack| !stack.starts_with("cheat-")).collect();
            for (at, a) in stacks.iter().enumerate() {
                for b in &stacks[at + 1..] {
                    let apart = distance(&decoded[a], &decoded[b]).max(distance(&decoded[b], &decoded[a]));
                    note(&mut honest, format!("{a} / {b}"), apart);
                }
            }
            for (stack, update) in decoded.iter().filter(|(stack, _)| stack.starts_with("cheat-")) {
                note(&mut cheats, (*stack).to_owned(), distance(update, &decoded[REFERENCE]));
            }
        }
    }
    let kinds = kinds(&honest, &cheats)?;
    let limits: Vec<Value> = kinds.iter().flat_map(Kind::limits).collect();
    let kinds: Vec<Value> = kinds.iter().map(Kind::json).collect();
    println!("{}", json!({"rows": rows(&honest, &cheats), "kinds": kinds, "limits": limits}));
    Ok(())
}

/// Everything that was computed of a task, by stack or cheat.
fn updates_of(folder: &Path, task: &str) -> Result<BTreeMap<String, Vec<f32>>> {
    let count = read_task(folder, task)?.program.parameter_count();
    let mut updates = BTreeMap::new();
    for entry in fs::read_dir(folder.join(task))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "f32") {
            let stack = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let update = weights_from_bytes(&fs::read(&path)?, count).with_context(|| path.display().to_string())?;
            updates.insert(stack, update);
        }
    }
    Ok(updates)
}

fn rows(honest: &BTreeMap<Key, Range>, cheats: &BTreeMap<Key, Range>) -> Vec<Value> {
    let row = |kind: &'static str| {
        move |((model, optimizer, steps, encoding, what), range): (&Key, &Range)| {
            json!({
                "model": model, "optimizer": optimizer, "steps": steps, "encoding": encoding, "kind": kind,
                "what": what, "min": round(range.min), "max": round(range.max), "tasks": range.count,
            })
        }
    };
    honest.iter().map(row("honest")).chain(cheats.iter().map(row("cheat"))).collect()
}

/// Four digits: more would change with every run of a driver.
fn round(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// One optimizer, encoding and number of steps: what was measured on both sides of what the code
/// allows.
struct Kind {
    optimizer: String,
    encoding: &'static str,
    steps: u32,
    /// Largest honest distance of all models and pairs of stacks.
    honest: f64,
    /// Smallest distance of any update that skipped a step.
    skipped: f64,
    /// `None` where no job may ask for such tasks; then no limit is promised either.
    agreement: Option<f64>,
}

fn kinds(honest: &BTreeMap<Key, Range>, cheats: &BTreeMap<Key, Range>) -> Result<Vec<Kind>> {
    let mut found: Vec<(String, &'static str, u32)> =
        honest.keys().map(|(_, optimizer, steps, encoding, _)| (optimizer.clone(), *encoding, *steps)).collect();
    found.sort();
    found.dedup();
    let kind = |(optimizer, encoding, steps): (String, &'static str, u32)| {
        let of = |key: &Key| (&key.1, key.2, key.3) == (&optimizer, steps, encoding);
        let worst = honest.iter().filter(|(key, _)| of(key)).map(|(_, range)| range.max).fold(0.0, f64::max);
        let skips = cheats.iter().filter(|(key, _)| of(key) && key.4.starts_with("cheat-skip"));
        let skipped = skips.map(|(_, range)| range.min).fold(f64::INFINITY, f64::min);
        let (_, update) = *ENCODINGS.iter().find(|(name, _)| *name == encoding).context("an encoding")?;
        let agreement = agreement_distance(&optimizer_of(&optimizer)?, update, steps).map(f64::from);
        Ok(Kind { optimizer, encoding, steps, honest: worst, skipped, agreement })
    };
    found.into_iter().map(kind).collect()
}

impl Kind {
    fn json(&self) -> Value {
        let Self { optimizer, encoding, steps, honest, skipped, agreement } = self;
        json!({
            "optimizer": optimizer, "encoding": encoding, "steps": steps, "honest_tripled": round(3.0 * honest),
            "agreement": agreement.map(round), "skipped": round(*skipped),
        })
    }

    /// The honest worst case is at least 3 times inside of the distance, and a skipped step lies
    /// outside of it.
    fn limits(&self) -> Vec<Value> {
        let Self { optimizer, encoding, steps, honest, skipped, agreement } = self;
        let Some(agreement) = *agreement else { return Vec::new() };
        let what = format!("{optimizer}, {encoding}, {steps} steps");
        vec![
            json!({
                "what": format!("{what}: three times the largest honest distance"),
                "limit": round(agreement), "value": round(3.0 * honest), "holds": 3.0 * honest <= agreement,
            }),
            json!({
                "what": format!("{what}: smallest distance of a skipped step, at least"),
                "limit": round(agreement), "value": round(*skipped), "holds": *skipped > agreement,
            }),
        ]
    }
}

fn optimizer_of(name: &str) -> Result<potluck_protocol::Optimizer> {
    Ok(match name {
        "adamw" => potluck_protocol::Optimizer::default(),
        "muon" => potluck_protocol::Optimizer::muon(),
        other => bail!("no optimizer {other}"),
    })
}
