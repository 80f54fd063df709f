//! `potluck backup`, `restore`, `export --with-log` and `import`: what they copy is the library's business; this says how far
//! it is and what to do next.

use std::path::Path;

use potluck_coordinator::{BackupError, Copied};

use crate::{error::CliError, print};

/// `potluck backup`
pub(crate) fn backup(folder: &Path, to: &Path) -> Result<(), CliError> {
    let copied = run(potluck_coordinator::backup(folder, to, print::progress))?;
    show(&copied);
    print::line(&format!("checked: `potluck restore {} FOLDER --new-epoch` goes on from here", to.display()));
    Ok(())
}

/// `potluck restore`
pub(crate) fn restore(from: &Path, to: Option<&Path>, new_epoch: bool) -> Result<(), CliError> {
    if let Some(to) = to {
        show(&run(potluck_coordinator::restore(from, to, print::progress))?);
    }
    let folder = to.unwrap_or(from);
    if !new_epoch {
        print::line("to look at only; with --new-epoch it can be served");
        return Ok(());
    }
    for (job, leader) in run(potluck_coordinator::new_epoch(folder))? {
        print::line(&format!("{job}: new line {leader}"));
    }
    print::line(&format!("{} is the one that counts now: do not serve other copies any more", folder.display()));
    Ok(())
}

/// `potluck export --with-log`
pub(crate) fn export(folder: &str, job_file: &Path, out: &Path) -> Result<(), CliError> {
    let job_file = if job_file.is_dir() { job_file.join("job.toml") } else { job_file.to_owned() };
    show(&run(potluck_coordinator::export_job(Path::new(folder), &job_file, out, print::progress))?);
    print::line(&format!("checked: `potluck import {} FOLDER` goes on from here", out.display()));
    Ok(())
}

/// `potluck import`
pub(crate) fn import(export: &Path, folder: &Path) -> Result<(), CliError> {
    let (copied, leader, job_file) = run(potluck_coordinator::import_job(export, folder, print::progress))?;
    show(&copied);
    print::line(&format!("new line {leader}: do not serve the original any more"));
    let (job_file, folder) = (job_file.display(), folder.display());
    print::line(&format!("`potluck serve {job_file} --folder {folder}` goes on"));
    Ok(())
}

fn show(copied: &Copied) {
    let Copied { files, bytes, jobs } = copied;
    for (job, facts, head) in jobs {
        print::line(&format!("{job}: {} facts, ends at {}", print::count(*facts), &head[..16]));
    }
    print::line(&format!("{} files, {}", print::count(*files), print::bytes(*bytes)));
}

fn run<T>(work: impl Future<Output = Result<T, BackupError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|e| CliError::Failure(format!("cannot start ({e})")))?;
    runtime.block_on(work).map_err(|error| match error {
        BackupError::NotEmpty { .. }
        | BackupError::NotABackup { .. }
        | BackupError::NotAnExport { .. }
        | BackupError::UnknownJob { .. }
        | BackupError::JobThere { .. }
        | BackupError::JobFile { .. } => CliError::Mistake(error.to_string()),
        _ => CliError::Failure(error.to_string()),
    })
}
