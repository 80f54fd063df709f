//! A crowd in virtual time: visitors who come, differ, freeze and vanish, against the real scheduler.
//!
//! Nothing is trained: computing is a span that follows from a visitor's speed, and so is sending.
//! What comes out is what became of the time: how much of the computing was merged, how much of the
//! being there was waiting, and how many commits it took. Time is a number in a queue of events, so
//! a day takes seconds, and the same seed gives the same day.

mod books;
mod churn;
mod job;
mod queue;
mod visitor;
mod world;

pub(crate) use books::Books;
pub(crate) use churn::Churn;
pub(crate) use job::JobSize;
pub(crate) use world::{World, WorldSize};
