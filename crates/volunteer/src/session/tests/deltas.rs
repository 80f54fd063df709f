//! The next version by deltas, and whole where they do not lead to it.

use expect_test::expect;
use potluck_protocol::{BlobId, DeltaStep, Lease, ServerMessage, Task, Welcome};
use potluck_update::{Published, bytes_from_weights, publish, weights_from_bytes};

use super::{Script, check, config, verdict};
use crate::session::{Config, Event, Session};

/// The version after the job's first, and the delta that leads to it.
fn next(s: &Script) -> (Vec<u8>, Vec<u8>) {
    let theta = weights_from_bytes(&s.job.base, s.job.base.len() / 4).expect("f32");
    let target: Vec<f32> = theta.iter().map(|value| value + 0.01).collect();
    let Published { delta, theta, .. } = publish(&theta, &target, &[]).expect("finite");
    (bytes_from_weights(&theta), delta)
}

/// A lease on the next version, after a task on the first was done.
fn lease_next(s: &mut Script) {
    s.quiet = true;
    s.says(&verdict(1, true, None));
    s.quiet = false;
    let (whole, delta) = next(s);
    let lease = s.job.lease(2);
    let deltas = vec![DeltaStep { from: BlobId::of(&s.job.base), delta: BlobId::of(&delta) }];
    let task = Task { base: BlobId::of(&whole), ..lease.task.clone() };
    s.says(&ServerMessage::Lease(Box::new(Lease { task, deltas, ..lease })));
}

#[test]
fn who_holds_the_version_before_fetches_a_delta() {
    check(
        Script::handed_in(),
        |s| {
            lease_next(s);
            let (_, delta) = next(s);
            s.event(Event::Fetched { id: BlobId::of(&delta), bytes: delta });
        },
        expect![[r#"
            fetch ? <= 27
            keep ?
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
        "#]],
    );
}

#[test]
fn a_delta_that_cannot_be_had_is_no_reason_to_give_the_lease_back() {
    check(
        Script::handed_in(),
        |s| {
            lease_next(s);
            let (whole, delta) = next(s);
            let detail = "gone".to_owned();
            s.event(Event::FetchFailed { id: BlobId::of(&delta), retryable: false, detail, came: vec![] });
            s.event(Event::Fetched { id: BlobId::of(&whole), bytes: whole });
        },
        expect![[r#"
            fetch ? <= 27
            fetch ? <= 92
            keep ?
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
        "#]],
    );
}

#[test]
fn a_delta_that_leads_elsewhere_is_followed_by_the_whole_version() {
    check(
        Script::handed_in(),
        |s| {
            s.quiet = true;
            s.says(&verdict(1, true, None));
            s.quiet = false;
            let (whole, mut delta) = next(s);
            // Well formed and named right, but of another version.
            delta[5] ^= 1;
            let lease = s.job.lease(2);
            let deltas = vec![DeltaStep { from: BlobId::of(&s.job.base), delta: BlobId::of(&delta) }];
            let task = Task { base: BlobId::of(&whole), ..lease.task.clone() };
            s.says(&ServerMessage::Lease(Box::new(Lease { task, deltas, ..lease })));
            s.event(Event::Fetched { id: BlobId::of(&delta), bytes: delta });
            s.event(Event::Fetched { id: BlobId::of(&whole), bytes: whole });
        },
        expect![[r#"
            fetch ? <= 27
            fetch ? <= 92
            keep ?
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
        "#]],
    );
}

#[test]
fn who_holds_none_of_them_fetches_the_whole() {
    check(
        Script::handed_in(),
        |s| {
            let (whole, delta) = next(s);
            let lease = s.job.lease(2);
            let deltas = vec![DeltaStep { from: BlobId([9; 32]), delta: BlobId::of(&delta) }];
            let task = Task { base: BlobId::of(&whole), ..lease.task.clone() };
            s.says(&ServerMessage::Lease(Box::new(Lease { task, deltas, ..lease })));
        },
        expect![[r#"
            fetch ? <= 92
        "#]],
    );
}

#[test]
fn who_kept_a_version_comes_back_with_a_delta_and_keeps_the_next() {
    let mut script = Script::new();
    script.session = Session::new(Config { kept: Some(script.job.base.clone()), ..config() });
    check(
        script,
        |s| {
            s.quiet = true;
            s.event(Event::Start);
            s.event(Event::Opened { link: s.link });
            s.quiet = false;
            let (whole, delta) = next(s);
            let deltas = vec![DeltaStep { from: BlobId::of(&s.job.base), delta: BlobId::of(&delta) }];
            let welcome = Welcome { base: BlobId::of(&whole), deltas, ..s.job.welcome() };
            s.says(&ServerMessage::Welcome(Box::new(welcome)));
            s.fetched();
            s.event(Event::Fetched { id: BlobId::of(&delta), bytes: delta });
        },
        expect![[r#"
            report joined
            report {"type":"downloading","bytes":0,"total":null}
            fetch program <= 1048576
            fetch block 0 <= 524288
            fetch ? <= 27
            keep ?
            report {"type":"checking_device"}
            challenge with 432 bytes of data
        "#]],
    );
}
