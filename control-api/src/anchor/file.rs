//! The anchor's file on disk.
//!
//! It grows by one record at a time, each durable before the next begins. So a power cut leaves at most one record that
//! is not whole, at the end, which is cut off when the file is opened; anything else that is not whole is damage. A
//! file that grew too long is written anew beside and takes the old one's place at once.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cardhost_wire::control::CardId;
use jiff::Timestamp;

use super::{
    AnchorId, Anchored, ChainHash, Mark,
    format::{self, CARD, CardEntry, HEADER, MARK, MAX_CARDS, MAX_RECORD, Record, Records, VERSION},
};

/// Exported heads that are remembered when the file is written anew; older ones are forgotten.
pub(super) const MAX_EXPORTED: usize = 65_536;
/// A file shorter than this is not written anew.
const SMALL: u64 = 1024 * 1024;

/// Why an anchor's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot use the anchor {path}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("the anchor {0} is in use by another cardhost daemon")]
    InUse(PathBuf),
    /// It is no anchor.
    #[error("{0} is not an anchor")]
    NotAnAnchor(PathBuf),
    /// A later version of cardhost wrote it.
    #[error("the anchor {path} has version {version}, which this cardhost does not know")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// More of it is not whole than a power cut can explain.
    #[error("the anchor {path} is damaged at byte {at}: put a copy back")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the whole records end.
        at: u64,
    },
}

/// What an anchor's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) cards: BTreeMap<CardId, Anchored>,
    pub(super) exported: VecDeque<Mark>,
}

/// An anchor's file, open for this process alone.
#[derive(Debug)]
pub(super) struct AnchorFile {
    path: PathBuf,
    file: File,
    id: AnchorId,
    mark: Mark,
    length: u64,
}

impl AnchorFile {
    /// Makes a new anchor, in the place of a file that may be there.
    pub(super) fn create(path: &Path, id: AnchorId, contents: &Contents) -> io::Result<Self> {
        let mark = Mark { sequence: 0, hash: format::first_hash(id) };
        let cards: Vec<_> = contents.cards.iter().map(|(card, anchored)| (*card, *anchored)).collect();
        let chunks = cards.chunks(MAX_CARDS).map(<[CardEntry]>::to_vec);
        let (file, length) = write_anew(path, id, mark, chunks, &contents.exported)?;
        Ok(Self { path: path.into(), file, id, mark, length })
    }

    /// Opens an anchor, `None` if there is none, and cuts off a record that a power cut left.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Contents)>, FileError> {
        let unusable = |source| FileError::Unusable { path: path.into(), source };
        let file = match File::options().read(true).append(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(unusable)?,
        };
        lock(&file, path)?;
        let History { id, mark, contents, whole, length } = History::read_from(&file, path, |_| {})?;
        if whole < length {
            tracing::warn!(bytes = length - whole, "the anchor's last record was not whole and is cut off");
            file.set_len(whole).and_then(|()| file.sync_all()).map_err(unusable)?;
        }
        Ok(Some((Self { path: path.into(), file, id, mark, length: whole }, contents)))
    }

    pub(super) const fn id(&self) -> AnchorId {
        self.id
    }

    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Appends a batch; durable when it returns.
    pub(super) fn append_batch(&mut self, changes: Vec<CardEntry>) -> io::Result<Mark> {
        let (sequence, time) = (self.mark.sequence + 1, Timestamp::now().as_second());
        let hash = self.append(&Record::Batch { sequence, time, changes })?;
        self.mark = Mark { sequence, hash };
        Ok(self.mark)
    }

    /// Notes that the present head was given out; durable when it returns.
    pub(super) fn append_exported(&mut self) -> io::Result<()> {
        self.append(&Record::Exported(vec![self.mark])).map(drop)
    }

    fn append(&mut self, record: &Record) -> io::Result<ChainHash> {
        let (bytes, hash) = record.encode(self.mark.hash);
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.length += bytes.len() as u64;
        Ok(hash)
    }

    /// Every write fails from now on.
    #[cfg(test)]
    pub(super) fn break_descriptor(&mut self, readable: File) {
        self.file = readable;
    }

    /// True if it is worth to be written anew with so much content.
    pub(super) fn is_long(&self, cards: usize, exported: usize) -> bool {
        self.length > SMALL.max(2 * (HEADER + cards * CARD + exported * MARK) as u64)
    }

    /// Writes the whole content anew, in the old file's place.
    pub(super) fn rewrite(
        &mut self,
        chunks: impl Iterator<Item = Vec<CardEntry>>,
        exported: &VecDeque<Mark>,
    ) -> io::Result<()> {
        (self.file, self.length) = write_anew(&self.path, self.id, self.mark, chunks, exported)?;
        Ok(())
    }
}

