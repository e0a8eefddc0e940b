//! Configuration of the card as a whole: the pairing of protocols with containers. Sealed state like all other; only
//! the operator sets it.

use cardhost_wire::{control::Failure, protocols::ProtocolPairing, status::Status};

use crate::{
    container::CardOs,
    control::own_state,
    nvm::{Change, Part, Partition, RecordName, structure},
    services::Services,
};

const PROTOCOLS: RecordName<CardOs> = Partition::CARD.record(0);

/// The pairing in this memory; the default one until another was set.
///
/// # Errors
/// `6581`: the record is not one of ours.
pub fn protocols(memory: Part<'_, CardOs>) -> Result<ProtocolPairing, Status> {
    Ok(structure::load(memory, PROTOCOLS)?.unwrap_or_default())
}

/// Sets another pairing. What is selected stays so; the next selection of a shared identifier, and the next reset,
/// follow it.
///
/// # Errors
/// [`Failure::Malformed`], [`Failure::NoMemory`] or [`Failure::NotCommitted`]: nothing has changed.
pub fn pair(
    pairing: &mut ProtocolPairing,
    services: &mut Services<'_, CardOs>,
    wanted: ProtocolPairing,
) -> Result<(), Failure> {
    if !wanted.is_valid() {
        return Err(Failure::Malformed);
    }
    let change = Change::new().put(PROTOCOLS, structure::encode(&wanted));
    services.commit(change).map_err(own_state)?;
    *pairing = wanted;
    Ok(())
}
