//! The golden messages: what each protocol version looks like on the wire. A change of the code that
//! reads or writes one of them differently breaks volunteers that are out there, so it fails here.
//!
//! `golden/messages-v1.json` is a JSON array with one message a line, and so are those of versions 2
//! to 4 with what is new in them. Lines may be added; a line that was released is never changed.

use std::collections::BTreeSet;

use potluck_protocol::{
    ClientMessage, ErrorCode, PROTOCOL_MAX, PROTOCOL_MIN, Refusal, ServerMessage, SignedStatement, WaitReason,
};

const MESSAGES: [&str; 4] = [
    include_str!("../golden/messages-v1.json"),
    include_str!("../golden/messages-v2.json"),
    include_str!("../golden/messages-v3.json"),
    include_str!("../golden/messages-v4.json"),
];

/// One message of the file, parsed, with the bytes it had.
enum Golden {
    Client(ClientMessage, String),
    Server(ServerMessage, String),
}

/// A line is `{"from":"volunteer","message":{...}}`, perhaps with a comma after it.
fn golden() -> Vec<Golden> {
    let lines = MESSAGES
        .into_iter()
        .flat_map(str::lines)
        .map(|line| line.trim_end_matches(','))
        .filter(|line| line.starts_with('{'));
    lines
        .map(|line| {
            let body = |from: &str| line.strip_prefix(&format!(r#"{{"from":"{from}","message":"#))?.strip_suffix('}');
            if let Some(text) = body("volunteer") {
                Golden::Client(serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {line}")), text.to_owned())
            } else if let Some(text) = body("coordinator") {
                Golden::Server(serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {line}")), text.to_owned())
            } else {
                panic!("neither from the volunteer nor from the coordinator: {line}")
            }
        })
        .collect()
}

/// The message's name; a variant that is missing here does not compile, and one that is missing in
/// the file fails below.
fn client_name(message: &ClientMessage) -> &'static str {
    match message {
        ClientMessage::Hello(_) => "hello",
        ClientMessage::Device(_) => "device",
        ClientMessage::Ask => "ask",
        ClientMessage::Result(_) => "result",
        ClientMessage::Release { .. } => "release",
        ClientMessage::Bye => "bye",
    }
}

fn server_name(message: &ServerMessage) -> &'static str {
    match message {
        ServerMessage::Welcome(_) => "welcome",
        ServerMessage::Reload { .. } => "reload",
        ServerMessage::Lease(_) => "lease",
        ServerMessage::Wait { .. } => "wait",
        ServerMessage::Verdict(_) => "verdict",
        ServerMessage::Progress { .. } => "progress",
        ServerMessage::Leaving { .. } => "leaving",
        ServerMessage::Finished => "finished",
        ServerMessage::Error(_) => "error",
    }
}

#[test]
fn the_file_is_json_with_one_message_a_line() {
    let count = |text| serde_json::from_str::<Vec<serde_json::Value>>(text).expect("a JSON array").len();
    assert_eq!(MESSAGES.into_iter().map(count).sum::<usize>(), golden().len());
}

#[test]
fn messages_are_written_as_they_were_read() {
    for message in golden() {
        let (written, text) = match &message {
            Golden::Client(message, text) => (serde_json::to_string(message), text),
            Golden::Server(message, text) => (serde_json::to_string(message), text),
        };
        assert_eq!(&written.expect("serialises"), text);
    }
}

#[test]
fn every_kind_of_message_is_there() {
    let names: BTreeSet<(bool, &str)> = golden()
        .iter()
        .map(|message| match message {
            Golden::Client(message, _) => (false, client_name(message)),
            Golden::Server(message, _) => (true, server_name(message)),
        })
        .collect();
    let client = ["hello", "device", "ask", "result", "release", "bye"].map(|name| (false, name));
    let server = ["welcome", "reload", "lease", "wait", "verdict", "progress", "leaving", "finished", "error"];
    assert_eq!(names, client.into_iter().chain(server.map(|name| (true, name))).collect());
}

#[test]
fn every_code_and_reason_is_there() {
    let (mut codes, mut reasons) = (Vec::new(), Vec::new());
    for message in golden() {
        match message {
            Golden::Server(ServerMessage::Error(Refusal { code, .. }), _) => codes.push(code),
            Golden::Server(ServerMessage::Wait { reason, .. }, _) => reasons.push(reason),
            _ => {}
        }
    }
    assert_eq!(reasons, [WaitReason::Round, WaitReason::Paused, WaitReason::Busy, WaitReason::Enough]);
    assert_eq!(codes.first(), Some(&ErrorCode::BadJson));
    assert_eq!(codes.last(), Some(&ErrorCode::Internal));
    // One line a code, in the order of the enum, `Internal` being its last.
    assert_eq!(codes.len(), ErrorCode::Internal as usize + 1);
    assert!(codes.is_sorted_by_key(|&code| code as usize));
}

#[test]
fn statements_are_signed_as_text_and_read_back() {
    let statements = golden().into_iter().filter_map(|message| match message {
        Golden::Client(ClientMessage::Result(signed), _) => Some(signed),
        _ => None,
    });
    let mut count = 0;
    for signed in statements {
        let (statement, signature) = signed.parse().expect("a statement");
        assert_eq!(serde_json::to_string(&statement).expect("serialises"), signed.statement);
        assert_eq!(signature[..4], [0x01, 0x23, 0x45, 0x67]);
        let message = SignedStatement::message(&signed.statement);
        assert_eq!(message.strip_prefix(b"potluck result v1\n"), Some(signed.statement.as_bytes()));
        count += 1;
    }
    assert_eq!(count, 2, "one for training, one for an evaluation");
}

#[test]
fn the_golden_version_is_still_spoken() {
    // Once this fails, volunteers of version 1 are told to load the page again: keep the file, and
    // move these tests to the oldest version that is spoken.
    assert!((PROTOCOL_MIN..=PROTOCOL_MAX).contains(&1));
}

#[test]
fn unknown_fields_and_types_are_refused() {
    for text in [
        r#"{"type":"release","tasks":[1],"more":1}"#,
        r#"{"type":"asks"}"#,
        r#"{"type":"release"}"#,
        r#"{"type":"hello","protocol_min":1,"protocol_max":1,"build":"","volunteer":"A5"}"#,
        r#"{}"#,
        "[]",
        "",
    ] {
        assert!(serde_json::from_str::<ClientMessage>(text).is_err(), "{text}");
    }
}
