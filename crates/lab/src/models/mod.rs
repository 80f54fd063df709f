//! Real models on real data, trained on one device with the engine's trainer alone, so that what
//! comes out is a matter of programs, kernels and optimizers and of nothing else.

mod jobs;

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result, bail};
use potluck_data::{EncodedBlock, Ingested};
use potluck_engine::{BatchEvaluation, Choice, Engine, Trainer};
use potluck_graph::{Block, Column, Program, batches};
use potluck_protocol::{JobFile, Recipe};
use serde_json::{Value, json};

use self::jobs::{Model, model};

/// Steps over which the learning rate rises.
const RAMP_STEPS: u32 = 20;

/// Looks at `valid` during a training.
const LOOKS: u32 = 5;

/// Trains the model of this name on the data in `folder` with one seed, and prints a row.
pub(crate) fn run(name: &str, folder: &Path, backend: &str, seed: &str) -> Result<()> {
    let Some(model) = model(name) else { bail!("no model {name}; see crates/lab/src/models/jobs.rs") };
    let seed = seed.parse().context("the seed is no number")?;
    let choice = match backend {
        "cpu" => Choice::Cpu,
        "gpu" => Choice::Gpu,
        other => bail!("backend is {other:?}, expected \"cpu\" or \"gpu\""),
    };
    let job = JobFile::parse(&model.job_file())?;
    let ingested = potluck_data::ingest(&job, folder)?;
    let training = Training { model: &model, ingested: &ingested, recipe: job.train, seed };
    let row = pollster::block_on(training.run(choice))?;
    println!("{row}");
    Ok(())
}

/// Writes what another framework needs to train the same: first parameters, windows of the three
/// splits, and the rows of every batch.
pub(crate) fn dump(name: &str, folder: &Path, out: &Path, seed: &str) -> Result<()> {
    let Some(model) = model(name) else { bail!("no model {name}") };
    let seed: u64 = seed.parse().context("the seed is no number")?;
    let job = JobFile::parse(&model.job_file())?;
    let ingested = potluck_data::ingest(&job, folder)?;
    fs::create_dir_all(out)?;
    let floats = potluck_update::bytes_from_weights(&ingested.program.initial(seed));
    fs::write(out.join(format!("init-{seed}.f32")), floats)?;
    let words = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    for (split, blocks) in [("train", &ingested.train), ("valid", &ingested.valid), ("test", &ingested.test)] {
        let samples = samples_of(&ingested.program, blocks)?;
        let rows: Vec<u32> = (0..samples.count).collect();
        for (column, values) in ["x", "y"].iter().zip(Block::gather(&samples.blocks, &rows)) {
            let Column::U32(values) = values else { bail!("{name} is no model of text") };
            fs::write(out.join(format!("{split}-{column}.u32")), words(&values))?;
        }
    }
    let count = Ingested::samples_of(&ingested.train);
    let rows = batches(seed, count, model.steps, model.batch).concat();
    fs::write(out.join(format!("rows-{seed}.u32")), words(&rows))?;
    let recipe = job.train;
    let lr: Vec<f32> = (0..model.steps).map(|step| lr(&recipe, step)).collect();
    fs::write(out.join("lr.f32"), potluck_update::bytes_from_weights(&lr))?;
    let parameters: Vec<Value> =
        ingested.program.parameters().iter().map(|p| json!({"name": p.name, "shape": p.shape})).collect();
    let about = json!({
        "parameters": parameters, "steps": model.steps, "batch": model.batch, "looks": looks(model.steps),
        "config": serde_json::from_str::<Value>(&ingested.files.config)?, "recipe": recipe,
    });
    fs::write(out.join("about.json"), format!("{about:#}\n"))?;
    Ok(())
}

/// Blocks of one split.
struct Samples {
    blocks: Vec<Block>,
    count: u32,
}

fn samples_of(program: &Program, blocks: &[EncodedBlock]) -> Result<Samples> {
    let decoded = blocks.iter().map(|block| Block::decode(&block.bytes, program.inputs()));
    Ok(Samples { blocks: decoded.collect::<Result<_, _>>()?, count: Ingested::samples_of(blocks) })
}

/// The steps after which `valid` is looked at, the last among them.
fn looks(steps: u32) -> Vec<u32> {
    (1..=LOOKS).map(|look| steps * look / LOOKS).collect()
}

/// The learning rate of a step, counted from 0: up over the ramp, then as the recipe's schedule.
fn lr(recipe: &Recipe, step: u32) -> f32 {
    let ramp = ((step + 1) as f32 / RAMP_STEPS as f32).min(1.0);
    ramp * recipe.lr_at(u64::from(step) * u64::from(recipe.batch))
}

struct Training<'a> {
    model: &'a Model,
    ingested: &'a Ingested,
    recipe: Recipe,
    seed: u64,
}

impl Training<'_> {
    async fn run(&self, choice: Choice) -> Result<Value> {
        let Self { model, ingested, recipe, seed } = self;
        let program = &ingested.program;
        let (train, valid) = (samples_of(program, &ingested.train)?, samples_of(program, &ingested.valid)?);
        let test = samples_of(program, &ingested.test)?;
        let engine = Engine::open(choice).await?;
        let began = Instant::now();
        let mut trainer = engine.trainer(program, recipe, &program.initial(*seed)).await?;
        let (looks, mut curve, mut first_loss) = (looks(model.steps), Vec::new(), f32::NAN);
        for (step, rows) in (0u32..).zip(batches(*seed, train.count, model.steps, model.batch)) {
            trainer.step(&Block::gather(&train.blocks, &rows), lr(recipe, step)).await?;
            if step == 0 {
                first_loss = trainer.loss().await?;
            }
            if looks.contains(&(step + 1)) {
                let seen = self.evaluate(&mut trainer, &valid).await?;
                eprintln!(
                    "{} seed {seed}, step {}: valid loss {:.4}, {:.2} % right",
                    model.name,
                    step + 1,
                    seen.0,
                    100.0 * seen.1
                );
                curve.push(json!([step + 1, seen.0]));
            }
        }
        let (test_loss, test_accuracy) = self.evaluate(&mut trainer, &test).await?;
        Ok(json!({
            "model": model.name, "backend": engine.backend(), "adapter": engine.adapter(), "seed": seed,
            "parameters": program.parameter_count(), "steps": model.steps, "batch": model.batch,
            "train_samples": train.count, "test_samples": test.count, "first_loss": first_loss,
            "valid_curve": curve, "test_loss": test_loss, "test_accuracy": test_accuracy,
            "seconds": began.elapsed().as_secs(),
        }))
    }

    /// Mean loss and share of right predictions over a split.
    async fn evaluate(&self, trainer: &mut Trainer, samples: &Samples) -> Result<(f64, f64)> {
        let rows: Vec<u32> = (0..samples.count.min(self.model.evaluated)).collect();
        let mut sum = BatchEvaluation::default();
        for rows in rows.chunks(self.model.batch as usize) {
            let BatchEvaluation { loss_sum, correct, rows, samples } =
                trainer.evaluate(&Block::gather(&samples.blocks, rows)).await?;
            sum.loss_sum += loss_sum;
            sum.correct += correct;
            sum.rows += rows;
            sum.samples += samples;
        }
        let rows = sum.rows.max(1) as f64;
        Ok((sum.loss_sum / rows, sum.correct as f64 / rows))
    }
}
