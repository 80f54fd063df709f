//! How a source file opens, how long it is, and that every shader is used.

use super::{Findings, Source};

/// Above this a file must be split.
const LINES_MAX: usize = 1000;

/// Above this a file is asked whether it holds two ideas.
const LINES_REMARKED: usize = 500;

pub(super) fn check(sources: &[Source], findings: &mut Findings) {
    for source in sources {
        opening(source, findings);
        length(source, findings);
        lints(source, findings);
        shader_is_used(source, sources, findings);
    }
}

fn is_code(path: &str) -> bool {
    [".rs", ".ts", ".js", ".mjs", ".wgsl", ".py", ".css"].iter().any(|ending| path.ends_with(ending))
}

fn opening(source: &Source, findings: &mut Findings) {
    let opens_well = source.text.starts_with("//! ") && source.text.lines().next().is_some_and(|line| line.len() > 12);
    if source.path.ends_with(".rs") && !opens_well {
        findings.breaches.push(format!("{}: opens with no `//!` that says what it is for", source.path));
    }
}

fn length(source: &Source, findings: &mut Findings) {
    let count = source.text.lines().count();
    if !is_code(&source.path) {
        return;
    }
    if count > LINES_MAX {
        findings.breaches.push(format!("{}: {count} lines, at most {LINES_MAX}", source.path));
    } else if count > LINES_REMARKED {
        findings.remarks.push(format!("{}: {count} lines; two ideas?", source.path));
    }
}

/// Lints are set once, in the workspace; a crate that does not inherit them has none. A manifest with a
/// `[workspace]` of its own belongs to no other.
fn lints(source: &Source, findings: &mut Findings) {
    let is_member = source.path.ends_with("/Cargo.toml") && !source.text.contains("\n[workspace]");
    if is_member && !source.text.contains("[lints]\nworkspace = true") {
        findings.breaches.push(format!("{}: inherits no lints (`[lints] workspace = true`)", source.path));
    }
}

/// A kernel that nothing includes is neither validated nor compared with its reference.
fn shader_is_used(source: &Source, sources: &[Source], findings: &mut Findings) {
    let Some(name) = source.path.strip_prefix("shaders/").filter(|name| name.ends_with(".wgsl")) else {
        return;
    };
    // By its whole name, or as the word that a macro completes.
    let word = format!("\"{}\"", name.trim_end_matches(".wgsl"));
    let including =
        |other: &Source| other.path.ends_with(".rs") && (other.text.contains(name) || other.text.contains(&word));
    if !sources.iter().any(including) {
        findings.breaches.push(format!("{}: no Rust file includes it", source.path));
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
    fn a_rust_file_says_what_it_is_for() {
        breaches("src/a.rs", "//! What a is for.\n", 0);
        breaches("src/a.rs", "//! Empty.\n", 1);
        breaches("src/a.rs", "use std::fs;\n", 1);
    }

    #[test]
    fn a_file_is_no_longer_than_the_limit() {
        breaches("www/a.ts", &"x\n".repeat(LINES_MAX), 0);
        breaches("www/a.ts", &"x\n".repeat(LINES_MAX + 1), 1);
        breaches("examples/a.csv", &"x\n".repeat(LINES_MAX + 1), 0);
    }

    #[test]
    fn a_member_inherits_lints_and_a_shader_is_included() {
        breaches("crates/a/Cargo.toml", "[package]\n", 1);
        breaches("crates/a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n", 0);
        breaches("shaders/relu.wgsl", "", 1);
    }
}
