//! The owner, and restarts.

use expect_test::expect;
use potluck_protocol::limits;

use super::budget;
use crate::tests::script::{Stage, check};

#[test]
fn while_paused_nothing_is_leased_but_what_is_out_counts() {
    check(
        "0 join a
         0 ask a
         10 pause
         10 pause
         100 done a 1
         150 merged
         200 ask a
         300 resume
         300 resume",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            10 pause
                paused
            10 pause
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            150 merged
                committed v1: 1 100%
            200 ask a
                -> a: wait 5000 ms, Paused
            300 resume
                resumed
                -> a: lease 2, train v1 on 0.9 0.7 0.11 0.0, 5000 ms
            300 resume
        "#]],
    );
}

#[test]
fn a_restart_asks_for_the_merge_again() {
    check(
        "0 join a
         0 ask a
         100 done a 1
         200 restart
         210 merged
         220 join a2
         220 ask a2",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            200 restart
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            210 merged
                committed v1: 1 100%
            220 join a2
            220 ask a2
                -> a2: lease 2, train v1 on 0.9 0.7 0.11 0.0, 45000 ms
        "#]],
    );
}

#[test]
fn after_a_restart_leases_live_on_for_those_who_come_back() {
    check(
        "0 join a
         0 join b
         0 join c
         0 ask a
         0 ask b
         0 ask c
         1000 restart
         2000 join a2
         3000 done a2 1
         3500 join c2
         6000 tick
         6500 merged
         7000 join b2
         7000 done b2 2
         45001 tick",
        expect![[r#"
            0 join a
            0 join b
            0 join c
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            0 ask c
                -> c: lease 3, train v0 on 0.2 0.3 0.10 0.6, 45000 ms
            1000 restart
            2000 join a2
            3000 done a2 1
                accepted 1: 256 samples
                -> a2: thanks for 1, 1 tasks and 256 samples so far
            3500 join c2
            6000 tick
                lapsed 2
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            6500 merged
                committed v1: 1 100%
            7000 join b2
            7000 done b2 2
                accepted 2: 256 samples
                -> b2: thanks for 2, 1 tasks and 256 samples so far
            45001 tick
                lapsed 3
                merge v2, momentum 0: 2 100%
        "#]],
    );
}

#[test]
fn everybody_is_told_of_progress_once() {
    check(
        "0 progress
         0 join a
         0 ask a
         0 join b
         100 done a 1
         150 merged
         160 tick",
        expect![[r#"
            0 progress
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 join b
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            150 merged
                committed v1: 1 100%
                -> all: v1, 256 of 100000, accuracy -, 2 volunteers
            160 tick
        "#]],
    );
}

#[test]
fn no_more_is_leased_than_the_coordinator_has_room_for() {
    let mut stage = Stage::new(budget(100_000_000));
    stage.crowd(limits::PENDING_UPDATES_MAX as u64);
    stage.run("0 join a");
    stage.run("0 ask a");
    expect![[r#"
        0 ask a
            -> a: wait 1000 ms, Busy
    "#]]
    .assert_eq(&stage.tail(1));
}
