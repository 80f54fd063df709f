//! `potluck serve`: a coordinator with its embedded volunteer, from the first line to Ctrl-C.

use std::{io::ErrorKind, net::SocketAddr};

use potluck_coordinator::{Coordinator, Farewell};
use potluck_protocol::{JobName, Split};
use potluck_scheduler::Fact;
use tokio::net::TcpListener;

use crate::{
    cli::ServeOptions,
    error::CliError,
    job_file::{self, Read},
    print,
    signals::Stop,
};

/// Serves until it is told to stop, or until every job is finished.
pub(crate) fn serve(options: ServeOptions) -> Result<(), CliError> {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CliError::Failure(format!("cannot start threads ({e})")))?;
    runtime.block_on(run(options))
}

async fn run(options: ServeOptions) -> Result<(), CliError> {
    let ServeOptions { jobs, listen, folder, keep_updates, snapshot_facts, disk_max, exit_when_finished } = options;
    let reads = jobs.iter().map(|path| job_file::read(path)).collect::<Result<Vec<_>, _>>()?;
    // Before any work: a port in use is the likeliest trouble.
    let listener = TcpListener::bind(listen).await.map_err(|e| explain_bind(listen, &e))?;
    let names: Vec<JobName> = reads.iter().map(|read| read.file.job.name.clone()).collect();
    let builder = Coordinator::builder(&folder).keep_updates(keep_updates).snapshot_facts(snapshot_facts);
    let mut builder = builder.observe_each(show);
    if let Some(bytes) = disk_max {
        builder = builder.disk_max(bytes);
    }
    for Read { file, base_folder, .. } in reads {
        builder = builder.job(file, base_folder);
    }
    let coordinator = builder.start().await?;
    // Before anybody is told that it is up. Until here it can be killed, which harms nothing.
    let mut stop = Stop::listen().map_err(|e| no_signals(&e))?;
    let address = coordinator.serve(listener).map_err(|e| CliError::Failure(format!("cannot listen ({e})")))?;
    greet(&coordinator, address, &names);
    let ended = tokio::select! {
        asked = stop.asked() => asked.map(|()| print::line("stopping")).map_err(|e| no_signals(&e)),
        finished = coordinator.finished(), if exit_when_finished => match finished {
            Ok(()) => { print::line("finished"); Ok(()) }
            Err(reason) => Err(CliError::Failure(reason)),
        },
        reason = coordinator.failed() => Err(CliError::Failure(reason)),
    };
    let Farewell { connected, told } = coordinator.shutdown().await;
    if connected > 0 {
        print::line(&format!("{told} of {connected} volunteers were told when to come again"));
    }
    ended
}

fn no_signals(error: &std::io::Error) -> CliError {
    CliError::Failure(format!("cannot wait for signals ({error})"))
}

/// What went wrong on the way goes to standard error; `RUST_LOG` says how much of it.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    // A second call, in tests, is fine.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

fn explain_bind(listen: SocketAddr, error: &std::io::Error) -> CliError {
    CliError::Failure(match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "{listen} is in use: stop what uses it, or choose another with --listen, such as --listen 127.0.0.1:0"
            )
        }
        ErrorKind::PermissionDenied => {
            format!("{listen} needs more rights: choose a port above 1023 with --listen")
        }
        _ => format!("cannot listen on {listen} ({error}): choose another address with --listen"),
    })
}

fn greet(coordinator: &Coordinator, address: SocketAddr, jobs: &[JobName]) {
    // What browsers can open; a wildcard address is none.
    let mut shown = address;
    if shown.ip().is_unspecified() {
        let loopback = if shown.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        shown.set_ip(loopback);
    }
    print::line(&format!("listening http://{address}"));
    let mut rows = vec![("dashboard", format!("http://{shown}/"))];
    for job in jobs {
        rows.push(("join", format!("http://{shown}/join/{job}")));
        let tag = format!("<script src=\"http://{shown}/embed.js\" data-job=\"{job}\" async crossorigin></script>");
        rows.push(("embed", tag));
        rows.push(("help from here", format!("potluck volunteer http://{shown} --job {job}")));
    }
    rows.push(("owner token", coordinator.owner_token_file().display().to_string()));
    print::facts("", &rows);
    print::line("");
    if potluck_www::www_missing() {
        print::warning("this build has no pages: run `cargo xtask build` for the widget and the dashboard");
    }
    if !address.ip().is_loopback() {
        print::warning("browsers run WebGPU only on https and on localhost: put a proxy with TLS in front");
    }
}

/// The news of a job, one line each.
fn show(job: &JobName, fact: &Fact) {
    match fact {
        Fact::Evaluated { version, split, evaluation, .. } => {
            let split = if *split == Split::Test { "test" } else { "valid" };
            let (loss, percent) = (evaluation.loss, evaluation.accuracy * 100.0);
            print::line(&format!("{job} {version}: {split} loss {loss:.4}, accuracy {percent:.2} %"));
        }
        Fact::Paused { .. } => print::line(&format!("{job}: paused")),
        Fact::Resumed { .. } => print::line(&format!("{job}: resumed")),
        Fact::RecipeChanged { .. } => print::line(&format!("{job}: its owner changed how it is trained")),
        Fact::Stopped { .. } => print::line(&format!("{job}: stopped by its owner")),
        Fact::Finished { version, .. } => print::line(&format!("{job}: finished with {version}")),
        _ => {}
    }
}
