//! A file of secrets that is whole at every moment: replaced, never changed.
//!
//! ```text
//! F.new written, synced ─▶ F.old = F (a link) ─▶ F.new becomes F ─▶ folder synced ─▶ F.old overwritten, synced, removed
//! ```
//!
//! Whatever instant a crash is at, F is the earlier or the later content. What it leaves beside F is overwritten by the
//! next [`KeyFile::sweep`]. Overwriting is the best that a program can do: a journal, a snapshot or the device itself may
//! keep what stood there.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, renameat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, linkat, unlinkat},
};

/// Others than the owner may read or write the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposed;

/// What is added to the file's name for the content that comes next, and for the one that was before.
const NEW: &str = ".new";
const OLD: &str = ".old";

/// The file, by its folder: it is reached whatever becomes of the path.
pub struct KeyFile {
    /// Locked as long as this value lives, so that an earlier launcher that is still ending is waited for.
    folder: File,
    name: OsString,
}

impl KeyFile {
    /// Takes the file's folder for itself. The file need not exist.
    ///
    /// # Errors
    /// The folder does not exist or the path names no file in it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = File::open(parent.unwrap_or(Path::new(".")))?;
        folder.lock()?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok(Self { folder, name })
    }

    /// The content's reader with its length, `None` if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or is a symbolic link.
    pub fn content(&self) -> io::Result<Option<Result<(File, u64), Exposed>>> {
        let Some(file) = self.existing(&self.name, OFlag::O_RDONLY)? else { return Ok(None) };
        let metadata = file.metadata()?;
        let exposed = metadata.mode() & 0o077 != 0;
        Ok(Some(if exposed { Err(Exposed) } else { Ok((file, metadata.len())) }))
    }

    /// Makes this the content, durably. The earlier content is overwritten where it stood.
    ///
    /// # Errors
    /// The system refused. The content is the earlier one or this one then.
    pub fn replace(&self, content: &[u8]) -> io::Result<()> {
        self.write_beside(content)?;
        self.promote()
    }

    /// Puts a content beside the file, durably, in the place of one that may be there.
    ///
    /// # Errors
    /// The system refused; the file is as it was.
    pub fn stage(&self, content: &[u8]) -> io::Result<()> {
        self.write_beside(content)?;
        // Whoever relies on it before it is promoted finds its name too.
        self.folder.sync_all()
    }

    fn write_beside(&self, content: &[u8]) -> io::Result<()> {
        // What an earlier failure left.
        self.sweep()?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut file = self.opened(&self.beside(NEW), flags)?;
        file.write_all(content)?;
        file.sync_all()
    }

    /// The reader and length of what is beside the file, `None` if nothing is.
    ///
    /// # Errors
    /// It cannot be read, or is a symbolic link.
    pub fn staged(&self) -> io::Result<Option<(File, u64)>> {
        let file = self.existing(&self.beside(NEW), OFlag::O_RDONLY)?;
        file.map(|file| file.metadata().map(|metadata| (file, metadata.len()))).transpose()
    }

    /// Makes what is beside the file its content, durably. The earlier content is overwritten where it stood.
    ///
    /// # Errors
    /// The system refused. The content is the earlier one or the later one then.
    pub fn promote(&self) -> io::Result<()> {
        self.sweep_old()?;
        let (new, old) = (self.beside(NEW), self.beside(OLD));
        let linked = linkat(self.at(), self.name.as_os_str(), self.at(), old.as_os_str(), AtFlags::empty());
        if linked != Err(Errno::ENOENT) {
            linked?;
        }
        renameat(self.at(), new.as_os_str(), self.at(), self.name.as_os_str())?;
        self.folder.sync_all()?;
        self.erase(&old)
    }

    /// Removes what a crash left beside the file, which stays as it is.
    ///
    /// # Errors
    /// The system refused.
    pub fn sweep(&self) -> io::Result<()> {
        self.erase(&self.beside(NEW))?;
        self.sweep_old()
    }

    /// A link beside the file may still be the file itself.
    fn sweep_old(&self) -> io::Result<()> {
        let old = self.beside(OLD);
        if self.inode(&old)?.is_some_and(|inode| self.inode(&self.name).ok() == Some(Some(inode))) {
            return Ok(unlinkat(self.at(), old.as_os_str(), UnlinkatFlags::NoRemoveDir)?);
        }
        self.erase(&old)
    }

    /// Overwrites a file with zeros and removes it.
    fn erase(&self, name: &OsStr) -> io::Result<()> {
        let Some(mut file) = self.existing(name, OFlag::O_WRONLY)? else { return Ok(()) };
        io::copy(&mut io::repeat(0).take(file.metadata()?.len()), &mut file)?;
        file.sync_all()?;
        Ok(unlinkat(self.at(), name, UnlinkatFlags::NoRemoveDir)?)
    }

    fn inode(&self, name: &OsStr) -> io::Result<Option<u64>> {
        let file = self.existing(name, OFlag::O_RDONLY)?;
        file.map(|file| Ok(file.metadata()?.ino())).transpose()
    }

    fn existing(&self, name: &OsStr, flags: OFlag) -> io::Result<Option<File>> {
        match self.opened(name, flags) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn opened(&self, name: &OsStr, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(self.at(), name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    fn beside(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }

    fn at(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::OpenOptionsExt};

    use super::*;

    const NAME: &str = "host.key";

    fn content(folder: &Path) -> Vec<u8> {
        fs::read(folder.join(NAME)).unwrap()
    }

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn the_earlier_content_is_overwritten_where_it_stood() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::open(&folder.path().join(NAME)).unwrap();
        file.replace(b"earlier").unwrap();
        let mut earlier = File::open(folder.path().join(NAME)).unwrap();
        file.replace(b"later").unwrap();
        let mut remains = Vec::new();
        earlier.read_to_end(&mut remains).unwrap();
        assert_eq!(remains, [0; 7]);
        assert_eq!((content(folder.path()), names(folder.path())), (b"later".to_vec(), vec![NAME.into()]));
    }

    /// Each state that a replacement goes through, as a crash leaves it.
    #[test]
    fn a_crash_leaves_one_content_and_nothing_beside_it() {
        let scenes: [(&str, &[u8]); 5] = [
            ("half written aside", b"earlier"),
            ("written aside", b"earlier"),
            ("linked", b"earlier"),
            ("replaced", b"later"),
            ("partly overwritten", b"later"),
        ];
        for (stage, (name, expected)) in scenes.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let path = |suffix: &str| folder.path().join(format!("{NAME}{suffix}"));
            fs::write(path(""), b"earlier").unwrap();
            fs::write(path(".new"), if stage == 0 { &b"lat"[..] } else { b"later" }).unwrap();
            if stage >= 2 {
                fs::hard_link(path(""), path(".old")).unwrap();
            }
            if stage >= 3 {
                fs::rename(path(".new"), path("")).unwrap();
            }
            if stage >= 4 {
                fs::write(path(".old"), [0; 3]).unwrap();
            }
            let file = KeyFile::open(&path("")).unwrap();
            file.sweep().unwrap();
            assert_eq!(
                (content(folder.path()).as_slice(), names(folder.path())),
                (expected, vec![NAME.into()])
            );
            drop(file);
            KeyFile::open(&path("")).unwrap().replace(b"next").unwrap();
            assert_eq!(content(folder.path()), b"next", "{name}");
        }
    }

    /// Where what was staged is to count, a crash within its promotion does not keep it from that.
    #[test]
    fn what_was_staged_is_promoted_after_a_crash_too() {
        for linked in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(NAME);
            let file = KeyFile::open(&path).unwrap();
            file.replace(b"earlier").unwrap();
            file.stage(b"later").unwrap();
            assert_eq!((content(folder.path()).as_slice(), names(folder.path()).len()), (&b"earlier"[..], 2));
            if linked {
                fs::hard_link(&path, folder.path().join("host.key.old")).unwrap();
            }
            drop(file);
            let file = KeyFile::open(&path).unwrap();
            assert_eq!(file.staged().unwrap().unwrap().1, 5);
            file.promote().unwrap();
            let left = (content(folder.path()), names(folder.path()));
            assert_eq!(left, (b"later".to_vec(), vec![NAME.into()]));
            assert!(file.staged().unwrap().is_none());
        }
    }

    #[test]
    fn what_others_may_read_is_told_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let file = KeyFile::open(&path).unwrap();
        assert!(file.content().unwrap().is_none());
        let options = File::options().write(true).create_new(true).mode(0o640).open(&path);
        options.unwrap().write_all(b"known").unwrap();
        assert_eq!(file.content().unwrap().unwrap().err(), Some(Exposed));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(file.content().is_err());
    }
}
