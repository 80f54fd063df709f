//! The tasks: three real models on real data, each from an early and a late point of its training,
//! with both optimizers and every number of steps that a task may sensibly have.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use potluck_data::{EncodedBlock, Ingested};
use potluck_engine::{Choice, Engine};
use potluck_graph::{Block, Program, batches, random::permutation};
use potluck_protocol::{
    BlobId, JobFile, Optimizer, OuterStep, Recipe, Schedule, Task, TaskId, TaskKind, UpdateEncoding, Version,
};

/// A model, the example whose data it learns from, and what is changed in that job file.
struct Model {
    name: &'static str,
    example: &'static str,
    changes: &'static [(&'static str, &'static str)],
    batch: u32,
}

const MODELS: [Model; 3] = [
    Model { name: "mlp", example: "digits", changes: &[], batch: 32 },
    Model { name: "cnn", example: "digits-cnn", changes: &[], batch: 32 },
    Model { name: "gpt", example: "plays", changes: &[], batch: 8 },
];

/// The optimizers with learning rates at which these models train well.
fn optimizers() -> [(&'static str, Optimizer, f32); 2] {
    [("adamw", Optimizer::default(), 4e-3), ("muon", Optimizer::muon(), 30e-3)]
}

const STEPS: [u32; 3] = [4, 8, 16];

/// Steps of training before a task: noise still rules early on, and late on the updates are small.
const WARM: [(&str, u32); 2] = [("early", 16), ("late", 240)];

/// Tasks of one kind: other data and another shuffle in each.
const SEEDS: u64 = 2;

fn recipe(optimizer: Optimizer, lr: f32, steps: u32, batch: u32) -> Recipe {
    Recipe {
        optimizer,
        lr,
        schedule: Schedule::Constant,
        ramp_steps: if matches!(optimizer, Optimizer::Muon { .. }) { steps } else { 3 },
        clip_norm: 1.0,
        steps,
        batch,
        budget_samples: 1 << 30,
        target_accuracy: None,
        outer: OuterStep::default(),
        update: UpdateEncoding::E3m0,
    }
}

/// Writes `FOLDER/NAME/{task.json, program.json, base.bin, block-N.bin, other-N.bin}` for each task
/// and `FOLDER/tasks.json` with their names. A sample is one early task of each model.
pub(crate) fn write_tasks(folder: &Path, examples: &Path, sample: bool) -> Result<()> {
    let mut names = Vec::new();
    for model in MODELS {
        let ingested = ingest(&examples.join(model.example), model.changes)?;
        for (optimizer_name, optimizer, lr) in optimizers() {
            let mut base = ingested.program.initial(7);
            let mut warmed = 0;
            for (phase, warm) in WARM.iter().take(if sample { 1 } else { WARM.len() }) {
                let recipe_of = |steps| recipe(optimizer, lr, steps, model.batch);
                base = train(&ingested.program, &recipe_of(8), &base, &ingested.train, warm - warmed)?;
                warmed = *warm;
                for steps in STEPS {
                    for seed in 0..if sample { 1 } else { SEEDS } {
                        let name = format!("{}-{optimizer_name}-h{steps}-{phase}-{seed}", model.name);
                        if sample && steps != 8 {
                            continue;
                        }
                        write_task(&folder.join(&name), &ingested, &recipe_of(steps), &base, seed)?;
                        names.push(name);
                    }
                }
            }
        }
        eprintln!("tasks of {} are written", model.name);
    }
    fs::write(folder.join("tasks.json"), serde_json::to_string(&names)?)?;
    Ok(())
}

fn ingest(folder: &Path, changes: &[(&str, &str)]) -> Result<Ingested> {
    let path = folder.join("job.toml");
    let mut text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (from, to) in changes {
        text = text.replacen(from, to, 1);
    }
    Ok(potluck_data::ingest(&JobFile::parse(&text)?, folder)?)
}

fn decode(program: &Program, blocks: &[EncodedBlock]) -> Result<Vec<Block>> {
    Ok(blocks.iter().map(|block| Block::decode(&block.bytes, program.inputs())).collect::<Result<_, _>>()?)
}

/// Steps of plain training on the processor.
fn train(program: &Program, recipe: &Recipe, base: &[f32], blocks: &[EncodedBlock], steps: u32) -> Result<Vec<f32>> {
    let blocks = decode(program, blocks)?;
    let samples = blocks.iter().map(|block| block.samples).sum();
    pollster::block_on(async {
        let mut trainer = Engine::open(Choice::Cpu).await?.trainer(program, recipe, base).await?;
        for (step, rows) in (1u32..).zip(batches(3, samples, steps, recipe.batch)) {
            let ramp = (step as f32 / 3.0).min(1.0);
            trainer.step(&Block::gather(&blocks, &rows), recipe.lr * ramp).await?;
        }
        Ok(trainer.weights().await?)
    })
}

fn write_task(folder: &Path, ingested: &Ingested, recipe: &Recipe, base: &[f32], seed: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    // As many blocks as the task has samples, and as many others for who trains on other data.
    let order = permutation(seed, ingested.train.len() as u32);
    let mut wanted = recipe.task_samples();
    let mine: Vec<u32> = order
        .iter()
        .copied()
        .take_while(|&index| {
            let more = wanted > 0;
            wanted = wanted.saturating_sub(ingested.train[index as usize].samples.into());
            more
        })
        .collect();
    let others = order.iter().rev().take(mine.len());
    let bytes_of = |index: &u32| &ingested.train[*index as usize].bytes;
    let base = potluck_update::bytes_from_weights(base);
    let program = ingested.program.to_json();
    let task = Task {
        id: TaskId(seed + 1),
        kind: TaskKind::Train,
        program: BlobId::of(program.as_bytes()),
        base_version: Version(0),
        base: BlobId::of(&base),
        blocks: mine.iter().map(|index| BlobId::of(bytes_of(index))).collect(),
        seed: seed + 100,
        steps: recipe.steps,
        batch: recipe.batch,
        lr_start: recipe.lr,
        lr_end: recipe.lr * 0.99,
        recipe: recipe.clone(),
    };
    fs::write(folder.join("task.json"), serde_json::to_string(&task)?)?;
    fs::write(folder.join("program.json"), program)?;
    fs::write(folder.join("base.bin"), base)?;
    for (at, index) in mine.iter().enumerate() {
        fs::write(folder.join(format!("block-{at}.bin")), bytes_of(index))?;
    }
    for (at, index) in others.enumerate() {
        fs::write(folder.join(format!("other-{at}.bin")), bytes_of(index))?;
    }
    Ok(())
}
