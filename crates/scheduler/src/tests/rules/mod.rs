//! One readable case for each rule.

mod asked;
mod changes;
mod ending;
mod evaluation;
mod leases;
mod modes;
mod owner;
mod results;
mod rounds;
mod seats;
mod speeds;
mod tail;

use potluck_protocol::Recipe;

use super::fixture::recipe;

fn budget(budget_samples: u64) -> Recipe {
    Recipe { budget_samples, ..recipe() }
}
