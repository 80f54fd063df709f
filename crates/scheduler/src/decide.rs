//! From an input to facts and effects. Pure: reads no clock, changes nothing.
//!
//! An input is answered first; if that made nothing new true, what is due anyway is done: lapse
//! leases, end the round, finish, announce, hand out work. So each decision sees a state in which
//! its predecessors' facts are applied. Whoever asks for work changes nothing that could be due, and
//! a crowd asks often: only the asker is looked at, the next tick does the rest.

use potluck_protocol::{Millis, ServerMessage, Split};

use crate::{Effect, Fact, Input, Job, Presence, SessionId, State, Strategy, control, grant, lapse, results, round};

/// One decision under way: what it sees and what it has come to.
pub(crate) struct Turn<'a> {
    pub(crate) job: &'a Job,
    pub(crate) state: &'a State,
    pub(crate) presence: &'a Presence,
    pub(crate) strategy: &'a dyn Strategy,
    pub(crate) now: Millis,
    pub(crate) facts: Vec<Fact>,
    pub(crate) effects: Vec<Effect>,
}

impl Turn<'_> {
    pub(crate) fn send(&mut self, session: SessionId, message: ServerMessage) {
        self.effects.push(Effect::Send { session, message });
    }

    pub(crate) fn broadcast(&mut self, message: ServerMessage) {
        self.effects.push(Effect::Broadcast { message });
    }
}

/// What becomes true and what is to be done. Before the job's first fact, nothing.
///
/// `presence` has taken the input in already. The facts are to be applied to the state, and both to
/// be noted by the presence, before the next decision; [`crate::Core`] does so.
pub fn decide(
    state: &State,
    presence: &Presence,
    strategy: &dyn Strategy,
    now: Millis,
    input: &Input,
) -> (Vec<Fact>, Vec<Effect>) {
    let Some(job) = state.job() else { return (Vec::new(), Vec::new()) };
    let mut turn = Turn { job, state, presence, strategy, now, facts: Vec::new(), effects: Vec::new() };
    answer(&mut turn, input);
    match input {
        _ if !turn.facts.is_empty() => {}
        Input::Asked { .. } => grant::serve_new(&mut turn),
        _ => settle(&mut turn),
    }
    (turn.facts, turn.effects)
}

fn answer(turn: &mut Turn<'_>, input: &Input) {
    match input {
        Input::Result { session, statement, signed, update } => {
            results::judge(turn, *session, statement, signed, update.as_ref());
        }
        Input::Merged { version, base, delta, parts, outer } => {
            round::commit(turn, *version, (*base, *delta), parts, *outer);
        }
        Input::Asked { session } => lapse::lost_by(turn, *session),
        Input::Released { session, tasks } => lapse::released(turn, *session, tasks),
        Input::Bye { session } => lapse::given_back_by(turn, *session),
        Input::Control(control) => control::obey(turn, control),
        Input::Started
        | Input::Joined { .. }
        | Input::Measured { .. }
        | Input::Left { .. }
        | Input::Room { .. }
        | Input::Tick => {}
    }
}

/// What is due whatever came in. The first thing that makes something true ends the turn.
fn settle(turn: &mut Turn<'_>) {
    lapse::due(turn);
    if turn.facts.is_empty() && !round::end(turn) && !round::finish(turn) {
        announce(turn);
        grant::serve(turn);
    }
}

/// Tells everybody where the job stands, once for each new version and evaluation.
fn announce(turn: &mut Turn<'_>) {
    let Turn { job, state, presence, .. } = *turn;
    let accuracy = state.newest(Split::Valid).map(|(_, evaluation)| evaluation.accuracy);
    let news = (state.version(), state.samples(), job.recipe.budget_samples, accuracy);
    if presence.announced() != Some(news) {
        turn.broadcast(ServerMessage::Progress {
            version: news.0,
            samples: news.1,
            budget_samples: news.2,
            accuracy,
            volunteers: presence.volunteers() as u32,
        });
    }
}
