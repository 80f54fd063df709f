//! Rounds: who is waited for, and when a commit is made.

use expect_test::expect;

use crate::tests::fixture::recipe;
use crate::tests::script::{Stage, check};

#[test]
fn one_volunteer_goes_on_right_after_the_commit() {
    check(
        "0 join a
         0 ask a
         100 done a 1
         101 ask a
         150 merged
         250 done a 2",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            101 ask a
                -> a: wait 1000 ms, Round
            150 merged
                committed v1: 1 100%
                -> a: lease 2, train v1 on 0.9 0.7 0.11 0.0, 5000 ms
            250 done a 2
                accepted 2: 256 samples
                -> a: thanks for 2, 2 tasks and 512 samples so far
                merge v2, rate 0.20, momentum 0.7 led by 0.3: 2 100%
        "#]],
    );
}

#[test]
fn a_round_waits_for_all_who_compute_on_it() {
    check(
        "0 join a
         0 join b
         0 ask a
         0 ask b
         100 done a 1
         200 done b 2
         250 merged",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            200 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, rate 0.40, momentum 0.8: 1 50% 2 50%
            250 merged
                committed v1: 1 50% 2 50%
        "#]],
    );
}

#[test]
fn a_fast_volunteer_gets_one_task_a_round() {
    check(
        "0 join a
         0 join b
         0 ask a
         0 ask b
         100 done a 1
         100 ask a
         200 ask a
         300 done b 2
         350 merged",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            100 ask a
                -> a: wait 1000 ms, Round
            200 ask a
                -> a: wait 1000 ms, Round
            300 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, rate 0.40, momentum 0.8: 1 50% 2 50%
            350 merged
                committed v1: 1 50% 2 50%
                -> a: lease 3, train v1 on 0.2 0.3 0.10 0.6, 5000 ms
        "#]],
    );
}

#[test]
fn a_round_ends_after_its_grace_and_the_late_join_the_next_without_momentum() {
    check(
        "0 join a
         0 join b
         0 ask a
         0 ask b
         100 done a 1
         100 ask a
         1099 tick
         1100 tick
         1150 merged
         1200 done b 2
         1250 done a 3
         1300 merged
         1300 ask a
         1400 done a 4",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            100 ask a
                -> a: wait 1000 ms, Round
            1099 tick
            1100 tick
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            1150 merged
                committed v1: 1 100%
                -> a: lease 3, train v1 on 0.2 0.3 0.10 0.6, 5000 ms
            1200 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
            1250 done a 3
                accepted 3: 256 samples
                -> a: thanks for 3, 2 tasks and 512 samples so far
                merge v2, momentum 0: 2 41% 3 59%
            1300 merged
                committed v2: 2 41% 3 59%
            1300 ask a
                -> a: lease 4, train v2 on 1.6 1.9 1.3 1.11, 5000 ms
            1400 done a 4
                accepted 4: 256 samples
                -> a: thanks for 4, 3 tasks and 768 samples so far
                merge v3, rate 0.20, momentum 0.7 led by 0.3: 4 100%
        "#]],
    );
}

#[test]
fn the_grace_is_twice_a_usual_task() {
    check(
        "0 join a
         0 join b
         0 ask a
         0 ask b
         3000 done a 1
         8999 tick
         9000 tick",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            3000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            8999 tick
            9000 tick
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
        "#]],
    );
}

#[test]
fn a_result_that_comes_while_merging_waits_for_the_next_commit() {
    check(
        "0 join a
         0 join b
         0 ask a
         0 ask b
         0 tick
         100 done a 1
         1100 tick
         1110 done b 2
         1120 ask b
         1150 merged",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            0 tick
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            1100 tick
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            1110 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
            1120 ask b
                -> b: wait 1000 ms, Round
            1150 merged
                committed v1: 1 100%
                -> b: lease 3, train v1 on 0.2 0.3 0.10 0.6, 5000 ms
        "#]],
    );
}

#[test]
fn a_merge_that_was_not_asked_for_makes_no_version() {
    check(
        "0 join a
         0 ask a
         100 done a 1
         150 merged
         151 merged
         160 ask a
         170 left a
         180 restart
         190 merged",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            150 merged
                committed v1: 1 100%
            151 merged
            160 ask a
                -> a: lease 2, train v1 on 0.9 0.7 0.11 0.0, 5000 ms
            170 left a
            180 restart
            190 merged
        "#]],
    );
}

#[test]
fn past_eight_versions_a_result_is_credited_but_not_merged() {
    let mut script = "0 join a\n0 join b\n0 ask a\n0 ask b\n100 done a 1\n1100 tick\n1100 merged\n".to_owned();
    for task in 3..11 {
        let at = 1_000 + task * 100;
        script += &format!("{at} ask a\n{at} done a {task}\n{at} merged\n");
    }
    script += "2200 done b 2\n2300 ask a";
    let mut stage = Stage::new(recipe());
    script.lines().for_each(|line| stage.run(line));
    assert_eq!(stage.core.state().version().0, 9);
    expect![[r#"
        2200 done b 2
            accepted 2: 256 samples, late
            -> b: thanks for 2, 1 tasks and 256 samples so far
        2300 ask a
            -> a: lease 11, train v9 on 0.0 0.7 0.9 0.11, 5000 ms
    "#]]
    .assert_eq(&stage.tail(2));
}

#[test]
fn two_connections_of_one_volunteer_are_one_volunteer() {
    check(
        "0 join a
         0 join a2
         0 join b
         0 ask a
         0 ask a2
         0 ask b
         100 done a 1
         100 ask a",
        expect![[r#"
            0 join a
            0 join a2
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask a2
                -> a2: wait 1000 ms, Round
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            100 ask a
                -> a: wait 1000 ms, Round
        "#]],
    );
}

#[test]
fn a_short_task_is_credited_for_the_steps_done() {
    check(
        "0 join a
         0 ask a
         100 done a 1 steps=5",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 1 steps=5
                accepted 1: 160 samples
                -> a: thanks for 1, 1 tasks and 160 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
        "#]],
    );
}
