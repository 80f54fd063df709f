//! What cheats would hand in, computed on the processor: each does less than it was asked, or other
//! than it was asked, and claims the whole.

use std::{fs, path::Path, sync::Arc};

use anyhow::Result;
use potluck_graph::{Block, Column};
use potluck_volunteer::{Run, TaskRunner};

use super::{open, read_task, task_names, write_update};

/// A way to cheat, in the order of the table.
#[derive(Debug, Clone, Copy)]
enum Cheat {
    /// All steps but the last.
    SkipOne,
    /// All steps but the first, whose learning rate is the smallest.
    SkipFirst,
    /// The last step left out, and the rest stretched to the length that all steps would have.
    SkipOneStretched,
    /// A tenth of the steps less, at least one.
    SkipTenth,
    /// Half of every batch.
    HalfBatch,
    /// The right number of steps on other samples.
    OtherData,
    /// Every class or token mistaken for another.
    LabelFlip,
    /// The honest update with its sign turned.
    SignFlip,
    /// The honest update at twice its length.
    Doubled,
}

const CHEATS: [(&str, Cheat); 9] = [
    ("skip-one", Cheat::SkipOne),
    ("skip-first", Cheat::SkipFirst),
    ("skip-one-stretched", Cheat::SkipOneStretched),
    ("skip-tenth", Cheat::SkipTenth),
    ("half-batch", Cheat::HalfBatch),
    ("other-data", Cheat::OtherData),
    ("label-flip", Cheat::LabelFlip),
    ("sign-flip", Cheat::SignFlip),
    ("doubled", Cheat::Doubled),
];

/// Writes `FOLDER/TASK/cheat-NAME.f32` for every task and cheat.
pub(crate) fn cheat(folder: &Path) -> Result<()> {
    let mut runner = TaskRunner::new(open("cpu")?);
    for name in task_names(folder)? {
        let run = read_task(folder, &name)?;
        for (cheat_name, cheat) in CHEATS {
            let update = pollster::block_on(update_of(&mut runner, &run, cheat, &folder.join(&name)))?;
            write_update(folder, &name, &format!("cheat-{cheat_name}"), &update)?;
        }
    }
    Ok(())
}

async fn update_of(runner: &mut TaskRunner, run: &Run, cheat: Cheat, folder: &Path) -> Result<Vec<f32>> {
    let mut run = run.clone();
    let steps = run.task.steps;
    // The learning rate of a step depends on the task's steps, so that fewer steps are the first
    // ones of the whole task and not a shorter task.
    let take = match cheat {
        Cheat::SkipOne | Cheat::SkipOneStretched => 0..steps - 1,
        Cheat::SkipFirst => 1..steps,
        Cheat::SkipTenth => 0..steps - steps.div_ceil(10),
        _ => 0..steps,
    };
    match cheat {
        Cheat::HalfBatch => run.task.batch /= 2,
        Cheat::OtherData => {
            let other = |index| Ok(Arc::new(fs::read(folder.join(format!("other-{index}.bin")))?));
            run.blocks = (0..run.blocks.len()).map(other).collect::<Result<_>>()?;
        }
        Cheat::LabelFlip => run.blocks = run.blocks.iter().map(|block| flipped(&run, block)).collect::<Result<_>>()?,
        _ => {}
    }
    let update = runner.replay_steps(&run, take).await?;
    let factor = match cheat {
        Cheat::SkipOneStretched => steps as f32 / (steps - 1) as f32,
        Cheat::SignFlip => -1.0,
        Cheat::Doubled => 2.0,
        _ => 1.0,
    };
    Ok(update.into_iter().map(|value| factor * value).collect())
}

/// The block with every label mirrored.
fn flipped(run: &Run, block: &[u8]) -> Result<Arc<Vec<u8>>> {
    let mut block = Block::decode(block, run.program.inputs())?;
    if let Some(Column::U32(labels)) = block.columns.last_mut() {
        let highest = labels.iter().copied().max().unwrap_or_default();
        labels.iter_mut().for_each(|label| *label = highest - *label);
    }
    Ok(Arc::new(block.encode()))
}
