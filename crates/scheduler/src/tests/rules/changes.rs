//! Changes of the recipe under way: what is out keeps its own, what comes next has the new one.

use expect_test::expect;
use potluck_protocol::{ErrorCode, RecipeChange, Refusal, limits};

use crate::tests::fixture::recipe;
use crate::tests::script::{Stage, check, check_job};
use crate::{Control, Fact, refusal};

#[test]
fn what_is_out_keeps_its_recipe() {
    check(
        r#"0 join a
         0 ask a
         0 join b
         0 ask b
         10 set {"steps":4,"batch":16,"lr":0.002,"update":"int8"}
         20 set {"steps":4,"batch":16,"lr":0.002,"update":"int8"}
         100 done a 1
         110 done b 2
         150 merged
         200 ask a
         300 done a 3 steps=4 norm=0.5"#,
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            0 join b
            0 ask b
                -> b: lease 2, train v0 on 0.9 0.7 0.11 0.0, 45000 ms
            10 set {"steps":4,"batch":16,"lr":0.002,"update":"int8"}
                changed lr 0.004 -> 0.002 steps 8 -> 4 batch 32 -> 16 update e3m0 -> int8
            20 set {"steps":4,"batch":16,"lr":0.002,"update":"int8"}
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
            110 done b 2
                accepted 2: 256 samples
                -> b: thanks for 2, 1 tasks and 256 samples so far
                merge v1, rate 0.40, momentum 0.8: 1 50% 2 50%
            150 merged
                committed v1: 1 50% 2 50%
            200 ask a
                -> a: lease 3, train v1 on 0.2, 5000 ms
            300 done a 3 steps=4 norm=0.5
                accepted 3: 64 samples
                -> a: thanks for 3, 2 tasks and 320 samples so far
                merge v2, rate 0.20, momentum 0.7 led by 0.3: 3 100%
        "#]],
    );
}

