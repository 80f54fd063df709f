//! Simulations: how well a model learns under each way of training together, and what a pool of
//! volunteers who come and go makes of its time.
//!
//! Two halves. `training` trains a small real model with the real engine, on the processor, one
//! volunteer after the other, and merges with the real `potluck-update`: time does not exist there,
//! samples do. Whatever is random comes from one seed, so every run can be repeated from its
//! command line.
//!
//! It must not know of sockets, files of a job, or clocks: the only files are the text that it trains
//! on and the report that it writes.

mod arguments;
mod experiments;
mod pool;
mod report;
mod stats;
mod training;

pub use arguments::{Arguments, HELP, Request};
pub use experiments::run;
pub use report::{Limit, Report};
