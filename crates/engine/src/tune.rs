//! Which tier of a kernel is the fastest on this GPU: measured once for each device and shape, on memory
//! of its own, within a budget of time.
//!
//! It must not know a clock: the caller brings one. What is not measured keeps its usual tier.

use std::{rc::Rc, sync::Arc, time::Duration};

use potluck_graph::Program;
use potluck_protocol::{Recipe, limits};

use crate::{
    Dispatch, Engine, EngineError, Kernel, Place, Plan, Tier,
    gpu::{GpuDevice, GpuExecutor},
};

/// One look lasts at least so long: five times what the coarsest clock of a browser tells apart.
const LOOK: Duration = Duration::from_millis(5);

/// Times that a kernel runs in one look at most: a kernel of 10 us lasts 2.5 ms then, and whatever is
/// shorter gains nothing by another tier.
const TIMES_MAX: usize = 256;

/// Looks at each tier, the tiers taking turns; the median counts.
const LOOKS: usize = 3;

/// Another tier is taken where it needs less than this share of the usual one's time: two measurements
/// of one kernel differ by less than a tenth on a quiet device.
const WORTH: f64 = 0.9;

/// Memory that the operands of one kernel may take beside what else is there: an eighth of a tab's.
const SCRATCH_BYTES_MAX: u64 = limits::TAB_MEMORY_BYTES_MAX / 8;

/// What tuning came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tuned {
    /// Kernels that were measured now.
    pub measured: usize,
    /// Those of them that take another tier than the usual one.
    pub changed: usize,
    /// Dispatches with a choice that were left, for want of time or memory.
    pub left: usize,
}

/// What measuring may take: a clock and the time that is left.
struct Budget<'a> {
    clock: &'a dyn Fn() -> Duration,
    left: Duration,
}

impl Engine {
    /// Measures the tiers of this program's kernels, those with the most work first, for up to
    /// `budget`. The trainers that this engine and its clones make from then on have the fastest ones,
    /// and their plans say so. Trainers that exist do not change. `clock` is any that does not go back.
    ///
    /// A kernel whose measurements would not fit what is left is not measured, so the budget is passed by
    /// one compilation and one look at most. On the processor there is nothing to choose.
    ///
    /// # Errors
    /// Where the plan does not fit, or the device fails.
    pub async fn tune(
        &self,
        program: &Program,
        recipe: &Recipe,
        clock: &dyn Fn() -> Duration,
        budget: Duration,
    ) -> Result<Tuned, EngineError> {
        let mut tuned = Tuned::default();
        let Some(gpu) = &self.gpu else { return Ok(tuned) };
        let plan = Plan::new(program, recipe)?;
        let mut budget = Budget { clock, left: budget };
        for dispatch in with_a_choice(&plan) {
            let kernel = dispatch.kernel;
            if gpu.fastest(&kernel).is_some() {
                continue;
            }
            let usual = self.tier(&kernel);
            match budget.fastest(gpu, &plan, dispatch, usual).await? {
                None => tuned.left += 1,
                Some(tier) => {
                    tuned.measured += 1;
                    tuned.changed += usize::from(tier != usual);
                    gpu.measured(&kernel, tier);
                }
            }
        }
        Ok(tuned)
    }
}

/// The dispatches of kernels that have several tiers, the most work first.
fn with_a_choice(plan: &Plan) -> Vec<&Dispatch> {
    let choice = |dispatch: &&Dispatch| Tier::options(&dispatch.kernel).len() > 1;
    let mut each: Vec<&Dispatch> = plan.dispatches.iter().filter(choice).collect();
    each.sort_by_key(|dispatch| std::cmp::Reverse(work(&dispatch.kernel)));
    each
}

/// Multiplications of the kernels that are bound by them; the rest come last.
fn work(kernel: &Kernel) -> u64 {
    let product = |sizes: &[u32]| sizes.iter().map(|&size| u64::from(size)).product();
    match *kernel {
        Kernel::MatMul { m, n, k, batch, .. } => product(&[m, n, k, batch]),
        Kernel::Attention { sizes } | Kernel::AttentionGradQ { sizes } | Kernel::AttentionGradKv { sizes } => {
            product(&[sizes.batch, sizes.heads, sizes.t, sizes.t, sizes.width])
        }
        Kernel::Conv2dGradX { sizes } => {
            product(&[sizes.batch, sizes.n, sizes.out_h, sizes.out_w, sizes.c / sizes.groups, sizes.size, sizes.size])
        }
        _ => 0,
    }
}

