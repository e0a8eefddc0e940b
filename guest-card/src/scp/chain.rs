//! The chain of certificates that PERFORM SECURITY OPERATION brings, one command each (GlobalPlatform Amendment F 1.3,
//! 7.5), from an authority's key in the card to an off-card entity's.

use cardhost_wire::{status::Status, tlv::TlvReader};

use super::{
    certificate::{Authority, OffCardKey, Refused, without_leading_zeros},
    set_up::owner,
};
use crate::{
    container::SecurityDomains,
    isd::{
        domain::Domain,
        ec_key::{self, KeyName},
    },
    nvm::Part,
};

/// Certificates of an off-card entity, verified as far as they have come.
pub struct Chain {
    /// The card's key that the first was verified by, and whose.
    authority: KeyName,
    domain: Domain,
    end: End,
}

enum End {
    /// More follow, signed by this one.
    Authority(Authority),
    /// The chain is whole.
    Leaf(OffCardKey),
}

impl Chain {
    /// A chain that this key of the domain's is to verify.
    ///
    /// # Errors
    /// `6A88`: there is no such key.
    pub fn begin<C: SecurityDomains>(
        nvm: Part<'_, C>,
        domain: Domain,
        authority: KeyName,
    ) -> Result<Self, Status> {
        let domain = owner(nvm, domain)?;
        let found = ec_key::find(nvm, domain, authority)?;
        if found.key.is_private() {
            return Err(Status::REFERENCED_DATA_NOT_FOUND);
        }
        let end = End::Authority(Authority::root(found.key.verifying_key()?));
        Ok(Self { authority, domain, end })
    }

    /// True if more certificates are to come of the chain that this key verifies.
    pub fn goes_on(&self, authority: KeyName) -> bool {
        self.authority == authority && matches!(self.end, End::Authority(_))
    }

    /// The off-card entity's key, if the chain is whole and of this domain.
    pub fn leaf_for(&self, domain: Domain) -> Option<&OffCardKey> {
        match &self.end {
            End::Leaf(leaf) if self.domain == domain => Some(leaf),
            _ => None,
        }
    }

    /// Verifies the next certificate. The last one must be on the authority's allowlist, if there is one.
    ///
    /// # Errors
    /// `6A80`: not a certificate of the profile; `6982`: not authorised.
    pub fn extend<C: SecurityDomains>(
        self,
        nvm: Part<'_, C>,
        der: &[u8],
        more: bool,
    ) -> Result<Self, Status> {
        let End::Authority(issuer) = &self.end else { return Err(Status::CONDITIONS_NOT_SATISFIED) };
        let verified = issuer.verify(der).map_err(refused)?;
        let end = if more {
            End::Authority(issuer.next(&verified).map_err(refused)?)
        } else {
            let leaf = verified.leaf().map_err(refused)?;
            self.admit(nvm, &leaf)?;
            End::Leaf(leaf)
        };
        Ok(Self { end, ..self })
    }

    fn admit<C: SecurityDomains>(&self, nvm: Part<'_, C>, leaf: &OffCardKey) -> Result<(), Status> {
        let slot = ec_key::find(nvm, self.domain, self.authority)?.slot;
        match nvm.read(self.domain.allowlist(slot)) {
            Some(list) if !is_listed(list, &leaf.serial) => Err(Status::SECURITY_STATUS_NOT_SATISFIED),
            _ => Ok(()),
        }
    }
}

/// True if one of the serial numbers `93` in the list is this one.
fn is_listed(list: &[u8], serial: &[u8]) -> bool {
    let mut reader = TlvReader::new(list);
    core::iter::from_fn(|| reader.next_object().ok().flatten())
        .any(|(_, listed)| without_leading_zeros(listed) == serial)
}

const fn refused(refused: Refused) -> Status {
    match refused {
        Refused::Malformed => Status::WRONG_DATA,
        Refused::Unauthorised => Status::SECURITY_STATUS_NOT_SATISFIED,
    }
}
