//! When a job will have spent its budget: with so many visits a day, and how many of them a date takes.

use std::time::{SystemTime, UNIX_EPOCH};

use potluck_scheduler::{TaskCost, VISITS};

use crate::print;

/// Visits a day that an owner may think of.
const VISITS_A_DAY: [u32; 3] = [10, 100, 1_000];

const DAY_SECONDS: u64 = 86_400;

/// A day, by its number since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(u64);

impl Day {
    /// Reads YYYY-MM-DD.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let number = |part: Option<&str>| part.and_then(|digits| digits.parse::<u64>().ok());
        let mut parts = text.split('-');
        let (year, month, day) = (number(parts.next()), number(parts.next()), number(parts.next()));
        let (Some(year @ 1970..=9999), Some(month @ 1..=12), Some(day @ 1..=31), None) =
            (year, month, day, parts.next())
        else {
            return Err("expected a date such as 2030-12-31".to_owned());
        };
        // Days from civil, after Howard Hinnant: years begin in March, so that leap days come last.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
        Ok(Self(days - 719_468))
    }

    /// Days until its end, UTC; `None` once it is over.
    pub(crate) fn days_until_end(self) -> Option<f64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let left = ((self.0 + 1) * DAY_SECONDS) as f64 - now;
        (left > 0.0).then_some(left / DAY_SECONDS as f64)
    }
}

/// One row for each number of visits a day: how many are there at once, and how long it takes.
pub(crate) fn table(tasks: u64, cost: &TaskCost) -> Vec<Vec<String>> {
    let row = |visits: u32| {
        let present = VISITS.present(visits.into());
        let (visits_text, present) = (print::count(visits.into()), format!("{present:.1}"));
        // However little there is to do, somebody has to come first.
        let days = VISITS.days(tasks, cost, visits.into()).max(1.0 / f64::from(visits));
        vec![visits_text, present, span(days)]
    };
    VISITS_A_DAY.map(row).to_vec()
}

/// What it takes to be done within so many days.
pub(crate) fn needed(tasks: u64, cost: &TaskCost, days: f64) -> String {
    let visits = VISITS.needed(tasks, cost, days).max(1.0 / days);
    if !visits.is_finite() {
        return "no number of visits: a task takes longer than anybody stays".to_owned();
    }
    let visits = visits.ceil() as u64;
    let word = if visits == 1 { "visit" } else { "visits" };
    format!("{} {word} a day, {} from now on", print::count(visits), span(days))
}

/// Days in a unit that can be pictured.
fn span(days: f64) -> String {
    let hours = 24.0 * days;
    match days {
        _ if !days.is_finite() => "never: a task takes longer than anybody stays".to_owned(),
        _ if hours < 2.0 => format!("{:.0} minutes", (60.0 * hours).ceil()),
        _ if hours < 48.0 => format!("{hours:.0} hours"),
        _ if days < 730.0 => format!("{} days", print::count(days.round() as u64)),
        _ => format!("{} years", print::count((days / 365.25).round() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        let day = |text| Day::parse(text).map(|Day(number)| number);
        assert_eq!(day("1970-01-01"), Ok(0));
        assert_eq!(day("2000-02-29"), Ok(11_016));
        assert_eq!(day("2000-03-01"), Ok(11_017));
        assert_eq!(day("2026-12-31"), Ok(20_818));
        for wrong in ["", "2026", "2026-13-01", "2026-00-01", "2026-01-32", "1969-12-31", "2026-01-01-01", "soon"] {
            assert!(day(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_date_that_is_over_has_no_days_left() {
        assert_eq!(Day(0).days_until_end(), None);
        assert!(Day::parse("9999-12-31").unwrap().days_until_end().is_some_and(|days| days > 365_000.0));
    }

    #[test]
    fn spans_can_be_pictured() {
        let spans = [0.001, 0.5, 1.9, 3.4, 1000.0, f64::INFINITY].map(span);
        let expected = ["2 minutes", "12 hours", "46 hours", "3 days", "3 years"];
        assert_eq!(spans[..5], expected);
        assert!(spans[5].starts_with("never"));
    }

    #[test]
    fn ten_times_the_visits_take_a_tenth_of_the_time() {
        let cost =
            TaskCost { first_bytes: 1_000, next_bytes: 1_000, upload_bytes: 500, flops: 1_000_000_000, steps: 8 };
        let cells = table(1_000_000, &cost);
        let present: Vec<&str> = cells.iter().map(|row| row[1].as_str()).collect();
        assert_eq!(present, ["0.1", "0.6", "5.7"]);
        let days = VISITS.days(1_000_000, &cost, 250.0);
        let text = needed(1_000_000, &cost, days);
        assert!(text.starts_with("250 visits a day, ") || text.starts_with("251 visits a day, "), "{text}");
    }
}
