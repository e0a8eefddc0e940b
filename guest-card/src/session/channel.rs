//! One logical channel: the selected application, and the secure channel to it.
//!
//! What was proved to the application through a channel that protects messages ends with the channel: otherwise a PIN
//! that came encrypted would open the card to whoever sends the next command in plain.

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    protocols::Container,
    status::Status,
};

use super::class::Class;
use crate::{
    router::Selected,
    scp::{SecureChannel, SetUp},
    services::Context,
};

/// EXTERNAL AUTHENTICATE, which completes SCP03 and whose own MAC is not the channel's yet.
const EXTERNAL_AUTHENTICATE: u8 = 0x82;

/// An open logical channel.
pub struct Channel {
    selected: Selected,
    secure: SecureChannel,
}

impl Channel {
    /// The container's root.
    pub fn root(container: Container) -> Self {
        Self { selected: Selected::root(container), secure: SecureChannel::Closed }
    }

    /// The same application, with nothing proved to it.
    pub fn anew(&self) -> Self {
        Self { selected: self.selected.anew(), secure: SecureChannel::Closed }
    }

    /// True if a terminal could not tell this channel from the basic one after a reset.
    pub fn is_initial(&self, container: Container) -> bool {
        self.secure.is_closed() && self.selected.is_initial(container)
    }

    /// True if a secure channel is open or being set up.
    pub const fn has_secure_channel(&self) -> bool {
        !self.secure.is_closed()
    }

    /// SELECT by DF name. It ends the secure channel, also where the application keeps its security status otherwise.
    ///
    /// # Errors
    /// See [`Selected::select`]; nothing has changed.
    pub fn select(
        &mut self,
        container: Container,
        name: &[u8],
        context: &Context<'_>,
    ) -> Result<Vec<u8>, Status> {
        let response = self.selected.select(container, name, context)?;
        self.close_secure();
        Ok(response)
    }

    /// SELECT of a file identifier that the containers share. It ends the secure channel.
    ///
    /// # Errors
    /// See [`Selected::select_file`]; nothing has changed.
    pub fn select_file(
        &mut self,
        container: Container,
        command: &CommandApdu<'_>,
        context: &Context<'_>,
    ) -> Result<Vec<u8>, Status> {
        let response = self.selected.select_file(container, command, context)?;
        self.close_secure();
        Ok(response)
    }

    /// Ends the secure channel, and with it what it protected.
    fn close_secure(&mut self) {
        if self.secure.protects() {
            self.selected = self.selected.anew();
        }
        self.secure.close();
    }

    /// Executes one whole command, its class byte without chaining and channel.
    ///
    /// # Errors
    /// A status word for the terminal; what is protected has been.
    pub fn execute(
        &mut self,
        class: Class,
        command: &CommandApdu<'_>,
        context: &mut Context<'_>,
    ) -> Result<ResponseApdu, Status> {
        if class.is_secured() {
            return self.execute_secured(class, command, context);
        }
        if let Some(set_up) = SetUp::parse(command)
            && let Some(invoker) = self.selected.invoker(context)?
        {
            if self.secure.protects() {
                self.close_secure();
            }
            return self.selected.set_up(&mut self.secure, &set_up, &invoker, context);
        }
        if self.secure.protects() {
            self.close_secure();
            return Err(Status::SECURITY_STATUS_NOT_SATISFIED);
        }
        self.selected.execute(command, self.secure.level(), context)
    }

    fn execute_secured(
        &mut self,
        class: Class,
        command: &CommandApdu<'_>,
        context: &mut Context<'_>,
    ) -> Result<ResponseApdu, Status> {
        if !self.selected.has_secure_channel() {
            return Err(Status::SECURE_MESSAGING_NOT_SUPPORTED);
        }
        if command.ins == EXTERNAL_AUTHENTICATE && self.secure.is_initiated() {
            return self.secure.external_authenticate(command).map(|()| Status::SUCCESS.into());
        }
        let data = self.secure.unwrap(command).inspect_err(|_| self.close_secure())?;
        let plain = CommandApdu { cla: class.bare(), data: &data, ..*command };
        let response = self.selected.execute(&plain, self.secure.level(), context);
        Ok(self.secure.wrap(response.unwrap_or_else(ResponseApdu::from)))
    }
}