impl Drop for AnchorFile {
    fn drop(&mut self) {
        // As the data directory's lock: a program that is just being started may have a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

/// An anchor's history as its file tells it.
#[derive(Debug)]
pub struct History {
    pub(super) id: AnchorId,
    pub(super) mark: Mark,
    pub(super) contents: Contents,
    /// Where the whole records end, and the file.
    whole: u64,
    length: u64,
}

impl History {
    /// Reads a file, which a daemon may be writing; each point that its chain passes is told.
    pub(super) fn read(path: &Path, passed: impl FnMut(Mark)) -> Result<Self, FileError> {
        let file = File::open(path).map_err(|source| FileError::Unusable { path: path.into(), source })?;
        Self::read_from(&file, path, passed)
    }

    fn read_from(file: &File, path: &Path, mut passed: impl FnMut(Mark)) -> Result<Self, FileError> {
        let unusable = |source| FileError::Unusable { path: path.into(), source };
        let length = file.metadata().map_err(unusable)?.len();
        let mut input = BufReader::new(file);
        let id = read_header(&mut input, path)?;
        let mut records = Records::after_header(input, id);
        let mut replay = Replay::default();
        while let Some(record) = records.next().map_err(unusable)? {
            if !replay.take(record, records.chain()) {
                return Err(FileError::Damaged { path: path.into(), at: records.position() });
            }
            replay.mark.into_iter().for_each(&mut passed);
        }
        let whole = records.position();
        let torn = length.saturating_sub(whole) <= MAX_RECORD as u64;
        match replay {
            Replay { mark: Some(mark), complete: true, cards, exported, .. } if torn => {
                Ok(Self { id, mark, contents: Contents { cards, exported }, whole, length })
            }
            _ => Err(FileError::Damaged { path: path.into(), at: whole }),
        }
    }
}

/// What the records say, one after the other.
#[derive(Default)]
struct Replay {
    mark: Option<Mark>,
    complete: bool,
    /// The checkpoint's cards until it is complete.
    gathered: Vec<CardEntry>,
    cards: BTreeMap<CardId, Anchored>,
    exported: VecDeque<Mark>,
}

impl Replay {
    /// False if the record cannot stand here.
    fn take(&mut self, record: Record, chain: ChainHash) -> bool {
        match (self.mark, self.complete, record) {
            (None, _, Record::Checkpoint(mark)) => self.mark = Some(mark),
            (Some(_), false, Record::Cards(cards)) => self.gathered.extend(cards),
            (Some(_), _, Record::Exported(marks)) => self.export(marks),
            (Some(_), false, Record::Complete { cards, exported }) => return self.finish(cards, exported),
            (Some(mark), true, Record::Batch { sequence, changes, .. }) if sequence == mark.sequence + 1 => {
                self.mark = Some(Mark { sequence, hash: chain });
                self.cards.extend(changes);
            }
            _ => return false,
        }
        true
    }

    fn export(&mut self, marks: Vec<Mark>) {
        marks.into_iter().for_each(|mark| remember_exported(&mut self.exported, mark));
    }

    /// Building the map at once fills its nodes to the brim.
    fn finish(&mut self, cards: u64, exported: u64) -> bool {
        self.complete = true;
        let whole = self.gathered.len() as u64 == cards && self.exported.len() as u64 == exported;
        self.cards = std::mem::take(&mut self.gathered).into_iter().collect();
        whole
    }
}

/// Remembers a head, and forgets the oldest if there are too many.
pub(super) fn remember_exported(exported: &mut VecDeque<Mark>, mark: Mark) {
    exported.push_back(mark);
    if exported.len() > MAX_EXPORTED {
        exported.pop_front();
    }
}

fn read_header(input: &mut impl io::Read, path: &Path) -> Result<AnchorId, FileError> {
    let mut header = [0; HEADER];
    input.read_exact(&mut header).map_err(|_| FileError::NotAnAnchor(path.into()))?;
    match format::read_header(&header) {
        Some((VERSION, id)) => Ok(id),
        Some((version, _)) => Err(FileError::Version { path: path.into(), version }),
        None => Err(FileError::NotAnAnchor(path.into())),
    }
}

fn lock(file: &File, path: &Path) -> Result<(), FileError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(FileError::InUse(path.into())),
        Err(TryLockError::Error(source)) => Err(FileError::Unusable { path: path.into(), source }),
    }
}

/// Writes a whole file beside and puts it in its place; gives it open and locked, with its length.
fn write_anew(
    path: &Path,
    id: AnchorId,
    mark: Mark,
    chunks: impl Iterator<Item = Vec<CardEntry>>,
    exported: &VecDeque<Mark>,
) -> io::Result<(File, u64)> {
    let beside = beside(path, ".new");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    let mut sheet = Sheet { output: BufWriter::new(&file), chain: format::first_hash(id), length: 0 };
    sheet.write_all(id, mark, chunks, exported)?;
    let length = sheet.length;
    drop(sheet);
    file.sync_all()?;
    // From now on the file is appended to.
    let file = File::options().append(true).open(&beside)?;
    file.try_lock().map_err(io::Error::from)?;
    fs::rename(&beside, path)?;
    sync_directory(path)?;
    Ok((file, length))
}

/// A new file while it is written.
struct Sheet<W: Write> {
    output: W,
    chain: ChainHash,
    length: u64,
}

impl<W: Write> Sheet<W> {
    fn write_all(
        &mut self,
        id: AnchorId,
        mark: Mark,
        chunks: impl Iterator<Item = Vec<CardEntry>>,
        exported: &VecDeque<Mark>,
    ) -> io::Result<()> {
        self.bytes(&format::header(id))?;
        self.record(&Record::Checkpoint(mark))?;
        let mut cards = 0;
        for chunk in chunks {
            cards += chunk.len() as u64;
            self.record(&Record::Cards(chunk))?;
        }
        let marks: Vec<_> = exported.iter().copied().collect();
        for chunk in marks.chunks(MAX_CARDS) {
            self.record(&Record::Exported(chunk.to_vec()))?;
        }
        self.record(&Record::Complete { cards, exported: exported.len() as u64 })?;
        self.output.flush()
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let (bytes, chain) = record.encode(self.chain);
        self.chain = chain;
        self.bytes(&bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        self.output.write_all(bytes)
    }
}

/// Puts a file that is no longer this store's anchor aside, under a name of its own.
pub(super) fn put_aside(path: &Path) -> io::Result<()> {
    let aside = beside(path, &format!(".replaced-{}", Timestamp::now().as_second()));
    match fs::rename(path, aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(path),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
