//! A job small enough to read: what the tests of this crate share.

use std::sync::Arc;

use potluck_graph::{Block, Column, Program, preset, random::SplitMix64};
use potluck_protocol::{
    BlobId, JobCard, JobName, LeaderId, Lease, Optimizer, OuterStep, Recipe, Schedule, Seal, SealProof, Split, Task,
    TaskId, TaskKind, UpdateEncoding, Version, VolunteerKey, Welcome,
};

use crate::{cache::Blob, work::Run};

/// A program of 23 parameters, its first weights and two blocks of its data.
pub(crate) struct Job {
    pub(crate) program: Arc<Program>,
    pub(crate) base: Vec<u8>,
    pub(crate) blocks: [Vec<u8>; 2],
}

impl Job {
    pub(crate) fn new() -> Self {
        let program = Arc::new(preset::mlp(4, &[3], 2).expect("a good program"));
        let base = potluck_update::bytes_from_weights(&program.initial(7));
        Self { program, base, blocks: [block(1, 20), block(2, 12)] }
    }

    pub(crate) fn name() -> JobName {
        "digits".parse().expect("a job name")
    }

    pub(crate) fn volunteer() -> VolunteerKey {
        VolunteerKey([5; 32])
    }

    /// Every blob of the job.
    pub(crate) fn blob(&self, id: BlobId) -> Option<Vec<u8>> {
        let [first, second] = self.blocks.clone();
        let all = [self.program.to_json().into_bytes(), self.base.clone(), first, second];
        all.into_iter().find(|bytes| BlobId::of(bytes) == id)
    }

    pub(crate) fn recipe() -> Recipe {
        Recipe {
            optimizer: Optimizer::default(),
            lr: 0.1,
            schedule: Schedule::Constant,
            ramp_steps: 2,
            clip_norm: 1.0,
            steps: 8,
            batch: 8,
            budget_samples: 10_000,
            target_accuracy: None,
            outer: OuterStep::default(),
            update: UpdateEncoding::E3m0,
        }
    }

    pub(crate) fn seal() -> Seal {
        Seal { line: LeaderId([1; 16]), epoch: 1, leader: LeaderId([1; 16]), proof: SealProof([1; 32]) }
    }

    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            protocol: potluck_protocol::PROTOCOL_MAX,
            job: JobCard {
                name: Self::name(),
                title: "Digits".to_owned(),
                text: String::new(),
                owner: String::new(),
                contact: String::new(),
                licence: String::new(),
                data_licence: String::new(),
                data_source: String::new(),
                program: self.program.facts(),
            },
            program: self.program.id(),
            recipe: Self::recipe(),
            challenge_block: BlobId::of(&self.blocks[0]),
            base: BlobId::of(&self.base),
            seal: Some(Self::seal()),
            deltas: Vec::new(),
        }
    }

    pub(crate) fn task(&self, id: u64) -> Task {
        Task {
            id: TaskId(id),
            kind: TaskKind::Train,
            program: self.program.id(),
            base_version: Version(0),
            base: BlobId::of(&self.base),
            blocks: self.blocks.iter().map(|block| BlobId::of(block)).collect(),
            seed: 11,
            steps: 8,
            batch: 8,
            lr_start: 0.1,
            lr_end: 0.05,
            recipe: Self::recipe(),
        }
    }

    pub(crate) fn evaluation(&self, id: u64) -> Task {
        Task { kind: TaskKind::Evaluate { split: Split::Valid }, steps: 0, ..self.task(id) }
    }

    pub(crate) fn lease(&self, id: u64) -> Lease {
        Lease { task: self.task(id), deadline_millis: 45_000, expiry_millis: 90_000, deltas: Vec::new() }
    }

    pub(crate) fn run(&self, task: Task) -> Run {
        let blob = |bytes: &Vec<u8>| -> Blob { Arc::new(bytes.clone()) };
        let (base, blocks) = (blob(&self.base), self.blocks.iter().map(blob).collect());
        Run { task, program: Arc::clone(&self.program), base, blocks }
    }
}

/// Samples whose label is whether the first feature is above a half.
fn block(seed: u64, samples: u32) -> Vec<u8> {
    let mut random = SplitMix64::new(seed);
    let x: Vec<f32> = (0..samples * 4).map(|_| random.unit()).collect();
    let y = x.chunks_exact(4).map(|row| u32::from(row[0] > 0.5)).collect();
    Block { samples, columns: vec![Column::F32(x), Column::U32(y)] }.encode()
}
