//! The PIV application (SP 800-73-5).

use alloc::vec::Vec;

use cardhost_wire::control::Credential;

use crate::nvm::Nvm;

/// The credentials in this state.
pub fn credentials(_nvm: &Nvm) -> Vec<Credential> {
    Vec::new()
}
