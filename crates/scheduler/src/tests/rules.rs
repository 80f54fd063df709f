//! One readable case for each rule.

use expect_test::expect;
use potluck_protocol::{Recipe, Schedule, Split, limits};

use super::fixture::{blob, key, recipe};
use super::script::{Stage, check, check_job};
use crate::{Phase, Tally};

fn budget(budget_samples: u64) -> Recipe {
    Recipe { budget_samples, ..recipe() }
}

// Rounds.

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
                merge v1, momentum 0.6: 1 100%
            101 ask a
                -> a: wait 1000 ms, Round
            150 merged
                committed v1: 1 100%
                -> a: lease 2, train v1 on 0.9 0.7 0.11 0.0, 5000 ms
            250 done a 2
                accepted 2: 256 samples
                -> a: thanks for 2, 2 tasks and 512 samples so far
                merge v2, momentum 0.6: 2 100%
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
                merge v1, momentum 0.6: 1 50% 2 50%
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
                merge v1, momentum 0.6: 1 50% 2 50%
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
                merge v1, momentum 0.6: 1 100%
            1150 merged
                committed v1: 1 100%
                -> a: lease 3, train v1 on 0.2 0.3 0.10 0.6, 5000 ms
            1200 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
            1250 done a 3
                accepted 3: 256 samples
                -> a: thanks for 3, 2 tasks and 512 samples so far
                merge v2, momentum 0: 2 50% 3 50%
            1300 merged
                committed v2: 2 50% 3 50%
            1300 ask a
                -> a: lease 4, train v2 on 1.6 1.9 1.3 1.11, 5000 ms
            1400 done a 4
                accepted 4: 256 samples
                -> a: thanks for 4, 3 tasks and 768 samples so far
                merge v3, momentum 0.6: 4 100%
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
                merge v1, momentum 0.6: 1 100%
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
                merge v1, momentum 0.6: 1 100%
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
                merge v1, momentum 0.6: 1 100%
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
                merge v1, momentum 0.6: 1 100%
        "#]],
    );
}

// Leases.

#[test]
fn what_lapsed_goes_to_the_next_who_asks() {
    check(
        "0 join a
         0 join b
         0 ask a
         45000 tick
         45001 tick
         45002 ask b",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            45000 tick
            45001 tick
                lapsed 1
            45002 ask b
                -> b: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
        "#]],
    );
}

#[test]
fn between_deadline_and_expiry_the_first_result_wins_and_the_other_is_credited() {
    check(
        "0 join a
         0 join b
         0 ask a
         45001 tick
         45002 ask b
         46000 done a 1
         46100 done b 2
         47000 merged",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            45001 tick
                lapsed 1
            45002 ask b
                -> b: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            46000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            46100 done b 2
                accepted 2: 256 samples, late
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 100%
            47000 merged
                committed v1: 1 100%
        "#]],
    );
    check(
        "0 join a
         0 join b
         0 ask a
         45001 tick
         45002 ask b
         46000 done b 2
         46100 done a 1
         47000 merged",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            45001 tick
                lapsed 1
            45002 ask b
                -> b: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            46000 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 2 100%
            46100 done a 1
                accepted 1: 256 samples, late
                -> a: thanks for 1, 1 tasks and 256 samples so far
            47000 merged
                committed v1: 2 100%
        "#]],
    );
}

#[test]
fn after_its_expiry_a_result_is_refused() {
    check(
        "0 join a
         0 ask a
         45001 tick
         90000 tick
         90001 done a 1",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            45001 tick
                lapsed 1
            90000 tick
            90001 done a 1
                -> a: refused 1, LeaseExpired: the lease of task 1 is over
        "#]],
    );
}

#[test]
fn deadlines_follow_the_measured_speed() {
    check(
        "0 join a
         0 ask a
         2000 done a 1
         2000 merged
         2000 ask a
         2500 done a 2
         2500 merged
         2500 ask a",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            2000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 100%
            2000 merged
                committed v1: 1 100%
            2000 ask a
                -> a: lease 2, train v1 on 0.9 0.7 0.11 0.0, 8000 ms
            2500 done a 2
                accepted 2: 256 samples
                -> a: thanks for 2, 2 tasks and 512 samples so far
                merge v2, momentum 0.6: 2 100%
            2500 merged
                committed v2: 2 100%
            2500 ask a
                -> a: lease 3, train v2 on 0.2 0.3 0.10 0.6, 6800 ms
        "#]],
    );
}

