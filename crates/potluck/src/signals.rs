//! Waiting for a person or a service manager to say stop.

/// Returns at the next Ctrl-C or SIGTERM.
///
/// # Errors
///
/// Where the system has no signals to wait for.
pub(crate) async fn stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