impl Budget<'_> {
    /// The fastest tier of a dispatch; `None` where it was not measured.
    async fn fastest(
        &mut self,
        gpu: &Rc<GpuDevice>,
        plan: &Plan,
        dispatch: &Dispatch,
        usual: Tier,
    ) -> Result<Option<Tier>, EngineError> {
        let alone = alone(plan, dispatch, &[usual]);
        let bytes = 4 * alone.slots.iter().map(|&len| len as u64).sum::<u64>();
        if self.left.is_zero() || bytes > SCRATCH_BYTES_MAX || !compiles(gpu, &dispatch.kernel, usual).await? {
            return Ok(None);
        }
        // Whoever trains needs the usual tier's pipeline anyway, so that one is not of the budget.
        let began = (self.clock)();
        let fastest = self.measure(gpu, alone, usual).await;
        self.left = self.left.saturating_sub((self.clock)().saturating_sub(began));
        fastest
    }

    /// Times the usual tier, which `alone` runs; compiles and races the others where there is time.
    async fn measure(&self, gpu: &Rc<GpuDevice>, mut alone: Plan, usual: Tier) -> Result<Option<Tier>, EngineError> {
        let began = (self.clock)();
        let usual_alone = alone.dispatches[0].clone();
        let options: Vec<Tier> = gpu.tiers(&usual_alone.kernel).collect();
        let fits =
            |look: Duration| (self.clock)().saturating_sub(began) + look * (LOOKS * options.len()) as u32 <= self.left;
        let executor = GpuExecutor::new(Rc::clone(gpu), Arc::new(alone.clone())).await?;
        let (times, look) = self.times(&executor, &fits).await?;
        executor.free();
        let mut tiers = vec![usual];
        for tier in options.iter().copied().filter(|&tier| tier != usual) {
            if !fits(look) {
                return Ok(None);
            }
            if compiles(gpu, &usual_alone.kernel, tier).await? {
                tiers.push(tier);
            }
        }
        alone.dispatches = tiers.iter().map(|&tier| Dispatch { tier, ..usual_alone.clone() }).collect();
        let executor = GpuExecutor::new(Rc::clone(gpu), Arc::new(alone)).await?;
        let fastest = self.race(&executor, &tiers, times, &fits).await;
        executor.free();
        fastest
    }

    /// How often the first dispatch is run in a look, and how long that takes.
    async fn times(
        &self,
        executor: &GpuExecutor,
        fits: &impl Fn(Duration) -> bool,
    ) -> Result<(usize, Duration), EngineError> {
        let mut times = 1;
        // The first run pays for what the device puts off until then.
        self.time(executor, 0, times).await?;
        loop {
            let look = self.time(executor, 0, times).await?;
            if look >= LOOK || times == TIMES_MAX || !fits(look) {
                return Ok((times, look));
            }
            times *= 4;
        }
    }

    /// Times the dispatches against each other; the first is the usual one and keeps its place where no
    /// other is worth it. `None` where that would take too long.
    async fn race(
        &self,
        executor: &GpuExecutor,
        tiers: &[Tier],
        times: usize,
        fits: &impl Fn(Duration) -> bool,
    ) -> Result<Option<Tier>, EngineError> {
        for dispatch in 0..tiers.len() {
            let first = self.time(executor, dispatch, 1).await?;
            if !fits(first) {
                return Ok(None);
            }
        }
        let mut looks = vec![Vec::with_capacity(LOOKS); tiers.len()];
        for _ in 0..LOOKS {
            for (dispatch, looks) in looks.iter_mut().enumerate() {
                looks.push(self.time(executor, dispatch, times).await?);
            }
        }
        let medians = looks.into_iter().map(|mut looks| {
            looks.sort_unstable();
            looks[LOOKS / 2].as_secs_f64()
        });
        Ok(Some(best(tiers, &medians.collect::<Vec<f64>>())))
    }

    async fn time(&self, executor: &GpuExecutor, dispatch: usize, times: usize) -> Result<Duration, EngineError> {
        let began = (self.clock)();
        executor.repeat(dispatch, times).await?;
        Ok((self.clock)().saturating_sub(began))
    }
}

