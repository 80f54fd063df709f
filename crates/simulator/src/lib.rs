//! Simulations: how well a model learns under each way of training together, and what a pool of
//! volunteers who come and go makes of its time.
//!
//! Two halves. `training` trains a small real model with the real engine, on the processor, one task
//! after the other, and merges with the real `potluck-update`: who starts from which version is known
//! beforehand, no scheduler decides. `crowd` drives the real scheduler with thousands of visitors in
//! virtual time: computing is a span, and where there is a workshop, tasks are computed besides.
//! Whatever is random comes from one seed, so every run can be repeated from its command line.
//!
//! It must not know of sockets or folders of a job in progress. It reads the text that it trains on,
//! a job file with its data, and runs that ended before; it writes those and a report. Clocks say how
//! long something took here, never what happens.

mod arguments;
mod crowd;
mod experiments;
mod plot;
mod pool;
mod queue;
mod report;
mod stats;
mod training;

pub use arguments::{Arguments, HELP, Request};
pub use experiments::run;
pub use report::{Limit, Report};
