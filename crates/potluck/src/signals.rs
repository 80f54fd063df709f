//! Waiting for a person or a service manager to say stop.

/// Hears Ctrl-C and SIGTERM from when it is made: one that comes before anybody waits is not lost,
/// and does not end the process on the spot.
pub(crate) struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stop {
    /// # Errors
    ///
    /// Where the system has no signals to wait for.
    pub(crate) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns at the next of them.
    pub(crate) async fn asked(&mut self) -> std::io::Result<()> {
        tokio::select! {
            _ = self.interrupt.recv() => Ok(()),
            _ = self.terminate.recv() => Ok(()),
        }
    }
}

#[cfg(not(unix))]
impl Stop {
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Returns at the next Ctrl-C.
    pub(crate) async fn asked(&mut self) -> std::io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}
