//! Steps of a GPT of 43 M parameters, whose arenas do not fit one binding, natively on the processor or
//! on a Vulkan adapter. Prints the arenas' segments, the loss before each step, and what a step takes.
//! It wants 1.5 GB of memory and is no test.
//!
//!     cargo run --package potluck-tests --example large -- cpu|gpu [adamw|muon]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::Instant;

use potluck_engine::{Choice, Engine, EngineError, memory_bytes};
use potluck_graph::{
    Column,
    preset::{GptConfig, gpt},
};
use potluck_protocol::{Optimizer, OuterStep, Recipe, Schedule, UpdateEncoding};

const VOCABULARY: u32 = 30_000;
const CONTEXT: u32 = 64;
const STEPS: u32 = 4;

fn main() -> Result<(), EngineError> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |name: &str| words.iter().any(|word| word == name);
    let engine = pollster::block_on(Engine::open(if chosen("gpu") { Choice::Gpu } else { Choice::Cpu }))?;
    let program = gpt(&GptConfig::gpt2(VOCABULARY, CONTEXT, 4, 512, 8)).expect("a good program");
    let recipe = Recipe {
        optimizer: if chosen("muon") { Optimizer::muon() } else { Optimizer::default() },
        lr: 1e-3,
        schedule: Schedule::Constant,
        ramp_steps: 0,
        clip_norm: 1.0,
        steps: STEPS,
        batch: 1,
        budget_samples: 1000,
        target_accuracy: None,
        outer: OuterStep::default(),
        update: UpdateEncoding::E3m0,
    };
    let mut trainer = pollster::block_on(engine.trainer(&program, &recipe, &program.initial(1)))?;
    let plan = trainer.plan();
    let (dispatches, bytes) = (plan.dispatches.len(), memory_bytes(plan));
    println!("{} parameters, {dispatches} dispatches, {bytes} bytes", program.parameter_count());
    println!("segments (first value, values): {:?}", plan.segments);
    let tokens = |from: u32| Column::U32((from..from + CONTEXT).map(|at| at * 7919 % VOCABULARY).collect());
    for step in 1..=STEPS {
        let began = Instant::now();
        pollster::block_on(trainer.step(&[tokens(0), tokens(1)], recipe.lr))?;
        let loss = pollster::block_on(trainer.loss())?;
        println!("step {step}: loss {loss}, {:.2} s", began.elapsed().as_secs_f64());
    }
    let weights = pollster::block_on(trainer.weights())?;
    let sum: f64 = weights.iter().map(|&w| f64::from(w).abs()).sum();
    println!("{} weights read back, sum of sizes {sum}", weights.len());
    Ok(())
}
