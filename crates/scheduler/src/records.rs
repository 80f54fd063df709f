//! What the log adds up to, in the words of people who ask: the job, its versions, the tally.

use potluck_protocol::{BlobId, Evaluation, JobName, Millis, ProgramFacts, Recipe, Split, StrategyName, Version};
use serde::{Deserialize, Serialize};

use crate::{BlockRef, Dataset};

/// What a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// When it was made.
    pub created_at: Millis,
    /// Its name in addresses.
    pub name: JobName,
    /// Seed of everything random in it.
    pub seed: u64,
    /// The program's blob.
    pub program: BlobId,
    /// What the program costs.
    pub facts: ProgramFacts,
    /// How it is trained now.
    pub recipe: Recipe,
    /// How its work is paced and merged.
    pub strategy: StrategyName,
    /// What it is trained on.
    pub dataset: Dataset,
}

/// Which of a job's recipes: the one that it was made with is 0, and each change makes the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeNumber(pub u32);

/// A recipe, and from when on it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeRecord {
    /// When it was set.
    pub at: Millis,
    /// The version at that moment.
    pub version: Version,
    /// Samples merged at that moment.
    pub samples: u64,
    /// The recipe.
    pub recipe: Recipe,
}

impl Job {
    /// The blocks of a split, with their samples.
    pub fn blocks(&self, split: Split) -> &[(BlobId, u32)] {
        match split {
            Split::Train => &self.dataset.train,
            Split::Valid => &self.dataset.valid,
            Split::Test => &self.dataset.test,
        }
    }

    /// Samples of a block of `train`: all but the last have as many.
    pub(crate) fn block_samples(&self) -> u32 {
        self.dataset.train.first().map_or(1, |&(_, samples)| samples)
    }

    /// The samples of these blocks; blocks that do not exist have none.
    pub(crate) fn samples(&self, split: Split, blocks: &[BlockRef]) -> u64 {
        let all = self.blocks(split);
        blocks.iter().filter_map(|b| all.get(b.index as usize)).map(|&(_, samples)| u64::from(samples)).sum()
    }

    /// The ids of these blocks, in order.
    pub(crate) fn block_ids(&self, split: Split, blocks: &[BlockRef]) -> Vec<BlobId> {
        let all = self.blocks(split);
        blocks.iter().filter_map(|b| all.get(b.index as usize)).map(|&(id, _)| id).collect()
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Training is leased.
    Running,
    /// The owner paused it; what is out still counts.
    Paused,
    /// Budget, target or a stop was reached: the last commit and the last evaluations are under way.
    Finishing,
    /// Done.
    Finished,
}

/// What one volunteer has given: a fold over its accepted results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Training tasks.
    pub tasks: u64,
    /// Samples, steps x batch.
    pub samples: u64,
    /// Floating-point operations, counted from the program.
    pub flops: u64,
    /// When the first result was accepted.
    pub first_at: Millis,
    /// When the last one was.
    pub last_at: Millis,
}

/// One version.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    /// Which.
    pub version: Version,
    /// SHA-256 of its parameters.
    pub base: BlobId,
    /// What makes it of the version before; `None` for the first, and in logs from before there were
    /// deltas.
    pub delta: Option<BlobId>,
    /// True where its parameters were stored whole: the first version, a checkpoint, or one without a
    /// delta. Of old versions not all stay.
    pub stored: bool,
    /// When it was made.
    pub at: Millis,
    /// Samples merged up to it.
    pub samples: u64,
    /// Updates that went into it; 0 for the initial version.
    pub parts: u32,
    /// Loss and accuracy on `valid`, once all of it was evaluated.
    pub valid: Option<Evaluation>,
    /// Loss and accuracy on `test`, once all of it was evaluated; the last version has it.
    pub test: Option<Evaluation>,
}

impl VersionRecord {
    /// Its evaluation on this split. Nothing is evaluated on `train`.
    pub fn evaluation(&self, split: Split) -> Option<Evaluation> {
        match split {
            Split::Train => None,
            Split::Valid => self.valid,
            Split::Test => self.test,
        }
    }
}
