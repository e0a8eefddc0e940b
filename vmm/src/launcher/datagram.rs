//! Messages between daemon and launcher: one per datagram, with at most one descriptor.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use cardhost_wire::{
    DecodeError,
    launch::{MAX_MESSAGE, Reply, Request},
};
use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg},
};

/// The daemon's message could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The daemon is gone.
    #[error("the daemon closed the launcher's socket")]
    Closed,
    /// The socket failed.
    #[error("the launcher's socket")]
    Socket(#[source] Errno),
    /// The daemon sent what is no request.
    #[error("the daemon sent a malformed request")]
    Malformed(#[from] DecodeError),
}

impl From<Errno> for ReceiveError {
    fn from(error: Errno) -> Self {
        match error {
            // It ended with replies unread.
            Errno::ECONNRESET => Self::Closed,
            error => Self::Socket(error),
        }
    }
}

/// Receives one request and the descriptor that came with it. Blocks.
///
/// # Errors
/// See [`ReceiveError`].
pub fn receive(socket: BorrowedFd<'_>) -> Result<(Request, Option<OwnedFd>), ReceiveError> {
    let mut bytes = vec![0; next_length(socket)?];
    let mut control = nix::cmsg_space!([i32; 4]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let descriptor = descriptors(message.cmsgs()?).next();
    let length = message.bytes;
    if length == 0 {
        return Err(ReceiveError::Closed);
    }
    Ok((Request::decode(&bytes[..length])?, descriptor))
}

/// Blocks until there is a message, and says how long it is. A buffer for the longest would be memory of every card:
/// what the launcher writes between two forks stays with the first as a copy of its own.
fn next_length(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    recv(socket.as_raw_fd(), &mut [0], flags).map(|length| length.min(MAX_MESSAGE))
}

/// Owns every descriptor that arrived, so that those nobody asked for are closed.
#[expect(unsafe_code, reason = "the kernel hands descriptors over as numbers")]
fn descriptors(messages: nix::sys::socket::CmsgIterator<'_>) -> std::vec::IntoIter<OwnedFd> {
    let numbers = messages.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(numbers) => Some(numbers),
        _ => None,
    });
    // SAFETY: SCM_RIGHTS made these descriptors for this process a moment ago, and each is taken exactly once.
    let owned: Vec<_> = numbers.flatten().map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect();
    owned.into_iter()
}

/// Sends one reply, with a descriptor if one goes along.
///
/// # Errors
/// The daemon is gone.
pub fn reply(socket: BorrowedFd<'_>, reply: &Reply, link: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let message = reply.encode();
    let link = link.map(|link| [link.as_raw_fd()]);
    let rights = link.as_ref().map(|link| ControlMessage::ScmRights(link));
    let (slices, flags) = ([IoSlice::new(&message)], MsgFlags::MSG_NOSIGNAL);
    sendmsg::<()>(socket.as_raw_fd(), &slices, rights.as_slice(), flags, None).map(drop)
}
