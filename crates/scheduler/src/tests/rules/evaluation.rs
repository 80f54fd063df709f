//! Evaluation: every version, by trusted sessions only.

use expect_test::expect;

use crate::tests::script::check;

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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 2 100%
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
