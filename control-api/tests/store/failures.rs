//! Obstacles that refuse a write: each write is answered with what stands in the way, and the next one is tried.

use cardhost::store::{Condition, Store, StoreError};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::store_with_card;

fn insert(name: &'static str) -> impl FnOnce(&Transaction<'_>) -> rusqlite::Result<usize> + Send + 'static {
    move |transaction| transaction.execute("INSERT INTO users VALUES (?1, 'user', '')", [name])
}

async fn names(store: &Store) -> String {
    let sql = "SELECT group_concat(name) FROM (SELECT name FROM users ORDER BY name)";
    store.read(move |connection| connection.query_row(sql, [], |row| row.get(0))).await.unwrap()
}

#[tokio::test]
async fn writes_that_another_process_keeps_out_are_all_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let mut other = Connection::open(directory.path().join("store.db")).unwrap();
    let held = other.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let (a, b) = tokio::join!(store.write(insert("a")), store.write(insert("b")));
    for refused in [a, b] {
        assert_eq!(refused.unwrap_err().condition(), Condition::Unavailable);
    }
    assert_eq!(names(&store).await, "jane");
    drop(held);
    store.write(insert("c")).await.unwrap();
    assert_eq!(names(&store).await, "c,jane");
}

/// SQLite may end a whole transaction over one write, as it does when a disk is full.
#[tokio::test]
async fn when_a_write_ends_the_transaction_those_before_it_are_told_and_those_after_it_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_card(directory.path()).await;
    let ends = store.write(|transaction| {
        transaction.execute_batch("ROLLBACK")?;
        Err::<(), _>(rusqlite::Error::InvalidQuery)
    });
    let (before, ends, after) = tokio::join!(store.write(insert("a")), ends, store.write(insert("b")));
    assert!(matches!(ends, Err(StoreError::Sql(rusqlite::Error::InvalidQuery))));
    after.unwrap();
    // It is told the truth, whether or not it was of the same group.
    match before {
        Ok(_) => assert_eq!(names(&store).await, "a,b,jane"),
        Err(error) => {
            assert_eq!(error.condition(), Condition::Unavailable);
            assert_eq!(names(&store).await, "b,jane");
        }
    }
}
