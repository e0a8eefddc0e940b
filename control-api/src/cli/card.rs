//! `cardhost card`.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{RemoteCommand, client::Client, output::Output};
use crate::auth::name::Name;

/// Shows, parks, wakes, adopts, pairs and revokes cards: the microVMs and their sealed state.
#[derive(Args)]
pub struct Card {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists cards by terminal.
    List {
        /// Only cards of terminals after this one.
        #[arg(long, default_value = "")]
        after: String,
    },
    /// Shows a terminal's card.
    Show {
        /// The terminal's name.
        terminal: Name,
    },
    /// Parks a terminal's card: its microVM ends, its next use starts it again.
    ///
    /// A card that is in use, or has session state (a selection, a verified PIN) on an open channel, is left alone.
    Park {
        /// The terminal's name.
        terminal: Name,
        /// Parks it all the same: exchanges under way are finished, then its channels see a reset.
        #[arg(long)]
        force: bool,
    },
    /// Wakes a terminal's card ahead of its next use.
    Wake {
        /// The terminal's name.
        terminal: Name,
    },
    /// Allows the host's guest image for a card that is refused because images are pinned.
    ///
    /// The card starts under it from now on; under the image before it starts as well until its first change. A card
    /// that was moved away from an image does not come back to it. The audit log says who had the card adopted.
    Adopt {
        /// The terminal's name.
        terminal: Name,
    },
    /// Accepts the stored state of a card that is refused because an old state was put back.
    ///
    /// The card goes on from that state: PIN tries that were used up since may be there again, keys and certificates
    /// made since are gone, and deleted ones are back. Find out first who put the old state back. The audit log says who
    /// restored the card.
    Restore {
        /// The terminal's name.
        terminal: Name,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Shows which container answers for the shared identifiers on which protocol, and pairs protocols anew.
    ///
    /// The containers are secure-element, uicc and second-secure-element. A new pairing counts from a terminal's next
    /// selection or reset on. The second secure element gets keys of its own when a protocol is first paired with it; the
    /// terminal's user fetches them with the card's other first secrets.
    Protocols {
        /// The terminal's name.
        terminal: Name,
        /// Pairs this protocol with this container; may be given several times.
        #[arg(long = "pair", value_name = "PROTOCOL=CONTAINER", value_parser = pair)]
        pairs: Vec<(String, String)>,
    },
    /// Shows with which terminals a card is paired and what others may do, ends pairings, and sets the policy.
    ///
    /// A terminal pairs by itself, with `cardhost-terminal bridge --secure` and the card holder's PIN, once its device was
    /// enrolled for it; from then on nobody between the terminal and the card reads or changes what they say to each other.
    /// Each pairing has an id, 60 to 6F. One that is ended can be made again by the same terminal; for a terminal that was
    /// lost use `cardhost terminal revoke-device`, which has its certificate revoked, and with it all its pairings.
    ///
    /// Pairings are ended first, then the policy is set, then the rest is shown: as `certified` whether the authority has
    /// certified the card, without which nothing pairs, and as `revocations` the number of the newest revocation list that
    /// the card accepted.
    Pairings {
        /// The terminal's name.
        terminal: Name,
        /// What terminals that are not paired may do from now on: with `open` everything, with `paired-only` nothing but
        /// pair. Certificates, keys and authentications over REST are not affected.
        #[arg(long, value_name = "POLICY", value_parser = ["open", "paired-only"])]
        policy: Option<String>,
        /// Ends the pairing with this id; may be given several times.
        #[arg(long, value_name = "ID", value_parser = pairing_id, conflicts_with = "revoke_all")]
        revoke: Vec<String>,
        /// Ends all pairings.
        #[arg(long)]
        revoke_all: bool,
    },
    /// Has the certificate revoked with which a terminal's card pairs: terminals refuse the card from then on, for good.
    ///
    /// A terminal that is paired with the card refuses it as well, as soon as it learns of it: at the next insertion or
    /// session, within an hour. The card itself, its keys and its certificates for the user stay as they are.
    Revoke {
        /// The terminal's name.
        terminal: Name,
    },
    /// Lists the eUICC profiles on a terminal's card, installs and deletes them.
    ///
    /// A profile comes as a JSON file, with the members of POST /v1/cards/{terminal}/profiles:
    ///
    /// {"iccid": "8988211000000510217", "imsi": "001010123456789",
    ///  "k": "16 bytes in hexadecimal", "opc": "16 bytes in hexadecimal",
    ///  "service_provider_name": "Example", "profile_name": "Meters", "class": "operational",
    ///  "notifications": [{"events": ["enable", "delete"], "address": "smdp.example"}]}
    ///
    /// Required are iccid, imsi, k and opc. The keys stay in the card; keep the file as the key that
    /// it is. A new profile is disabled until the terminal enables it. With its last certificate or
    /// profile a card is destroyed.
    #[command(verbatim_doc_comment)]
    Profiles {
        /// The terminal's name.
        terminal: Name,
        /// Installs the profile in this file; may be given several times.
        #[arg(long, value_name = "FILE")]
        add: Vec<PathBuf>,
        /// Deletes this profile, enabled or not; may be given several times.
        #[arg(long, value_name = "ICCID")]
        delete: Vec<String>,
    },
    /// Lists the certificates on a terminal's card.
    Certificates {
        /// The terminal's name.
        terminal: Name,
    },
}

impl RemoteCommand for Card {
    async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        match self.command {
            Command::List { after } => {
                let cards = client.get(&format!("/v1/cards?after={after}")).await?;
                output.list(
                    &cards,
                    "cards",
                    &["terminal", "state", "isolation", "pid", "memory_kib", "credentials"],
                );
            }
            Command::Show { terminal } => {
                output.object(&client.get(&format!("/v1/cards/{terminal}")).await?);
            }
            Command::Park { terminal, force } => {
                let wish = json!({ "force": force });
                output.object(&client.post(&format!("/v1/cards/{terminal}/park"), &wish).await?);
            }
            Command::Wake { terminal } => {
                output.object(&client.post(&format!("/v1/cards/{terminal}/wake"), &json!({})).await?);
            }
            Command::Adopt { terminal } => {
                output.object(&client.post(&format!("/v1/cards/{terminal}/adopt"), &json!({})).await?);
            }
            Command::Restore { terminal, yes } => {
                let path = format!("/v1/cards/{terminal}");
                confirm(&client.get(&path).await?, yes)?;
                output.object(&client.post(&format!("{path}/restore"), &json!({})).await?);
            }
            Command::Protocols { terminal, pairs } => {
                let path = format!("/v1/cards/{terminal}/protocols");
                let mut pairing = client.get(&path).await?;
                if !pairs.is_empty() {
                    for (protocol, container) in pairs {
                        pairing["protocols"][protocol] = container.into();
                    }
                    pairing = client.put(&path, &pairing).await?;
                }
                output.object(&pairing);
            }
            Command::Pairings { terminal, policy, revoke, revoke_all } => {
                let path = format!("/v1/cards/{terminal}/pairings");
                for id in revoke {
                    client.delete(&format!("{path}/{id}")).await?;
                }
                if revoke_all {
                    client.delete(&path).await?;
                }
                let pairings = match policy {
                    Some(policy) => client.put(&path, &json!({ "policy": policy })).await?,
                    None => client.get(&path).await?,
                };
                show_pairings(&pairings, output);
            }
            Command::Revoke { terminal } => {
                client.delete(&format!("/v1/cards/{terminal}/certification")).await?;
                output.done(&format!(
                    "the card of terminal {terminal} is revoked: terminals will not pair with it"
                ));
            }
            Command::Profiles { terminal, add, delete } => {
                profiles(client, output, &format!("/v1/cards/{terminal}/profiles"), &add, &delete).await?;
            }
            Command::Certificates { terminal } => {
                let certificates = client.get(&format!("/v1/terminals/{terminal}/certificates")).await?;
                output.list(
                    &certificates,
                    "certificates",
                    &["id", "key_reference", "algorithm", "expires_at"],
                );
            }
        }
        Ok(())
    }
}

