//! The pure core of a job: what is true is a fold over facts, what to do is a function of it.
//!
//! [`State`] is durable: [`State::apply`] folded over the log of [`Fact`]s. [`Presence`] is who is
//! connected and how fast they were: outside the log, lost on restart. [`decide`] looks at both, at
//! the time and at one [`Input`], and answers with facts and effects. None of them reads a clock,
//! does I/O or runs a program; whatever is random comes from the job's seed, which is a fact.
//!
//! A shell drives them through [`Core`], which keeps their order:
//!
//! ```text
//! refold:  core.apply(fact) for the whole log        (and for the JobCreated that the shell writes)
//! input:   core.step(now, input) -> facts, effects   (Started first; Tick about four times a second)
//! then:    append the facts; once they and all before them are durable, run the effects
//! ```
//!
//! A step applies its facts in memory at once, so that later inputs can be stepped while an append is
//! under way and share its sync. If an append fails, the memory is ahead of the log: drop the core
//! and refold.
//!
//! # How a job goes
//!
//! - Every lease starts from the current version. In barrier mode training goes in rounds: one ends
//!   when nobody present computes on it any more, or when a quorum is in and a grace is over. Whoever
//!   comes later is merged in the next commit, with less weight, and without momentum. In buffered
//!   mode nobody waits, and a commit is made when half of what is in flight is in. The job's
//!   [`Strategy`] says which mode it is.
//! - Blocks are handed out in a seeded order, an epoch after the other, those that came back first.
//!   Whoever hands a block in first is merged; the others are credited.
//! - Every version is evaluated on `valid` by a trusted session; the last one on `test` too.
//! - The owner may change the recipe at any moment. Each task is computed, checked and decoded by the
//!   recipe that it was leased with.
//! - At the end of the budget, at the target, or when stopped, leasing ends, what is there is merged,
//!   and the job finishes once its last version is evaluated.

mod api;
mod barrier;
mod blocks;
mod buffer;
mod checkpoint;
mod control;
mod core;
mod crowd;
mod decide;
mod evaluations;
mod forecast;
mod grant;
mod ladder;
mod lapse;
mod leases;
mod lineage;
mod median;
mod norms;
mod pacing;
mod pairs;
mod presence;
mod random;
mod records;
mod results;
mod round;
mod seats;
mod shares;
mod snapshot;
mod speed;
mod state;
mod strategy;
mod tail;
mod visits;

#[cfg(test)]
mod tests;

pub use api::{BlockRef, Contribution, Control, Dataset, Effect, Fact, Input, MergePart, SessionId, UpdateFacts};
pub use buffer::{Filling, patience_millis};
pub use checkpoint::{Checkpoint, Fold, Making};
pub use control::refusal;
pub use core::Core;
pub use crowd::Crowd;
pub use decide::decide;
pub use forecast::{VERSIONS_MIN, useful_volunteers};
pub use leases::{HandedIn, Leased};
pub use lineage::{Fork, Lineage, Standing};
pub use presence::{Presence, Session};
pub use records::{Job, Phase, RecipeNumber, RecipeRecord, Tally, VersionRecord};
pub use shares::{shares, weight};
pub use snapshot::{STATE_SCHEMA, StateError};
pub use state::State;
pub use strategy::{Mode, Strategy, Updates, named};
pub use visits::{TaskCost, VISITS, Visits};
