//! Leases, blobs, runs and devices.

use expect_test::expect;
use potluck_protocol::{BlobId, ServerMessage, TaskId, WaitReason, limits};

use super::{Script, check, device, verdict};
use crate::session::Event;

#[test]
fn runs_a_lease_hands_in_and_asks_again() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            s.fetched();
            s.done(1, 8);
            s.says(&verdict(1, true, None));
        },
        expect![[r#"
            fetch block 1 <= 524288
            report {"type":"helping","task":1,"kind":"train","step":0,"steps":8,"loss":null}
            run task 1 on 2 blocks
            sign task 1
            upload 3 bytes of task 1
            send 1: result of task 1, 8 steps
            send 1: {"type":"ask"}
            report {"type":"credited","task":1,"tasks":1,"samples":64}
        "#]],
    );
}

#[test]
fn a_second_task_on_the_same_blobs_fetches_nothing() {
    check(
        Script::handed_in(),
        |s| s.lease(2),
        expect![[r#"
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
        "#]],
    );
}

#[test]
fn a_pushed_lease_ends_the_wait_without_a_second_ask() {
    check(
        Script::asked(),
        |s| {
            s.says(&ServerMessage::Wait { retry_millis: 2000, reason: WaitReason::Round });
            s.lease(1);
            s.fetched();
            s.passes(5000);
        },
        expect![[r#"
            sleep 2000
            sleep 500
            fetch block 1 <= 524288
            report {"type":"helping","task":1,"kind":"train","step":0,"steps":8,"loss":null}
            run task 1 on 2 blocks
        "#]],
    );
}

#[test]
fn a_lease_that_crosses_an_ask_is_kept_and_a_third_is_released() {
    check(
        Script::running(),
        |s| {
            s.lease(2);
            s.lease(3);
            s.done(1, 8);
        },
        expect![[r#"
            send 1: {"type":"release","tasks":[3]}
            sign task 1
            upload 3 bytes of task 1
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
            send 1: result of task 1, 8 steps
        "#]],
    );
}

#[test]
fn a_lease_said_twice_runs_once() {
    check(Script::running(), |s| s.lease(1), expect![[""]]);
}

#[test]
fn wrong_bytes_are_fetched_again_and_then_given_up() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            for _ in 0..5 {
                let id = BlobId::of(&s.job.blocks[1]);
                s.event(Event::Fetched { id, bytes: b"something else".to_vec() });
                s.passes(15_000);
            }
        },
        expect![[r#"
            fetch block 1 <= 524288
            sleep 391
            fetch block 1 <= 524288
            sleep 872
            fetch block 1 <= 524288
            sleep 1971
            fetch block 1 <= 524288
            sleep 2888
            fetch block 1 <= 524288
            report {"type":"refused","code":"blob_mismatch","detail":"blob 7a0667f4c63c3433f52ea836b780b86c30c6e7c8e78466404d828d3c38e39cd7: other bytes than its name or size says","task":1}
            send 1: {"type":"release","tasks":[1]}
            sleep 722
            report {"type":"waiting","reason":"retry","retry_millis":722}
            send 1: {"type":"ask"}
            sleep 30000
        "#]],
    );
}

#[test]
fn a_blob_that_is_gone_releases_the_lease() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            let id = BlobId::of(&s.job.blocks[1]);
            s.event(Event::FetchFailed { id, retryable: false, detail: "status 404".to_owned(), came: vec![] });
        },
        expect![[r#"
            fetch block 1 <= 524288
            report {"type":"refused","code":"blob_missing","detail":"blob 7a0667f4c63c3433f52ea836b780b86c30c6e7c8e78466404d828d3c38e39cd7: status 404","task":1}
            send 1: {"type":"release","tasks":[1]}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
        "#]],
    );
}

#[test]
fn a_task_over_the_limits_is_released() {
    check(
        Script::asked(),
        |s| {
            let mut lease = s.job.lease(1);
            lease.task.steps = limits::TASK_STEPS_MAX + 1;
            s.says(&ServerMessage::Lease(Box::new(lease)));
            s.passes(1000);
        },
        expect![[r#"
            report {"type":"refused","code":"over_limit","detail":"the task has 17 steps","task":1}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
            send 1: {"type":"release","tasks":[1]}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_lost_device_is_told() {
    check(
        Script::running(),
        |s| s.event(Event::DeviceChanged { device: device(), reason: "lost".to_owned() }),
        expect![[r#"
            report {"type":"fallback","reason":"lost"}
            report device
            send 1: device
        "#]],
    );
}

#[test]
fn a_device_that_cannot_compute_ends_the_session() {
    check(
        Script::running(),
        |s| s.event(Event::TaskFailed { task: TaskId(1), reason: "no adapter".to_owned(), fatal: true }),
        expect![[r#"
            report {"type":"refused","code":"task_failed","detail":"no adapter","task":1}
            send 1: {"type":"release","tasks":[1]}
            send 1: {"type":"bye"}
            close 1
            report {"type":"unsupported","reason":"no adapter"}
        "#]],
    );
}

#[test]
fn progress_is_shown_at_most_ten_times_a_second() {
    check(
        Script::running(),
        |s| {
            for step in 1..=8 {
                s.now += 40;
                s.event(Event::Step { task: TaskId(1), step, steps: 8, loss: None });
            }
        },
        expect![[r#"
            report {"type":"helping","task":1,"kind":"train","step":3,"steps":8,"loss":null}
            report {"type":"helping","task":1,"kind":"train","step":6,"steps":8,"loss":null}
            report {"type":"helping","task":1,"kind":"train","step":8,"steps":8,"loss":null}
        "#]],
    );
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            let block = s.job.blocks[1].clone();
            let (id, came) = (BlobId::of(&block), block[..5].to_vec());
            s.event(Event::FetchFailed { id, retryable: true, detail: "broke".to_owned(), came });
            s.passes(10_000);
            s.event(Event::Fetched { id, bytes: block });
        },
        expect![[r#"
            fetch block 1 <= 524288
            sleep 391
            fetch block 1 <= 524288 from 5 on
            report {"type":"helping","task":1,"kind":"train","step":0,"steps":8,"loss":null}
            run task 1 on 2 blocks
        "#]],
    );
}
