//! Profiles of a card's eUICC: the host installs and deletes them. Each is a credential of the card, so with the last
//! one the card may go.
//!
//! A profile is one commit of the card and of no other party: there is nothing to undo and nothing to carry forward,
//! but the destruction of a card that it was the last credential of.

use cardhost_wire::{
    control::{Answer, Command},
    profiles::{Iccid, MAX_PROFILES, NewProfile, Profile, ProfileCommand},
};

use super::{LifeCycle, LifeCycleError};
use crate::{
    audit::{Action, Entry, Receipt},
    auth::name::Name,
    card::{CardError, Violation},
};

impl LifeCycle {
    /// The profiles on the terminal's card.
    pub async fn profiles(&self, terminal: &Name) -> Result<Vec<Profile>, LifeCycleError> {
        told(self.0.cards.command(terminal, Command::Profile(ProfileCommand::List), None).await?)
    }

    /// Installs a profile on the terminal's card, which must exist.
    pub async fn install_profile(
        &self,
        terminal: &Name,
        profile: NewProfile,
        by: &Name,
    ) -> Result<Profile, LifeCycleError> {
        let (this, terminal, by) = (self.clone(), terminal.clone(), by.clone());
        Self::detached(async move { this.install(&terminal, profile, &by).await }).await
    }

    async fn install(
        &self,
        terminal: &Name,
        profile: NewProfile,
        by: &Name,
    ) -> Result<Profile, LifeCycleError> {
        let _only = self.0.locks.lock(terminal).await;
        self.settle(terminal).await?;
        let iccid = profile.metadata.iccid;
        let install = Command::Profile(ProfileCommand::Install(profile));
        let installed = told(self.0.cards.command(terminal, install, None).await?)?;
        let installed = installed.into_iter().find(|installed| installed.metadata.iccid == iccid);
        self.record(Action::ProfileInstalled, terminal, iccid, by).await?;
        installed.ok_or(CardError::Misbehaved(Violation::Unexpected).into())
    }

    /// Deletes a profile from the terminal's card; gives the receipt of the card if it went too.
    pub async fn delete_profile(
        &self,
        terminal: &Name,
        iccid: Iccid,
        by: &Name,
    ) -> Result<Option<Receipt>, LifeCycleError> {
        let (this, terminal, by) = (self.clone(), terminal.clone(), by.clone());
        Self::detached(async move { this.delete_profile_now(&terminal, iccid, &by).await }).await
    }

    async fn delete_profile_now(
        &self,
        terminal: &Name,
        iccid: Iccid,
        by: &Name,
    ) -> Result<Option<Receipt>, LifeCycleError> {
        let _only = self.0.locks.lock(terminal).await;
        self.settle(terminal).await?;
        let delete = Command::Profile(ProfileCommand::Delete(iccid));
        match self.0.cards.command(terminal, delete, None).await? {
            Answer::Done => {}
            _ => return Err(CardError::Misbehaved(Violation::Unexpected).into()),
        }
        self.record(Action::ProfileDeleted, terminal, iccid, by).await?;
        let by = Some(by.clone());
        let destroyed = self.destroy_if_ending(terminal, &by).await;
        destroyed.map_err(|error| self.carried_forward(error))
    }

    async fn record(
        &self,
        action: Action,
        terminal: &Name,
        iccid: Iccid,
        by: &Name,
    ) -> Result<(), LifeCycleError> {
        let entry = Entry::new(action).terminal(terminal).user(by).detail("iccid", iccid);
        self.write(move |transaction, audit| audit.append(transaction, &entry)).await
    }
}

/// What a guest tells of its profiles, if it can be.
fn told(answer: Answer) -> Result<Vec<Profile>, LifeCycleError> {
    match answer {
        Answer::Profiles(profiles)
            if profiles.len() <= MAX_PROFILES
                && profiles.iter().all(|profile| profile.metadata.check().is_ok()) =>
        {
            Ok(profiles)
        }
        _ => Err(CardError::Misbehaved(Violation::Unexpected).into()),
    }
}
