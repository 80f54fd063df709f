//! Results: which count, which are refused, and what the same one gets when sent again.

use expect_test::expect;
use potluck_protocol::{Recipe, Schedule};

use crate::Fact;
use crate::tests::fixture::{created, recipe};
use crate::tests::script::{Stage, check};

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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
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
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
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
    for line in ["22 merged", "23 ask a", "23 done a 9 norm=1.7 steps=4"] {
        stage.run(line);
    }
    expect![[r#"
        20 ask a
            -> a: lease 6, train v5 on 1.7 1.8 1.0 1.2, 5000 ms
        20 done a 6 norm=4.1
            released 6
            -> a: refused 6, NormOutOfRange: update norm is far from that of others with the same steps
        21 ask a
            -> a: lease 7, train v5 on 1.0 1.2 1.7 1.8, 5000 ms
        21 done a 7 norm=0.2
            released 7
            -> a: refused 7, NormOutOfRange: update norm is far from that of others with the same steps
        22 ask a
            -> a: lease 8, train v5 on 1.0 1.2 1.7 1.8, 5000 ms
        22 done a 8 norm=4
            accepted 8: 256 samples
            -> a: thanks for 8, 6 tasks and 1536 samples so far
            merge v6, rate 0.20, momentum 0.7 led by 0.3: 8 100%
        22 merged
            committed v6: 8 100%
        23 ask a
            -> a: lease 9, train v6 on 2.5 2.10 2.8 2.2, 5000 ms
        23 done a 9 norm=1.7 steps=4
            accepted 9: 128 samples
            -> a: thanks for 9, 7 tasks and 1664 samples so far
            merge v7, rate 0.20, momentum 0.7 led by 0.3: 9 100%
    "#]]
    .assert_eq(&stage.tail(9));
}

#[test]
fn the_first_norms_are_held_against_what_is_possible() {
    check(
        "0 join a
         0 ask a
         0 done a 1 norm=3.4e38
         1 ask a
         1 done a 2 norm=0
         2 ask a
         2 done a 3 norm=1",
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 done a 1 norm=3.4e38
                released 1
                -> a: refused 1, NormOutOfRange: update norm is far from that of others with the same steps
            1 ask a
                -> a: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            1 done a 2 norm=0
                released 2
                -> a: refused 2, NormOutOfRange: update norm is far from that of others with the same steps
            2 ask a
                -> a: lease 3, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
            2 done a 3 norm=1
                accepted 3: 256 samples
                -> a: thanks for 3, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 3 100%
        "#]],
    );
}

#[test]
fn nobody_is_faster_than_any_device() {
    let mut created = created(7, recipe(), 12);
    // A task of 256 samples is 8e12 operations, 100 ms at 80 TFLOP/s.
    if let Fact::JobCreated { facts, .. } = &mut created {
        facts.train_flops_per_sample = 31_250_000_000;
    }
    let mut stage = Stage::of(created);
    ["0 join a", "0 ask a", "99 done a 1", "100 ask a", "200 done a 2"].into_iter().for_each(|line| stage.run(line));
    expect![[r#"
        99 done a 1
            released 1
            -> a: refused 1, ResultMismatch: faster than any device
        100 ask a
            -> a: lease 2, train v0 on 0.1 0.4 0.5 0.8, 45000 ms
        200 done a 2
            accepted 2: 256 samples
            -> a: thanks for 2, 1 tasks and 256 samples so far
            merge v1, rate 0.20, momentum 0.7 led by 0.3: 2 100%
    "#]]
    .assert_eq(&stage.tail(3));
}
