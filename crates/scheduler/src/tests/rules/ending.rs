//! The end: by budget, by target, by the owner.

use expect_test::expect;
use potluck_protocol::Recipe;

use super::budget;
use crate::tests::fixture::recipe;
use crate::tests::script::{check, check_job};

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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
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
                merge v1, rate 0.40, momentum 0.8: 1 50% 2 50%
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
                merge v2, rate 0.40, momentum 0.8: 3 50% 4 50%
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
                merge v1, rate 0.40, momentum 0.8: 1 50% 2 50%
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
