//! How a card gets its first key set: at random when it is personalised, kept for delivery until that is acknowledged;
//! for development the well-known one.

use cardhost_wire::status::Status;
use rand_core::CryptoRng;

use super::{
    domain::{Domain, PENDING_KEYS},
    key_set::StoredKeySet,
};
use crate::nvm::{Change, Part, structure};

/// Where a card's first key set stands.
const FIRST: u16 = 0;

/// The issuer's domain as a card is born.
pub fn personalised(rng: &mut impl CryptoRng) -> Change {
    let set = StoredKeySet::initial(rng);
    let change = Change::new().put(PENDING_KEYS, structure::encode(&set));
    set.put(change, Domain::ISSUER, FIRST)
}

/// The issuer's domain of a card that all the world can manage.
pub fn well_known() -> Change {
    StoredKeySet::well_known().put(Change::new(), Domain::ISSUER, FIRST)
}

/// The first key set, until its delivery is acknowledged.
///
/// # Errors
/// `6581`: the record is not one of ours.
pub fn pending(nvm: Part<'_>) -> Result<Option<StoredKeySet>, Status> {
    structure::load(nvm, PENDING_KEYS)
}

/// Erases the copy that is kept for delivery.
pub fn acknowledged() -> Change {
    Change::new().delete(PENDING_KEYS)
}
