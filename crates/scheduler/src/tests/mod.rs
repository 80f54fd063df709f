//! The core as a whole: readable cases of each rule, and seeded chaos in virtual time.

mod chaos;
mod facts;
pub(crate) mod fixture;
mod invariants;
mod rules;
mod script;
mod snapshots;
mod world;
