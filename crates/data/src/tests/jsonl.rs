//! One JSON object a line.

use std::fs;

use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::{MLP, all_samples, check_refused, job_with};
use crate::{Contents, ingest};

const DATA: &str = "jsonl = \"samples.jsonl\"\nvalues = \"x\"\nlabel = \"y\"";

fn lines() -> String {
    (0..10).map(|n| format!("{{\"x\": [[{n}, {n}.5, 1e1]], \"y\": {}, \"more\": null}}\n", n % 2)).collect()
}

fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("samples.jsonl"), text).expect("written");
    folder
}

#[test]
fn objects_are_read() {
    let folder = folder(&lines().replace("\n{", "\n\n{"));
    let ingested = ingest(&job_with(DATA, MLP), folder.path()).expect("good data");
    let Contents::Labelled { shape, .. } = &ingested.contents else { panic!("other contents") };
    assert_eq!(shape, &[1, 1, 3]);
    let expected: Vec<_> = (0..10).map(|n| (vec![n as f32, n as f32 + 0.5, 10.0], n % 2)).collect();
    assert_eq!(all_samples(&ingested), expected);
}

#[track_caller]
fn check(from: &str, to: &str, expected: Expect) {
    assert!(lines().contains(from), "{from}");
    let folder = folder(&lines().replacen(from, to, 1));
    check_refused(&job_with(DATA, MLP), folder.path(), &expected);
}

#[test]
fn mistakes_are_named_with_their_line() {
    let third = "{\"x\": [[2, 2.5, 1e1]], \"y\": 0";
    check(
        third,
        "{\"x\": [[2, 2.5, 1e1]]",
        expect![[r#"samples.jsonl, line 3: expected an object with "y"; correct or remove the line"#]],
    );
    check(
        third,
        "{\"x\": [[2, 2.5]], \"y\": 0",
        expect![[
            r#"samples.jsonl, line 3: "x" is a list of shape [1, 2], expected [1, 3] as before; correct or remove the line"#
        ]],
    );
    check(
        third,
        "{\"x\": [[2, 2.5], 3], \"y\": 0",
        expect![[r#"samples.jsonl, line 3: "x" holds 3, no number; correct or remove the line"#]],
    );
    check(
        third,
        "{\"x\": [[2, \"a\", 1]], \"y\": 0",
        expect![[r#"samples.jsonl, line 3: "x" holds "a", no number; correct or remove the line"#]],
    );
    check(
        third,
        "{\"x\": 3, \"y\": 0",
        expect![[r#"samples.jsonl, line 3: "x" holds 3, no number; correct or remove the line"#]],
    );
    check(
        third,
        "{\"x\": [], \"y\": 0",
        expect![[
            r#"samples.jsonl, line 3: "x" is a list of shape [0], expected [1, 3] as before; correct or remove the line"#
        ]],
    );
    check(
        third,
        "{\"x\": [[2, 2.5, 1e60]], \"y\": 0",
        expect![[r#"samples.jsonl, line 3: "x" holds 1e+60, no number; correct or remove the line"#]],
    );
    check(
        third,
        "{\"x\": [[2, 2.5, 1e1]], \"y\": -1",
        expect![[r#"samples.jsonl, line 3: "y" is no class of 0 to 65535; correct or remove the line"#]],
    );
    check(
        third,
        "{\"x\": [[2, 2.5, 1e1]], \"y\": 5",
        expect!["samples.jsonl: class 2 never occurs but class 5 does; number the classes from 0 without gaps"],
    );
    check(
        third,
        "[[2, 2.5, 1e1]",
        expect!["samples.jsonl, line 3: no JSON: expected `,` or `]` at line 1 column 23; correct or remove the line"],
    );
}
