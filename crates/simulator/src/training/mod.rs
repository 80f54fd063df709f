//! Training together on one processor: volunteers one after the other.
//!
//! An arm says who trains how; a run of it with a seed gives a loss. All arms of a seed start from
//! the same warm parameters and see the same number of samples, so that what differs is the way of
//! training alone.

mod arm;
mod corpus;
mod learner;
mod model;
mod run;
mod shift;
mod team;
mod topk;
mod upload;
mod versions;

pub(crate) use arm::{Arm, Crew, LOCAL_BATCH, Late, Pacing, Publishing, Way, name_of};
pub(crate) use corpus::Corpus;
pub(crate) use model::program;
pub(crate) use run::{Bench, Outcome, Size};
pub(crate) use team::{Team, Work};
pub(crate) use upload::Upload;
