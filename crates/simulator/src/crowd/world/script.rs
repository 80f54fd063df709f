//! What happens when so much of a job is done: somebody comes, is killed, or goes and returns.
//!
//! One turn follows the other, as for somebody who looks at the job's progress, does what is next, and
//! sees that it happened before looking again.

use potluck_protocol::Millis;
use potluck_scheduler::{Control, Input};

use super::{Event, World};
use crate::crowd::Draw;

/// Between two looks at the job's progress.
const LOOK_MILLIS: Millis = 100;

/// A turn, once so many samples are merged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cue {
    pub(crate) samples: u64,
    /// From a tab's opening until it asks for work.
    pub(crate) takes: Millis,
    pub(crate) turn: Turn,
}

/// Visitors are numbered from 1 in the order of their coming.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn {
    Come(Draw),
    /// Gone without a word, in the middle of a step.
    Kill(u64),
    /// A tab is closed and opened again by the same person, with what it had stored. The job is paused
    /// meanwhile, so that the others hand in what they had begun and no more.
    Return(u64),
}

impl World {
    pub(super) fn look(&mut self) {
        let merged = self.core.state().samples();
        let Some(&Cue { samples, takes, turn }) = self.script.front() else { return };
        if merged < samples {
            return self.put(LOOK_MILLIS, Event::Look);
        }
        self.script.pop_front();
        match turn {
            Turn::Come(_) => self.put(takes, Event::Turned(turn)),
            Turn::Kill(id) => {
                self.vanish(id);
                self.put(0, Event::Look);
            }
            Turn::Return(id) => {
                self.close(id);
                self.step(&Input::Control(Control::Pause));
                self.put(takes, Event::Turned(turn));
            }
        }
    }

    pub(super) fn turned(&mut self, turn: Turn) {
        match turn {
            Turn::Come(draw) => {
                self.enter(draw);
                self.put(LOOK_MILLIS, Event::Look);
            }
            Turn::Return(id) => {
                self.connect(id);
                self.put(LOOK_MILLIS, Event::Resume);
            }
            Turn::Kill(_) => {}
        }
    }

    pub(super) fn resume(&mut self) {
        self.step(&Input::Control(Control::Resume));
        self.put(LOOK_MILLIS, Event::Look);
    }

    /// A tab is closed whose visitor comes back: it knows its key and keeps its newest version.
    fn close(&mut self, id: u64) {
        self.disconnect(id);
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        let (work, sending) = (visitor.work.take(), visitor.sending.take());
        self.lose(work.as_ref(), sending.as_ref().map(|(work, _)| work));
    }
}
