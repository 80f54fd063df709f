//! One volunteer of a job.
//!
//! [`Session`] decides: a state machine without clock and I/O. [`TaskRunner`] computes, over
//! `potluck-engine`. [`Compute`] chooses the device and survives its loss. Shells join them: the
//! native one here (feature `native`, the default) and the browser's in `potluck-browser`.
//!
//! This crate must not know pages, storage or people; without `native` it must not know an
//! operating system either.

mod address;
mod cache;
mod challenge;
mod compute;
#[cfg(test)]
mod fixture;
mod meter;
#[cfg(feature = "native")]
mod native;
mod pace;
mod report;
mod runner;
#[cfg(test)]
mod runner_tests;
mod session;
mod slices;
mod work;

pub use address::{
    Address, AddressError, HttpRefusal, REQUEST_MILLIS_MAX, VOLUNTEER_HEADER, answers_range, check_whole, range_from,
};
pub use cache::Blob;
pub use compute::Compute;
#[cfg(feature = "native")]
pub use native::{KeyError, Summary, Volunteer, VolunteerError};
pub use pace::{Pace, Share, StopFlag};
pub use potluck_engine::Choice;
pub use report::{LocalCode, VolunteerEvent, WaitingFor, WorkKind};
pub use runner::{Progress, RunError, TaskRunner};
pub use session::{Action, Config, Event, LinkId, Session, TimerId};
pub use work::{Challenge, Outcome, Run};