fn show_pairings(pairings: &Value, output: Output) {
    output.list(pairings, "pairings", &["id", "terminal", "serial"]);
    output.line(&format!(
        "certified: {}, policy: {}, revocations: {}",
        pairings["certified"],
        pairings["policy"].as_str().unwrap_or_default(),
        pairings["revocations"].as_u64().map_or("none".into(), |number| number.to_string()),
    ));
}

fn pairing_id(text: &str) -> Result<String, &'static str> {
    let is_id = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { Ok(text.to_owned()) } else { Err("two hexadecimal digits, as 60") }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (protocol, container) = text.split_once('=').ok_or("as in iso7816-t1=uicc")?;
    Ok((protocol.to_owned(), container.to_owned()))
}

/// Installs, deletes and lists profiles, in this order. Of a card that goes with the last one its end is told.
async fn profiles(
    client: &Client,
    output: Output,
    path: &str,
    add: &[PathBuf],
    delete: &[String],
) -> anyhow::Result<()> {
    for file in add {
        client.post(path, &profile(file)?).await?;
    }
    for iccid in delete {
        let deleted = client.delete(&format!("{path}/{iccid}")).await?;
        if deleted["card_destroyed"] == true {
            output.object(&deleted);
            return Ok(());
        }
    }
    let columns = ["iccid", "state", "class", "service_provider_name", "profile_name", "nickname"];
    output.list(&client.get(path).await?, "profiles", &columns);
    Ok(())
}

fn profile(file: &Path) -> anyhow::Result<Value> {
    let read = || format!("the profile in {}", file.display());
    let text = Zeroizing::new(fs::read_to_string(file).with_context(read)?);
    serde_json::from_str(&text).with_context(read)
}

/// Says what a restoration means, and goes on only if the operator wants that.
fn confirm(card: &Value, yes: bool) -> anyhow::Result<()> {
    let text = |member: &str| card[member].as_str().unwrap_or("none").to_owned();
    eprintln!("The card of {} is {}: {}.", text("terminal"), text("state"), text("reason"));
    eprintln!(
        "Restoring it accepts its present, older state: used PIN tries may be there again, newer keys and \
         certificates are gone, deleted ones are back."
    );
    if yes {
        return Ok(());
    }
    anyhow::ensure!(io::stdin().is_terminal(), "not restored: say --yes to restore it");
    eprint!("Restore it? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    anyhow::ensure!(answer.trim().eq_ignore_ascii_case("y"), "not restored");
    Ok(())
}
