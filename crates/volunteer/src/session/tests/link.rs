//! Connecting, greeting, waiting and the ends that the coordinator decides.

use expect_test::expect;
use potluck_protocol::{BlobId, ErrorCode, Millis, Refusal, ServerMessage, TaskId, Version, WaitReason, limits};

use super::{Script, check, config, device, outcome, verdict};
use crate::session::{Config, Event, LinkId, Session, TimerId};

#[test]
fn greets_fetches_measures_and_asks() {
    check(
        Script::new(),
        |s| {
            s.event(Event::Start);
            s.welcomed();
            s.fetched();
            s.event(Event::Measured { device: device(), fallback: Some("no GPU".to_owned()) });
        },
        expect![[r#"
            connect 1
            report {"type":"connecting"}
            sleep 30000
            send 1: hello 1..4
            report joined
            report {"type":"downloading","bytes":0,"total":null}
            fetch program <= 1048576
            fetch block 0 <= 524288
            fetch base <= 92
            keep base
            report {"type":"checking_device"}
            challenge with 432 bytes of data
            report {"type":"fallback","reason":"no GPU"}
            report device
            send 1: device
            report {"type":"waiting","reason":"asking","retry_millis":0}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn waits_as_told_and_asks_again() {
    check(
        Script::asked(),
        |s| {
            s.says(&ServerMessage::Wait { retry_millis: 2000, reason: WaitReason::Round });
            s.passes(1999);
            s.passes(1);
        },
        expect![[r#"
            sleep 2000
            sleep 500
            report {"type":"waiting","reason":"round","retry_millis":1500}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_lost_connection_is_opened_again_and_the_result_sent_again() {
    check(
        Script::handed_in(),
        |s| {
            s.event(Event::Closed { link: s.link, refused: None });
            s.passes(1000);
            s.welcomed();
            s.says(&verdict(1, true, None));
        },
        expect![[r#"
            sleep 783
            report {"type":"offline","retry_millis":783}
            connect 2
            report {"type":"connecting"}
            send 2: hello 1..4, welcomed before
            report joined
            send 2: device
            report {"type":"waiting","reason":"asking","retry_millis":0}
            send 2: result of task 1, 8 steps
            send 2: {"type":"ask"}
            report {"type":"credited","task":1,"tasks":1,"samples":64}
        "#]],
    );
}

#[test]
fn a_task_goes_on_while_the_connection_is_lost() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Closed { link: s.link, refused: None });
            s.done(1, 8);
            s.passes(1000);
            s.welcomed();
        },
        expect![[r#"
            sleep 783
            sign task 1
            report {"type":"offline","retry_millis":783}
            upload 3 bytes of task 1
            connect 2
            report {"type":"connecting"}
            send 2: hello 1..4, welcomed before
            report joined
            send 2: device
            report {"type":"waiting","reason":"asking","retry_millis":0}
            send 2: result of task 1, 8 steps
            send 2: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_silent_coordinator_is_given_up() {
    check(
        Script::asked(),
        |s| {
            let (version, samples, budget_samples) = (Version(1), 5, 10);
            s.passes(20_000);
            s.says(&ServerMessage::Progress { version, samples, budget_samples, accuracy: None, volunteers: 2 });
            s.passes(10_000);
        },
        expect![[r#"
            report {"type":"progress","version":1,"samples":5,"budget_samples":10,"accuracy":null,"volunteers":2}
            close 1
            sleep 783
            report {"type":"offline","retry_millis":783}
        "#]],
    );
}

#[test]
fn back_off_grows_while_nothing_but_welcome_comes() {
    let mut script = Script::asked();
    for _ in 0..9 {
        script.event(Event::Closed { link: script.link, refused: None });
        script.quiet = true;
        let lost = script.link;
        while script.link == lost {
            script.passes(100);
        }
        script.welcomed();
        script.quiet = false;
    }
    let spans: Vec<&str> = script.log.lines().filter_map(|line| line.strip_prefix("sleep ")).collect();
    expect!["783 1745 3942 5777 11554 28206 56320 45692 38565"].assert_eq(&spans.join(" "));
}

#[test]
fn reload_ends_the_session() {
    check(
        Script::asked(),
        |s| {
            s.says(&ServerMessage::Reload { protocol_min: 2, protocol_max: 3, reason: "too old".to_owned() });
            s.passes(100_000);
            s.event(Event::Stop);
        },
        expect![[r#"
            send 1: {"type":"bye"}
            close 1
            report {"type":"update_needed","reason":"too old"}
        "#]],
    );
}

#[test]
fn finished_halts_and_ends() {
    check(
        Script::running(),
        |s| s.says(&ServerMessage::Finished),
        expect![[r#"
        halt
        send 1: {"type":"bye"}
        close 1
        report {"type":"finished"}
    "#]],
    );
}

#[test]
fn a_job_that_is_not_there_ends_the_session() {
    check(
        Script::new(),
        |s| {
            s.event(Event::Start);
            s.event(Event::Closed { link: s.link, refused: Some("no such job".to_owned()) });
        },
        expect![[r#"
            connect 1
            report {"type":"connecting"}
            sleep 30000
            report {"type":"unsupported","reason":"no such job"}
        "#]],
    );
}

#[test]
fn a_program_over_the_limits_is_refused_before_it_is_fetched() {
    check(
        Script::new(),
        |s| {
            s.event(Event::Start);
            s.event(Event::Opened { link: s.link });
            let mut welcome = s.job.welcome();
            welcome.job.program.parameters = limits::FIRST_DOWNLOAD_BYTES_MAX / 4;
            s.says(&ServerMessage::Welcome(Box::new(welcome)));
        },
        expect![[r#"
            connect 1
            report {"type":"connecting"}
            sleep 30000
            send 1: hello 1..4
            close 1
            report {"type":"unsupported","reason":"the first download would be up to 106430464 bytes, at most 104857600"}
        "#]],
    );
}

#[test]
fn a_program_that_does_not_parse_is_refused() {
    check(
        Script::new(),
        |s| {
            s.quiet = true;
            s.event(Event::Start);
            s.event(Event::Opened { link: s.link });
            let mut welcome = s.job.welcome();
            welcome.program = BlobId::of(b"{}");
            s.says(&ServerMessage::Welcome(Box::new(welcome)));
            s.event(Event::Fetched { id: BlobId::of(b"{}"), bytes: b"{}".to_vec() });
            s.quiet = false;
            s.fetched();
        },
        expect![[r#"
            send 1: {"type":"bye"}
            close 1
            report {"type":"unsupported","reason":"program does not parse: missing field `format` at line 1 column 2"}
        "#]],
    );
}

#[test]
fn a_short_wait_is_not_told() {
    check(
        Script::asked(),
        |s| {
            s.says(&ServerMessage::Wait { retry_millis: 2000, reason: WaitReason::Round });
            s.passes(100);
            s.lease(1);
            s.fetched();
            s.passes(2000);
        },
        expect![[r#"
            sleep 2000
            sleep 500
            fetch block 1 <= 524288
            report {"type":"helping","task":1,"kind":"train","step":0,"steps":8,"loss":null}
            run task 1 on 2 blocks
        "#]],
    );
}

#[test]
fn a_refused_ask_is_put_off() {
    check(
        Script::asked(),
        |s| {
            let refusal = Refusal { code: ErrorCode::TooManyLeases, detail: "two".to_owned() };
            s.says(&ServerMessage::Error(refusal));
            s.passes(1000);
        },
        expect![[r#"
            report {"type":"refused","code":"too_many_leases","detail":"two","task":null}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn messages_that_do_not_parse_end_the_connection_in_the_end() {
    check(
        Script::asked(),
        |s| {
            for _ in 0..limits::BAD_MESSAGES_MAX {
                s.event(Event::Message { link: s.link, text: r#"{"type":"dance"}"#.to_owned() });
            }
        },
        expect![[r#"
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `leaving`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `leaving`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `leaving`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `leaving`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `leaving`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `leaving`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `leaving`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `leaving`, `finished`, `error` at line 1 column 15","task":null}
            close 1
            sleep 783
            report {"type":"offline","retry_millis":783}
        "#]],
    );
}

#[test]
fn nothing_happens_before_the_start_or_for_strangers() {
    let mut script = Script::new();
    script.event(Event::Opened { link: LinkId(1) });
    script.event(Event::Resume);
    assert_eq!(script.log, "");
    check(
        Script::asked(),
        |s| {
            s.event(Event::TaskDone { outcome: outcome(9, 8) });
            s.event(Event::Uploaded { task: TaskId(9) });
            s.event(Event::Signed { task: TaskId(9), signature: [0; 64] });
            s.event(Event::Closed { link: LinkId(99), refused: None });
            s.event(Event::Woke { timer: TimerId(99) });
            s.says(&verdict(9, true, None));
        },
        expect![""],
    );
}

#[test]
fn a_coordinator_that_leaves_says_when_to_come_again_and_is_shown_its_seal() {
    let mut script = Script::handed_in();
    script.says(&ServerMessage::Leaving { retry_millis: 2_345 });
    script.passes(2_344);
    script.passes(1);
    script.event(Event::Opened { link: script.link });
    let log = script.log.clone();
    let expected = "close 1\nsleep 2345\n";
    assert!(log.starts_with(expected), "{log}");
    assert_eq!(log.matches("connect 2").count(), 1, "{log}");
    assert!(log.contains("hello 1..4, welcomed before"), "{log}");
}

#[test]
fn twenty_that_are_sent_away_come_back_one_by_one() {
    let mut at = Vec::new();
    for nth in 0..20 {
        let mut script = Script::running();
        // What the coordinator says to the nth of them.
        script.says(&ServerMessage::Leaving { retry_millis: 2_000 + 5 * nth });
        let (_, until) = *script.sleeping.last().expect("a timer");
        at.push(until - script.now);
    }
    assert!(at.windows(2).all(|pair| pair[1] == pair[0] + 5), "{at:?}");
}

#[test]
fn nobody_stays_away_for_ever_or_comes_back_at_once() {
    for (said, expected) in [(0, 500), (u64::MAX, 120_000)] {
        let mut script = Script::asked();
        script.says(&ServerMessage::Leaving { retry_millis: said });
        let (_, until) = *script.sleeping.last().expect("a timer");
        assert_eq!(until - script.now, expected);
    }
}

/// When each of a crowd that a coordinator sent away is connected again, if the coordinator answers
/// from `back_at` on.
fn arrivals(crowd: u64, back_at: Millis) -> Vec<Millis> {
    let arrival = |nth| {
        let session = Session::new(Config { seed: nth, ..config() });
        let mut script = Script { session, quiet: true, ..Script::new() };
        script.event(Event::Start);
        script.welcomed();
        let retry_millis = limits::RECONNECT_MILLIS_MIN + nth * 1_000 / limits::RECONNECTS_PER_SECOND;
        script.says(&ServerMessage::Leaving { retry_millis });
        loop {
            let before = script.link;
            let next = script.sleeping.iter().map(|(_, at)| *at).min().expect("it waits to connect");
            script.passes(next - script.now);
            match script.link {
                link if link == before => {}
                _ if script.now >= back_at => return script.now,
                link => script.event(Event::Closed { link, refused: None }),
            }
        }
    };
    (0..crowd).map(arrival).collect()
}

#[test]
fn a_crowd_that_was_sent_away_is_no_stampede() {
    // Where the coordinator is back in time, and after a minute in which everybody has tried in vain.
    for back_at in [0, 60_000] {
        let at = arrivals(2 * limits::RECONNECTS_PER_SECOND, back_at);
        let within = |from: Millis| at.iter().filter(|at| (from..from + 1_000).contains(*at)).count() as u64;
        let most = at.iter().map(|from| within(*from)).max().unwrap_or(0);
        assert!(most <= limits::RECONNECTS_PER_SECOND, "back at {back_at}: {most} in a second");
    }
}
