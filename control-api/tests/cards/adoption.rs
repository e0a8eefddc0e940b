//! Cards under another guest image than the one that wrote them: adopted, settled, refused, and never lost.

use cardhost::{
    audit::{self, Action, Entry},
    auth::name::Name,
    card::{Adoption, CardError, CardStatus, Presence, Refused, Settings},
    launcher::Image,
    store::cards::{self, CardRecord},
    wrapping::WrappingKeys,
};
use cardhost_wire::{
    control::{Answer, Command},
    key::KeyReference,
    port::Protocol,
    wrapping::{Bucket, WrappingKey},
};
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{LIMIT, SELECT_PIV, World, till, world_in};

const SIGNATURE: KeyReference = KeyReference::SIGNATURE;

/// The embedded guest with bytes behind it that no program header names: it has another measurement.
fn later(number: u8) -> Image {
    let embedded = Image::embedded();
    let guest = [&*embedded.guest, &[number]].concat();
    Image { guest_sha256: Sha256::digest(&guest).into(), guest: guest.into(), ..embedded }
}

fn first() -> [u8; 32] {
    Image::embedded().guest_sha256
}

fn second() -> [u8; 32] {
    later(1).guest_sha256
}

impl World {
    /// The daemon ends and another one comes in its place, with this image and policy.
    async fn under(self, image: Image, adoption: Adoption) -> Self {
        let Self { cards, store, directory } = self;
        for terminal in cards.live() {
            cards.stop(&terminal).await;
        }
        cards.guard().anchor().close().await.unwrap();
        drop((cards, store));
        world_in(directory, image, Settings { adoption, ..Settings::default() }).await
    }

    async fn status(&self) -> CardStatus {
        self.cards.status(&till()).await.unwrap().unwrap()
    }

    /// The image that wrote the card last, and the one that it runs under if that is another.
    async fn images(&self) -> ([u8; 32], Option<[u8; 32]>) {
        let CardStatus { image, runs_under, .. } = self.status().await;
        (image, runs_under)
    }

    async fn row(&self) -> CardRecord {
        self.store.read(|connection| cards::find(connection, &till())).await.unwrap().unwrap()
    }

    /// A use that changes nothing in the card.
    async fn works(&self) {
        let mut channel = self.cards.open(&till(), Protocol::ApduGate).await.unwrap();
        let response = channel.exchange(Zeroizing::new(SELECT_PIV.into()), LIMIT).await.unwrap();
        assert!(response.ends_with(&[0x90, 0x00]), "{response:02x?}");
    }

    /// It does not start, its channels hear why, and nothing of it is lost.
    async fn is_refused(&self, why: Refused) {
        let before = self.row().await;
        let woken = self.cards.wake(&till()).await;
        assert!(matches!(woken, Err(CardError::Refused(reason)) if reason == why), "{woken:?}");
        assert_eq!(self.status().await.refused, Some(why));
        let channel = self.cards.open(&till(), Protocol::ApduGate).await.unwrap();
        assert!(
            matches!(&*channel.presence().borrow(), Presence::Absent { reason } if reason.contains("image"))
        );
        assert_eq!(self.row().await, before);
    }

    /// The audited entries of this action.
    async fn audited(&self, action: Action) -> Vec<Entry> {
        let links = self.store.read(|connection| audit::list(connection, 0, 1000)).await.unwrap();
        let entries = links.iter().map(|link| serde_json::from_str::<Entry>(&link.entry).unwrap());
        entries.filter(|entry| entry.action == action).collect()
    }
}

fn operator() -> Name {
    "olga".parse().unwrap()
}

