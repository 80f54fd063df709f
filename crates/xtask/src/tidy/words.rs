//! Words that must not stand in the repository: one machine's paths, registries' hosts, and
//! whatever skips a test or leaves work for later.

use super::{Findings, Source};

/// A forbidden text, and where it is allowed.
struct Ban {
    /// In halves, so that this file does not hold it.
    word: (&'static str, &'static str),
    why: &'static str,
    applies: fn(path: &str) -> bool,
    /// Whether the character before it must not be part of a longer path or word.
    starts_afresh: bool,
}

fn anywhere(path: &str) -> bool {
    !is_lock(path)
}

fn is_lock(path: &str) -> bool {
    path.ends_with("Cargo.lock") || path.ends_with("package-lock.json")
}

fn in_code(path: &str) -> bool {
    [".rs", ".ts", ".mjs", ".js", ".wgsl", ".py"].iter().any(|ending| path.ends_with(ending))
}

fn in_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn in_browser_tests(path: &str) -> bool {
    path.starts_with("tests/") && path.ends_with(".mjs")
}

const fn machine_path(first: &'static str, second: &'static str) -> Ban {
    Ban { word: (first, second), why: "a path of one machine", applies: anywhere, starts_afresh: true }
}

const fn registry(first: &'static str, second: &'static str) -> Ban {
    Ban { word: (first, second), why: "a registry's host", applies: anywhere, starts_afresh: false }
}

const fn word(first: &'static str, second: &'static str, why: &'static str, applies: fn(&str) -> bool) -> Ban {
    Ban { word: (first, second), why, applies, starts_afresh: true }
}

const LATER: &str = "work left for later: finish it, or describe the limit";
const SKIPPED: &str = "a test that does not run proves nothing";

const BANS: [Ban; 19] = [
    machine_path("/wo", "rk/"),
    machine_path("/ro", "ot/"),
    machine_path("/ho", "me/"),
    machine_path("/Us", "ers/"),
    registry("registry.np", "mjs.org"),
    registry("files.python", "hosted.org"),
    registry("py", "pi.org"),
    registry("static.cra", "tes.io"),
    registry("index.cra", "tes.io"),
    registry("deb.deb", "ian.org"),
    word("TO", "DO", LATER, in_code),
    word("FIX", "ME", LATER, in_code),
    word("todo", "!(", LATER, in_rust),
    word("unimple", "mented!(", LATER, in_rust),
    word("#[ign", "ore", SKIPPED, in_rust),
    Ban { word: (".sk", "ip("), why: SKIPPED, applies: in_browser_tests, starts_afresh: false },
    Ban { word: (".on", "ly("), why: SKIPPED, applies: in_browser_tests, starts_afresh: false },
    word("thread::sl", "eep(", "wait for an event with a deadline, not for time to pass", in_rust_tests),
    word("setTimeout(res", "olve, ", "wait for an event with a deadline, not for time to pass", in_test_bodies),
];

fn in_rust_tests(path: &str) -> bool {
    path.starts_with("tests/tests/") && path.ends_with(".rs")
}

fn in_test_bodies(path: &str) -> bool {
    path.starts_with("tests/browser/") && path.ends_with(".test.mjs")
}

pub(super) fn check(sources: &[Source], findings: &mut Findings) {
    for source in sources {
        for ban in BANS.iter().filter(|ban| (ban.applies)(&source.path)) {
            let word = [ban.word.0, ban.word.1].concat();
            // Most files hold none of the words: one search before the lines are counted.
            if !source.text.contains(&word) {
                continue;
            }
            for (index, line) in source.text.lines().enumerate().filter(|(_, line)| ban.breaks(line, &word)) {
                let line = line.trim().chars().take(80).collect::<String>();
                findings.breaches.push(format!("{}:{}: {}: {line}", source.path, index + 1, ban.why));
            }
        }
    }
}

impl Ban {
    fn breaks(&self, line: &str, word: &str) -> bool {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !self.starts_afresh || before.is_none_or(|letter| !(letter.is_alphanumeric() || "._-".contains(letter)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn breaches(path: &str, text: &str, expected: usize) {
        let mut findings = Findings::default();
        check(&[Source { path: path.to_owned(), text: text.to_owned() }], &mut findings);
        assert_eq!(findings.breaches.len(), expected, "{:?}", findings.breaches);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_part_of_another_is_not() {
        breaches("README.md", concat!("see /ho", "me/me/x"), 1);
        breaches("README.md", concat!("see https://example.org/ho", "me/x"), 0);
        breaches("Cargo.lock", concat!("/ho", "me/me/x"), 0);
    }

    #[test]
    fn a_skipped_test_is_found_where_tests_stand() {
        breaches("tests/browser/a.test.mjs", concat!("test.sk", "ip('x')"), 1);
        breaches("crates/a/src/lib.rs", concat!("rows.sk", "ip(1)"), 0);
        breaches("crates/a/src/lib.rs", concat!("#[ign", "ore]"), 1);
    }
}
