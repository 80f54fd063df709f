//! States as text: bound to a version, and refused where they are another's.

use expect_test::{Expect, expect};
use potluck_protocol::{BlobId, LeaderId};

use crate::{Fact, STATE_SCHEMA, State, StateError};

/// The facts of a job that an early version of the program ran.
fn golden() -> Vec<Fact> {
    #[derive(serde::Deserialize)]
    struct Line {
        fact: String,
    }
    let lines = include_str!("../../../../tests/golden/log-v1.jsonl").lines();
    let line = |text| serde_json::from_str::<Line>(text).expect("a record").fact;
    lines.map(|text| serde_json::from_str(&line(text)).expect("a fact")).collect()
}

fn folded(facts: &[Fact]) -> State {
    let mut state = State::default();
    facts.iter().for_each(|fact| state.apply(fact));
    state
}

/// A schema and the hash of what the golden facts add up to in it.
#[track_caller]
fn check(expected: &Expect) {
    let text = folded(&golden()).to_text().expect("text");
    expected.assert_eq(&format!("{STATE_SCHEMA} {}", BlobId::of(text.as_bytes())));
}

/// Fails where the same facts do not give the same text as before: then [`STATE_SCHEMA`] has to be
/// raised, and `UPDATE_EXPECT=1` writes the new pair here.
#[test]
fn the_schema_is_raised_with_every_change() {
    check(&expect!["6 330d9e9895815ad3d5b53172ccd4385d38e550281b23fc8dceadd9bd694c0aa1"]);
}

#[track_caller]
fn check_refused(change: impl Fn(&str) -> String) {
    let text = folded(&golden()).to_text().expect("text");
    let changed = change(&text);
    assert_ne!(changed, text);
    let error = State::from_text(&changed).expect_err("refused");
    assert!(matches!(error, StateError::Unreadable(_)), "{error}");
}

#[test]
fn other_texts_are_refused() {
    check_refused(|text| text.replacen("\"paused\":false,", "", 1));
    check_refused(|text| text.replacen("\"paused\":", "\"halted\":false,\"paused\":", 1));
    check_refused(|text| text.replacen("\"epoch\":", "\"epoch\":-", 1));
    check_refused(|text| text[..text.len() / 2].to_owned());
}

#[test]
fn what_is_not_a_number_is_not_written() {
    let mut facts = golden();
    for fact in &mut facts {
        if let Fact::ResultAccepted { norm, .. } = fact {
            *norm = f32::INFINITY;
        }
    }
    assert_eq!(folded(&facts).to_text(), Err(StateError::Inexact));
}

#[test]
fn the_newest_time_is_the_latest_of_all() {
    let mut state = folded(&golden());
    let before = state.newest_at();
    let began = |at| Fact::Began { at, epoch: 9, leader: LeaderId([1; 16]), fork: None };
    state.apply(&began(before - 1));
    assert_eq!(state.newest_at(), before);
    state.apply(&began(before + 1));
    assert_eq!(state.newest_at(), before + 1);
}
