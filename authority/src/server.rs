//! The TLS server: bounded connections, bounded waits, clean end.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    Authority,
    http::{self, IsHost},
};

const MAX_CONNECTIONS: usize = 1024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADER: Duration = Duration::from_secs(15);
/// A connection's whole life: a body that never ends, ends.
const CONNECTION: Duration = Duration::from_secs(600);
const DRAIN: Duration = Duration::from_secs(5);

/// Serves the authority on a bound listener until `end` resolves, then lets requests under way finish.
pub async fn serve(
    authority: Arc<Authority>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    end: impl Future<Output = ()>,
) {
    let (router, acceptor) = (http::router(authority), TlsAcceptor::from(tls));
    let (places, graceful) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), GracefulShutdown::new());
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, places.clone().try_acquire_owned()) else { continue };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            if let Some(stream) = handshake(&acceptor, stream).await {
                let connection = connection(stream, router);
                let _ = timeout(CONNECTION, watcher.watch(connection)).await;
            }
            drop(place);
        });
    }
    let _ = timeout(DRAIN, graceful.shutdown()).await;
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let _ = stream.set_nodelay(true);
    timeout(HANDSHAKE, acceptor.accept(stream)).await.ok()?.ok()
}

type Connection =
    hyper::server::conn::http1::Connection<TokioIo<TlsStream<TcpStream>>, TowerToHyperService<Router>>;

fn connection(stream: TlsStream<TcpStream>, router: Router) -> Connection {
    let is_host = IsHost(stream.get_ref().1.peer_certificates().is_some());
    let service = TowerToHyperService::new(router.layer(Extension(is_host)));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .serve_connection(TokioIo::new(stream), service)
}
