//! How many cards there may be.

use cardhost::{
    auth::name::Name,
    store::{
        Store,
        cards::{self, CardRecord, CardState},
        intents::{self, IntentRecord},
        quotas::{self, Quotas, Verdict},
    },
};
use jiff::Timestamp;
use rusqlite::Transaction;
use uuid::Uuid;

/// Jane has the terminals `a` to `c`, Jack `x` and `y`; none has a card.
async fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store.db")).unwrap();
    let people = |transaction: &Transaction<'_>| {
        transaction.execute_batch(
            "INSERT INTO users VALUES ('jane', 'user', 'hash'), ('jack', 'user', 'hash');
             INSERT INTO terminals VALUES ('a', 'jane'), ('b', 'jane'), ('c', 'jane'), ('x', 'jack'), ('y', 'jack');",
        )
    };
    store.write(people).await.unwrap();
    (directory, store)
}

fn name(terminal: &str) -> Name {
    terminal.parse().unwrap()
}

async fn give_card(store: &Store, terminal: &str) {
    let record = CardRecord {
        terminal: name(terminal),
        card: [terminal.as_bytes()[0]; 16],
        wrapped_key: vec![1; 60],
        measurement: [2; 32],
        epoch: 0,
        head: None,
        atr: None,
        state: CardState::InUse,
        created_at: Timestamp::UNIX_EPOCH,
        revocations: None,
    };
    store.write(move |transaction| cards::insert(transaction, &record)).await.unwrap();
}

async fn begin(store: &Store, terminal: &str) -> Uuid {
    let id = Uuid::new_v4();
    let intent = IntentRecord { id, terminal: name(terminal), body: "{}".into() };
    store.write(move |transaction| intents::put(transaction, &intent)).await.unwrap();
    id
}

async fn verdict(store: &Store, terminal: &str, cards: u32, of_user: Option<u32>) -> Verdict {
    let (terminal, quotas) = (name(terminal), Quotas { cards, of_user });
    store.write(move |transaction| quotas::admit(transaction, &terminal, quotas)).await.unwrap()
}

#[tokio::test]
async fn the_last_place_is_taken_once() {
    let (_directory, store) = store().await;
    give_card(&store, "a").await;
    assert_eq!(verdict(&store, "b", 2, None).await, Verdict::Admitted);
    let begun = begin(&store, "x").await;
    let full = Verdict::TooMany { most: 2 };
    assert_eq!(verdict(&store, "b", 2, None).await, full, "another creation has the last place");
    assert_eq!(verdict(&store, "x", 2, None).await, Verdict::Admitted, "its own does not count against it");
    give_card(&store, "x").await;
    assert_eq!(verdict(&store, "b", 2, None).await, full, "a card and its creation count once");
    store.write(move |transaction| intents::delete(transaction, begun)).await.unwrap();
    assert_eq!(verdict(&store, "b", 2, None).await, full);
    store.write(|transaction| cards::forget(transaction, &[b'x'; 16])).await.unwrap();
    assert_eq!(verdict(&store, "b", 2, None).await, Verdict::Admitted);
    assert_eq!(verdict(&store, "b", 0, None).await, Verdict::TooMany { most: 0 });
}

#[tokio::test]
async fn a_users_cards_are_counted_apart_and_follow_the_terminal() {
    let (_directory, store) = store().await;
    give_card(&store, "a").await;
    give_card(&store, "x").await;
    assert_eq!(verdict(&store, "b", 9, Some(2)).await, Verdict::Admitted);
    begin(&store, "c").await;
    assert_eq!(verdict(&store, "b", 9, Some(2)).await, Verdict::TooManyOfUser { most: 2 });
    assert_eq!(verdict(&store, "y", 9, Some(2)).await, Verdict::Admitted, "another user's");
    let sell = "UPDATE terminals SET owner = 'jack' WHERE name = 'a'";
    store.write(move |transaction| transaction.execute(sell, [])).await.unwrap();
    assert_eq!(verdict(&store, "b", 9, Some(2)).await, Verdict::Admitted);
    assert_eq!(verdict(&store, "y", 9, Some(2)).await, Verdict::TooManyOfUser { most: 2 });
}
