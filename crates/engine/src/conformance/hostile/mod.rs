//! Programs from strangers: damaged ones are made from good ones by the thousand, and each goes as far as
//! a volunteer would take it. Whatever it is, nothing panics, and nothing takes more memory than the
//! limits say. Tests and the fuzzing target share this.

mod mutate;

use futures::FutureExt;
use potluck_graph::{Column, DType, Program, random::SplitMix64};
use potluck_protocol::{Optimizer, Recipe, limits};

use super::{golden, programs};
use crate::{Choice, Engine, Plan, memory_bytes};

pub use mutate::mutate;

/// How far a program came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Not a program.
    Refused,
    /// A program whose plan is declined.
    Valid,
    /// A plan that is too much work for a test.
    Planned,
    /// Trained for a step and evaluated.
    Stepped,
}

impl Depth {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Valid, Self::Planned, Self::Stepped];
}

/// Memory and operations of a plan that is run: a few milliseconds.
const RUN_BYTES_MAX: u64 = 16 << 20;
const RUN_WORK_MAX: u64 = 20_000_000;

/// Good programs of every preset, and one or more for every operation, as JSON.
pub fn corpus() -> Vec<String> {
    let presets = programs::ALL.map(programs::Sample::program);
    presets.iter().chain(&golden::programs()).map(Program::to_json).collect()
}

/// A damaged program: one of the corpus after one to four mutations, by the seed alone.
pub fn hostile(corpus: &[String], seed: u64) -> Vec<u8> {
    let mut random = SplitMix64::new(seed);
    let mut json = corpus[random.below(corpus.len() as u32) as usize].clone().into_bytes();
    for _ in 0..=random.below(4) {
        json = mutate(&json, &mut random);
    }
    json
}

/// Takes a program as far as a volunteer would.
///
/// # Panics
/// Where a promise is broken: that is what it is for.
pub fn survive(json: &[u8]) -> Depth {
    let Ok(program) = Program::parse(json) else { return Depth::Refused };
    let again = Program::parse(program.to_json().as_bytes()).expect("what was written reads back");
    assert_eq!((&again, again.id()), (&program, program.id()), "a program survives its own text");
    let _ = program.facts();
    let Ok(plan) = Plan::new(&program, &recipe(json)) else { return Depth::Valid };
    let bytes = memory_bytes(&plan);
    assert!(bytes <= limits::TAB_MEMORY_BYTES_MAX, "a plan of {bytes} bytes");
    if bytes > RUN_BYTES_MAX || work(&plan) > RUN_WORK_MAX {
        return Depth::Planned;
    }
    step(&program, json);
    Depth::Stepped
}

fn work(plan: &Plan) -> u64 {
    let costs = plan.costs().map(|(_, cost)| cost.flops.saturating_add(cost.bytes_moved));
    costs.fold(0, u64::saturating_add)
}

/// Every optimizer and several batches take their turns, by the program's bytes.
fn recipe(json: &[u8]) -> Recipe {
    let sum: usize = json.iter().map(|&byte| usize::from(byte)).sum();
    let optimizer = [Optimizer::default(), Optimizer::muon(), Optimizer::sgd()][sum % 3];
    Recipe { optimizer, batch: [1, 2, 3, 4096][sum / 3 % 4], clip_norm: 1.0, ..programs::recipe() }
}

fn step(program: &Program, json: &[u8]) {
    let recipe = recipe(json);
    let column = |spec: &potluck_graph::InputSpec| {
        let count = recipe.batch as usize * spec.shape.iter().map(|&d| d as usize).product::<usize>();
        match spec.dtype {
            // 0 is below every bound.
            DType::U32 => Column::U32(vec![0; count]),
            DType::F32 => Column::F32((0..count).map(|at| (at % 7) as f32 / 7.0).collect()),
        }
    };
    let columns: Vec<Column> = program.inputs().iter().map(column).collect();
    let run = async {
        let engine = Engine::open(Choice::Cpu).await?;
        let start: Vec<f32> =
            program.initial(1).into_iter().map(|value| if value.is_finite() { value } else { 0.0 }).collect();
        let mut trainer = engine.trainer(program, &recipe, &start).await?;
        trainer.step(&columns, 1e-3).await?;
        let _ = trainer.loss().await?;
        trainer.evaluate(&columns).await
    };
    let ended = run.now_or_never().expect("the processor keeps nobody waiting");
    ended.expect("what was planned runs");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::{Duration, Instant};

    use potluck_graph::random::mix;
    use proptest::prelude::*;

    use super::*;

    /// How long to look, unless `POTLUCK_HOSTILE_SECONDS` says otherwise.
    const SECONDS: u64 = 60;

    fn number(variable: &str) -> Option<u64> {
        std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"))
    }

    /// Straight to the stream, past libtest, which shows only what failed tests print.
    fn note(text: &str) {
        writeln!(std::io::stderr(), "note: {text}").expect("a stream");
    }

    #[test]
    fn good_programs_run() {
        for json in corpus() {
            let depth = survive(json.as_bytes());
            assert!(depth >= Depth::Planned, "{depth:?}: {json}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

        /// For a minute, by default. `POTLUCK_HOSTILE_SEED` repeats a run.
        #[test]
        fn no_program_harms_a_volunteer(drawn: u64) {
            let seed = number("POTLUCK_HOSTILE_SEED").unwrap_or(drawn);
            let seconds = number("POTLUCK_HOSTILE_SECONDS").unwrap_or(SECONDS);
            let (corpus, end) = (corpus(), Instant::now() + Duration::from_secs(seconds));
            let mut reached = [0u64; 4];
            for case in 0.. {
                if Instant::now() > end {
                    break;
                }
                let json = hostile(&corpus, mix(seed, case));
                match catch_unwind(AssertUnwindSafe(|| survive(&json))) {
                    Ok(depth) => reached[depth as usize] += 1,
                    Err(_) => panic!("case {case} of seed {seed}: {}", String::from_utf8_lossy(&json)),
                }
            }
            let counts = Depth::ALL.map(|depth| format!("{} {depth:?}", reached[depth as usize]).to_lowercase());
            let cases: u64 = reached.iter().sum();
            note(&format!("{cases} hostile programs in {seconds} s, seed {seed}: {}", counts.join(", ")));
            // A generator that only makes rubbish, or only good programs, would prove nothing.
            prop_assert!(reached.iter().all(|&count| count > 0), "{counts:?}");
        }
    }
}
