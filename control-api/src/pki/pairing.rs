//! Certification requests for the keys with which terminals pair, checked before the authority sees them, and what the host
//! reads in the certificates of pairing keys.

use jiff::Timestamp;
use x509_parser::{
    certification_request::X509CertificationRequest, oid_registry::OID_X509_COMMON_NAME,
    parse_x509_certificate, prelude::FromDer as _, public_key::PublicKey, x509::X509Name,
};

use super::issue::{DeviceRequestRefused, single_request};

/// A terminal's certification request for a pairing key is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairingRequestRefused {
    /// Not one PKCS#10 request in PEM.
    #[error("the certification request for pairing is not a PKCS#10 request in PEM")]
    Malformed,
    /// Its self-signature does not verify: no proof that the terminal has the key.
    #[error("the signature of the certification request for pairing does not verify")]
    BadSignature,
    /// Its key is on another curve.
    #[error("a key to pair with must be P-256")]
    UnsupportedKey,
    /// Its subject is not the terminal's.
    #[error(
        "the subject of the certification request for pairing must be CN= and the terminal's name, and no more"
    )]
    OtherSubject,
}

/// The request (DER) of this terminal for a key to pair with.
pub fn pairing_request(pem: &str, terminal: &str) -> Result<Vec<u8>, PairingRequestRefused> {
    let der = single_request(pem).map_err(|_: DeviceRequestRefused| PairingRequestRefused::Malformed)?;
    let (rest, request) =
        X509CertificationRequest::from_der(&der).map_err(|_| PairingRequestRefused::Malformed)?;
    if !rest.is_empty() {
        return Err(PairingRequestRefused::Malformed);
    }
    let information = &request.certification_request_info;
    if !matches!(information.subject_pki.parsed(), Ok(PublicKey::EC(point)) if point.key_size() == 256) {
        return Err(PairingRequestRefused::UnsupportedKey);
    }
    request.verify_signature().map_err(|_| PairingRequestRefused::BadSignature)?;
    if !is_common_name(&information.subject, terminal) {
        return Err(PairingRequestRefused::OtherSubject);
    }
    Ok(der)
}

/// When the last third of a certificate's (DER) life begins, in which it is renewed; `None` if it is malformed.
pub fn last_third(certificate: &[u8]) -> Option<Timestamp> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    let [begin, end] = [validity.not_before, validity.not_after].map(|time| time.timestamp());
    Timestamp::from_second(end - (end - begin) / 3).ok()
}

/// True if the key of this authority signed the certificate, both DER.
pub fn is_issued_by(certificate: &[u8], authority: &[u8]) -> bool {
    let (Ok((_, certificate)), Ok((_, authority))) =
        (parse_x509_certificate(certificate), parse_x509_certificate(authority))
    else {
        return false;
    };
    certificate.verify_signature(Some(authority.public_key())).is_ok()
}

/// True if the name is this common name and nothing else.
fn is_common_name(name: &X509Name<'_>, expected: &str) -> bool {
    let mut attributes = name.iter_rdn().flat_map(|relative| relative.iter());
    let is_expected = attributes.next().is_some_and(|attribute| {
        *attribute.attr_type() == OID_X509_COMMON_NAME && attribute.as_str() == Ok(expected)
    });
    is_expected && attributes.next().is_none()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P384_SHA384, date_time_ymd,
    };

    use super::*;

    #[test]
    fn the_last_third_of_a_certificate_begins_when_two_are_over() {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.not_before = date_time_ymd(2026, 1, 1);
        parameters.not_after = date_time_ymd(2026, 1, 31);
        let certificate = parameters.self_signed(&key).unwrap();
        assert_eq!(last_third(certificate.der()), Some("2026-01-21T00:00:00Z".parse().unwrap()));
        assert_eq!(last_third(b"nonsense"), None);
        assert!(is_issued_by(certificate.der(), certificate.der()));
        let other = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(!is_issued_by(certificate.der(), other.der()));
    }

    fn request(key: &KeyPair, names: &[(DnType, &str)]) -> String {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        names.iter().for_each(|(kind, value)| parameters.distinguished_name.push(kind.clone(), *value));
        parameters.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn only_the_terminals_own_name_is_a_subject() {
        let key = KeyPair::generate().unwrap();
        let check = |names: &[(DnType, &str)]| pairing_request(&request(&key, names), "till-7");
        assert!(check(&[(DnType::CommonName, "till-7")]).is_ok());
        let others: [&[(DnType, &str)]; 5] = [
            &[],
            &[(DnType::CommonName, "till-8")],
            &[(DnType::CommonName, "till-7 ")],
            &[(DnType::OrganizationName, "till-7")],
            &[(DnType::CommonName, "till-7"), (DnType::OrganizationName, "shop")],
        ];
        for names in others {
            assert_eq!(check(names), Err(PairingRequestRefused::OtherSubject), "{names:?}");
        }
    }

    #[test]
    fn only_one_whole_request_for_a_p256_key_with_its_own_signature_is_taken() {
        let names = [(DnType::CommonName, "till-7")];
        let good = request(&KeyPair::generate().unwrap(), &names);
        let large = request(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), &names);
        assert_eq!(pairing_request(&large, "till-7"), Err(PairingRequestRefused::UnsupportedKey));
        for malformed in ["", "nonsense", &format!("{good}{good}"), &good.replace("REQUEST", "RESPONSE")] {
            assert_eq!(pairing_request(malformed, "till-7"), Err(PairingRequestRefused::Malformed));
        }
        let mut der = single_request(&good).unwrap();
        *der.last_mut().unwrap() ^= 1;
        let forged = der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, &der).unwrap();
        assert_eq!(pairing_request(&forged, "till-7"), Err(PairingRequestRefused::BadSignature));
    }
}
