//! `cardhost serve`.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use anyhow::Context as _;
use cardhost_wire::{
    custody::Custody,
    launch::{Isolation, UserIds},
};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    card::{Adoption, ApduRate, ParkPolicy, Settings},
    host::{AuthorityKind, Config, Host, OtherAuthority, TlsFiles},
    server::Limits,
    store::quotas::Quotas,
};

/// Runs the host daemon until SIGTERM or SIGINT.
///
/// The first start makes the data directory with the host's keys and certificates, an empty store and an administrator,
/// whose name and password stand in DIR/admin.json (readable by its owner only). Prints one line `ready https://…`
/// when it serves. A second signal ends it without draining the requests under way.
#[derive(Args)]
pub struct Serve {
    /// Data directory; made if it is not there, locked against a second daemon.
    #[arg(long, value_name = "DIR", default_value = "cardhost-data", env = "CARDHOST_DATA")]
    data: PathBuf,
    /// The anchor: what tells that an old copy of the store, or of a card, was put back. By default DIR/anchor; on
    /// another disk, or where the store's backups do not reach, it tells more.
    #[arg(long, value_name = "FILE", env = "CARDHOST_ANCHOR")]
    anchor: Option<PathBuf>,
    /// State that the store's present state is the right one, though the anchor is missing, damaged or does not fit: a
    /// new one is made of it, the old one is put aside, and the audit log says so. For one start; leave it out then.
    #[arg(long)]
    accept_new_anchor: bool,
    /// Where the keys are kept that wrap the cards' keys: in DIR/host.key as it is (file), or sealed by a TPM 2.0
    /// (tpm:TCTI).
    ///
    /// TCTI is device:/dev/tpmrm0, swtpm:host=HOST,port=PORT or swtpm:path=SOCKET. Once sealed, DIR/host.key opens with
    /// this TPM alone, and no earlier copy of it opens once a card was destroyed. into-tpm:TCTI also seals a file that is
    /// not sealed yet, and out-of-tpm:TCTI opens a sealed one for good; each for one start, docs/tpm.md says when.
    #[arg(long, value_name = "CUSTODY", default_value = "file", env = "CARDHOST_HOST_KEY")]
    host_key: Custody,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Your own TLS certificate chain (PEM) instead of one of the host's own CA.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    authority: AuthorityOptions,
    /// User ids for the cards' processes, each card its own. Needs CAP_SETUID and CAP_SETGID; without them all cards
    /// run as the daemon's user, and the log says so.
    #[arg(long, value_name = "FIRST-LAST", default_value = "2000000000-2000065535", value_parser = user_ids)]
    card_users: UserIds,
    /// Run cards as processes instead of microVMs, for machines without /dev/kvm. Only the host's kernel then keeps a card
    /// that is taken over in; every listing and the log say `process`.
    #[arg(long)]
    insecure_process_isolation: bool,
    /// Control group below which each card gets one of its own: 16 MiB of memory without swap, half of a processor, 4
    /// processes. None unless given.
    ///
    /// Named from the root of the host's control groups (`/cardhost`), or without `/` below the daemon's own group; of
    /// version 1 or 2, whichever is mounted. It is made if it is not there, must be writable, and no other daemon may use it; of
    /// version 2 it must have no processes of its own. If it cannot be used no card runs. A group costs each card some
    /// memory and its start some time: docs/isolation.md has figures, and a unit for an ordinary user's daemon.
    #[arg(long, value_name = "PATH", env = "CARDHOST_CGROUP")]
    cgroup: Option<PathBuf>,
    #[command(flatten)]
    cards: CardOptions,
    /// Development only: new cards get the well-known PIN 123456, PUK 12345678 and keys. Loopback only.
    #[arg(long)]
    default_keys: bool,
}

/// When cards park, how many there may be, and what they run.
#[derive(Args)]
#[command(next_help_heading = "Cards")]
struct CardOptions {
    /// When live cards park by themselves, the longest idle first: never, idle:SECONDS, pressure:PERCENT, or the
    /// last two joined by a comma.
    ///
    /// `idle:SECONDS` parks a card after that time without a use. `pressure:PERCENT` parks cards while less than that
    /// share of the host's memory is available (MemAvailable of /proc/meminfo, looked at every second); 5 if no share
    /// is given. A parked card is only its sealed state, and its next use wakes it within milliseconds. A card with
    /// session state on an open channel (a selection, a verified PIN, a logical channel) never parks by itself.
    #[arg(long, value_name = "POLICY", default_value_t)]
    park: ParkPolicy,
    /// Most cards that are live at a time.
    ///
    /// One more takes the place of the parkable one that is idle longest. If none can park, a REST call that needs the
    /// card gets problem too-many-live-cards (503, Retry-After) and an APDU the status word 6F00. A live card takes
    /// about a mebibyte, two process ids and one of the daemon's descriptors: `cardhost doctor` shows the limits.
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_live)]
    max_live: NonZeroUsize,
    /// Processes that wait for the next cards to start or wake, forked and confined ahead; 0 makes each when it is needed.
    ///
    /// One takes as much memory as a live card and has been told nothing. A card that takes one starts several times as
    /// fast; after more starts at once than there are processes the others are made as they come.
    #[arg(long, value_name = "N", default_value_t = Settings::default().warm_pool,
          value_parser = clap::value_parser!(u16).range(..=1024))]
    warm_pool: u16,
    /// Most cards in all, live and parked; a creation beyond gets problem too-many-cards, before anything is made.
    #[arg(long, value_name = "N", default_value_t = Quotas::default().cards)]
    max_cards: u32,
    /// Most cards on the terminals of one user; a creation beyond gets problem user-quota-reached, before anything is
    /// made. No bound unless given.
    #[arg(long, value_name = "N")]
    max_cards_per_user: Option<u32>,
    /// APDUs per second of one card, all its channels together, and as many at once after a pause. Faster ones wait
    /// in their own channel. No bound unless given.
    #[arg(long, value_name = "N")]
    apdu_rate: Option<NonZeroU32>,
    /// Guest image (ELF) that cards run instead of the one that this program embeds, for example that of the version
    /// before, to roll back.
    ///
    /// It is run with the keys of the cards: take it from where you take this program. The launcher tries it first, and
    /// the daemon does not start if it is no guest. The log says that it is in use, and its SHA-256.
    #[arg(long, value_name = "FILE", env = "CARDHOST_GUEST_IMAGE")]
    guest_image: Option<PathBuf>,
    /// What becomes of cards that another guest image wrote last: each is adopted at its next start (follow), or is
    /// refused until `cardhost card adopt` (pinned).
    ///
    /// Until its first change under the new image an adopted card starts under the image before as well; from then on
    /// only under the new one. It is policy, which the launcher enforces, not attestation.
    #[arg(long, value_enum, value_name = "POLICY", default_value_t)]
    image_policy: Adoption,
}

