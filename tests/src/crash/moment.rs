//! When to kill: a kind, and a span or a count from the seed.

use std::{fmt, time::Duration};

use potluck_graph::random::SplitMix64;

/// What a kill waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A span after the process was started, mostly before it answers: while it reads its log and
    /// sweeps what the last crash left.
    BeforeAnswer,
    /// A span after it answers.
    AfterAnswer,
    /// The word to a volunteer that its result counts: the log has just been written.
    Acknowledgement,
    /// The word that there is a new version: the next leases are being written.
    Version,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::BeforeAnswer, Self::AfterAnswer, Self::Acknowledgement, Self::Version];

    /// A few words for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeAnswer => "before it answers",
            Self::AfterAnswer => "after it answers",
            Self::Acknowledgement => "at an acknowledgement",
            Self::Version => "at a version",
        }
    }
}

/// One kill.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// What it waits for.
    pub kind: Kind,
    /// How long, or at most how long.
    pub span: Duration,
    /// The how many-th.
    pub count: u32,
}

/// Longest wait for an acknowledgement or a version: a job that has ended brings none.
const EVENT_WAIT: Duration = Duration::from_secs(2);

impl Moment {
    /// The next one. Two in five are spans after the answer, evenly spread on a logarithmic scale, so
    /// that the first instants are hit as often as the steady state.
    pub fn draw(random: &mut SplitMix64) -> Self {
        let between = |random: &mut SplitMix64, low: f32, high: f32| {
            Duration::from_secs_f32(low * (high / low).powf(random.unit()) / 1e3)
        };
        let count = 1 + random.below(12);
        match random.below(5) {
            0 => Self { kind: Kind::BeforeAnswer, span: between(random, 5.0, 300.0), count },
            1 => Self { kind: Kind::Acknowledgement, span: EVENT_WAIT, count },
            2 => Self { kind: Kind::Version, span: EVENT_WAIT, count: 1 + count / 4 },
            _ => Self { kind: Kind::AfterAnswer, span: between(random, 5.0, 600.0), count },
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::BeforeAnswer => write!(f, "{} ms after its start", self.span.as_millis()),
            Kind::AfterAnswer => write!(f, "{} ms after its first answer", self.span.as_millis()),
            Kind::Acknowledgement => write!(f, "at acknowledgement {}", self.count),
            Kind::Version => write!(f, "at version {}", self.count),
        }
    }
}
