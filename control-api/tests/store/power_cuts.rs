//! Power cuts at every write of the store.
//!
//! The store writes in two ways: frames are appended to the log, synced once for each group; a checkpoint copies the
//! log's pages into the database file, syncs it, and only then empties the log. A cut leaves of the unsynced part any
//! of what this models: a log that ends at any frame or within one, a frame of which some sectors never came, and a
//! database file with any number of the checkpoint's pages, the last one torn, in either order.

use std::{fs, path::Path};

use cardhost::store::{Store, cards};

use super::{CARD, apply, commit, state, store_with_card};

/// Layout of SQLite's write-ahead log: a header, then a header and a page for each frame.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const PAGE: usize = 4096;
const FRAME: usize = FRAME_HEADER + PAGE;
/// What a disk writes whole.
const SECTOR: usize = 512;
const COMMITS: u64 = 6;

type State = (u64, std::collections::BTreeMap<u16, Vec<u8>>);

/// The files as they stood, and the state after each commit with the log's length then.
struct History {
    database: Vec<u8>,
    log: Vec<u8>,
    commits: Vec<(usize, State)>,
}

impl History {
    async fn write() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = store_with_card(directory.path()).await;
        store.scrub().await.unwrap();
        let mut commits = vec![(0, state(&store).await)];
        for epoch in 1..=COMMITS {
            // Records of several pages, so that a commit has several frames.
            let sealed = vec![epoch as u8; 700 * epoch as usize];
            apply(&store, commit(epoch, &[(epoch as u16 % 3, &sealed)], &[], &[0x9A])).await;
            commits.push((read(directory.path(), "store.db-wal").len(), state(&store).await));
        }
        let [database, log] = ["store.db", "store.db-wal"].map(|file| read(directory.path(), file));
        assert_eq!((log.len() - LOG_HEADER) % FRAME, 0);
        Self { database, log, commits }
    }

    /// The state of the last commit that lies wholly within so many bytes of the log.
    fn durable(&self, length: usize) -> &State {
        let whole = self.commits.iter().rev().find(|(end, _)| *end <= length);
        &whole.expect("the first ends at nothing").1
    }

    fn last(&self) -> &State {
        self.durable(self.log.len())
    }

    /// The database file when everything is copied into it.
    fn checkpointed(&self) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        lay_out(directory.path(), &self.database, &self.log);
        let connection = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(connection);
        read(directory.path(), "store.db")
    }
}

fn read(directory: &Path, file: &str) -> Vec<u8> {
    fs::read(directory.join(file)).unwrap()
}

fn lay_out(directory: &Path, database: &[u8], log: &[u8]) {
    fs::write(directory.join("store.db"), database).unwrap();
    fs::write(directory.join("store.db-wal"), log).unwrap();
}

/// What a start finds after the cut, and again after what the start itself wrote.
async fn reopened(database: &[u8], log: &[u8]) -> State {
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path(), database, log);
    let found = state(&Store::open(&directory.path().join("store.db")).unwrap()).await;
    let store = Store::open(&directory.path().join("store.db")).unwrap();
    assert_eq!(state(&store).await, found);
    let next = commit(found.0 + 1, &[(9, b"goes on")], &[], &[0x9A]);
    store.write(move |transaction| cards::commit(transaction, &CARD, &next, None)).await.unwrap();
    found
}

#[tokio::test]
async fn a_log_cut_at_or_within_any_frame_opens_to_what_was_durable_by_then() {
    let history = History::write().await;
    for frame in (LOG_HEADER..history.log.len()).step_by(FRAME) {
        for within in [0, 1, FRAME_HEADER, FRAME_HEADER + SECTOR, FRAME - 1] {
            let length = frame + within;
            let found = reopened(&history.database, &history.log[..length]).await;
            assert_eq!(found, *history.durable(length), "cut at {length}");
        }
    }
    assert_eq!(reopened(&history.database, &history.log).await, *history.last());
}

#[tokio::test]
async fn a_frame_whose_sectors_never_came_ends_the_log() {
    let history = History::write().await;
    for frame in (LOG_HEADER..history.log.len()).step_by(FRAME) {
        for (sector, content) in [(0, 0), (3, 0), (7, 0xAA)] {
            let at = frame + FRAME_HEADER + sector * SECTOR;
            let mut log = history.log.clone();
            log[at..at + SECTOR].fill(content);
            if log == history.log {
                continue;
            }
            let found = reopened(&history.database, &log).await;
            assert_eq!(found, *history.durable(frame), "sector {sector} of the frame at {frame}");
        }
    }
}

#[tokio::test]
async fn a_checkpoint_cut_at_any_page_loses_nothing() {
    let history = History::write().await;
    let after = history.checkpointed();
    let mut before = history.database.clone();
    let grown = after.len().saturating_sub(before.len());
    before.extend(std::iter::repeat_n(0, grown));
    let differs = |page: &usize| before[*page..page + PAGE] != after[*page..page + PAGE];
    let pages: Vec<_> = (0..after.len()).step_by(PAGE).filter(differs).collect();
    assert!(pages.len() > 1, "a checkpoint has several pages");
    for order in [pages.clone(), pages.iter().rev().copied().collect()] {
        let mut database = before.clone();
        for page in order {
            // Half a page, then all of it.
            for length in [PAGE / 2, PAGE] {
                database[page..page + length].copy_from_slice(&after[page..page + length]);
                let found = reopened(&database, &history.log).await;
                assert_eq!(found, *history.last(), "page at {page}, {length} bytes");
            }
        }
    }
    // All pages are synced before the log is emptied.
    assert_eq!(reopened(&after, &[]).await, *history.last());
}
