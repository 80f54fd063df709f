//! `potluck check`: reads a job and its data as `serve` would, and says what it will cost.

use std::path::PathBuf;

use potluck_data::{EncodedBlock, Ingested};
use potluck_protocol::{JobFile, ProgramFacts, Recipe};
use potluck_scheduler::TaskCost;

use crate::{
    error::CliError,
    finish::{self, Day},
    job_file::{self, Read},
    print,
};

/// Checks job files, one after the other; the first problem ends it.
pub(crate) fn check(jobs: &[PathBuf], by: Option<Day>) -> Result<(), CliError> {
    let is_over = || CliError::Mistake("--by: this day is over".to_owned());
    let days = by.map(|day| day.days_until_end().ok_or_else(is_over)).transpose()?;
    for path in jobs {
        let Read { file, path, base_folder } = job_file::read(path)?;
        let in_file = |text: String| CliError::Mistake(format!("{}: {text}", path.display()));
        let ingested = potluck_data::ingest(&file, &base_folder).map_err(|e| in_file(e.to_string()))?;
        if let Some(problem) = potluck_coordinator::size_problem(&ingested.program.facts()) {
            return Err(in_file(problem));
        }
        let memory = memory(&ingested, &file.train).map_err(in_file)?;
        print::facts(
            &format!("{}: {} ({})", path.display(), file.job.title, file.job.name),
            &rows(&file, &ingested, memory, days),
        );
        print::line("");
        print::table(&["split", "samples", "blocks", "bytes"], &splits(&ingested));
        print::line("");
        let (tasks, cost) = work(&ingested, &file.train);
        print::table(&["visits a day", "there at once", "budget spent in"], &finish::table(tasks, &cost));
        print::line("");
    }
    Ok(())
}

fn bytes_of(blocks: &[EncodedBlock]) -> u64 {
    blocks.iter().map(|block| block.bytes.len() as u64).sum()
}

fn splits(ingested: &Ingested) -> Vec<Vec<String>> {
    let splits = [("train", &ingested.train), ("valid", &ingested.valid), ("test, never served", &ingested.test)];
    let row = |(name, blocks): (&str, &Vec<EncodedBlock>)| {
        let samples = print::count(Ingested::samples_of(blocks).into());
        vec![name.to_owned(), samples, print::count(blocks.len() as u64), print::bytes(bytes_of(blocks))]
    };
    splits.map(row).to_vec()
}

/// What a visitor downloads before the first task, and for each one after it: the parameters whole, then
/// what leads from one version to the next.
fn downloads(ingested: &Ingested, recipe: &Recipe) -> (u64, u64) {
    let count = ingested.program.parameter_count();
    let (whole, delta) = (4 * count as u64, potluck_update::delta_len(count) as u64);
    let block = ingested.train.first().map_or(0, |block| block.bytes.len() as u64 / u64::from(block.samples.max(1)));
    let task = recipe.task_samples() * block;
    (ingested.program.to_json().len() as u64 + whole + task, delta + task)
}

/// Bytes that training takes in a visitor's tab besides the data.
fn memory(ingested: &Ingested, recipe: &Recipe) -> Result<u64, String> {
    let plan = potluck_engine::Plan::new(&ingested.program, recipe);
    plan.map(|plan| potluck_engine::memory_bytes(&plan))
        .map_err(|error| format!("the model cannot be trained: {error}"))
}

/// Tasks of the budget, and what one of them costs a visitor.
fn work(ingested: &Ingested, recipe: &Recipe) -> (u64, TaskCost) {
    let (first_bytes, next_bytes) = downloads(ingested, recipe);
    let samples = recipe.task_samples();
    let cost = TaskCost {
        first_bytes,
        next_bytes,
        upload_bytes: potluck_update::encoded_len(recipe.update, ingested.program.parameter_count()) as u64,
        flops: samples * ingested.program.facts().train_flops_per_sample,
        steps: recipe.steps,
    };
    (recipe.budget_samples.div_ceil(samples), cost)
}

fn rows(file: &JobFile, ingested: &Ingested, memory: u64, days: Option<f64>) -> Vec<(&'static str, String)> {
    let recipe = &file.train;
    let ProgramFacts { parameters, evaluate_flops_per_sample, .. } = ingested.program.facts();
    let task_samples = recipe.task_samples();
    let train = u64::from(Ingested::samples_of(&ingested.train));
    let (tasks, cost) = work(ingested, recipe);
    let TaskCost { first_bytes, next_bytes, upload_bytes, flops, .. } = cost;
    let valid = u64::from(Ingested::samples_of(&ingested.valid)) * evaluate_flops_per_sample;
    let mut rows = vec![
        ("data", format!("{} samples: {}", print::count(ingested.samples.into()), ingested.contents)),
        ("parameters", print::count(parameters)),
        ("memory in a tab", print::bytes(memory)),
        ("first download", print::bytes(first_bytes)),
        ("each task", format!("{} down, {} up", print::bytes(next_bytes), print::bytes(upload_bytes))),
        (
            "work of a task",
            format!("{} x {} = {task_samples} samples, {}", recipe.steps, recipe.batch, print::flops(flops)),
        ),
        ("work of an evaluation", print::flops(valid)),
        (
            "tasks in the budget",
            format!(
                "{} ({} samples, {:.1} epochs)",
                print::count(tasks),
                print::count(recipe.budget_samples),
                recipe.budget_samples as f64 / train.max(1) as f64
            ),
        ),
        ("work of the budget", print::flops(tasks * flops)),
        (
            "useful at once",
            format!(
                "about {} volunteers: with more, the budget makes fewer than {} versions",
                print::count(potluck_scheduler::useful_volunteers(recipe)),
                potluck_scheduler::VERSIONS_MIN
            ),
        ),
    ];
    rows.extend(days.map(|days| ("to end by then", finish::needed(tasks, &cost, days))));
    rows
}
