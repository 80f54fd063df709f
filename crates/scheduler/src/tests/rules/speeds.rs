//! Whose speed counts, and for what.

use expect_test::{Expect, expect};

use super::budget;
use crate::tests::fixture::{created, recipe};
use crate::tests::script::Stage;

/// Runs the script and compares the transcript of its last lines.
#[track_caller]
fn check(budget_samples: u64, script: &str, lines: usize, expected: Expect) {
    let mut stage = Stage::of(created(7, budget(budget_samples), 400));
    script.lines().map(str::trim).for_each(|line| stage.run(line));
    expected.assert_eq(&stage.tail(lines));
}

/// Of three, two take 1 s for a task and one 4 s.
const THREE: &str = "0 join a
    0 join b
    0 join c
    0 ask a
    0 ask b
    0 ask c
    1000 done a 1
    1000 done b 2
    4000 done c 3
    4000 merged
    4000 ask c\n";

#[test]
fn who_rests_sets_no_pace() {
    let script = THREE.to_owned() + "8000 done c 4\n8000 merged\n8000 ask c";
    check(
        recipe().budget_samples,
        &script,
        1,
        expect![[r#"
        8000 ask c
            -> c: lease 5, train v2 on 0.218 0.84 0.38 0.145, 16000 ms
    "#]],
    );
    // Where the others wait for work, it gets less.
    let script = THREE.to_owned()
        + "4001 ask a
        4001 ask b
        5001 done a 5
        5001 done b 6
        5001 ask a
        5001 ask b
        8000 done c 4
        8000 merged
        8000 ask c";
    check(
        recipe().budget_samples,
        &script,
        1,
        expect![[r#"
        8000 ask c
            -> c: lease 9, train v2 on 0.83, batch 8, 16000 ms
    "#]],
    );
}

#[test]
fn who_waits_for_a_seat_sets_no_pace() {
    // Of use is one, and four may train in any case.
    check(
        15_000,
        "0 join a
         0 join b
         0 join c
         0 join d
         1 join e
         2 ask a
         2 ask b
         2 ask c
         2 ask d
         2 ask e
         1002 done a 1
         1003 left a
         1004 join a2
         1004 ask a2
         4002 done b 2
         4002 done c 3
         4002 done d 4
         6002 tick
         6003 merged
         6003 ask b
         6003 ask c
         6003 ask d
         10003 done b 6
         10003 done c 7
         10003 done d 8
         10004 merged
         10004 ask b",
        2,
        expect![[r#"
            10004 merged
                committed v2: 6 33% 7 33% 8 33%
            10004 ask b
                -> b: lease 9, train v2 on 0.83 0.196 0.241 0.36, 16000 ms
        "#]],
    );
}

/// One who takes 1 s for a whole task, and two who take so long for two of them and hold the next.
fn slow_two(millis: u64) -> String {
    let (first, second) = (millis, 2 * millis);
    format!(
        "0 join a
         0 join b
         0 join c
         0 ask a
         0 ask b
         0 ask c
         1000 done a 1
         1000 ask a
         {first} done b 2
         {first} done c 3
         {first} merged
         {first} ask b
         {first} ask c
         {} done a 4
         {} ask a
         {second} done b 5
         {second} done c 6
         {second} merged
         {second} ask b
         {second} ask c\n",
        first + 1_000,
        first + 1_000
    )
}

#[test]
fn a_deadline_is_no_shorter_than_a_whole_task_took() {
    // What takes 20 s may be the line, which a quarter of the batch does not make faster.
    check(
        recipe().budget_samples,
        &slow_two(20_000),
        1,
        expect![[r#"
        40000 ask c
            -> c: lease 9, train v2 on 0.100, batch 8, 80000 ms
    "#]],
    );
}

#[test]
fn a_round_waits_for_usual_tasks_of_whatever_size() {
    // Whole ones would take the one in the middle 4 s. Quarters of them take 1 s.
    let script = slow_two(4_000)
        + "9000 done a 7
           9000 done b 8
           9000 done c 9
           9000 merged
           9000 ask a
           9000 ask b
           9000 ask c
           10000 done a 10
           10000 done b 11
           11999 tick
           12000 tick";
    check(
        recipe().budget_samples,
        &script,
        3,
        expect![[r#"
            10000 done b 11
                accepted 11: 64 samples
                -> b: thanks for 11, 4 tasks and 640 samples so far
            11999 tick
            12000 tick
                merge v4, rate 0.40, momentum 0.8: 10 80% 11 20%
        "#]],
    );
}
