//! `cardhost-authority`: the reference authority as a program of its own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use cardhost_authority::Authority;
use clap::{Parser, Subcommand};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// A small certification authority and verifier for cardhost: EST (RFC 7030), challenges and verification,
/// revocation, CRL and OCSP.
#[derive(Parser)]
#[command(name = "cardhost-authority", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT. The first start makes the authority's keys and a credential for one host.
    ///
    /// Files in the data folder: issuing-ca.pem (cards' certificates chain to it), pairing-cards-ca.pem and
    /// pairing-terminals-ca.pem (certificates with which cards and terminals pair chain to them), service-ca.pem (this
    /// server's TLS certificate chains to it), host.pem and host.key (the host's client credential), authority.sqlite.
    /// Keys are readable by their owner only. Start the daemon with
    ///
    ///   cardhost serve --authority URL --authority-ca DIR/service-ca.pem --authority-cert DIR/host.pem --authority-key DIR/host.key
    #[command(verbatim_doc_comment)]
    Serve {
        /// The data folder.
        #[arg(long, value_name = "DIR", default_value = "./cardhost-authority-data")]
        data: PathBuf,
        /// Where to listen.
        #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8444")]
        listen: SocketAddr,
        /// How long certificates are valid with which cards and terminals pair: 365 days unless you say otherwise. Hosts
        /// have cards' renewed in the last third.
        #[arg(long, value_name = "SECONDS", default_value_t = 365 * 24 * 60 * 60, value_parser = clap::value_parser!(u64).range(1..=10 * 365 * 24 * 60 * 60))]
        pairing_validity: u64,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Command::Serve { data, listen, pairing_validity } = Arguments::parse().command;
    serve(&data, listen, Duration::from_secs(pairing_validity)).await
}

async fn serve(data: &Path, listen: SocketAddr, pairing_validity: Duration) -> anyhow::Result<()> {
    let authority = Arc::new(Authority::open(data)?.with_pairing_validity(pairing_validity));
    if !data.join("host.pem").exists() {
        authority.host_credential("cardhost")?.write(data, "host")?;
        tracing::info!(folder = %data.display(), "made the credential host.pem, host.key for the daemon");
    }
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let tls = authority.server_tls(&[address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST)])?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    println!("ready https://{address}");
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    cardhost_authority::serve(authority, listener, tls, end).await;
    Ok(())
}