#[test]
fn the_slow_get_longer_deadlines_though_their_first_result_is_refused() {
    check(
        "0 join a
         0 ask a
         45001 tick
         100000 done a 1
         100000 ask a",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            45001 tick
                lapsed 1
            100000 done a 1
                -> a: refused 1, LeaseExpired: the lease of task 1 is over
            100000 ask a
                -> a: lease 2, train v0 on 0.1 0.4 0.5 0.8, 300000 ms
        "#]],
    );
}

#[test]
fn what_is_given_back_is_free_at_once_and_counts_no_more() {
    check(
        "0 join a
         0 join b
         0 ask a
         10 release a 1 7
         10 ask b
         20 done a 1",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            10 release a 1 7
                released 1
            10 ask b
                -> b: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            20 done a 1
                -> a: refused 1, LeaseExpired: the lease of task 1 is over
        "#]],
    );
    check(
        "0 join a
         0 join b
         0 ask a
         10 bye a
         10 left a
         10 ask b",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            10 bye a
                released 1
            10 left a
            10 ask b
                -> b: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
        "#]],
    );
}

#[test]
fn a_lost_connection_may_come_back_with_its_result() {
    check(
        "0 join a
         0 ask a
         10 left a
         3000 tick
         4000 join a2
         6000 tick
         7000 done a2 1",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            10 left a
            3000 tick
            4000 join a2
            6000 tick
            7000 done a2 1
                accepted 1: 256 samples
                -> a2: thanks for 1, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 100%
        "#]],
    );
}

#[test]
fn without_coming_back_its_lease_lapses_soon_but_its_result_still_counts() {
    check(
        "0 join a
         0 ask a
         10 left a
         5009 tick
         5010 tick
         9000 join a2
         9000 done a2 1",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            10 left a
            5009 tick
            5010 tick
                lapsed 1
            9000 join a2
            9000 done a2 1
                accepted 1: 256 samples
                -> a2: thanks for 1, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 100%
        "#]],
    );
}

#[test]
fn a_new_connection_that_asks_has_lost_the_old_ones_task() {
    check(
        "0 join a
         0 ask a
         10 left a
         500 join a2
         500 ask a2",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            10 left a
            500 join a2
            500 ask a2
                lapsed 1
                -> a2: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
        "#]],
    );
}

#[test]
fn a_round_does_not_wait_for_the_lost() {
    check(
        "0 join a
         0 join b
         0 ask a
         0 ask b
         10 left b
         100 done a 1",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            10 left b
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 100%
        "#]],
    );
    check(
        "0 join a
         0 join b
         0 ask a
         0 ask b
         100 done a 1
         110 left b",
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
            110 left b
                merge v1, momentum 0.6: 1 100%
        "#]],
    );
}

// Results.

#[test]
fn the_same_result_again_gets_the_same_answer() {
    check(
        "0 join a
         0 ask a
         100 done a 1
         110 done a 1
         120 done a 1 other
         120 done a 1 steps=4
         200 merged
         210 done a 1",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 100%
            110 done a 1
                -> a: thanks for 1, 1 tasks and 256 samples so far
            120 done a 1 other
                -> a: refused 1, ResultMismatch: task 1 was already handed in with another result
            120 done a 1 steps=4
                -> a: refused 1, ResultMismatch: task 1 was already handed in with another result
            200 merged
                committed v1: 1 100%
            210 done a 1
                -> a: thanks for 1, 1 tasks and 256 samples so far
        "#]],
    );
}

#[test]
fn results_that_cannot_count() {
    check(
        "0 join a
         0 join b
         0 ask a
         10 done a 0
         10 done a 2
         10 done b 1
         10 done a 1 signer=b
         100 done a 1
         110 done b 1",
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            10 done a 0
                -> a: refused 0, UnknownTask: task 0 was never leased
            10 done a 2
                -> a: refused 2, UnknownTask: task 2 was never leased
            10 done b 1
                -> b: refused 1, NotYourTask: task 1 was leased to somebody else
            10 done a 1 signer=b
                -> a: refused 1, BadSignature: the signer is not who said hello
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 100%
            110 done b 1
                -> b: refused 1, NotYourTask: task 1 was leased to somebody else
        "#]],
    );
}

