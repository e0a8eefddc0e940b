//! What one terminal has proved since it selected the application.

use cardhost_wire::status::Status;

use super::management::{ManagementAuthenticated, Pending};

/// Proof that the PIN was verified in this session.
pub(crate) struct PinVerified(());

impl PinVerified {
    /// Only [`super::reference_data`] may say so.
    pub(super) const fn new() -> Self {
        Self(())
    }
}

/// Security status of one selection of the application; dropping it ends all of it.
#[derive(Default)]
pub struct Session {
    pin: Option<PinVerified>,
    /// The PIN was verified and no private key used since: what a key with PIN policy "always" needs.
    pin_fresh: bool,
    pub(super) management: Option<ManagementAuthenticated>,
    /// The number that the card gave out last.
    pub(super) pending: Pending,
}

impl Session {
    /// True if nothing was proved and no challenge waits: losing the session loses nothing.
    pub fn is_empty(&self) -> bool {
        self.pin.is_none() && self.management.is_none() && matches!(self.pending, Pending::Nothing)
    }

    pub(super) fn pin(&self) -> Option<&PinVerified> {
        self.pin.as_ref()
    }

    /// The proof that the management key was authenticated, or 6982.
    pub(super) fn management(&self) -> Result<&ManagementAuthenticated, Status> {
        self.management.as_ref().ok_or(Status::SECURITY_STATUS_NOT_SATISFIED)
    }

    pub(super) fn pin_verified(&mut self, proof: PinVerified) {
        self.pin = Some(proof);
        self.pin_fresh = true;
    }

    pub(super) fn forget_pin(&mut self) {
        self.pin = None;
        self.pin_fresh = false;
    }

    /// The proof for one use of a private key, if the PIN was verified after the last one.
    pub(super) fn take_fresh_pin(&mut self) -> Option<&PinVerified> {
        if core::mem::take(&mut self.pin_fresh) { self.pin.as_ref() } else { None }
    }
}
