//! The join challenge: how fast each device here trains the job's own program, and which to take.
//! A software adapter loses to SIMD on the processor, which no name or limit would tell.
//!
//! It must not know what the answer is used for.

use std::time::Duration;

use potluck_engine::{Choice, Engine};
use potluck_graph::{Block, batches};
use potluck_protocol::{Backend, Device, limits};
use potluck_update::weights_from_bytes;

use crate::{
    meter::Meter,
    pace::{Pace, StopFlag},
    runner::{RunError, TaskRunner},
    slices::Slices,
    work::Challenge,
};

/// How long one device is measured once it is warm. Two devices and their warm-up stay near a
/// second on a usual laptop.
const SPAN: Duration = Duration::from_millis(300);

/// How long steps are run before that: the first pays for pipelines and caches, and the next ones tell how
/// many dispatches fit a slice. A short step goes whole after seven.
const WARM_UP: Duration = Duration::from_millis(150);

/// How long the ways to compute a GPU's kernels are measured before, so that both devices together stay
/// near a second.
const TUNING: Duration = Duration::from_millis(200);

/// No processor executor of ours reaches this (measured: 26 to 45 GFLOP/s with wasm SIMD, 71
/// natively): a faster GPU needs no comparison, and a large program no slow step on the processor.
const PROCESSOR_FLOPS_MAX: f64 = 150e9;

/// The device that was chosen.
pub(crate) struct Chosen {
    pub(crate) runner: TaskRunner,
    pub(crate) device: Device,
    /// Why it is not the GPU, where a GPU was wanted, or not all of its shaders.
    pub(crate) fallback: Option<String>,
}

/// Measures what `choice` allows and takes the fastest. `None` where `stop` was raised.
pub(crate) async fn choose(
    challenge: &Challenge,
    choice: Choice,
    agent: &str,
    stop: &StopFlag,
    pace: &impl Pace,
) -> Result<Option<Chosen>, RunError> {
    match choice {
        Choice::Auto => choose_fastest(challenge, agent, stop, pace).await,
        forced => {
            let engine = Engine::open(forced).await?;
            let Some(speed) = measure(&engine, challenge, stop, pace).await? else { return Ok(None) };
            let device = describe(&engine, agent, true, vec![(engine.backend(), speed)]);
            let fallback = refusals(&engine);
            Ok(Some(Chosen { runner: TaskRunner::new(engine), device, fallback }))
        }
    }
}

/// What this GPU runs another way than it was meant to.
pub(crate) fn refusals(engine: &Engine) -> Option<String> {
    let refused = engine.refused();
    (!refused.is_empty()).then(|| format!("this GPU refuses shaders, others take their place: {}", refused.join("; ")))
}

async fn choose_fastest(
    challenge: &Challenge,
    agent: &str,
    stop: &StopFlag,
    pace: &impl Pace,
) -> Result<Option<Chosen>, RunError> {
    let mut speeds = Vec::new();
    let gpu = match measure_gpu(challenge, stop, pace).await {
        Ok(None) => return Ok(None),
        Ok(Some((engine, speed))) => {
            speeds.push((engine.backend(), speed));
            Ok((engine, speed))
        }
        Err(error) => Err(error.to_string()),
    };
    let flops = challenge.program.facts().train_flops_per_sample as f64;
    if let Ok((engine, speed)) = &gpu
        && f64::from(*speed) * flops > PROCESSOR_FLOPS_MAX
    {
        let device = describe(engine, agent, false, speeds);
        return Ok(Some(Chosen { runner: TaskRunner::new(engine.clone()), device, fallback: refusals(engine) }));
    }
    let processor = Engine::open(Choice::Cpu).await?;
    let Some(speed) = measure(&processor, challenge, stop, pace).await? else { return Ok(None) };
    speeds.push((processor.backend(), speed));
    let (engine, fallback) = match gpu {
        Ok((engine, gpu_speed)) if gpu_speed >= speed => {
            let fallback = refusals(&engine);
            (engine, fallback)
        }
        Ok((_, gpu_speed)) => {
            let reason = format!("the GPU trains {gpu_speed:.0} samples a second here, the processor {speed:.0}");
            (processor, Some(reason))
        }
        Err(reason) => (processor, Some(reason)),
    };
    let device = describe(&engine, agent, false, speeds);
    Ok(Some(Chosen { runner: TaskRunner::new(engine), device, fallback }))
}

