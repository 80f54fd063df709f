//! `potluck log`: what a folder's log says, checked.

use std::path::Path;

use potluck_coordinator::{Audit, AuditError};

use crate::{error::CliError, print};

/// `potluck log verify`
pub(crate) fn verify(folder: &Path) -> Result<(), CliError> {
    let failure = |error: AuditError| match error {
        AuditError::NoLog { .. } => CliError::Mistake(error.to_string()),
        _ => CliError::Failure(error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|e| CliError::Failure(format!("cannot start ({e})")))?;
    let mut rows = Vec::new();
    for job in Audit::jobs(folder).map_err(failure)? {
        let mut audit = Audit::new(job.clone());
        runtime.block_on(audit.advance(folder)).map_err(failure)?;
        let counts = [audit.fact_count(), audit.result_count(), audit.version_count(), audit.remade_count()];
        let mut row = vec![job.to_string()];
        row.extend(counts.map(print::count));
        row.push(audit.head().to_string());
        rows.push(row);
    }
    if rows.is_empty() {
        print::line("this folder has no jobs");
        return Ok(());
    }
    print::table(&["job", "facts", "results", "versions", "made again", "head"], &rows);
    print::line("nothing was changed, lost or counted twice");
    Ok(())
}
