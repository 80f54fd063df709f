//! The commands that ask a running coordinator: `status`, `export`, `job`. What `job set` asks for is
//! put together in `set`.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use potluck_protocol::{JobName, limits};
use serde_json::{Value, json};
use ureq::{Agent, Body, http::Response};

use crate::{cli::ControlTarget, error::CliError, print};

/// Longest JSON answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Room for the header of a model file beside its parameters.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// `potluck status`
pub(crate) fn status(url: &str, job: Option<&JobName>) -> Result<(), CliError> {
    let base = base(url)?;
    let names: Vec<JobName> = match job {
        Some(job) => vec![job.clone()],
        None => names(&get_json(&format!("{base}/api/v1/jobs"))?),
    };
    if names.is_empty() {
        print::line("this coordinator has no jobs");
    }
    let (mut rows, mut changes) = (Vec::new(), Vec::new());
    for name in names {
        let job = self::job(base, &name)?;
        rows.push(status_row(&name, &job));
        changes.extend(change_rows(&name, &job["changes"]));
    }
    let head =
        ["job", "phase", "version", "samples", "budget", "volunteers", "valid loss", "valid accuracy", "test accuracy"];
    print::table(&head, &rows);
    if !changes.is_empty() {
        print::table(&["changed by the owner", "at version", "samples", "what", "from", "to"], &changes);
    }
    Ok(())
}

/// A row for each field that was changed, oldest first.
pub(crate) fn change_rows(name: &JobName, changes: &Value) -> Vec<Vec<String>> {
    let text = |value: &Value| plain(value.as_str().unwrap_or("-"));
    let number = |value: &Value| value.as_u64().map_or("-".to_owned(), print::count);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for change in list(changes) {
        for what in list(&change["differences"]) {
            let (field, from, to) = (text(&what["field"]), text(&what["from"]), text(&what["to"]));
            rows.push(vec![name.to_string(), number(&change["version"]), number(&change["samples"]), field, from, to]);
        }
    }
    rows
}

fn names(answer: &Value) -> Vec<JobName> {
    let rows = answer["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().filter_map(|row| row["name"].as_str()?.parse().ok()).collect()
}

fn status_row(name: &JobName, job: &Value) -> Vec<String> {
    let whole = |value: &Value| value.as_u64().map_or("-".to_owned(), print::count);
    let share = |value: &Value| value.as_f64().map_or("-".to_owned(), |v| format!("{:.2} %", v * 100.0));
    let loss = job["loss"]["valid"].as_f64().map_or("-".to_owned(), |v| format!("{v:.4}"));
    let phase = plain(job["phase"].as_str().unwrap_or("-"));
    let phase = job["blocked"].as_str().map_or(phase.clone(), |why| format!("{phase}: {}", plain(why)));
    vec![
        name.to_string(),
        phase,
        whole(&job["version"]),
        whole(&job["samples"]),
        whole(&job["budget_samples"]),
        whole(&job["volunteers"]),
        loss,
        share(&job["accuracy"]["valid"]),
        share(&job["accuracy"]["test"]),
    ]
}

/// `potluck export`: the model, and beside it under the same stem the files that one needs to use it.
pub(crate) fn export(url: &str, job: Option<&JobName>, version: Option<u64>, out: &Path) -> Result<(), CliError> {
    let job = job.ok_or_else(|| CliError::Mistake("name the job with --job".to_owned()))?;
    let query = version.map_or_else(String::new, |version| format!("?version={version}"));
    let job_address = format!("{}/api/v1/jobs/{job}", base(url)?);
    save(get(&format!("{job_address}/model.safetensors{query}"))?, out)?;
    for file in ["config.json", "tokenizer.json"] {
        let address = format!("{job_address}/{file}");
        let response = agent().get(&address).call().map_err(|e| unreachable_at(&address, &e))?;
        // Only models of text have a tokenizer, and jobs from before there were such files none.
        if response.status() != 404 {
            save(good(response)?, &out.with_extension(file))?;
        }
    }
    Ok(())
}

/// Writes an answer's body to a file, whole or not at all.
fn save(mut response: Response<Body>, out: &Path) -> Result<(), CliError> {
    let failure = |e: std::io::Error| CliError::Failure(format!("cannot write {} ({e})", out.display()));
    // A half-written model under the final name would look like a whole one.
    let part = out.with_extension("part");
    let mut file = File::create(&part).map_err(failure)?;
    let mut body = response.body_mut().as_reader().take(limits::BLOB_BYTES_MAX as u64 + HEADER_BYTES_MAX);
    let bytes = std::io::copy(&mut body, &mut file)
        .map_err(|e| CliError::Failure(format!("the model broke off or cannot be written ({e}); try again")))?;
    file.flush().and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&part, out)).map_err(failure)?;
    print::line(&format!("wrote {} ({})", out.display(), print::bytes(bytes)));
    Ok(())
}

