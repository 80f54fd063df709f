//! The pure core of a job: `decide(&State, &Presence, now, Input) -> (Vec<Fact>, Vec<Effect>)` and
//! `State::apply(&Fact)`. Reads no clock, does no I/O, runs no program.

mod api;

pub use api::{BlockRef, Contribution, Control, Dataset, Effect, Fact, Input, MergePart, SessionId, UpdateFacts};
