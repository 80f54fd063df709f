//! State, presence and decision kept in step. Holds the one order in which they are used; decides
//! nothing itself.

use std::sync::Arc;

use potluck_protocol::{Millis, StrategyName};

use crate::{Effect, Fact, Input, Presence, State, Strategy, decide, named};

/// Decisions that one input may lead to, one after the other: a result ends a round; a merge makes a
/// version, which is announced and leased from; an evaluation reaches the target. Four so far.
const PASSES_MAX: usize = 16;

/// A job in memory.
#[derive(Debug, Clone, Default)]
pub struct Core {
    state: State,
    presence: Presence,
    /// Where it is not the one that the job names.
    strategy: Option<Arc<dyn Strategy>>,
}

impl From<State> for Core {
    /// Goes on from what a log adds up to.
    fn from(state: State) -> Self {
        Self { state, ..Self::default() }
    }
}

impl Core {
    /// The same core with another strategy than the one that its job names.
    pub fn with_strategy(self, strategy: Arc<dyn Strategy>) -> Self {
        Self { strategy: Some(strategy), ..self }
    }

    /// What is true.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who is there.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Takes in a fact that is in the log already: to refold it, or one that the shell wrote itself.
    pub fn apply(&mut self, fact: &Fact) {
        self.state.apply(fact);
    }

    /// Decides upon one input and upon whatever follows from that at the same moment. The facts are
    /// applied to this core already; the effects wait until the facts, and all before them, are
    /// durable.
    pub fn step(&mut self, now: Millis, input: &Input) -> (Vec<Fact>, Vec<Effect>) {
        self.presence.apply(input, now);
        let (mut facts, mut effects) = self.pass(now, input);
        let mut is_settled = comes_to_rest(&facts, &effects);
        for _ in 1..PASSES_MAX {
            if is_settled {
                return (facts, effects);
            }
            let (more_facts, more_effects) = self.pass(now, &Input::Tick);
            is_settled = comes_to_rest(&more_facts, &more_effects);
            facts.extend(more_facts);
            effects.extend(more_effects);
        }
        debug_assert!(false, "decisions must come to rest within {PASSES_MAX} passes");
        (facts, effects)
    }

    fn pass(&mut self, now: Millis, input: &Input) -> (Vec<Fact>, Vec<Effect>) {
        let (facts, effects) = {
            let name = self.state.job().map_or(StrategyName::Auto, |job| job.strategy);
            let strategy = self.strategy.as_deref().unwrap_or_else(|| named(name));
            decide(&self.state, &self.presence, strategy, now, input)
        };
        facts.iter().for_each(|fact| self.state.apply(fact));
        self.presence.note(&facts, &effects, now);
        (facts, effects)
    }
}

/// True where nothing can follow at the same moment: what was only said leads to nothing new.
fn comes_to_rest(facts: &[Fact], effects: &[Effect]) -> bool {
    facts.is_empty() && !effects.iter().any(|effect| matches!(effect, Effect::Merge { .. }))
}
