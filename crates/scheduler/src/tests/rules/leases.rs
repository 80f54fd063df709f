//! Leases: deadlines, expiry, connections that come and go.

use expect_test::expect;

use crate::tests::script::check;

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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            46100 done b 2
                accepted 2: 256 samples, late
                -> b: thanks for 2, 1 tasks and 256 samples so far
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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 2 100%
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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            2000 merged
                committed v1: 1 100%
            2000 ask a
                -> a: lease 2, train v1 on 0.9 0.7 0.11 0.0, 8000 ms
            2500 done a 2
                accepted 2: 256 samples
                -> a: thanks for 2, 2 tasks and 512 samples so far
                merge v2, rate 0.20, momentum 0.7 led by 0.3: 2 100%
            2500 merged
                committed v2: 2 100%
            2500 ask a
                -> a: lease 3, train v2 on 0.2 0.3 0.10 0.6, 5000 ms
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
fn what_another_open_connection_holds_is_not_given_back() {
    check(
        "0 join a
         0 ask a
         1 join a2
         2 release a2 1
         3 left a
         4 release a2 1",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            1 join a2
            2 release a2 1
            3 left a
            4 release a2 1
                released 1
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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
        "#]],
    );
}
