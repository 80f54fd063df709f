//! The owner's word: what may be said when, and what becomes true by it. Saying again what is so
//! already changes nothing.

use potluck_protocol::{ErrorCode, Recipe, RecipeChange, Refusal, limits};

use crate::decide::Turn;
use crate::state::has_same_goal;
use crate::{Control, Fact, Phase, State};

/// Takes in a control that [`refusal`] lets through; any other changes nothing.
pub(crate) fn obey(turn: &mut Turn<'_>, control: &Control) {
    if refusal(turn.state, control).is_some() {
        return;
    }
    let at = turn.now;
    match (control, turn.state.phase()) {
        (Control::Pause, Phase::Running) => turn.facts.push(Fact::Paused { at }),
        (Control::Resume, Phase::Paused) => turn.facts.push(Fact::Resumed { at }),
        (Control::Stop, Phase::Running | Phase::Paused) => turn.facts.push(Fact::Stopped { at }),
        (Control::Set(change), _) => {
            let recipe = turn.job.recipe.changed(change);
            if recipe != turn.job.recipe {
                turn.facts.push(Fact::RecipeChanged { at, recipe });
            }
        }
        _ => {}
    }
}

/// Why a control cannot be obeyed; `None` where it can, or where it is so already.
pub fn refusal(state: &State, control: &Control) -> Option<Refusal> {
    let has_ended = matches!(state.phase(), Phase::Finishing | Phase::Finished);
    match control {
        Control::Pause | Control::Resume if has_ended => Some(ended(state, "nothing is leased any more")),
        Control::Pause | Control::Resume | Control::Stop => None,
        Control::Set(change) => set_refusal(state, change, has_ended),
    }
}

fn set_refusal(state: &State, change: &RecipeChange, has_ended: bool) -> Option<Refusal> {
    let before = &state.job()?.recipe;
    let recipe = before.changed(change);
    if let Some((field, expected)) = recipe.owner_problem() {
        let detail = format!("train.{field}: expected {expected}; nothing was changed");
        return Some(Refusal { code: ErrorCode::BadRequest, detail });
    }
    if state.recipes().len() > limits::RECIPE_CHANGES_MAX {
        let detail = format!("the recipe was changed {} times, which is all", limits::RECIPE_CHANGES_MAX);
        return Some(Refusal { code: ErrorCode::Full, detail });
    }
    (has_ended && !goes_on(state, before, &recipe)).then(|| ended(state, "a recipe changes nothing any more"))
}

/// True where an ended job has something to do again.
fn goes_on(state: &State, before: &Recipe, recipe: &Recipe) -> bool {
    !has_same_goal(before, recipe) && !state.has_reached(recipe)
}

fn ended(state: &State, what: &str) -> Refusal {
    let samples = state.samples();
    let detail = format!(
        "the job has ended with {samples} samples and {what}: to go on, set budget_samples to more than that, and \
         target_accuracy to null or above what was reached"
    );
    Refusal { code: ErrorCode::JobFinished, detail }
}
