//! The way to a TPM: bytes of one command there, bytes of its response back.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Duration,
};

use cardhost_wire::custody::Tcti;

/// A software TPM answers sooner; a chip has its kernel's driver, which has limits of its own.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tag, size and code of a response (Part 1, 18.10).
const HEADER: usize = 10;

/// An open device or socket: both take a whole command and give a whole response.
pub struct Connection(File);

impl Connection {
    /// Opens it. An error names neither path nor address.
    pub fn open(tcti: &Tcti) -> io::Result<Self> {
        Ok(Self(match tcti {
            Tcti::Device(path) => File::options().read(true).write(true).open(path)?,
            Tcti::Swtpm { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                OwnedFd::from(stream).into()
            }
            Tcti::SwtpmPath(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                OwnedFd::from(stream).into()
            }
        }))
    }

    /// Sends a command and waits for its response; tells how long it is.
    pub fn exchange(&mut self, command: &[u8], response: &mut [u8]) -> io::Result<usize> {
        self.0.write_all(command)?;
        let mut length = 0;
        while length < wanted(&response[..length]) {
            let room = response.get_mut(length..).filter(|room| !room.is_empty());
            match self.0.read(room.ok_or(ErrorKind::InvalidData)?) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(length)
    }
}

/// How long the response is that begins so.
fn wanted(begun: &[u8]) -> usize {
    match *begun {
        [_, _, a, b, c, d, ..] if begun.len() >= HEADER => {
            (u32::from_be_bytes([a, b, c, d]) as usize).max(HEADER)
        }
        _ => HEADER,
    }
}
