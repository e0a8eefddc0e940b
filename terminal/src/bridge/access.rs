//! The session that all readers share, and its renewal.

use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{
    error::Error,
    login,
    state::{Config, Device, Session, State},
};

/// What a channel needs to be opened.
pub struct Admission {
    /// Host and terminal.
    pub config: Config,
    /// The device's key and certificate.
    pub device: Option<Device>,
    /// The session.
    pub session: Session,
}

/// The terminal's state, and its user's password if the bridge may log in by itself.
pub struct Access {
    state: State,
    password: Option<Zeroizing<String>>,
    renewal: Mutex<()>,
}

impl Access {
    /// Access under the session in `state`.
    pub fn new(state: State, password: Option<Zeroizing<String>>) -> Self {
        Self { state, password, renewal: Mutex::new(()) }
    }

    /// The session as it stands now: a login in another process counts at once.
    pub fn admission(&self) -> Result<Admission, Error> {
        Ok(Admission {
            config: self.state.config()?,
            device: self.state.device()?,
            session: self.state.session()?,
        })
    }

    /// Called when the host refused `ended`: true if there is, or now is, another session to try.
    pub async fn renew(&self, ended: Option<&Session>) -> Result<bool, Error> {
        let _one_at_a_time = self.renewal.lock().await;
        if self.state.session().is_ok_and(|session| ended != Some(&session)) {
            return Ok(true);
        }
        let Some(password) = &self.password else { return Ok(false) };
        login::again(&self.state, password).await?;
        Ok(true)
    }
}
