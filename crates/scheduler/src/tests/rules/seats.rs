//! Seats: who may train where more are there than are of use.

use expect_test::{Expect, expect};

use super::budget;
use crate::tests::fixture::created;
use crate::tests::script::Stage;

/// Of use are 2,000 / (30 x 256) volunteers; four may train in any case.
const FOUR: u64 = 2_000;

/// Runs the script on a job of this budget and compares the transcript of its last lines.
#[track_caller]
fn check(budget_samples: u64, script: &str, lines: usize, expected: Expect) {
    let mut stage = Stage::of(created(7, budget(budget_samples), 400));
    script.lines().map(str::trim).for_each(|line| stage.run(line));
    expected.assert_eq(&stage.tail(lines));
}

#[test]
fn who_is_one_too_many_steps_in_when_somebody_leaves_and_keeps_the_place() {
    check(
        FOUR,
        "0 join a
         1 join b
         2 join c
         3 join d
         4 join e
         5 ask a
         5 ask b
         5 ask c
         5 ask d
         5 ask e
         6 bye b
         6 left b
         7 tick
         1000 done a 1
         1000 tick
         1001 ask a
         1002 join b
         1002 ask b",
        9,
        expect![[r#"
            5 ask e
                -> e: wait 5000 ms, Enough
            6 bye b
                released 2
            6 left b
                -> e: lease 5, train v0 on 0.156 0.201 0.348 0.355, 45000 ms
            7 tick
            1000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            1000 tick
            1001 ask a
                -> a: wait 1000 ms, Round
            1002 join b
            1002 ask b
                -> b: wait 5000 ms, Enough
        "#]],
    );
}

/// Four who came first, and have a lease; a fifth waits.
const FIVE: &str = "0 join a
    0 join b
    0 join c
    0 join d
    1 join e
    2 ask a
    2 ask b
    2 ask c
    2 ask d
    2 ask e\n";

#[test]
fn who_leaves_tasks_undone_queues_again() {
    // They ask while they hold one, so they always wait for work.
    let script = FIVE.to_owned() + "3 ask a\n3 ask b\n3 ask c\n3 ask d\n45002 tick\n45003 tick";
    check(
        FOUR,
        &script,
        2,
        expect![[r#"
        45002 tick
        45003 tick
            lapsed 1
            lapsed 2
            lapsed 3
            lapsed 4
            -> e: lease 5, train v0 on 0.29 0.43 0.94 0.148, 45000 ms
            -> a: lease 6, train v0 on 0.156 0.159 0.161 0.177, 45000 ms
            -> b: lease 7, train v0 on 0.182 0.201 0.264 0.282, 45000 ms
            -> c: lease 8, train v0 on 0.340 0.348 0.355 0.356, 45000 ms
    "#]],
    );
}

#[test]
fn whose_result_is_refused_queues_again() {
    let script = FIVE.to_owned() + "3 done a 1 infinite\n4 ask a";
    check(
        FOUR,
        &script,
        2,
        expect![[r#"
        3 done a 1 infinite
            released 1
            -> a: refused 1, UpdateNotFinite: update d936d28cee596bd390b701c4b2f8c7b50c344b9f0f5fc7c05a6b4cf239256733 holds NaN or infinity
            -> e: lease 5, train v0 on 0.94 0.182 0.340 0.356, 45000 ms
        4 ask a
            -> a: wait 5000 ms, Enough
    "#]],
    );
}

#[test]
fn who_gives_back_keeps_the_place() {
    let script = FIVE.to_owned() + "3 release a 1\n4 ask a\n5 tick";
    check(
        FOUR,
        &script,
        3,
        expect![[r#"
        3 release a 1
            released 1
        4 ask a
            -> a: lease 5, train v0 on 0.94 0.182 0.340 0.356, 45000 ms
        5 tick
    "#]],
    );
}

#[test]
fn results_that_do_not_count_are_no_work() {
    let script = "0 join a
        0 join b
        0 join c
        0 join d
        1 join e
        2 done a 9
        2 done b 9
        2 done c 9
        2 done d 9
        3 ask e";
    check(
        FOUR,
        script,
        2,
        expect![[r#"
        2 done d 9
            -> d: refused 9, UnknownTask: task 9 was never leased
        3 ask e
            -> e: lease 1, train v0 on 0.340 0.182 0.356 0.94, 45000 ms
    "#]],
    );
    let again = FIVE.to_owned()
        + "100 done a 1\n100 done b 2\n100 done c 3\n100 done d 4\n100 merged\n5099 done a 1\n5099 done b 2\n\
           5099 done c 3\n5099 done d 4\n5100 tick";
    check(
        FOUR,
        &again,
        2,
        expect![[r#"
        5099 done d 4
            -> d: thanks for 4, 1 tasks and 256 samples so far
        5100 tick
            -> e: lease 5, train v1 on 0.218, batch 8, 45000 ms
    "#]],
    );
}

/// One who takes 1 s for a whole task, and so many newcomers whose first is a quarter of one: how many
/// of all have a lease where so many whole ones are of use.
#[track_caller]
fn check_share(useful: u64, newcomers: u64, expected: usize) {
    let mut stage = Stage::of(created(7, budget(useful * 30 * 256), 400));
    ["0 join a", "0 ask a", "1000 done a 1", "1000 merged", "1000 ask a"].iter().for_each(|line| stage.run(line));
    stage.crowd(newcomers);
    assert_eq!(stage.core.state().leases().count(), expected);
}

#[test]
fn a_small_task_takes_a_small_part_of_what_is_of_use() {
    check_share(5, 4, 5);
    check_share(5, 7, 8);
    check_share(5, 16, 17);
    check_share(5, 30, 17);
    check_share(1, 30, 4);
}
