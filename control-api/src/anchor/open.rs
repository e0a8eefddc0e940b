//! The daemon's start: do anchor and store belong together, and is a card missing?
//!
//! | the store remembers | the file | then |
//! |---|---|---|
//! | no anchor | is missing, or was never written to | first start: a new anchor of the store's present state |
//! | no anchor | has batches | refused: another store's, or the store is older than its anchor |
//! | an anchor | is missing, another one, older, damaged | refused until an operator accepts a new anchor |
//! | an anchor | is it | compared card by card as cards are used |

use std::{
    io,
    path::{Path, PathBuf},
};

use cardhost_wire::control::CardId;

use super::{
    Anchor, AnchorError, AnchorId, Anchored, FileError, Guard, StateDigest,
    file::{self, AnchorFile, Contents},
    writer::INTERVAL,
};
use crate::{
    audit::{Action, Audit, Entry},
    store::{
        Store,
        anchor::{self, Remembered},
        cards,
    },
};

/// Missing cards that an audit entry names.
const NAMED: usize = 16;

/// What operators decide about the anchor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its file.
    pub path: PathBuf,
    /// An operator states that the store's present state is the right one though the anchor cannot tell.
    pub accept_new: bool,
}

/// Opens the anchor of this store, made at the first start, and tells which cards are missing.
pub async fn open(settings: Settings, store: &Store, audit: &Audit) -> Result<Guard, AnchorError> {
    let remembered = store.read(anchor::find).await?;
    let (file, contents) = match examine(&settings.path, remembered) {
        Ok(Some(found)) => found,
        Ok(None) => make(&settings.path, store, None).await?,
        Err(why) if settings.accept_new && can_be_replaced(&why) => {
            tracing::warn!(%why, "a new anchor is made of the store's present state");
            make(&settings.path, store, Some((audit, why))).await?
        }
        Err(why) => return Err(why),
    };
    let guard = Guard::new(Anchor::start(file, contents, INTERVAL)?, store.clone(), audit.clone());
    report_missing(&guard, store, audit).await?;
    Ok(guard)
}

/// The anchor if it is this store's; `None` if the store is to have its first one.
fn examine(
    path: &Path,
    remembered: Option<Remembered>,
) -> Result<Option<(AnchorFile, Contents)>, AnchorError> {
    match (remembered, AnchorFile::open(path)?) {
        (None, None) => Ok(None),
        // An earlier first start broke off before the store knew of it.
        (None, Some((file, _))) if file.mark().sequence == 0 => Ok(None),
        (Some(_), None) => Err(AnchorError::Missing(path.into())),
        (Some(known), Some((file, contents))) if known.id == file.id() => {
            let (found, remembered) = (file.mark().sequence, known.sequence);
            match found < remembered {
                true => Err(AnchorError::Older { path: path.into(), found, remembered }),
                false => Ok(Some((file, contents))),
            }
        }
        (_, Some(_)) => Err(AnchorError::Foreign(path.into())),
    }
}

const fn can_be_replaced(why: &AnchorError) -> bool {
    use FileError::{Damaged, NotAnAnchor};
    matches!(
        why,
        AnchorError::Missing(_)
            | AnchorError::Foreign(_)
            | AnchorError::Older { .. }
            | AnchorError::File(Damaged { .. } | NotAnAnchor(_))
    )
}

/// Makes an anchor of the store's present state. `instead` says of which anchor it takes the place.
async fn make(
    path: &Path,
    store: &Store,
    instead: Option<(&Audit, AnchorError)>,
) -> Result<(AnchorFile, Contents), AnchorError> {
    let contents = present(store).await?;
    let unusable = |source: io::Error| FileError::Unusable { path: path.into(), source };
    if instead.is_some() {
        file::put_aside(path).map_err(unusable)?;
    }
    let file = AnchorFile::create(path, AnchorId::random()?, &contents).map_err(unusable)?;
    let known = Remembered { id: file.id(), sequence: file.mark().sequence };
    let entry = instead.map(|(audit, why)| {
        let entry = Entry::new(Action::AnchorReplaced).detail("reason", why);
        (audit.clone(), entry.detail("cards", contents.cards.len()))
    });
    let write = store.write(move |transaction| {
        anchor::put(transaction, &known)?;
        entry.iter().try_for_each(|(audit, entry)| audit.append(transaction, entry))
    });
    write.await?;
    Ok((file, contents))
}

/// What the store says: its cards, and the destroyed ones that it has receipts of.
async fn present(store: &Store) -> Result<Contents, AnchorError> {
    let read = store.read(|connection| {
        let states = cards::states(connection, |card, epoch, head| {
            (card, Anchored::At { epoch, digest: StateDigest::of(head) })
        })?;
        let destroyed = cards::destroyed(connection)?.into_iter().map(|card| (card, Anchored::Destroyed));
        // A card that is there counts, whatever an old receipt says.
        Ok(Contents { cards: destroyed.chain(states).collect(), exported: Default::default() })
    });
    Ok(read.await?)
}

/// Cards that the anchor knows and the store lacks: an older copy of the store lacks them too.
async fn report_missing(guard: &Guard, store: &Store, audit: &Audit) -> Result<(), AnchorError> {
    let present = store.read(cards::ids).await?;
    let absent = guard.anchor().ledger().alive_and_not_in(&present);
    let missing = without_destroyed(guard, store, absent).await?;
    metrics::gauge!("cardhost_cards_missing").set(missing.len() as f64);
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = missing.iter().take(NAMED).map(hex::encode).collect();
    let (count, named) = (missing.len(), named.join(" "));
    tracing::error!(count, cards = named, "cards that the anchor knows are missing from the store");
    let (audit, entry) = (audit.clone(), Entry::new(Action::CardsMissing).detail("count", count));
    let entry = entry.detail("cards", named);
    Ok(store.write(move |transaction| audit.append(transaction, &entry)).await?)
}

/// A destruction that was durable in the store shortly before a sudden end is news for the anchor, not a missing card.
async fn without_destroyed(
    guard: &Guard,
    store: &Store,
    absent: Vec<CardId>,
) -> Result<Vec<CardId>, AnchorError> {
    let (missing, destroyed) = store
        .read(move |connection| {
            let (mut missing, mut destroyed) = (Vec::new(), Vec::new());
            for card in absent {
                let has_receipt = cards::is_destroyed(connection, &card)?;
                if has_receipt { destroyed.push(card) } else { missing.push(card) }
            }
            Ok((missing, destroyed))
        })
        .await?;
    destroyed.into_iter().for_each(|card| guard.destroyed(card));
    Ok(missing)
}
