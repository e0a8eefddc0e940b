//! A certificate revocation list (RFC 5280, 5) of the terminals' authority, as far as the host reads it. The cards verify it.

use std::sync::Arc;

use x509_parser::{extensions::ParsedExtension, parse_x509_crl, revocation_list::CertificateRevocationList};

/// Most entries that a card takes.
pub const MAX_ENTRIES: usize = 1024;

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// Identifier of its authority's key (RFC 5280, 5.2.1); empty if it has none.
    pub authority: Vec<u8>,
    /// Its CRL number.
    pub number: u64,
    /// The list, DER.
    pub der: Arc<[u8]>,
}

/// The list is not a whole CRL, or has no number, or one beyond 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revocation list is malformed or has no number")]
pub struct MalformedList;

impl RevocationList {
    /// Reads a list.
    pub fn parse(der: Vec<u8>) -> Result<Self, MalformedList> {
        let (rest, list) = parse_x509_crl(&der).map_err(|_| MalformedList)?;
        let number = list.crl_number().and_then(|number| i64::try_from(number).ok());
        let number = number.filter(|_| rest.is_empty()).ok_or(MalformedList)?;
        let (authority, number) = (authority(&list), number.unsigned_abs());
        Ok(Self { authority, number, der: der.into() })
    }

    /// True if it takes the place of this one: it is newer, or another authority's.
    pub fn replaces(&self, other: &Self) -> bool {
        self.number > other.number || self.authority != other.authority
    }

    /// How many certificates are on it.
    pub fn entries(&self) -> usize {
        parse_x509_crl(&self.der).map_or(0, |(_, list)| list.iter_revoked_certificates().count())
    }
}

fn authority(list: &CertificateRevocationList<'_>) -> Vec<u8> {
    let identifier = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref(),
        _ => None,
    });
    identifier.map_or_else(Vec::new, |identifier| identifier.0.to_vec())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod,
        KeyPair, KeyUsagePurpose, SerialNumber,
    };
    use time::{Duration, OffsetDateTime};

    use super::*;

    fn list(number: SerialNumber) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::CrlSign];
        let issuer = Issuer::new(parameters, KeyPair::generate().unwrap());
        let list = CertificateRevocationListParams {
            this_update: OffsetDateTime::now_utc(),
            next_update: OffsetDateTime::now_utc() + Duration::days(1),
            crl_number: number,
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().der().to_vec()
    }

    #[test]
    fn a_list_tells_its_number() {
        for number in [1, 255, 256, i64::MAX as u64] {
            let parsed = RevocationList::parse(list(SerialNumber::from(number))).unwrap();
            assert_eq!((parsed.number, parsed.entries()), (number, 0));
        }
    }

    #[test]
    fn a_list_takes_the_place_of_an_older_one_and_of_another_authoritys() {
        let list = |authority: &[u8], number| RevocationList {
            authority: authority.into(),
            number,
            der: Arc::default(),
        };
        let present = list(b"one", 7);
        assert!(list(b"one", 8).replaces(&present) && list(b"two", 1).replaces(&present));
        assert!(!list(b"one", 7).replaces(&present) && !list(b"one", 6).replaces(&present));
    }

    #[test]
    fn a_list_tells_its_authority() {
        let [one, two] =
            [7, 8].map(|number| RevocationList::parse(list(SerialNumber::from(number))).unwrap());
        assert!(!one.authority.is_empty() && one.authority != two.authority, "each is signed by a new key");
    }

    #[test]
    fn what_is_no_numbered_list_is_refused() {
        let good = list(SerialNumber::from(7));
        let longer = [&good[..], &[0]].concat();
        let large = list(SerialNumber::from_slice(&[0x7F; 9]));
        for bad in [Vec::new(), b"nonsense".to_vec(), good[..good.len() - 1].to_vec(), longer, large] {
            assert_eq!(RevocationList::parse(bad), Err(MalformedList));
        }
    }
}