/// From which image to which, and by whom.
fn move_in(entry: &Entry) -> (&str, &str, Option<&str>) {
    let text = |name: &str| entry.detail.get(name).map(String::as_str);
    (text("from").unwrap(), text("to").unwrap(), text("adopted-by"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_adopted_at_the_next_start_and_settled_by_the_first_change() {
    let world = World::with_key().await;
    let key = world.row().await.wrapped_key;
    let world = world.under(later(1), Adoption::Follow).await;
    assert_eq!(world.images().await, (first(), Some(second())));
    assert_eq!(world.cards.count_of_other_images().await.unwrap(), 1);
    world.works().await;
    assert_eq!(world.images().await, (first(), Some(second())));
    assert_eq!(world.row().await.wrapped_key, key, "nothing is decided yet");

    let world = world.under(Image::embedded(), Adoption::Follow).await;
    world.works().await;
    assert_eq!(world.images().await, (first(), None));
    let world = world.under(later(1), Adoption::Follow).await;
    world.generate(SIGNATURE).await.unwrap();
    assert_eq!(world.images().await, (second(), None));
    assert_eq!(world.cards.count_of_other_images().await.unwrap(), 0);
    let settled = world.row().await.wrapped_key;
    assert_ne!(settled, key);
    world.generate(KeyReference::AUTHENTICATION).await.unwrap();
    assert_eq!(world.row().await.wrapped_key, settled, "once is enough");
    let adopted = world.audited(Action::CardAdopted).await;
    let [adopted] = &*adopted else { panic!("{adopted:?}") };
    let (from, to) = (hex::encode(first()), hex::encode(second()));
    assert_eq!(move_in(adopted), (&*from, &*to, Some("host-policy")));
    assert_eq!((&adopted.terminal, &adopted.user), (&Some(till()), &None));

    let world = world.under(Image::embedded(), Adoption::Follow).await;
    world.is_refused(Refused::ImageLeftBehind).await;
    let back = world.cards.adopt(&till(), &operator()).await;
    assert!(matches!(back, Err(CardError::ImageLeftBehind)), "{back:?}");
    world.is_refused(Refused::ImageLeftBehind).await;
    let world = world.under(later(1), Adoption::Pinned).await;
    world.works().await;
    assert_eq!(world.status().await.credentials, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_images_need_an_operator_for_each_card() {
    let world = World::with_key().await.under(later(1), Adoption::Pinned).await;
    world.is_refused(Refused::ImageNotAdopted).await;
    let channel = world.cards.open(&till(), Protocol::Spi).await.unwrap();
    assert!(world.cards.adopt(&till(), &operator()).await.unwrap());
    assert!(!world.cards.adopt(&till(), &operator()).await.unwrap(), "it is allowed already");
    assert!(matches!(&*channel.presence().borrow(), Presence::Present { .. }));
    drop(channel);
    world.works().await;
    assert_eq!(world.images().await, (first(), Some(second())));

    // Either image may have it, and what the older one writes does not take that away.
    let world = world.under(Image::embedded(), Adoption::Pinned).await;
    world.generate(SIGNATURE).await.unwrap();
    let nothing = world.cards.adopt(&till(), &operator()).await;
    assert!(matches!(nothing, Err(CardError::ImageSettled)), "{nothing:?}");
    let world = world.under(later(1), Adoption::Pinned).await;
    world.generate(KeyReference::AUTHENTICATION).await.unwrap();
    assert_eq!(world.images().await, (second(), None));

    let (from, to) = (hex::encode(first()), hex::encode(second()));
    let allowed = world.audited(Action::CardImageAllowed).await;
    let adopted = world.audited(Action::CardAdopted).await;
    assert_eq!(allowed.iter().map(|entry| &entry.user).collect::<Vec<_>>(), [&Some(operator())]);
    assert_eq!(allowed.iter().map(move_in).collect::<Vec<_>>(), [(&*from, &*to, None)]);
    assert_eq!(adopted.iter().map(move_in).collect::<Vec<_>>(), [(&*from, &*to, Some("operator"))]);
    let world = world.under(later(2), Adoption::Pinned).await;
    world.is_refused(Refused::ImageNotAdopted).await;
    let absent = world.cards.adopt(&"till-8".parse().unwrap(), &operator()).await;
    assert!(matches!(absent, Err(CardError::Absent)), "{absent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_cannot_be_stored_leaves_all_as_it_was() {
    let world = World::with_key().await.under(later(1), Adoption::Follow).await;
    world.works().await;
    let (row, pid) = (world.row().await, world.status().await.pid);
    for failing in ["UPDATE OF measurement ON cards", "UPDATE OF epoch ON cards", "INSERT ON audit"] {
        let trigger = format!("CREATE TRIGGER failing BEFORE {failing} BEGIN SELECT RAISE(ABORT, 'no'); END");
        world.store.write(move |transaction| transaction.execute_batch(&trigger)).await.unwrap();
        world.generate(SIGNATURE).await.unwrap_err();
        assert_eq!((world.row().await, world.status().await.pid), (row.clone(), pid), "{failing}");
        let drop = "DROP TRIGGER failing";
        world.store.write(move |transaction| transaction.execute_batch(drop)).await.unwrap();
    }
    let world = world.under(Image::embedded(), Adoption::Follow).await;
    world.works().await;
    let world = world.under(later(1), Adoption::Follow).await;
    world.generate(SIGNATURE).await.unwrap();
    assert_eq!(world.images().await, (second(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_change_may_be_the_last() {
    let world = World::with_key().await.under(later(1), Adoption::Follow).await;
    let deleted = world.ask(Command::DeleteCredential(KeyReference::CARD_AUTHENTICATION)).await;
    assert!(matches!(deleted, Ok(Answer::Done)), "{deleted:?}");
    world.cards.ended().await;
    assert_eq!(world.store.read(cards::ending).await.unwrap()[0].measurement, second());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_between_start_and_first_change_keeps_the_card() {
    let world = World::with_key().await.under(later(1), Adoption::Follow).await;
    world.works().await;
    let (pid, bucket) = (world.status().await.pid, Bucket::of(&world.row().await.card));
    let keys = WrappingKeys::new(world.store.clone(), world.cards.launcher().clone());
    let present = keys.rotate(bucket).await.unwrap();
    world.generate(SIGNATURE).await.unwrap();
    assert_eq!((world.images().await, world.status().await.pid), ((second(), None), pid));
    assert_eq!(WrappingKey::of(&world.row().await.wrapped_key), Some(present));
    keys.rotate(bucket).await.unwrap();
    drop(keys);
    world.under(later(1), Adoption::Pinned).await.works().await;
}

/// Every card is adopted while all wrapping keys rotate: none stores a key that is about to be retired.
#[tokio::test(flavor = "multi_thread")]
async fn no_card_is_lost_to_rotations_beside_adoptions() {
    const ROUNDS: u8 = 24;
    let mut world = World::with_key().await;
    for round in 1..=ROUNDS {
        world = world.under(later(round), Adoption::Follow).await;
        let keys = WrappingKeys::new(world.store.clone(), world.cards.launcher().clone());
        let bucket = Bucket::of(&world.row().await.card);
        let rotations = join_all((0..4).map(async |_| keys.rotate(bucket).await.unwrap()));
        let change = async {
            match round % 2 {
                0 => world.ask(Command::DeleteCredential(SIGNATURE)).await.map(drop),
                _ => world.generate(SIGNATURE).await.map(drop),
            }
        };
        let (_, changed) = tokio::join!(rotations, change);
        changed.unwrap();
        assert_eq!(world.images().await, (later(round).guest_sha256, None));
        drop(keys);
        world = world.under(later(round), Adoption::Pinned).await;
        world.works().await;
    }
}
