//! Serving connections: bounded in number, with a time limit on a request's head, and ended
//! gracefully. `axum::serve` sets neither limit.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use potluck_protocol::limits;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::shared::closed;

/// Accepts connections until `closing` is true, then waits a moment for answers under way.
pub(crate) async fn serve(listener: TcpListener, router: Router, closing: watch::Receiver<bool>) {
    let mut stop = closing.clone();
    let permits = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // Waiting for the permit first leaves newcomers in the system's queue while we are full.
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => {
                    let (router, closing) = (router.clone(), closing.clone());
                    connections.spawn(async move {
                        answer(stream, router, closing).await;
                        drop(permit);
                    });
                }
                Err(error) => rest_after(&error).await,
            },
            Some(_) = connections.join_next() => {}
            () = closed(&mut stop) => break,
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_millis(limits::STOP_MILLIS_MAX), all).await;
}

/// A connection that was gone before it was accepted is nothing; anything else (no descriptors
/// left, say) would be met again at once.
async fn rest_after(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!("cannot accept connections: {error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn answer(stream: TcpStream, router: Router, mut closing: watch::Receiver<bool>) {
    // Leases and verdicts are small messages that somebody waits for.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(limits::REQUEST_HEAD_MILLIS_MAX));
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What goes wrong with a connection is its peer's trouble.
        _ = connection.as_mut() => return,
        () = closed(&mut closing) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