#[test]
fn a_merge_goes_on_as_it_was_asked_for_and_is_asked_for_anew_after_a_restart() {
    check(
        r#"0 join a
         0 ask a
         100 done a 1
         110 set {"outer":{"lr":1.0,"momentum":0.0}}
         120 restart
         150 merged
         160 join a2
         160 ask a2
         300 done a2 2"#,
        expect![[r#"
            0 join a
            0 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 1
                accepted 1: 256 samples
                -> a: thanks for 1, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 1 100%
            110 set {"outer":{"lr":1.0,"momentum":0.0}}
                changed outer.lr 0.7 -> 1 outer.momentum 0.8 -> 0
            120 restart
                merge v1, momentum 0: 1 100%
            150 merged
                committed v1: 1 100%
            160 join a2
            160 ask a2
                -> a2: lease 2, train v1 on 0.9 0.7 0.11 0.0, 45000 ms
            300 done a2 2
                accepted 2: 256 samples
                -> a2: thanks for 2, 2 tasks and 512 samples so far
                merge v2, momentum 0: 2 100%
        "#]],
    );
}

/// Two tasks, then done.
fn short() -> potluck_protocol::Recipe {
    potluck_protocol::Recipe { budget_samples: 512, ..recipe() }
}

#[test]
fn a_finished_job_is_extended_and_its_evaluator_has_work_at_once() {
    check_job(
        short(),
        r#"0 progress
         0 join e trusted
         0 ask e
         0 eval e 1
         0 ask e
         0 join a
         0 ask a
         100 done a 2
         150 merged
         160 eval e 3
         160 ask e
         200 ask a
         300 done a 4
         350 merged
         360 eval e 5
         360 ask e
         370 eval e 6
         370 ask e
         400 pause
         400 set {"lr":0.001}
         400 set {"budget_samples":512}
         500 set {"budget_samples":1024}
         600 ask a
         700 done a 7
         750 merged"#,
        expect![[r#"
            0 progress
            0 join e trusted
            0 ask e
                -> e: lease 1, evaluate Valid v0 on 0.0, 300000 ms
            0 eval e 1
                evaluated v0 Valid: 0.5
                -> e: thanks for 1, 0 tasks and 0 samples so far
                -> all: v0, 0 of 512, accuracy 0.5, 0 volunteers
            0 ask e
                -> e: wait 1000 ms, Round
            0 join a
            0 ask a
                -> a: lease 2, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 2
                accepted 2: 256 samples
                -> a: thanks for 2, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 2 100%
            150 merged
                committed v1: 2 100%
                -> all: v1, 256 of 512, accuracy 0.5, 1 volunteers
                -> e: lease 3, evaluate Valid v1 on 0.0, 300000 ms
            160 eval e 3
                evaluated v1 Valid: 0.5
                -> e: thanks for 3, 0 tasks and 0 samples so far
            160 ask e
                -> e: wait 1000 ms, Round
            200 ask a
                -> a: lease 4, train v1 on 0.9 0.7 0.11 0.0, 5000 ms
            300 done a 4
                accepted 4: 256 samples
                -> a: thanks for 4, 2 tasks and 512 samples so far
                merge v2, rate 0.20, momentum 0.7 led by 0.3: 4 100%
            350 merged
                committed v2: 4 100%
                -> all: v2, 512 of 512, accuracy 0.5, 1 volunteers
                -> e: lease 5, evaluate Valid v2 on 0.0, 300000 ms
            360 eval e 5
                evaluated v2 Valid: 0.5
                -> e: thanks for 5, 0 tasks and 0 samples so far
            360 ask e
                -> e: lease 6, evaluate Test v2 on 0.0, 300000 ms
            370 eval e 6
                evaluated v2 Test: 0.5
                finished v2
                -> e: thanks for 6, 0 tasks and 0 samples so far
                -> all: Finished
            370 ask e
                -> e: Finished
            400 pause
            400 set {"lr":0.001}
            400 set {"budget_samples":512}
            500 set {"budget_samples":1024}
                changed budget_samples 512 -> 1024
                -> all: v2, 512 of 1024, accuracy 0.5, 1 volunteers
            600 ask a
                -> a: lease 7, train v2 on 0.2 0.3 0.10 0.6, 5000 ms
            700 done a 7
                accepted 7: 256 samples
                -> a: thanks for 7, 3 tasks and 768 samples so far
                merge v3, rate 0.20, momentum 0.7 led by 0.3: 7 100%
            750 merged
                committed v3: 7 100%
                -> all: v3, 768 of 1024, accuracy 0.5, 1 volunteers
                -> e: lease 8, evaluate Valid v3 on 0.0, 300000 ms
        "#]],
    );
}

#[test]
fn a_smaller_budget_or_a_reached_target_ends_the_job() {
    check(
        r#"0 join e trusted
         0 ask e
         0 eval e 1 0.8
         0 ask e
         10 set {"target_accuracy":0.9}
         20 set {"target_accuracy":0.8}
         30 set {"target_accuracy":null}
         40 set {"budget_samples":256}
         50 join a
         50 ask a
         100 done a 3
         150 merged"#,
        expect![[r#"
            0 join e trusted
            0 ask e
                -> e: lease 1, evaluate Valid v0 on 0.0, 300000 ms
            0 eval e 1 0.8
                evaluated v0 Valid: 0.8
                -> e: thanks for 1, 0 tasks and 0 samples so far
            0 ask e
                -> e: wait 1000 ms, Round
            10 set {"target_accuracy":0.9}
                changed target_accuracy none -> 0.9
            20 set {"target_accuracy":0.8}
                changed target_accuracy 0.9 -> 0.8
                -> e: lease 2, evaluate Test v0 on 0.0, 300000 ms
            30 set {"target_accuracy":null}
                changed target_accuracy 0.8 -> none
            40 set {"budget_samples":256}
                changed budget_samples 100000 -> 256
            50 join a
            50 ask a
                -> a: lease 3, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
            100 done a 3
                accepted 3: 256 samples
                -> a: thanks for 3, 1 tasks and 256 samples so far
                merge v1, rate 0.20, momentum 0.7 led by 0.3: 3 100%
            150 merged
                committed v1: 3 100%
        "#]],
    );
}

#[test]
fn a_stopped_job_goes_on_where_it_was_paused() {
    check(
        r#"0 join a
         0 pause
         0 stop
         10 resume
         20 set {"budget_samples":99999}
         30 ask a"#,
        expect![[r#"
            0 join a
            0 pause
                paused
            0 stop
                stopped
            10 resume
            20 set {"budget_samples":99999}
                changed budget_samples 100000 -> 99999
            30 ask a
                -> a: lease 1, train v0 on 0.8 0.5 0.1 0.4, 45000 ms
        "#]],
    );
}

#[track_caller]
fn check_refusal(change: &str, expected: Option<(ErrorCode, &str)>) {
    let stage = Stage::new(recipe());
    let change = serde_json::from_str(change).expect("a change");
    let got = refusal(stage.core.state(), &Control::Set(Box::new(change)));
    let code = got.as_ref().map(|Refusal { code, .. }| *code);
    assert_eq!(code, expected.map(|(code, _)| code));
    let (detail, expected) = (got.map(|refusal| refusal.detail), expected.map(|(_, text)| text));
    assert!(detail.as_deref().unwrap_or("").contains(expected.unwrap_or("")), "{detail:?}");
}

#[test]
fn a_bad_recipe_is_refused_by_its_field() {
    let bad = |text| Some((ErrorCode::BadRequest, text));
    check_refusal("{}", None);
    check_refusal(r#"{"lr":0}"#, bad("train.lr: expected a number above 0 and at most 10, got 0"));
    check_refusal(r#"{"steps":17}"#, bad("train.steps: expected 4 to 16, got 17"));
    check_refusal(r#"{"budget_samples":100}"#, bad("train.budget_samples: expected at least one task"));
    check_refusal(r#"{"outer":{"momentum":1}}"#, bad("train.outer: expected lr above 0"));
    let muon = r#"{"muon":{"momentum":0.9,"beta1":0.9,"beta2":0.95,"eps":1e-8,"weight_decay":0.1}}"#;
    let unjudged = format!(r#"{{"steps":16,"optimizer":{muon}}}"#);
    check_refusal(&unjudged, bad("train.steps: expected at most 8 with Muon and four-bit updates"));
    check_refusal(&unjudged.replace("16", r#"16,"update":"int8""#), None);
}

#[test]
fn changes_have_an_end() {
    let mut stage = Stage::new(recipe());
    let change = |n: u64| RecipeChange { budget_samples: Some(50_000 + n), ..RecipeChange::default() };
    for n in 0..limits::RECIPE_CHANGES_MAX as u64 {
        stage.core.apply(&Fact::RecipeChanged { at: n, recipe: recipe().changed(&change(n)) });
    }
    let more = Control::Set(Box::new(change(9_999)));
    let code = refusal(stage.core.state(), &more).map(|refusal| refusal.code);
    assert_eq!(code, Some(ErrorCode::Full));
}