impl CardOptions {
    fn settings(&self) -> Settings {
        Settings {
            park: self.park,
            max_live: self.max_live,
            warm_pool: self.warm_pool,
            apdu_rate: self.apdu_rate.map(ApduRate),
            adoption: self.image_policy,
        }
    }

    fn quotas(&self) -> Quotas {
        Quotas { cards: self.max_cards, of_user: self.max_cards_per_user }
    }
}

/// The authority that certifies, verifies and revokes; an embedded one unless --authority names another.
#[derive(Args)]
struct AuthorityOptions {
    /// Another authority's address, https://….
    #[arg(long, value_name = "URL", requires = "authority_ca")]
    authority: Option<String>,
    /// What it offers.
    #[arg(long, value_enum, default_value = "cardhost", requires = "authority")]
    authority_kind: AuthorityKind,
    /// Certificates that its TLS certificate must chain to (PEM).
    #[arg(long, value_name = "FILE", requires = "authority")]
    authority_ca: Option<PathBuf>,
    /// This host's client certificate for it (PEM).
    #[arg(long, value_name = "FILE", requires = "authority_key")]
    authority_cert: Option<PathBuf>,
    /// The key of --authority-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "authority_cert")]
    authority_key: Option<PathBuf>,
    /// User for HTTP Basic.
    #[arg(long, value_name = "USER", requires = "authority_password_file")]
    authority_user: Option<String>,
    /// File with the password of --authority-user.
    #[arg(long, value_name = "FILE", requires = "authority_user")]
    authority_password_file: Option<PathBuf>,
    /// Where its CRL is, if its certificates do not say.
    #[arg(long, value_name = "URL", requires = "authority")]
    authority_crl: Option<String>,
}

impl AuthorityOptions {
    fn choice(self) -> Option<OtherAuthority> {
        let identity = self.authority_cert.zip(self.authority_key);
        Some(OtherAuthority {
            url: self.authority?,
            kind: self.authority_kind,
            trusted: self.authority_ca?,
            identity: identity.map(|(certificate, key)| TlsFiles { certificate, key }),
            basic: self.authority_user.zip(self.authority_password_file),
            crl: self.authority_crl,
        })
    }
}

impl Serve {
    /// Serves until a signal.
    pub fn run(self) -> anyhow::Result<()> {
        raise_descriptor_limit();
        let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
        runtime.block_on(serve(self.config()))
    }

    fn config(self) -> Config {
        let tls = self.tls_cert.zip(self.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
        Config {
            data: self.data,
            anchor: self.anchor,
            accept_new_anchor: self.accept_new_anchor,
            host_key: self.host_key,
            listen: self.listen,
            tls,
            authority: self.authority.choice(),
            card_users: self.card_users,
            guest_image: self.cards.guest_image.clone(),
            isolation: isolation(self.insecure_process_isolation),
            control_group: self.cgroup,
            cards: self.cards.settings(),
            quotas: self.cards.quotas(),
            default_keys: self.default_keys,
            limits: Limits::default(),
        }
    }
}

/// MicroVMs, unless less is asked for by name.
pub(super) const fn isolation(insecure_process_isolation: bool) -> Isolation {
    if insecure_process_isolation { Isolation::Process } else { Isolation::MicroVm }
}

/// A range of user ids that leaves out root.
fn user_ids(text: &str) -> Result<UserIds, String> {
    let bounds =
        text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match bounds {
        Some((first, last)) if 0 < first && first <= last && last < u32::MAX => {
            Ok(UserIds { first, count: last - first + 1 })
        }
        _ => Err("not a range FIRST-LAST of user ids above 0".into()),
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let host = Host::start(config).await?;
    writeln!(io::stdout(), "ready {}", host.url())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tracing::info!("ending: requests under way are finished first");
    tokio::select! {
        () = host.stop() => Ok(()),
        _ = terminate.recv() => anyhow::bail!("ended by a second signal"),
        _ = interrupt.recv() => anyhow::bail!("ended by a second signal"),
    }
}

/// Each card, channel and connection takes a descriptor: take as many as the hard limit gives.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
