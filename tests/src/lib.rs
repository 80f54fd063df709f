//! Helpers of the tests that drive the real `potluck` program: start it, listen to what it says,
//! ask its API, kill it, and read its log of facts.
//!
//! Nothing here waits for a time to pass: every wait is for a line, an event or an exit, and ends
//! with a failure that names it when [`deadline::PATIENCE`] is over.

pub mod crash;
pub mod damage;
pub mod deadline;
pub mod facts;
pub mod fleet;
pub mod job;
pub mod line;
pub mod load;
pub mod program;
pub mod server;
pub mod volunteer;

pub use crash::Plan;
pub use deadline::Deadline;
pub use facts::Facts;
pub use fleet::Fleet;
pub use job::Job;
pub use line::BreakingLine;
pub use program::{Line, Running};
pub use server::Server;
pub use volunteer::Volunteer;
