//! Pause, resume and stop.

use expect_test::expect;
use potluck_protocol::TaskId;

use super::{Script, check, verdict};
use crate::session::Event;

#[test]
fn pause_hands_in_what_is_there_and_resume_asks() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Pause);
            s.done(1, 5);
            s.lease(2);
            s.says(&verdict(1, true, None));
            s.event(Event::Resume);
        },
        expect![[r#"
            halt
            report {"type":"paused"}
            sign task 1
            upload 3 bytes of task 1
            send 1: result of task 1, 5 steps
            send 1: {"type":"release","tasks":[2]}
            report {"type":"credited","task":1,"tasks":1,"samples":64}
            report {"type":"waiting","reason":"asking","retry_millis":0}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn pause_releases_what_was_not_begun() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            s.event(Event::Pause);
        },
        expect![[r#"
            fetch block 1 <= 524288
            send 1: {"type":"release","tasks":[1]}
            report {"type":"paused"}
        "#]],
    );
}

#[test]
fn a_pause_while_measuring_measures_again() {
    let mut script = Script::new();
    script.quiet = true;
    script.event(Event::Start);
    script.welcomed();
    script.fetched();
    script.quiet = false;
    check(
        script,
        |s| {
            s.event(Event::Pause);
            s.event(Event::MeasureStopped);
            s.event(Event::Resume);
        },
        expect![[r#"
            halt
            report {"type":"paused"}
            report {"type":"waiting","reason":"asking","retry_millis":0}
            report {"type":"downloading","bytes":0,"total":null}
            report {"type":"checking_device"}
            challenge with 432 bytes of data
        "#]],
    );
}

#[test]
fn stop_hands_in_waits_for_the_verdict_and_closes() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Stop);
            s.done(1, 4);
            s.says(&verdict(1, true, None));
            s.passes(10_000);
        },
        expect![[r#"
            halt
            report {"type":"stopping"}
            sleep 5000
            sign task 1
            upload 3 bytes of task 1
            send 1: result of task 1, 4 steps
            report {"type":"credited","task":1,"tasks":1,"samples":64}
            send 1: {"type":"bye"}
            close 1
            report {"type":"stopped"}
        "#]],
    );
}

#[test]
fn stop_releases_what_is_too_little() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Stop);
            s.event(Event::TaskStopped { task: TaskId(1) });
        },
        expect![[r#"
            halt
            report {"type":"stopping"}
            sleep 5000
            send 1: {"type":"release","tasks":[1]}
            send 1: {"type":"bye"}
            close 1
            report {"type":"stopped"}
        "#]],
    );
}

#[test]
fn stop_does_not_wait_for_ever() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Stop);
            s.done(1, 4);
            s.passes(5_000);
        },
        expect![[r#"
            halt
            report {"type":"stopping"}
            sleep 5000
            sign task 1
            upload 3 bytes of task 1
            send 1: result of task 1, 4 steps
            send 1: {"type":"bye"}
            close 1
            report {"type":"stopped"}
        "#]],
    );
}

#[test]
fn stop_without_a_connection_ends_at_once() {
    check(
        Script::handed_in(),
        |s| {
            s.event(Event::Closed { link: s.link, refused: None });
            s.event(Event::Stop);
        },
        expect![[r#"
            sleep 783
            report {"type":"offline","retry_millis":783}
            report {"type":"stopping"}
            sleep 5000
            report {"type":"stopped"}
        "#]],
    );
}
