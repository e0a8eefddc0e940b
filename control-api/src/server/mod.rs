//! The network server: TLS 1.3 only, optional client certificates, every wait bounded.

mod connection;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time,
};
use tokio_rustls::TlsAcceptor;

pub use connection::{Device, Fingerprint, Peer};
pub use tls::{TlsError, provider, server_config, terminal_of};

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; one more is closed at once.
    pub connections: usize,
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first wait for a request, on a new or an idle connection, to the end of its header.
    pub header: Duration,
    /// From the end of a request's header to the end of its body.
    pub body: Duration,
    /// How long requests may still take when the server ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            body: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        }
    }
}

/// A bound server that does not answer yet.
pub struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    limits: Limits,
}

impl Server {
    /// A server on this listener.
    pub fn new(
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        router: Router,
        limits: Limits,
    ) -> Self {
        Self { listener, tls: TlsAcceptor::from(tls), router, limits }
    }

    /// Serves until `end` turns true, then drains the requests under way.
    pub async fn serve(self, mut end: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let ending = end.clone();
        loop {
            tokio::select! {
                () = ended(&mut end) => break,
                (stream, address) = accept(&self.listener) => match places.clone().try_acquire_owned() {
                    Ok(place) => self.spawn(stream, address, place, ending.clone()),
                    Err(_) => metrics::counter!("cardhost_connections_refused_total").increment(1),
                },
            }
        }
        drop(self.listener);
        drain(&places, self.limits).await;
    }

    fn spawn(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
        end: watch::Receiver<bool>,
    ) {
        let (tls, router) = (self.tls.clone(), self.router.clone());
        let connection = connection::serve(stream, address, tls, router, self.limits, end);
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

/// Waits until the daemon ends; a daemon that is no more has ended.
pub(crate) async fn ended(end: &mut watch::Receiver<bool>) {
    let _ = end.wait_for(|end| *end).await;
}

/// Waits until every connection has given its place back.
async fn drain(places: &Semaphore, limits: Limits) {
    let all = places.acquire_many(u32::try_from(limits.connections).unwrap_or(u32::MAX));
    if time::timeout(limits.drain, all).await.is_err() {
        tracing::warn!("requests were cut off at the end of the draining time");
    }
}

/// The next connection. Running out of descriptors must neither end the server nor make it spin.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