/// `potluck job pause|resume|stop`
pub(crate) fn control(target: &ControlTarget, control: &str) -> Result<(), CliError> {
    order(target, &json!({ "control": control }))?;
    print::line(&format!("{}: {control}", target.job));
    Ok(())
}

/// Says the owner's word to the coordinator.
pub(crate) fn order(target: &ControlTarget, word: &Value) -> Result<(), CliError> {
    let ControlTarget { url, job, token_file } = target;
    let token = std::fs::read_to_string(token_file).map_err(|e| {
        let file = token_file.display();
        CliError::Mistake(format!(
            "cannot read the owner token {file} ({e}); it is `owner-token` in the coordinator's folder"
        ))
    })?;
    let address = format!("{}/api/v1/jobs/{job}/control", base(url)?);
    let request = agent().post(&address).header("authorization", format!("Bearer {}", token.trim()));
    let request = request.header("content-type", "application/json");
    let response = request.send(word.to_string()).map_err(|e| unreachable_at(&address, &e))?;
    good(response).map(drop)
}

/// A job as its coordinator shows it.
pub(crate) fn job(url: &str, job: &JobName) -> Result<Value, CliError> {
    get_json(&format!("{}/api/v1/jobs/{job}", base(url)?))
}

fn agent() -> Agent {
    let patience = Duration::from_millis(limits::REQUEST_MILLIS_MAX);
    let settings = Agent::config_builder().http_status_as_error(false).timeout_connect(Some(patience));
    Agent::new_with_config(settings.timeout_recv_response(Some(patience)).build())
}

/// The address without a slash at its end.
fn base(url: &str) -> Result<&str, CliError> {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if host.is_none_or(|host| host.is_empty() || host.contains(char::is_whitespace)) {
        let got = plain(url);
        return Err(CliError::Mistake(format!("expected an address such as http://127.0.0.1:8080, got {got:?}")));
    }
    Ok(url.trim_end_matches('/'))
}

fn get(address: &str) -> Result<Response<Body>, CliError> {
    good(agent().get(address).call().map_err(|e| unreachable_at(address, &e))?)
}

fn get_json(address: &str) -> Result<Value, CliError> {
    let mut response = get(address)?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|e| unreachable_at(address, &e))?;
    serde_json::from_slice(&body)
        .map_err(|_| CliError::Failure(format!("{address} does not answer like a Potluck coordinator")))
}

/// The coordinator's own words where it refuses.
fn good(mut response: Response<Body>) -> Result<Response<Body>, CliError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str().map_or_else(|| format!("status {status}"), plain);
    let text = format!("the coordinator refused: {detail}");
    // 4xx: what was asked for is wrong; anything else is not the asker's fault.
    Err(if status.is_client_error() { CliError::Mistake(text) } else { CliError::Failure(text) })
}

fn unreachable_at(address: &str, error: &ureq::Error) -> CliError {
    CliError::Failure(format!("cannot reach {address} ({error}); is the coordinator running?"))
}

/// A peer's text without characters that could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(limits::TEXT_FIELD_BYTES_MAX).collect()
}