async fn measure_gpu(
    challenge: &Challenge,
    stop: &StopFlag,
    pace: &impl Pace,
) -> Result<Option<(Engine, f32)>, RunError> {
    let engine = Engine::open(Choice::Gpu).await?;
    Ok(measure(&engine, challenge, stop, pace).await?.map(|speed| (engine, speed)))
}

/// Training samples a second on this device. `None` where `stop` was raised.
///
/// Steps are timed in groups that double up to a task's length, with one look at the loss at the
/// end of each, as in a task: a look can cost 100 ms in some browsers. They run in slices where those of
/// tasks do, and the rests between slices do not count.
async fn measure(
    engine: &Engine,
    challenge: &Challenge,
    stop: &StopFlag,
    pace: &impl Pace,
) -> Result<Option<f32>, RunError> {
    let Challenge { program, recipe, base, block } = challenge;
    let base = weights_from_bytes(base, program.parameter_count()).map_err(|e| RunError::Base(e.to_string()))?;
    let block = Block::decode(block, program.inputs()).map_err(|error| RunError::Block { index: 0, error })?;
    let rows = batches(0, block.samples, 1, recipe.batch).concat();
    let batch = Block::gather(std::slice::from_ref(&block), &rows);
    // A program that plays the GPU compiles one kernel's other tiers for longer than the whole takes.
    if !engine.is_software() {
        engine.tune(program, recipe, &|| pace.now(), TUNING).await?;
    }
    let mut trainer = engine.trainer(program, recipe, &base).await?;
    let dispatches = trainer.plan().dispatches.len();
    let mut slices = pace.slice().map(|budget| Slices::new(dispatches, budget));
    let (mut warm_up, mut warmed, mut steps) = (true, Duration::ZERO, 1);
    loop {
        pace.rest(Duration::ZERO).await;
        let mut meter = Meter::restless(pace);
        let mut began = pace.now();
        for _ in 0..steps {
            trainer.begin(&batch, recipe.lr)?;
            if stop.is_raised() || !meter.run(&mut trainer, &mut slices, &mut began, stop).await? {
                return Ok(None);
            }
        }
        trainer.loss().await?;
        let took = meter.busy + pace.now().saturating_sub(began);
        if warm_up {
            warmed += took;
            warm_up = warmed < WARM_UP && slices.as_ref().is_some_and(|slices| !slices.whole(dispatches));
            continue;
        }
        if took >= SPAN || steps >= recipe.steps {
            // A browser's clock may stand still for a millisecond.
            let seconds = took.as_secs_f64().max(1e-4);
            return Ok(Some((f64::from(steps) * f64::from(recipe.batch) / seconds) as f32));
        }
        steps = (steps * 2).min(recipe.steps);
    }
}

/// The device as the coordinator is told; texts cut to what it accepts.
pub(crate) fn describe(engine: &Engine, agent: &str, forced: bool, challenge: Vec<(Backend, f32)>) -> Device {
    Device { agent: cut(agent), adapter: cut(&engine.adapter()), backend: engine.backend(), forced, challenge }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(limits::DEVICE_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "é".repeat(limits::DEVICE_TEXT_BYTES_MAX);
        assert_eq!(cut(&text).len(), limits::DEVICE_TEXT_BYTES_MAX);
        assert!(cut(&format!("a{text}")).len() < limits::DEVICE_TEXT_BYTES_MAX);
    }
}
