//! The table that trust stands on: how far honest updates of one task are apart when different
//! executors compute them, and how far those of cheats.

mod cheats;
mod compare;
mod tasks;

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use potluck_engine::{Choice, Engine};
use potluck_graph::Program;
use potluck_protocol::Task;
use potluck_volunteer::{Run, TaskRunner};

pub(crate) use cheats::cheat;
pub(crate) use compare::compare;
pub(crate) use tasks::write_tasks;

/// The names of all tasks, in order.
fn task_names(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join("tasks.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Reads one task with everything that it names.
fn read_task(folder: &Path, name: &str) -> Result<Run> {
    let folder = folder.join(name);
    let read = |file: &str| fs::read(folder.join(file)).with_context(|| format!("{}/{file}", folder.display()));
    let task: Task = serde_json::from_slice(&read("task.json")?)?;
    let program = Arc::new(Program::parse(&read("program.json")?)?);
    let blocks = (0..task.blocks.len()).map(|index| Ok(Arc::new(read(&format!("block-{index}.bin"))?)));
    Ok(Run { program, base: Arc::new(read("base.bin")?), blocks: blocks.collect::<Result<_>>()?, task })
}

fn open(backend: &str) -> Result<Engine> {
    let choice = match backend {
        "cpu" => Choice::Cpu,
        "gpu" => Choice::Gpu,
        other => bail!("backend is {other:?}, expected \"cpu\" or \"gpu\""),
    };
    Ok(pollster::block_on(Engine::open(choice))?)
}

fn write_update(folder: &Path, task: &str, stack: &str, update: &[f32]) -> Result<()> {
    let path = folder.join(task).join(format!("{stack}.f32"));
    fs::write(&path, potluck_update::bytes_from_weights(update)).with_context(|| path.display().to_string())
}

/// Computes every task on one native backend.
pub(crate) fn run(folder: &Path, stack: &str, backend: &str) -> Result<()> {
    let mut runner = TaskRunner::new(open(backend)?);
    for name in task_names(folder)? {
        let run = read_task(folder, &name)?;
        let update = pollster::block_on(runner.replay(&run)).with_context(|| format!("{name} on {stack}"))?;
        write_update(folder, &name, stack, &update)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use potluck_protocol::{UpdateEncoding, agreement_distance};
    use potluck_update::{decode, distance, encode};

    use super::*;

    /// What a verdict would compare: the update as it travels.
    fn travelled(encoding: UpdateEncoding, update: &[f32]) -> Vec<f32> {
        decode(encoding, update.len(), &encode(encoding, update)).expect("its own encoding")
    }

    #[test]
    fn a_sample_of_the_table_holds_on_the_processor_and_on_vulkan() {
        let folder = tempfile::tempdir().expect("a folder");
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        write_tasks(folder.path(), &examples, true).expect("tasks");
        let [mut processor, mut vulkan] =
            ["cpu", "gpu"].map(|backend| TaskRunner::new(open(backend).expect("a device")));
        let names = task_names(folder.path()).expect("names");
        assert_eq!(names.len(), 6, "three models and two optimizers");
        for name in names {
            let run = read_task(folder.path(), &name).expect("a task");
            let steps = run.task.steps;
            let (honest, other, skipped) = pollster::block_on(async {
                let honest = processor.replay(&run).await.expect("an update");
                let other = vulkan.replay(&run).await.expect("an update");
                (honest, other, processor.replay_steps(&run, 0..steps - 1).await.expect("an update"))
            });
            for encoding in [UpdateEncoding::E3m0, UpdateEncoding::Int8] {
                let limit = agreement_distance(&run.task.recipe.optimizer, encoding, steps).expect("a distance");
                let to_honest = |update: &[f32]| {
                    distance(&travelled(encoding, update), &travelled(encoding, &honest)) / f64::from(limit)
                };
                assert!(to_honest(&other) <= 1.0, "{name} {encoding:?}: honest at {} of the limit", to_honest(&other));
                assert!(to_honest(&skipped) > 1.0, "{name} {encoding:?}: a cheat at {}", to_honest(&skipped));
            }
        }
    }
}
