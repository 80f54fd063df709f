//! Independent pieces of work on a few threads, answers in the order of the work.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};

/// Does all of it. `done` hears of each piece as it ends, with how many have ended so far.
///
/// # Errors
/// The first one, in the order of the work; or that a piece panicked.
pub(crate) fn run<W: Sync, R: Send>(
    work: &[W],
    threads: usize,
    each: impl Fn(&W) -> Result<R> + Sync,
    done: impl Fn(&W, &R, usize) + Sync,
) -> Result<Vec<R>> {
    let (next, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let answers: Vec<Mutex<Option<Result<R>>>> = work.iter().map(|_| Mutex::new(None)).collect();
    let labour = || {
        while let Some((piece, place)) = claim(&next, work, &answers) {
            let answer = each(piece);
            if let Ok(answer) = &answer {
                done(piece, answer, 1 + ended.fetch_add(1, Ordering::Relaxed));
            }
            if let Ok(mut place) = place.lock() {
                *place = Some(answer);
            }
        }
    };
    std::thread::scope(|scope| {
        (0..threads.min(work.len())).for_each(|_| drop(scope.spawn(labour)));
    });
    let answer = |place: Mutex<Option<Result<R>>>| match place.into_inner() {
        Ok(Some(answer)) => answer,
        _ => Err(anyhow!("a piece of work panicked")),
    };
    answers.into_iter().map(answer).collect()
}

fn claim<'a, W, A>(next: &AtomicUsize, work: &'a [W], answers: &'a [A]) -> Option<(&'a W, &'a A)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    work.get(at).zip(answers.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_the_order_of_the_work() {
        let work: Vec<u64> = (0..50).collect();
        let answers = run(&work, 4, |&n| Ok(n * n), |_, _, _| {}).unwrap();
        assert_eq!(answers, work.iter().map(|n| n * n).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_is_told() {
        let failed = run(&[1, 2, 3], 2, |&n| if n == 2 { Err(anyhow!("two")) } else { Ok(n) }, |_, _, _| {});
        assert_eq!(failed.unwrap_err().to_string(), "two");
    }
}
