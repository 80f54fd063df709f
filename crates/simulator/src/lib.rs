//! Simulations: how well a model learns under each way of training together, and what a pool of
//! volunteers who come and go makes of its time.
//!
//! Two halves. `training` trains a small real model with the real engine, on the processor, one
//! volunteer after the other, and merges with the real `potluck-update`: time does not exist there,
//! samples do. `crowd` drives the real scheduler with thousands of visitors in virtual time: nothing
//! is trained there, computing is a span. Whatever is random comes from one seed, so every run can
//! be repeated from its command line.
//!
//! It must not know of sockets or files of a job: the only files are the text that it trains on and
//! the report that it writes. Clocks say how long something took here, never what happens.

mod arguments;
mod crowd;
mod experiments;
mod pool;
mod report;
mod stats;
mod training;

pub use arguments::{Arguments, HELP, Request};
pub use experiments::run;
pub use report::{Limit, Report};