async fn compiles(gpu: &GpuDevice, kernel: &Kernel, tier: Tier) -> Result<bool, EngineError> {
    match gpu.compiled(kernel, std::iter::once(tier)).await {
        Ok(_) => Ok(true),
        Err(EngineError::Shader(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The tiers of one dispatch over slots of their own, which hold zeros.
fn alone(plan: &Plan, dispatch: &Dispatch, tiers: &[Tier]) -> Plan {
    let len = |&place: &Place| match place {
        Place::Slot(slot) => plan.slots[slot],
        Place::Parameter { len, .. } | Place::Gradient { len, .. } => len,
    };
    let Dispatch { kernel, reads, writes, .. } = dispatch;
    let slots: Vec<usize> = reads.iter().chain(writes).map(len).collect();
    let places: Vec<Place> = (0..slots.len()).map(Place::Slot).collect();
    let (from, to) = places.split_at(reads.len());
    let of = |&tier: &Tier| Dispatch { kernel: *kernel, tier, reads: from.to_vec(), writes: to.to_vec() };
    Plan::bare(tiers.iter().map(of).collect(), slots, 0)
}

/// The first tier, or the fastest of the others where that is worth it.
fn best(tiers: &[Tier], seconds: &[f64]) -> Tier {
    let each = tiers.iter().zip(seconds);
    let fastest = each.min_by(|a, b| a.1.total_cmp(b.1)).filter(|&(_, &took)| took < WORTH * seconds[0]);
    *fastest.map_or(&tiers[0], |(tier, _)| tier)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Instant};

    use potluck_graph::{
        Column,
        preset::{GptConfig, gpt},
    };

    use super::*;
    use crate::{Choice, Trainer, tests::recipe};

    const LONG: Duration = Duration::from_secs(600);

    fn engine() -> Engine {
        pollster::block_on(Engine::open(Choice::Gpu)).expect("a Vulkan adapter (`cargo xtask setup` brings one)")
    }

    fn program() -> Program {
        gpt(&GptConfig::gpt2(12, 8, 1, 16, 2)).expect("a good program")
    }

    fn tune(engine: &Engine, clock: &dyn Fn() -> Duration, budget: Duration) -> Tuned {
        pollster::block_on(engine.tune(&program(), &recipe(4), clock, budget)).expect("it measures")
    }

    /// Every look takes as long as any other.
    fn even() -> impl Fn() -> Duration {
        let now = Cell::new(Duration::ZERO);
        move || {
            now.set(now.get() + LOOK);
            now.get()
        }
    }

    fn given(engine: &Engine, tiers: &[Tier]) -> Result<Trainer, EngineError> {
        let program = program();
        pollster::block_on(engine.trainer_with(&program, &recipe(4), &program.initial(3), tiers))
    }

    fn tuned(engine: &Engine) -> Trainer {
        let program = program();
        pollster::block_on(engine.trainer(&program, &recipe(4), &program.initial(3))).expect("it fits")
    }

    /// The bits of the weights after three steps.
    fn train(trainer: &mut Trainer) -> Vec<u32> {
        let tokens = |from: u32| Column::U32((0..32).map(|at| (at * 5 + from) % 12).collect());
        for step in 0..3 {
            pollster::block_on(trainer.step(&[tokens(step), tokens(step + 1)], 1e-2)).expect("it steps");
        }
        pollster::block_on(trainer.weights()).expect("it reads").into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn a_tier_must_be_worth_it() {
        let tiers = [Tier::Registers, Tier::Shared, Tier::Plain];
        assert_eq!(best(&tiers, &[1.0, 0.95, 0.91]), Tier::Registers);
        assert_eq!(best(&tiers, &[1.0, 0.85, 0.8]), Tier::Plain);
        assert_eq!(best(&tiers, &[0.0, 0.0, 0.0]), Tier::Registers, "a clock that stands still");
    }

    #[test]
    fn the_most_work_comes_first() {
        let plan = Plan::new(&program(), &recipe(4)).expect("it fits");
        let all: Vec<u64> = with_a_choice(&plan).iter().map(|dispatch| work(&dispatch.kernel)).collect();
        assert!(all.is_sorted_by(|a, b| a >= b), "{all:?}");
        assert!(all.len() > 10 && all[0] == 4 * 8 * 16 * 64 && all[all.len() - 1] == 0, "{all:?}");
    }

    #[test]
    fn what_was_chosen_computes_the_same_bits_elsewhere() {
        let engine = engine();
        let started = Instant::now();
        let first = tune(&engine, &|| started.elapsed(), LONG);
        assert!(first.measured > 10 && first.left == 0, "{first:?}");
        assert_eq!(tune(&engine, &|| started.elapsed(), LONG), Tuned::default(), "each shape is measured once");
        let mut here = tuned(&engine);
        for Dispatch { kernel, tier, .. } in &here.plan().dispatches {
            assert!(Tier::options(kernel).contains(tier), "{kernel:?} has no {tier:?}");
        }
        let fresh = self::engine();
        let mut elsewhere = given(&fresh, &here.plan().tiers()).expect("the same plan");
        assert_eq!(here.plan().id(), elsewhere.plan().id());
        assert_eq!(train(&mut here), train(&mut elsewhere));
    }

    #[test]
    fn the_plan_id_covers_each_tier() {
        let usual = Plan::new(&program(), &recipe(4)).expect("it fits");
        let mut seen = std::collections::HashSet::from([usual.id()]);
        for (index, dispatch) in usual.dispatches.iter().enumerate() {
            for &tier in Tier::options(&dispatch.kernel).iter().filter(|&&tier| tier != dispatch.tier) {
                let mut other = usual.clone();
                other.dispatches[index].tier = tier;
                assert!(seen.insert(other.id()), "dispatch {index} in {tier:?}");
            }
        }
        assert!(seen.len() > 20, "{} plans", seen.len());
    }

    #[test]
    fn measuring_leaves_a_trainer_as_it_is() {
        let engine = engine();
        let mut trainer = tuned(&engine);
        let tiers = trainer.plan().tiers();
        train(&mut trainer);
        tune(&engine, &even(), LONG);
        let after = train(&mut trainer);
        let mut alone = given(&self::engine(), &tiers).expect("the same plan");
        train(&mut alone);
        assert_eq!(after, train(&mut alone));
    }

    #[test]
    fn without_time_nothing_is_measured_or_changed() {
        let engine = engine();
        let before = tuned(&engine).plan().id();
        let Tuned { measured, changed, left } = tune(&engine, &even(), Duration::ZERO);
        assert!((measured, changed) == (0, 0) && left > 10, "{measured} {changed} {left}");
        assert_eq!(tuned(&engine).plan().id(), before);
        // Fifty turns of the clock are enough for a kernel or two.
        let short = tune(&engine, &even(), LOOK * 50);
        assert!((1..=2).contains(&short.measured) && short.left > 10, "{short:?}");
    }

    #[test]
    fn foreign_tiers_are_refused() {
        let engine = engine();
        let tiers = tuned(&engine).plan().tiers();
        let refused = |tiers: &[Tier]| given(&engine, tiers).map(drop).expect_err("an error");
        assert_eq!(refused(&tiers[1..]), EngineError::Tier { index: tiers.len() - 1, tier: "none".to_owned() });
        let more = [tiers.as_slice(), &[Tier::Plain]].concat();
        assert_eq!(refused(&more), EngineError::Tier { index: tiers.len(), tier: "too many".to_owned() });
        let last = tiers.len() - 1;
        let wrong: Vec<Tier> = tiers[..last].iter().copied().chain([Tier::Shared]).collect();
        assert_eq!(refused(&wrong), EngineError::Tier { index: last, tier: "Shared".to_owned() });
    }
}
