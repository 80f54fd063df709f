//! The tail of a job: late work is given out once more.

use expect_test::expect;

use super::budget;
use crate::tests::script::check_job;

/// Two who took 1 s and 4 s for a task each, and hold the last two of the job: a whole one and a
/// quarter of one, which should take 1 s each.
const LAST_TWO: &str = "0 join a
    0 join b
    0 ask a
    0 ask b
    1000 done a 1
    4000 done b 2
    4000 merged
    4000 ask b
    4000 ask a
    5000 done a 4\n";

#[test]
fn the_first_of_two_is_merged_and_the_other_credited() {
    check_job(
        budget(832),
        &(LAST_TWO.to_owned()
            + "5600 ask a
               6000 done a 5
               6000 merged
               6100 done b 3
               6100 ask a"),
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            1000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            4000 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 50% 2 50%
            4000 merged
                committed v1: 1 50% 2 50%
            4000 ask b
                -> b: lease 3, train v1 on 0.2, batch 8, 5000 ms
            4000 ask a
                -> a: lease 4, train v1 on 0.3 0.10 0.6 1.6, 5000 ms
            5000 done a 4
                accepted 4: 256 samples
                -> a: thanks for 4, 2 tasks and 512 samples so far
            5600 ask a
                -> a: lease 5, train v1 on 0.2, batch 8, 5000 ms
            6000 done a 5
                accepted 5: 64 samples
                -> a: thanks for 5, 3 tasks and 576 samples so far
                merge v2, momentum 0.6: 4 80% 5 20%
            6000 merged
                committed v2: 4 80% 5 20%
            6100 done b 3
                accepted 3: 64 samples, late
                -> b: thanks for 3, 2 tasks and 320 samples so far
            6100 ask a
                -> a: wait 1000 ms, Round
        "#]],
    );
}

#[test]
fn what_is_nearly_done_is_not_given_out_again() {
    check_job(
        budget(832),
        &(LAST_TWO.to_owned()
            + "5000 ask a
               5100 done b 3
               5100 merged"),
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            1000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            4000 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 50% 2 50%
            4000 merged
                committed v1: 1 50% 2 50%
            4000 ask b
                -> b: lease 3, train v1 on 0.2, batch 8, 5000 ms
            4000 ask a
                -> a: lease 4, train v1 on 0.3 0.10 0.6 1.6, 5000 ms
            5000 done a 4
                accepted 4: 256 samples
                -> a: thanks for 4, 2 tasks and 512 samples so far
            5000 ask a
                -> a: wait 1000 ms, Round
            5100 done b 3
                accepted 3: 64 samples
                -> b: thanks for 3, 2 tasks and 320 samples so far
                merge v2, momentum 0.6: 3 50% 4 50%
            5100 merged
                committed v2: 3 50% 4 50%
        "#]],
    );
}

#[test]
fn a_copy_that_is_given_back_leaves_the_work_with_the_first() {
    check_job(
        budget(832),
        &(LAST_TWO.to_owned()
            + "5600 ask a
               5700 release a 5
               6000 done b 3
               6000 merged"),
        expect![[r#"
            0 join a
            0 join b
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            1000 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            4000 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, momentum 0.6: 1 50% 2 50%
            4000 merged
                committed v1: 1 50% 2 50%
            4000 ask b
                -> b: lease 3, train v1 on 0.2, batch 8, 5000 ms
            4000 ask a
                -> a: lease 4, train v1 on 0.3 0.10 0.6 1.6, 5000 ms
            5000 done a 4
                accepted 4: 256 samples
                -> a: thanks for 4, 2 tasks and 512 samples so far
            5600 ask a
                -> a: lease 5, train v1 on 0.2, batch 8, 5000 ms
            5700 release a 5
                released 5
            6000 done b 3
                accepted 3: 64 samples
                -> b: thanks for 3, 2 tasks and 320 samples so far
                merge v2, momentum 0.6: 3 50% 4 50%
            6000 merged
                committed v2: 3 50% 4 50%
        "#]],
    );
}
