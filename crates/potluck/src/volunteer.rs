//! `potluck volunteer`: the native volunteer with a line for each thing that happens.

use std::cell::Cell;

use potluck_volunteer::{Choice, Volunteer, VolunteerError, VolunteerEvent, WaitingFor};
use tokio::sync::oneshot;

use crate::{
    cli::{BackendChoice, VolunteerOptions},
    error::CliError,
    print,
    signals::Stop,
};

/// Helps until the job is finished or the person is.
pub(crate) fn volunteer(options: VolunteerOptions) -> Result<(), CliError> {
    let VolunteerOptions { url, job, backend, key_file } = options;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| CliError::Failure(format!("cannot start threads ({e})")))?;
    let mut volunteer = Volunteer::new(url, job.to_string()).backend(choice(backend)).on_event(show_news());
    if let Some(file) = key_file {
        volunteer = volunteer.key_file(file);
    }
    let summary = runtime.block_on(async {
        let signals = Stop::listen();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            // Without signals the person still has the second way: killing it.
            let Ok(mut signals) = signals else { return std::future::pending().await };
            let _ = signals.asked().await;
            print::line("leaving; once more to leave at once");
            let _ = stop.send(());
            let _ = signals.asked().await;
            std::process::exit(1);
        });
        let stop = async {
            let _ = stopped.await;
        };
        volunteer.run(stop).await
    });
    let summary = summary.map_err(explain)?;
    let end = if summary.finished { "the job is finished" } else { "left" };
    let (tasks, samples) = (print::count(summary.tasks), print::count(summary.samples));
    print::line(&format!("{end}: {tasks} tasks and {samples} samples of this key count; thank you"));
    Ok(())
}

fn choice(backend: BackendChoice) -> Choice {
    match backend {
        BackendChoice::Auto => Choice::Auto,
        BackendChoice::Gpu => Choice::Gpu,
        BackendChoice::Cpu => Choice::Cpu,
    }
}

fn explain(error: VolunteerError) -> CliError {
    let text = error.to_string();
    match error {
        VolunteerError::Address(_) | VolunteerError::Job(_) | VolunteerError::Key(_) => CliError::Mistake(text),
        _ => CliError::Failure(text),
    }
}

/// Shows each event that is news: a state that lasts is shown once, however often it is reported.
fn show_news() -> impl FnMut(VolunteerEvent) + Send {
    let last = Cell::new(String::new());
    move |event| {
        let Some(line) = news(&event) else { return };
        if last.replace(line.clone()) != line {
            print::line(&line);
        }
    }
}

fn news(event: &VolunteerEvent) -> Option<String> {
    use VolunteerEvent as E;
    Some(match event {
        E::Connecting => "connecting".to_owned(),
        E::Joined { card, volunteer } => format!("joined {} ({}) as {volunteer}", plain(&card.title), card.name),
        E::CheckingDevice => "measuring this device".to_owned(),
        E::Device { device } => {
            let adapter = if device.adapter.is_empty() { "processor" } else { &device.adapter };
            format!(
                "computing on {} ({:?}{})",
                plain(adapter),
                device.backend,
                if device.forced { ", as told" } else { "" }
            )
        }
        E::Fallback { reason } => format!("another device took over: {}", plain(reason)),
        // Between two tasks there is nothing to tell.
        E::Waiting { reason: WaitingFor::Asking | WaitingFor::Round, .. } => return None,
        E::Waiting { reason: WaitingFor::Enough, .. } => {
            "enough helpers for now, thank you; this one is in the queue".to_owned()
        }
        E::Waiting { reason, .. } => format!("waiting: {reason:?}").to_lowercase(),
        E::Credited { task, tasks, samples } => {
            format!("task {task} counts: {} tasks, {} samples so far", print::count(*tasks), print::count(*samples))
        }
        E::Refused { code, detail, task } => {
            let task = task.map_or_else(String::new, |task| format!("task {task}: "));
            format!("{task}refused ({}): {}", plain(code), plain(detail))
        }
        E::Progress { version, samples, budget_samples, accuracy, volunteers } => {
            let accuracy = accuracy.map_or_else(String::new, |a| format!(", valid accuracy {:.2} %", a * 100.0));
            let (samples, budget) = (print::count(*samples), print::count(*budget_samples));
            format!("{version}: {samples} of {budget} samples, {volunteers} helping{accuracy}")
        }
        E::Offline { retry_millis } => format!("not connected; trying again in {} s", retry_millis.div_ceil(1000)),
        E::Stopping => "stopping".to_owned(),
        _ => return None,
    })
}

/// A peer's text without characters that could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
