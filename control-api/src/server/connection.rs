//! One connection: handshake, then HTTP/1.1 with the peer's identity in every request's extensions.

use std::{net::SocketAddr, pin::pin, sync::Arc};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpStream, sync::watch, time};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;

use super::{Limits, ended, terminal_of};
use crate::auth::name::Name;

/// Longest request header, bytes.
const MAX_HEADER: usize = 16 * 1024;

/// SHA-256 of a certificate's DER.
pub type Fingerprint = [u8; 32];

/// The other end of a connection. Its certificate, if any, was verified against the device CA.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// Its client certificate.
    pub device: Option<Device>,
}

/// A terminal's device, known by its client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The certificate's SHA-256.
    pub fingerprint: Fingerprint,
    /// The terminal that the device CA named in it.
    pub terminal: Name,
}

pub(super) async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    tls: TlsAcceptor,
    router: Router,
    limits: Limits,
    end: watch::Receiver<bool>,
) {
    // A response is written in one piece and must not wait for more.
    let _ = stream.set_nodelay(true);
    match time::timeout(limits.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, address, router, limits, end).await,
        Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
    }
}

async fn http(
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    router: Router,
    limits: Limits,
    mut end: watch::Receiver<bool>,
) {
    let Some(peer) = peer(&stream, address) else {
        return tracing::warn!(%address, "a device certificate names no terminal");
    };
    let peer = Arc::new(peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_header_size(MAX_HEADER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ended(&mut end) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended with an error");
    }
}

fn peer(stream: &TlsStream<TcpStream>, address: SocketAddr) -> Option<Peer> {
    let certificates = stream.get_ref().1.peer_certificates();
    let Some(certificate) = certificates.and_then(<[_]>::first) else {
        return Some(Peer { address, device: None });
    };
    let fingerprint = Sha256::digest(certificate).into();
    Some(Peer { address, device: Some(Device { fingerprint, terminal: terminal_of(certificate)? }) })
}
