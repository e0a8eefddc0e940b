//! How a card gets its first key set: at random when it is personalised, kept for delivery until that is acknowledged;
//! for development the well-known one.

use cardhost_wire::status::Status;
use rand_core::CryptoRng;

use super::{
    domain::{Domain, pending_keys_record},
    key_set::StoredKeySet,
};
use crate::{
    container::SecurityDomains,
    nvm::{Change, Part, structure},
    services::Services,
};

/// Where a card's first key set stands.
const FIRST: u16 = 0;

/// The issuer's domain as a card is born.
pub fn personalised<C: SecurityDomains>(rng: &mut impl CryptoRng) -> Change<C> {
    let set = StoredKeySet::initial(rng);
    let change = Change::new().put(pending_keys_record(), structure::encode(&set));
    set.put(change, Domain::ISSUER, FIRST)
}

/// The issuer's domain of a card that all the world can manage.
pub fn well_known<C: SecurityDomains>() -> Change<C> {
    StoredKeySet::well_known().put(Change::new(), Domain::ISSUER, FIRST)
}

/// Gives a container that was never used its first key set.
///
/// # Errors
/// `6581`, `6A84`: it has none yet.
pub fn provide<C: SecurityDomains>(services: &mut Services<'_, C>) -> Result<(), Status> {
    let is_used = services.nvm().names(C::DOMAINS).next().is_some();
    if is_used {
        return Ok(());
    }
    let change = personalised(&mut services.rng());
    services.commit(change)
}

/// The first key set, until its delivery is acknowledged.
///
/// # Errors
/// `6581`: the record is not one of ours.
pub fn pending<C: SecurityDomains>(nvm: Part<'_, C>) -> Result<Option<StoredKeySet>, Status> {
    structure::load(nvm, pending_keys_record())
}

/// Erases the copy that is kept for delivery.
pub fn acknowledged<C: SecurityDomains>() -> Change<C> {
    Change::new().delete(pending_keys_record())
}