#[test]
fn results_that_fail_a_check_free_their_blocks_and_the_answer_stays() {
    check(
        "0 join a
         0 ask a
         1 done a 1 steps=3
         1 done a 1
         2 ask a
         2 done a 2 steps=9
         3 ask a
         3 done a 3 loss=NaN
         4 ask a
         4 done a 4 missing
         5 ask a
         5 done a 5 malformed
         6 ask a
         6 done a 6 infinite
         7 ask a
         7 done a 7 norm=inf
         8 ask a
         8 done a 8 evaluation
         9 ask a",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            1 done a 1 steps=3
                released 1
                -> a: refused 1, ResultMismatch: expected 4 to 8 steps, got 3
            1 done a 1
                -> a: refused 1, ResultMismatch: expected 4 to 8 steps, got 3
            2 ask a
                -> a: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            2 done a 2 steps=9
                released 2
                -> a: refused 2, ResultMismatch: expected 4 to 8 steps, got 9
            3 ask a
                -> a: lease 3, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            3 done a 3 loss=NaN
                released 3
                -> a: refused 3, ResultMismatch: expected a finite training loss
            4 ask a
                -> a: lease 4, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            4 done a 4 missing
                released 4
                -> a: refused 4, UpdateMissing: update d1e31953930e04c48c0ddd0cb2a6272d773ba1fafb6dccb2d0407d24bc9ef102 was not uploaded
            5 ask a
                -> a: lease 5, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            5 done a 5 malformed
                released 5
                -> a: refused 5, UpdateMalformed: update d7c74052a652f56dc8fccc224d117cd83afffd61529418c8900fd8f5f5ebe9bf is not E3m0 of the program's parameters
            6 ask a
                -> a: lease 6, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            6 done a 6 infinite
                released 6
                -> a: refused 6, UpdateNotFinite: update 636e4726c9e929a4205ec08bc593d69d639acdbf7390980a91f4ae8b78d9ed0e holds NaN or infinity
            7 ask a
                -> a: lease 7, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            7 done a 7 norm=inf
                released 7
                -> a: refused 7, UpdateNotFinite: update ca38e5cb39dc722600cf14cef86b584aed4b3d0ea0ac9d36c5a455da71b8c5eb holds NaN or infinity
            8 ask a
                -> a: lease 8, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            8 done a 8 evaluation
                released 8
                -> a: refused 8, ResultMismatch: expected 4 to 8 steps, got 0
            9 ask a
                -> a: lease 9, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
        "#]],
    );
}

