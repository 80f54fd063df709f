//! The tail of a job: late work is given out once more.

use expect_test::{Expect, expect};

use super::budget;
use crate::tests::script::Stage;

/// Two who took 1 s and 4 s for two tasks each, and hold the next: a whole one, and a quarter of one,
/// which should take 1 s each.
const FAST_AND_SLOW: &str = "0 join a
    0 join b
    0 ask a
    0 ask b
    1000 done a 1
    4000 done b 2
    4000 merged
    4000 ask b
    4000 ask a
    5000 done a 4
    8000 done b 3
    8000 merged
    8000 ask b
    8000 ask a\n";

/// They took that long, and hold the next two.
const EVEN: &str = "9000 done a 6
    9000 done b 5
    9000 merged
    9000 ask b
    9000 ask a
    10000 done a 8\n";

/// Compares the transcript of a job that all is leased of after the first two scripts.
#[track_caller]
fn check(budget_samples: u64, before: &[&str], script: &str, expected: Expect) {
    let mut stage = Stage::new(budget(budget_samples));
    let lines = |script: &str| script.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    before.iter().flat_map(|script| lines(script)).for_each(|line| stage.run(&line));
    let last = lines(script);
    last.iter().for_each(|line| stage.run(line));
    expected.assert_eq(&stage.tail(last.len()));
}

#[test]
fn the_first_of_two_is_merged_and_the_other_credited() {
    check(
        1_664,
        &[FAST_AND_SLOW, EVEN],
        "10600 ask a
         11000 done a 9 norm=0.4
         11000 merged
         11100 done b 7
         11100 ask a",
        expect![[r#"
            10600 ask a
                -> a: lease 9, train v3 on 1.8, batch 8, 5000 ms
            11000 done a 9 norm=0.4
                accepted 9: 64 samples
                -> a: thanks for 9, 5 tasks and 1088 samples so far
                merge v4, rate 0.20, momentum 0.7 led by 0.3: 8 80% 9 20%
            11000 merged
                committed v4: 8 80% 9 20%
            11100 done b 7
                accepted 7: 64 samples, late
                -> b: thanks for 7, 4 tasks and 640 samples so far
            11100 ask a
                -> a: wait 1000 ms, Round
        "#]],
    );
}

#[test]
fn what_is_nearly_done_is_not_given_out_again() {
    check(
        1_664,
        &[FAST_AND_SLOW, EVEN],
        "10000 ask a
         10100 done b 7
         10100 merged",
        expect![[r#"
            10000 ask a
                -> a: wait 1000 ms, Round
            10100 done b 7
                accepted 7: 64 samples
                -> b: thanks for 7, 4 tasks and 640 samples so far
                merge v4, rate 0.40, momentum 0.8: 7 20% 8 80%
            10100 merged
                committed v4: 7 20% 8 80%
        "#]],
    );
}

#[test]
fn what_was_never_faster_may_take_as_long_though_it_is_small() {
    check(
        1_344,
        &[FAST_AND_SLOW],
        "8900 done a 6
         8900 ask a",
        expect![[r#"
            8900 done a 6
                accepted 6: 256 samples
                -> a: thanks for 6, 3 tasks and 768 samples so far
            8900 ask a
                -> a: lease 7, train v2 on 1.1, batch 8, 5000 ms
        "#]],
    );
}

#[test]
fn a_copy_that_is_given_back_leaves_the_work_with_the_first() {
    check(
        1_664,
        &[FAST_AND_SLOW, EVEN],
        "10600 ask a
         10700 release a 9
         11000 done b 7
         11000 merged",
        expect![[r#"
            10600 ask a
                -> a: lease 9, train v3 on 1.8, batch 8, 5000 ms
            10700 release a 9
                released 9
            11000 done b 7
                accepted 7: 64 samples
                -> b: thanks for 7, 4 tasks and 640 samples so far
                merge v4, rate 0.40, momentum 0.8: 7 20% 8 80%
            11000 merged
                committed v4: 7 20% 8 80%
        "#]],
    );
}
