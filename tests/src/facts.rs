//! The log of facts, read from its SQLite file as anyone can, and what must always hold in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use potluck_protocol::{TaskId, TaskKind, Version, VolunteerKey};
use potluck_scheduler::{BlockRef, Fact};
use rusqlite::{Connection, OpenFlags};

use crate::Job;

/// A job's facts in order.
#[derive(Debug, Clone)]
pub struct Facts(pub Vec<Fact>);

/// A train task as the log tells it.
#[derive(Debug, Clone, Default)]
pub struct TaskStory {
    /// To whom it was leased.
    pub volunteer: Option<VolunteerKey>,
    /// Its blocks.
    pub blocks: Vec<BlockRef>,
    /// Times its result was accepted to be merged.
    pub accepted: usize,
    /// Times its result was accepted too late to be merged.
    pub accepted_late: usize,
    /// Versions it was merged into.
    pub merged: Vec<Version>,
    /// True where the lease ended without a result.
    pub lapsed: bool,
}

impl Facts {
    /// Reads the log of a job, whether or not its coordinator is running.
    pub fn read(job: &Job) -> Self {
        Self::read_in(&job.folder())
    }

    /// The same, of a coordinator's folder or a copy of it.
    pub fn read_in(folder: &Path) -> Self {
        let file = folder.join("potluck.sqlite");
        let connection = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the log");
        let mut select = connection.prepare("SELECT seq, fact FROM facts WHERE job = ?1 ORDER BY seq").expect("facts");
        let rows = select.query_map([Job::NAME], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
        let mut facts = Vec::new();
        for row in rows.expect("facts") {
            let (seq, text) = row.expect("a fact");
            facts.push(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}")));
            assert_eq!(seq, facts.len() as i64, "a fact is missing");
        }
        Self(facts)
    }

    /// Every train task.
    pub fn tasks(&self) -> BTreeMap<TaskId, TaskStory> {
        let mut tasks: BTreeMap<TaskId, TaskStory> = BTreeMap::new();
        for fact in &self.0 {
            match fact {
                Fact::TaskLeased { task, kind: TaskKind::Train, volunteer, blocks, .. } => {
                    let story = TaskStory { volunteer: Some(*volunteer), blocks: blocks.clone(), ..Default::default() };
                    assert!(tasks.insert(*task, story).is_none(), "task {task} was leased twice");
                }
                Fact::TaskLapsed { task, .. } => {
                    // Evaluations lapse too and have no story.
                    if let Some(story) = tasks.get_mut(task) {
                        story.lapsed = true;
                    }
                }
                Fact::ResultAccepted { task, late, .. } => {
                    let story = tasks.get_mut(task).unwrap_or_else(|| panic!("task {task} was never leased"));
                    *(if *late { &mut story.accepted_late } else { &mut story.accepted }) += 1;
                }
                Fact::Committed { version, parts, .. } => {
                    for part in parts {
                        let story = tasks.get_mut(&part.task).expect("a merged task was leased");
                        story.merged.push(*version);
                    }
                }
                _ => {}
            }
        }
        tasks
    }

    /// The task through which a block of an epoch was merged.
    pub fn merged_from(&self, block: BlockRef) -> Option<TaskId> {
        let mut merged = self.tasks().into_iter().filter(|(_, story)| !story.merged.is_empty());
        merged.find_map(|(task, story)| story.blocks.contains(&block).then_some(task))
    }

    /// What must hold in every log of a job that has ended: each accepted result is merged once,
    /// nothing else is, and no block of an epoch is merged twice.
    pub fn check_merged_once(&self) {
        let mut merged_blocks = BTreeSet::new();
        for (task, story) in self.tasks() {
            assert!(story.accepted + story.accepted_late <= 1, "task {task} was accepted twice");
            assert_eq!(story.merged.len(), story.accepted, "task {task} accepted and merged: {story:?}");
            if !story.merged.is_empty() {
                for block in story.blocks {
                    assert!(merged_blocks.insert(block), "{block:?} was merged twice, the second time by task {task}");
                }
            }
        }
        assert!(!merged_blocks.is_empty(), "nothing was merged");
    }

    /// Versions follow each other without a gap.
    pub fn check_versions(&self) {
        let versions = self.0.iter().filter_map(|fact| match fact {
            Fact::Committed { version, parts, .. } => Some((version, parts)),
            _ => None,
        });
        for (expected, (version, parts)) in (1..).zip(versions) {
            assert_eq!(version.0, expected, "a version is missing");
            let weights: f32 = parts.iter().map(|part| part.weight).sum();
            assert!((weights - 1.0).abs() < 1e-3, "the weights of {version} add up to {weights}");
        }
    }

    /// Every task that a volunteer was told counts is in the log as a result that counts.
    pub fn check_acknowledged(&self, credited: &[u64]) {
        let tasks = self.tasks();
        for task in credited {
            let story = tasks.get(&TaskId(*task));
            let kept = story.is_some_and(|story| story.accepted + story.accepted_late == 1);
            assert!(kept, "task {task} was acknowledged and is lost: {story:?}");
        }
    }
}