#[test]
fn norms_are_held_against_five_of_the_same_steps() {
    let mut script = "0 join a\n".to_owned();
    for task in 1..=4 {
        script += &format!("{task} ask a\n{task} done a {task}\n{task} merged\n");
    }
    script += "10 ask a\n10 done a 5 norm=50\n10 merged\n";
    let mut stage = Stage::new(Recipe { schedule: Schedule::Constant, ..recipe() });
    script.lines().for_each(|line| stage.run(line));
    for line in
        ["20 ask a", "20 done a 6 norm=4.1", "21 ask a", "21 done a 7 norm=0.2", "22 ask a", "22 done a 8 norm=4"]
    {
        stage.run(line);
    }
    for line in ["22 merged", "23 ask a", "23 done a 9 norm=100 steps=4"] {
        stage.run(line);
    }
    expect![[r#"
        20 ask a
            -> a: lease 6, train v5 on 1.7 1.8 1.0 1.2, 5000 ms
        20 done a 6 norm=4.1
            released 6
            -> a: refused 6, NormOutOfRange: update norm 4.1 is outside [0.25, 4] for 8 steps
        21 ask a
            -> a: lease 7, train v5 on 1.0 1.2 1.7 1.8, 5000 ms
        21 done a 7 norm=0.2
            released 7
            -> a: refused 7, NormOutOfRange: update norm 0.2 is outside [0.25, 4] for 8 steps
        22 ask a
            -> a: lease 8, train v5 on 1.0 1.2 1.7 1.8, 5000 ms
        22 done a 8 norm=4
            accepted 8: 256 samples
            -> a: thanks for 8, 6 tasks and 1536 samples so far
            merge v6, momentum 0.6: 8 100%
        22 merged
            committed v6: 8 100%
        23 ask a
            -> a: lease 9, train v6 on 2.5 2.10 2.8 2.2, 5000 ms
        23 done a 9 norm=100 steps=4
            accepted 9: 128 samples
            -> a: thanks for 9, 7 tasks and 1664 samples so far
            merge v7, momentum 0.6: 9 100%
    "#]]
    .assert_eq(&stage.tail(9));
}

// Evaluation.

#[test]
fn every_version_is_evaluated_by_a_trusted_session_which_never_trains() {
    check(
        "0 progress
         0 join e trusted
         0 ask e
         10 eval e 1 0.1
         20 ask e
         30 join a
         30 ask a
         100 done a 2
         110 merged
         120 eval e 3 0.4",
        expect![[r#"
            0 progress
            0 join e trusted
            0 ask e
                -> e: lease 1, evaluate Valid v0 on 0.0, 300000 ms
            10 eval e 1 0.1
                evaluated v0 Valid: 0.1
                -> e: thanks for 1, 0 tasks and 0 samples so far
                -> all: v0, 0 of 100000, accuracy 0.1, 0 volunteers
            20 ask e
                -> e: wait 1000 ms, Round
            30 join a
            30 ask a
                -> a: lease 2, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 2
                accepted 2: 256 samples
                -> a: thanks for 2, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 2 100%
            110 merged
                committed v1: 2 100%
                -> all: v1, 256 of 100000, accuracy 0.1, 1 volunteers
                -> e: lease 3, evaluate Valid v1 on 0.0, 300000 ms
            120 eval e 3 0.4
                evaluated v1 Valid: 0.4
                -> e: thanks for 3, 0 tasks and 0 samples so far
                -> all: v1, 256 of 100000, accuracy 0.4, 1 volunteers
        "#]],
    );
}

#[test]
fn an_evaluation_left_behind_is_free_at_once() {
    check(
        "0 join e trusted
         0 ask e
         10 left e
         20 join f trusted
         20 ask f
         30 eval f 2
         30 eval f 2",
        expect![[r#"
            0 join e trusted
            0 ask e
                -> e: lease 1, evaluate Valid v0 on 0.0, 300000 ms
            10 left e
                lapsed 1
            20 join f trusted
            20 ask f
                -> f: lease 2, evaluate Valid v0 on 0.0, 300000 ms
            30 eval f 2
                evaluated v0 Valid: 0.5
                -> f: thanks for 2, 0 tasks and 0 samples so far
            30 eval f 2
                -> f: thanks for 2, 0 tasks and 0 samples so far
        "#]],
    );
}

// The end.

#[test]
fn at_the_end_of_the_budget_the_last_version_is_evaluated_on_test_too() {
    check_job(
        budget(256),
        "0 join a
         0 join b
         0 join e trusted
         0 ask a
         0 ask b
         0 ask e
         10 eval e 2
         20 ask e
         100 done a 1
         110 merged
         120 eval e 3 0.8
         130 ask e
         140 eval e 4 0.7
         150 ask a
         150 done a 1",
        expect![[r#"
            0 join a
            0 join b
            0 join e trusted
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: wait 1000 ms, Round
            0 ask e
                -> e: lease 2, evaluate Valid v0 on 0.0, 300000 ms
            10 eval e 2
                evaluated v0 Valid: 0.5
                -> e: thanks for 2, 0 tasks and 0 samples so far
            20 ask e
                -> e: wait 1000 ms, Round
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 100%
            110 merged
                committed v1: 1 100%
                -> e: lease 3, evaluate Valid v1 on 0.0, 300000 ms
            120 eval e 3 0.8
                evaluated v1 Valid: 0.8
                -> e: thanks for 3, 0 tasks and 0 samples so far
            130 ask e
                -> e: lease 4, evaluate Test v1 on 0.0, 300000 ms
            140 eval e 4 0.7
                evaluated v1 Test: 0.7
                finished v1
                -> e: thanks for 4, 0 tasks and 0 samples so far
                -> all: Finished
            150 ask a
                -> a: Finished
            150 done a 1
                -> a: thanks for 1, 1 tasks and 256 samples so far
        "#]],
    );
}

#[test]
fn at_the_target_those_who_compute_are_waited_for() {
    check_job(
        Recipe { target_accuracy: Some(0.9), ..recipe() },
        "0 join a
         0 join b
         0 join e trusted
         0 ask a
         0 ask b
         100 done a 1
         200 done b 2
         250 merged
         300 ask a
         300 ask b
         400 ask e
         500 eval e 5 0.95
         600 done a 3
         700 done b 4
         750 merged
         760 ask e
         800 eval e 6 0.94
         810 ask e
         820 eval e 7 0.93",
        expect![[r#"
            0 join a
            0 join b
            0 join e trusted
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
                merge v1, momentum 0.6: 1 50% 2 50%
            250 merged
                committed v1: 1 50% 2 50%
            300 ask a
                -> a: lease 3, train v1 on 0.2 0.3 0.10 0.6, 5000 ms
            300 ask b
                -> b: lease 4, train v1 on 1.6 1.9 1.3 1.11, 5000 ms
            400 ask e
                -> e: lease 5, evaluate Valid v1 on 0.0, 300000 ms
            500 eval e 5 0.95
                evaluated v1 Valid: 0.95
                -> e: thanks for 5, 0 tasks and 0 samples so far
            600 done a 3
                accepted 3: 256 samples
                -> a: thanks for 3, 2 tasks and 512 samples so far
            700 done b 4
                accepted 4: 256 samples
                -> b: thanks for 4, 2 tasks and 512 samples so far
                merge v2, momentum 0.6: 3 50% 4 50%
            750 merged
                committed v2: 3 50% 4 50%
            760 ask e
                -> e: lease 6, evaluate Valid v2 on 0.0, 300000 ms
            800 eval e 6 0.94
                evaluated v2 Valid: 0.94
                -> e: thanks for 6, 0 tasks and 0 samples so far
            810 ask e
                -> e: lease 7, evaluate Test v2 on 0.0, 300000 ms
            820 eval e 7 0.93
                evaluated v2 Test: 0.93
                finished v2
                -> e: thanks for 7, 0 tasks and 0 samples so far
                -> all: Finished
        "#]],
    );
}

#[test]
fn nobody_is_waited_for_longer_than_the_grace() {
    check(
        "0 join a
         0 join e trusted
         0 ask e
         0 eval e 1
         0 ask a
         100 stop
         101 ask e
         1099 tick
         1100 tick
         1200 eval e 3
         5000 done a 2
         5001 stop
         5002 resume",
        expect![[r#"
            0 join a
            0 join e trusted
            0 ask e
                -> e: lease 1, evaluate Valid v0 on 0.0, 300000 ms
            0 eval e 1
                evaluated v0 Valid: 0.5
                -> e: thanks for 1, 0 tasks and 0 samples so far
            0 ask a
                -> a: lease 2, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 stop
                stopped
            101 ask e
                -> e: wait 1000 ms, Round
            1099 tick
            1100 tick
                -> e: lease 3, evaluate Test v0 on 0.0, 300000 ms
            1200 eval e 3
                evaluated v0 Test: 0.5
                finished v0
                -> e: thanks for 3, 0 tasks and 0 samples so far
                -> all: Finished
            5000 done a 2
                accepted 2: 256 samples, late
                -> a: thanks for 2, 1 tasks and 256 samples so far
            5001 stop
            5002 resume
        "#]],
    );
}

#[test]
fn a_stop_merges_what_is_there() {
    check(
        "0 join a
         0 join b
         0 ask a
         0 ask b
         100 done a 1
         200 stop
         200 stop
         200 pause
         250 ask a
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
            200 stop
                stopped
            200 stop
            200 pause
            250 ask a
                -> a: wait 1000 ms, Round
            300 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 50% 2 50%
            350 merged
                committed v1: 1 50% 2 50%
        "#]],
    );
}

#[test]
fn a_stopped_job_stays_stopped_over_a_restart() {
    check(
        "0 join e trusted
         0 stop
         1 restart
         2 join a
         2 ask a
         3 join e trusted
         3 ask e
         4 eval e 1
         4 ask e
         5 eval e 2",
        expect![[r#"
            0 join e trusted
            0 stop
                stopped
            1 restart
            2 join a
            2 ask a
                -> a: wait 1000 ms, Round
            3 join e trusted
            3 ask e
                -> e: lease 1, evaluate Valid v0 on 0.0, 300000 ms
            4 eval e 1
                evaluated v0 Valid: 0.5
                -> e: thanks for 1, 0 tasks and 0 samples so far
            4 ask e
                -> e: lease 2, evaluate Test v0 on 0.0, 300000 ms
            5 eval e 2
                evaluated v0 Test: 0.5
                finished v0
                -> e: thanks for 2, 0 tasks and 0 samples so far
                -> all: Finished
        "#]],
    );
}

#[test]
fn the_last_samples_are_leased_once() {
    check_job(
        budget(512),
        "0 join a
         0 join b
         0 join c
         0 ask a
         0 ask b
         0 ask c
         10 release b 2",
        expect![[r#"
            0 join a
            0 join b
            0 join c
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            0 ask c
                -> c: wait 1000 ms, Round
            10 release b 2
                released 2
                -> c: lease 3, train v0 on 0.0 0.7 0.9 0.11, 45000 ms
        "#]],
    );
}

// The owner, and restarts.

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
                merge v1, momentum 0.6: 1 100%
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
                merge v1, momentum 0.6: 1 100%
            200 restart
                merge v1, momentum 0.6: 1 100%
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
         3000 join c2
         3000 merged
         6000 tick
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
                merge v1, momentum 0.6: 1 100%
            3000 join c2
            3000 merged
                committed v1: 1 100%
            6000 tick
                lapsed 2
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
                merge v1, momentum 0.6: 1 100%
            150 merged
                committed v1: 1 100%
                -> all: v1, 256 of 100000, accuracy -, 2 volunteers
            160 tick
        "#]],
    );
}

#[test]
fn no_more_is_leased_than_the_coordinator_has_room_for() {
    let mut stage = Stage::new(recipe());
    stage.crowd(limits::PENDING_UPDATES_MAX as u64);
    stage.run("0 join a");
    stage.run("0 ask a");
    expect![[r#"
        0 ask a
            -> a: wait 1000 ms, Busy
    "#]]
    .assert_eq(&stage.tail(1));
}

// What people ask.

#[test]
fn the_tally_counts_samples_tasks_and_operations() {
    let mut stage = Stage::new(recipe());
    for line in ["0 join a", "0 ask a", "100 done a 1", "110 merged", "120 ask a", "200 done a 2 steps=4"] {
        stage.run(line);
    }
    let state = stage.core.state();
    let at = super::fixture::EPOCH;
    let expected = Tally { tasks: 2, samples: 384, flops: 384 * 60, first_at: at + 100, last_at: at + 200 };
    assert_eq!(state.tally(&key(b'a')), Some(&expected));
    assert_eq!((state.samples(), state.version().0, state.phase()), (256, 1, Phase::Running));
    let speed = stage.core.presence().speed(&key(b'a'));
    assert!(speed.is_some_and(|s| (1000.0..3000.0).contains(&s)), "{speed:?}");
}

#[test]
fn blobs_are_kept_while_something_needs_them() {
    let mut stage = Stage::new(recipe());
    let holds = |stage: &Stage, name: &str| stage.core.state().retained().contains(&blob(name));
    for line in ["0 join a", "0 join e trusted", "0 ask a", "0 ask e", "100 done a 1"] {
        stage.run(line);
    }
    assert!(holds(&stage, "update of 1 in 8") && holds(&stage, "v0") && holds(&stage, "train 3"));
    stage.run("110 merged");
    assert!(!holds(&stage, "update of 1 in 8") && holds(&stage, "v1") && holds(&stage, "mv1"));
    assert!(holds(&stage, "v0"), "its evaluation is out");
    stage.run("120 eval e 2");
    assert!(!holds(&stage, "v0"));
    assert_eq!(stage.core.state().newest(Split::Valid).map(|(version, e)| (version.0, e.samples)), Some((0, 30)));
}
