//! A crowd in virtual time: visitors who come, differ, freeze and vanish, against the real scheduler.
//!
//! Computing is a span that follows from a visitor's speed, and so is sending. What comes out is what
//! became of the time: how much of the computing was merged, how much of the being there was waiting,
//! and how many commits it took. Where there is a workshop, tasks are computed and merged for real,
//! and a loss comes out too. Time is a number in a queue of events, so a day takes seconds, and the
//! same seed gives the same day.

mod books;
mod churn;
mod job;
mod real;
mod visitor;
mod workshop;
mod world;

pub(crate) use books::Books;
pub(crate) use churn::{Arrivals, Churn, Draw};
pub(crate) use job::{CrowdJob, JobSize};
pub(crate) use real::RealJob;
pub(crate) use world::{Cue, Turn, World, WorldSize};
