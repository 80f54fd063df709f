//! Results: uploaded, signed, sent, judged.

use expect_test::expect;
use potluck_protocol::{ErrorCode, Lease, Refusal, ServerMessage, TaskId};

use super::{Script, check, outcome, verdict};
use crate::{session::Event, work::Outcome};

#[test]
fn evaluations_have_no_update_to_upload() {
    check(
        Script::asked(),
        |s| {
            let task = s.job.evaluation(4);
            s.says(&ServerMessage::Lease(Box::new(Lease {
                task,
                deadline_millis: 9000,
                expiry_millis: 9000,
                deltas: Vec::new(),
            })));
            s.fetched();
            let evaluation = potluck_protocol::Evaluation { loss: 0.5, accuracy: 0.5, samples: 32 };
            let (update, train_loss, evaluation) = (None, None, Some(evaluation));
            let outcome = Outcome { task: TaskId(4), steps: 0, update, train_loss, evaluation, compute_millis: 1 };
            s.event(Event::TaskDone { outcome });
            s.event(Event::Signed { task: TaskId(4), signature: [1; 64] });
        },
        expect![[r#"
            fetch block 1 <= 524288
            report {"type":"helping","task":4,"kind":"evaluate","step":0,"steps":0,"loss":null}
            run task 4 on 2 blocks
            sign task 4
            send 1: result of task 4, 0 steps
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn the_next_task_runs_while_an_update_is_sent_and_no_third_is_asked_for() {
    check(
        Script::running(),
        |s| {
            s.computed(1, 8);
            s.lease(2);
            s.computed(2, 8);
            s.event(Event::Uploaded { task: TaskId(1) });
            s.says(&verdict(1, true, None));
        },
        expect![[r#"
            sign task 1
            upload 3 bytes of task 1
            send 1: {"type":"ask"}
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
            sign task 2
            upload 3 bytes of task 2
            send 1: result of task 1, 8 steps
            report {"type":"credited","task":1,"tasks":1,"samples":64}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn on_a_new_connection_the_result_comes_before_the_ask() {
    check(
        Script::running(),
        |s| {
            let link = s.link;
            s.event(Event::Closed { link, refused: None });
            s.passes(2000);
            s.welcomed();
            s.computed(1, 8);
            s.event(Event::Uploaded { task: TaskId(1) });
        },
        expect![[r#"
            sleep 783
            connect 2
            send 2: hello 1..4, welcomed before
            report joined
            send 2: device
            sign task 1
            upload 3 bytes of task 1
            send 2: result of task 1, 8 steps
            send 2: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_stop_during_an_upload_gives_the_next_task_back() {
    check(
        Script::running(),
        |s| {
            s.computed(1, 8);
            s.lease(2);
            s.event(Event::Stop);
            s.event(Event::TaskDone { outcome: outcome(2, 5) });
            s.event(Event::Uploaded { task: TaskId(1) });
            s.says(&verdict(1, true, None));
        },
        expect![[r#"
            sign task 1
            upload 3 bytes of task 1
            send 1: {"type":"ask"}
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
            halt
            report {"type":"stopping"}
            sleep 5000
            send 1: {"type":"release","tasks":[2]}
            send 1: result of task 1, 8 steps
            report {"type":"credited","task":1,"tasks":1,"samples":64}
            send 1: {"type":"bye"}
            close 1
            report {"type":"stopped"}
        "#]],
    );
}

#[test]
fn an_upload_is_tried_again() {
    check(
        Script::running(),
        |s| {
            s.computed(1, 8);
            let (task, code, detail) = (TaskId(1), None, "status 503".to_owned());
            s.event(Event::UploadFailed { task, code, detail, retryable: true });
            s.passes(500);
            s.event(Event::Uploaded { task: TaskId(1) });
        },
        expect![[r#"
            sign task 1
            upload 3 bytes of task 1
            send 1: {"type":"ask"}
            sleep 391
            upload 3 bytes of task 1
            send 1: result of task 1, 8 steps
        "#]],
    );
}

#[test]
fn an_upload_that_is_refused_gives_the_lease_back() {
    check(
        Script::running(),
        |s| {
            s.event(Event::TaskDone { outcome: outcome(1, 8) });
            let (task, code, detail) = (TaskId(1), Some(ErrorCode::UpdateMalformed), "odd bytes".to_owned());
            s.event(Event::UploadFailed { task, code, detail, retryable: false });
            s.event(Event::Signed { task: TaskId(1), signature: [1; 64] });
        },
        expect![[r#"
            sign task 1
            upload 3 bytes of task 1
            report {"type":"refused","code":"update_malformed","detail":"odd bytes","task":1}
            send 1: {"type":"release","tasks":[1]}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
        "#]],
    );
}

#[test]
fn an_update_that_was_lost_is_uploaded_again() {
    check(
        Script::handed_in(),
        |s| {
            s.says(&verdict(1, false, Some(ErrorCode::UpdateMissing)));
            s.passes(500);
            s.event(Event::Uploaded { task: TaskId(1) });
        },
        expect![[r#"
            sleep 391
            upload 3 bytes of task 1
            send 1: result of task 1, 8 steps
        "#]],
    );
}

#[test]
fn an_error_without_a_task_answers_the_oldest_result() {
    check(
        Script::handed_in(),
        |s| {
            let refusal = Refusal { code: ErrorCode::BadSignature, detail: "no".to_owned() };
            s.says(&ServerMessage::Error(refusal));
        },
        expect![[r#"
            report {"type":"refused","code":"bad_signature","detail":"no","task":1}
        "#]],
    );
}

#[test]
fn after_a_refusal_the_next_answer_comes_before_the_next_ask() {
    check(
        Script::handed_in(),
        |s| {
            s.says(&verdict(1, false, Some(ErrorCode::NormOutOfRange)));
            s.lease(2);
            s.done(2, 8);
            s.passes(5000);
            s.says(&verdict(2, false, Some(ErrorCode::NormOutOfRange)));
            s.passes(2000);
        },
        expect![[r#"
            report {"type":"refused","code":"norm_out_of_range","detail":"because","task":1}
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
            sign task 2
            upload 3 bytes of task 2
            send 1: result of task 2, 8 steps
            report {"type":"refused","code":"norm_out_of_range","detail":"because","task":2}
            sleep 1566
            report {"type":"waiting","reason":"retry","retry_millis":1566}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_result_that_is_not_finite_is_not_handed_in() {
    check(
        Script::running(),
        |s| {
            let outcome = Outcome { train_loss: Some(f32::NAN), ..outcome(1, 8) };
            s.event(Event::TaskDone { outcome });
        },
        expect![[r#"
            report {"type":"refused","code":"task_failed","detail":"the training loss is not finite","task":1}
            send 1: {"type":"release","tasks":[1]}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
        "#]],
    );
}
