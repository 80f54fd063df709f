//! How many volunteers a job can use at once. Knows nothing of who is there.

use potluck_protocol::Recipe;

/// Versions that a budget has to make at least. Eight volunteers who make 30 of it still learn as one
/// machine does, give or take a few per cent (`docs/training.md`); with fewer, updates average away
/// what each of them learnt.
pub const VERSIONS_MIN: u64 = 30;

/// How many volunteers can work on a job at once with profit: each task goes into one version, so more
/// of them would leave fewer than [`VERSIONS_MIN`] versions of the budget. Whoever comes beyond that
/// makes the job end sooner, and worse.
pub fn useful_volunteers(recipe: &Recipe) -> u64 {
    (recipe.budget_samples / (VERSIONS_MIN * recipe.task_samples().max(1))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture;

    #[test]
    fn a_budget_is_worth_thirty_versions() {
        let recipe = |tasks| {
            let recipe = fixture::recipe();
            Recipe { budget_samples: tasks * recipe.task_samples(), ..recipe }
        };
        assert_eq!([1, 30, 240, 1000].map(|tasks| useful_volunteers(&recipe(tasks))), [1, 1, 8, 33]);
    }
}
