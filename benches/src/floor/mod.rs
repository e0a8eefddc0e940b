//! What this machine can do at best: the same steps by bare system calls, with no code of this project.

pub mod fork;
pub mod kvm;
pub mod tls;
