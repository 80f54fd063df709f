//! Modes: buffers that wait for nobody, rounds that give the fast more, and the change between them.

use expect_test::{Expect, expect};
use potluck_protocol::StrategyName;

use crate::Fact;
use crate::tests::fixture::{created, recipe};
use crate::tests::script::Stage;

/// Runs the script on a job of this strategy and compares the transcript of its last lines.
#[track_caller]
fn check(strategy_name: StrategyName, script: &str, lines: usize, expected: Expect) {
    let mut first = created(7, recipe(), 400);
    if let Fact::JobCreated { strategy, .. } = &mut first {
        *strategy = strategy_name;
    }
    let mut stage = Stage::of(first);
    script.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| stage.run(line));
    expected.assert_eq(&stage.tail(lines));
}

#[test]
fn a_full_buffer_is_merged_after_its_grace_and_who_hands_in_meanwhile_waits() {
    check(
        StrategyName::Buffered,
        "0 join a
         0 join b
         0 join c
         0 ask a
         0 ask b
         0 ask c
         1000 done a 1
         1000 ask a
         2000 done a 4
         2000 ask a
         2050 tick
         2100 tick
         2200 merged
         2300 done b 2
         2300 ask b",
        8,
        expect![[r#"
            1000 ask a
                -> a: lease 4, train v0 on 0.159 0.43 0.177 0.161, 5000 ms
            2000 done a 4
                accepted 4: 256 samples
                -> a: thanks for 4, 2 tasks and 512 samples so far
            2000 ask a
                -> a: wait 1000 ms, Round
            2050 tick
            2100 tick
                merge v1, rate 0.35, momentum 0: 1 50% 4 50%
            2200 merged
                committed v1: 1 50% 4 50%
                -> a: lease 5, train v1 on 0.218 0.84 0.38 0.145, 5000 ms
            2300 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
            2300 ask b
                -> b: lease 6, train v1 on 0.379 0.296 0.174 0.164, 9200 ms
        "#]],
    );
}

#[test]
fn nobody_waits_for_a_commit_longer_than_a_quarter_of_its_task() {
    check(
        StrategyName::Buffered,
        "0 join a
         0 join b
         0 join c
         0 join d
         0 ask a
         0 ask b
         0 ask c
         0 ask d
         1000 done a 1
         1000 ask a
         1000 done b 2
         1000 ask b
         1000 done c 3
         1000 ask c
         1000 done d 4
         1000 ask d
         1100 tick
         1150 merged
         2000 done a 5
         2000 ask a
         2249 tick
         2250 tick",
        12,
        expect![[r#"
            1000 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
            1000 ask b
                -> b: wait 1000 ms, Round
            1000 done c 3
                accepted 3: 256 samples
                -> c: thanks for 3, 1 tasks and 256 samples so far
            1000 ask c
                -> c: wait 1000 ms, Round
            1000 done d 4
                accepted 4: 256 samples
                -> d: thanks for 4, 1 tasks and 256 samples so far
            1000 ask d
                -> d: wait 1000 ms, Round
            1100 tick
                merge v1, rate 0.06, momentum 0.9457416 led by 6: 1 25% 2 25% 3 25% 4 25%
            1150 merged
                committed v1: 1 25% 2 25% 3 25% 4 25%
                -> b: lease 6, train v1 on 0.379 0.296 0.174 0.164, 5000 ms
                -> c: lease 7, train v1 on 0.246 0.375 0.308 0.52, 5000 ms
                -> d: lease 8, train v1 on 0.80 0.100 0.160 0.92, 5000 ms
            2000 done a 5
                accepted 5: 256 samples
                -> a: thanks for 5, 2 tasks and 512 samples so far
            2000 ask a
                -> a: lease 9, train v1 on 0.83 0.196 0.241 0.36, 5000 ms
            2249 tick
            2250 tick
        "#]],
    );
}

#[test]
fn in_buffers_the_next_task_comes_while_an_update_is_sent() {
    check(
        StrategyName::Buffered,
        "0 join a
         0 join b
         0 ask a
         0 ask b
         500 ask a
         1000 done a 1
         1100 ask a
         1900 ask a
         1950 ask a
         2000 done a 3",
        7,
        expect![[r#"
            0 ask b
                -> b: lease 2, train v0 on 0.355 0.201 0.348 0.156, 45000 ms
            500 ask a
                -> a: wait 1000 ms, Round
            1000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                -> a: lease 3, train v0 on 0.282 0.264 0.148 0.29, 5000 ms
            1100 ask a
                -> a: wait 1000 ms, Round
            1900 ask a
                -> a: lease 4, train v0 on 0.159 0.43 0.177 0.161, 5000 ms
            1950 ask a
                -> a: wait 1000 ms, Round
            2000 done a 3
                accepted 3: 256 samples
                -> a: thanks for 3, 2 tasks and 512 samples so far
        "#]],
    );
}

#[test]
fn in_rounds_it_does_not() {
    check(
        StrategyName::Rounds,
        "0 join a
         0 join b
         0 ask a
         0 ask b
         900 ask a
         1000 done a 1",
        6,
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.340 0.182 0.356 0.94, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.355 0.201 0.348 0.156, 45000 ms
            900 ask a
                -> a: wait 1000 ms, Round
            1000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
        "#]],
    );
}

#[test]
fn one_volunteer_needs_no_buffer() {
    check(
        StrategyName::Buffered,
        "0 join a
         0 ask a
         1000 done a 1",
        1,
        expect![[r#"
            1000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, rate 0.35, momentum 0: 1 100%
        "#]],
    );
}

/// Three who took 35 s for a task each, and hold the next.
const SLOW_THREE: &str = "0 join a
    0 join b
    0 join c
    0 ask a
    0 ask b
    0 ask c
    35000 done a 1
    35000 done b 2
    35000 done c 3
    39000 tick
    39000 merged
    39000 ask a
    39000 ask b
    39000 ask c\n";

#[test]
fn too_little_from_two_is_merged_after_a_minute() {
    let script = SLOW_THREE.to_owned() + "40000 done a 4 steps=4\n41000 done b 5 steps=4\n99999 tick\n100000 tick";
    check(
        StrategyName::Buffered,
        &script,
        3,
        expect![[r#"
            41000 done b 5 steps=4
                accepted 5: 128 samples
                -> b: thanks for 5, 2 tasks and 384 samples so far
            99999 tick
            100000 tick
                merge v2, rate 0.06, momentum 0.9457416 led by 6: 4 50% 5 50%
        "#]],
    );
}

#[test]
fn too_little_from_one_is_merged_after_two_minutes() {
    let script = SLOW_THREE.to_owned() + "40000 done a 4 steps=4\n100000 tick\n159999 tick\n160000 tick";
    check(
        StrategyName::Buffered,
        &script,
        3,
        expect![[r#"
        100000 tick
        159999 tick
        160000 tick
            merge v2, rate 0.35, momentum 0: 4 100%
    "#]],
    );
}

#[test]
fn a_round_ends_soon_after_three_quarters() {
    check(
        StrategyName::Rounds,
        "0 join a
         0 join b
         0 join c
         0 join d
         0 ask a
         0 ask b
         0 ask c
         0 ask d
         8000 done a 1
         8000 done b 2
         8000 ask a
         8000 ask b
         9000 done c 3
         12999 tick
         13000 tick",
        3,
        expect![[r#"
            9000 done c 3
                accepted 3: 256 samples
                -> c: thanks for 3, 1 tasks and 256 samples so far
            12999 tick
            13000 tick
                merge v1, momentum 0.8: 1 33% 2 33% 3 33%
        "#]],
    );
}

#[test]
fn a_round_waits_for_half_of_its_volunteers() {
    check(
        StrategyName::Rounds,
        "0 join a
         0 join b
         0 join c
         0 ask a
         0 ask b
         0 ask c
         1000 done a 1
         9000 tick
         9500 done b 2
         60999 tick",
        4,
        expect![[r#"
            1000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            9000 tick
            9500 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
            60999 tick
                lapsed 3
                merge v1, rate 0.40, momentum 0.8: 1 50% 2 50%
        "#]],
    );
}

#[test]
fn among_many_the_fast_get_more_while_a_slower_one_is_awaited() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut script: String = names.iter().map(|name| format!("0 join {name}\n0 ask {name}\n")).collect();
    // A round that tells how fast everybody is: j takes three times as long for the smallest task.
    for (task, name) in (1..).zip(&names[..9]) {
        script += &format!("1000 done {name} {task}\n");
    }
    script += "12000 done j 10\n13000 merged\n";
    script += &names.iter().map(|name| format!("13000 ask {name}\n")).collect::<String>();
    script += "14000 done a 11\n14000 ask a\n15000 done a 21\n15000 ask a";
    check(
        StrategyName::Rounds,
        &script,
        4,
        expect![[r#"
            14000 done a 11
                accepted 11: 256 samples
                -> a: thanks for 11, 2 tasks and 512 samples so far
            14000 ask a
                -> a: lease 21, train v1 on 0.357 0.75 0.120 0.234, 5000 ms
            15000 done a 21
                accepted 21: 256 samples
                -> a: thanks for 21, 3 tasks and 768 samples so far
            15000 ask a
                -> a: wait 1000 ms, Round
        "#]],
    );
}

#[test]
fn a_slow_one_gets_a_smaller_batch() {
    let mut script = "0 join a\n0 join b\n0 join c\n0 ask a\n0 ask b\n0 ask c\n".to_owned();
    script += "1000 done a 1\n1000 done b 2\n2900 done c 3\n2900 merged\n2900 ask c\n2900 ask a\n3900 done a 5\n";
    script += "3900 ask a\n5800 done c 4\n5800 merged\n5800 ask c";
    // After its first task it may just have made a plan.
    check(
        StrategyName::Rounds,
        &script,
        7,
        expect![[r#"
            2900 ask c
                -> c: lease 4, train v1 on 0.159 0.43 0.177 0.161, 11600 ms
            2900 ask a
                -> a: lease 5, train v1 on 0.218 0.84 0.38 0.145, 5000 ms
            3900 done a 5
                accepted 5: 256 samples
                -> a: thanks for 5, 2 tasks and 512 samples so far
            3900 ask a
                -> a: wait 1000 ms, Round
            5800 done c 4
                accepted 4: 256 samples
                -> c: thanks for 4, 2 tasks and 512 samples so far
                merge v2, rate 0.40, momentum 0.8: 4 50% 5 50%
            5800 merged
                committed v2: 4 50% 5 50%
                -> a: lease 6, train v2 on 0.379 0.296 0.174 0.164, 5000 ms
            5800 ask c
                -> c: lease 7, train v2 on 0.246, batch 8, 11600 ms
        "#]],
    );
}

#[test]
fn a_newcomer_starts_small_and_has_its_place_after_two_tasks() {
    check(
        StrategyName::Rounds,
        "0 join a
         0 ask a
         1000 done a 1
         1000 join b
         1000 merged
         1000 ask a
         1000 ask b
         1850 done b 3
         2000 done a 2
         2000 merged
         2000 ask a
         2000 ask b
         2300 done b 5
         3000 done a 4
         3000 merged
         3000 ask b",
        10,
        expect![[r#"
            1000 ask b
                -> b: lease 3, train v1 on 0.282, batch 8, 45000 ms
            1850 done b 3
                accepted 3: 64 samples
                -> b: thanks for 3, 1 tasks and 64 samples so far
            2000 done a 2
                accepted 2: 256 samples
                -> a: thanks for 2, 2 tasks and 512 samples so far
                merge v2, rate 0.40, momentum 0.8: 2 80% 3 20%
            2000 merged
                committed v2: 2 80% 3 20%
            2000 ask a
                -> a: lease 4, train v2 on 0.264 0.148 0.29 0.159, 5000 ms
            2000 ask b
                -> b: lease 5, train v2 on 0.43, batch 8, 5000 ms
            2300 done b 5
                accepted 5: 64 samples
                -> b: thanks for 5, 2 tasks and 128 samples so far
            3000 done a 4
                accepted 4: 256 samples
                -> a: thanks for 4, 3 tasks and 768 samples so far
                merge v3, rate 0.40, momentum 0.8: 4 80% 5 20%
            3000 merged
                committed v3: 4 80% 5 20%
            3000 ask b
                -> b: lease 6, train v3 on 0.177 0.161 0.218 0.84, 5000 ms
        "#]],
    );
}

#[test]
fn a_crowd_that_rounds_keep_waiting_changes_the_mode_and_a_restart_keeps_it() {
    let all = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let each = |at: u64, word: &str| all.map(|name| format!("{at} {word} {name}\n")).concat();
    let mut script = each(0, "join");
    let mut now = 0;
    for round in 0..8 {
        script += &each(now, "ask");
        // All but the last are done at once, and wait.
        for (place, name) in (1..).zip(all) {
            let took = if name == "h" { 2_400 } else { 1_000 };
            script += &format!("{} done {name} {}\n", now + took, 8 * round + place);
        }
        now += 2_500;
        script += &format!("{now} merged\n");
    }
    script += &format!("{now} restart\n{now} join a\n{now} join b\n{now} ask a\n{now} ask b\n");
    script += &format!("{} done a 65\n{} ask a", now + 1_000, now + 1_000);
    check(
        StrategyName::Auto,
        &script,
        8,
        expect![[r#"
            20000 merged
                committed v8: 57 14% 58 14% 59 14% 60 14% 61 14% 62 14% 63 14% 64 3%
                mode Buffered
            20000 restart
            20000 join a
            20000 join b
            20000 ask a
                -> a: lease 65, train v8 on 0.111 0.192 0.135 0.152, 45000 ms
            20000 ask b
                -> b: lease 66, train v8 on 0.230 0.207 0.2 0.386, 45000 ms
            21000 done a 65
                accepted 65: 256 samples
                -> a: thanks for 65, 9 tasks and 2304 samples so far
            21000 ask a
                -> a: lease 67, train v8 on 0.223 0.49 0.66 0.354, 5000 ms
        "#]],
    );
}
