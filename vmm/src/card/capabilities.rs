//! Giving up capabilities (capabilities(7)).

use std::io;

/// linux/capability.h: two words for each set.
const VERSION_3: u32 = 0x2008_0522;

/// struct __user_cap_header_struct.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// struct __user_cap_data_struct.
#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up every capability of the calling thread for good. A process that became an ordinary user has none; one that has
/// a user namespace of its own has all of them there.
///
/// # Errors
/// The kernel knows another layout only.
#[expect(unsafe_code, reason = "the system call has no wrapper")]
pub fn give_up() -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: the kernel reads the header and, as its version says, two words of each set.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
