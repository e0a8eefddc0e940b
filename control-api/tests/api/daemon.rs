//! Start and end of the daemon.

use cardhost::host::{Host, StartError};
use tokio::io::AsyncReadExt as _;

use crate::support::{Daemon, config};

#[tokio::test]
async fn a_second_daemon_on_the_same_data_directory_is_refused() {
    let daemon = Daemon::start().await;
    let second = Host::start(config(daemon.directory.path())).await;
    assert!(matches!(second, Err(StartError::DataDir(_))));
}

#[tokio::test]
async fn well_known_keys_are_refused_where_others_can_reach() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.default_keys = true;
    config.listen = ([0, 0, 0, 0], 0).into();
    assert!(matches!(Host::start(config).await, Err(StartError::DefaultKeysInPublic)));
}

#[tokio::test]
async fn the_administrators_file_stays_true_over_restarts() {
    let daemon = Daemon::start().await;
    let first = daemon.administrator_file();
    let daemon = daemon.restart().await;
    let second = daemon.administrator_file();
    assert!(first.password == second.password && first.ca_pem == second.ca_pem);
    assert_eq!(second.url, daemon.host.url());
    daemon.administrator().await.get("/healthz").await.unwrap();
}

#[tokio::test]
async fn it_is_ready_exactly_where_cards_can_run() {
    let kvm = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let daemon = Daemon::start().await;
    assert_eq!(daemon.administrator().await.get("/readyz").await.is_ok(), kvm);
}

#[tokio::test]
async fn the_end_closes_idle_connections() {
    let daemon = Daemon::start().await;
    let mut idle = daemon.connect().await;
    let Daemon { host, directory: _directory } = daemon;
    let (read, ()) = tokio::join!(async { idle.read(&mut [0]).await.unwrap_or(0) }, host.stop());
    assert_eq!(read, 0);
}
