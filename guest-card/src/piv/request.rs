//! Certification requests (RFC 2986).

use alloc::vec::Vec;

use const_oid::ObjectIdentifier;
use der::{
    Any, Encode, Tag,
    asn1::{BitString, SetOfVec},
};
use rand_core::CryptoRng;
use x509_cert::{
    attr::{Attribute, Attributes},
    name::Name,
    request::{CertReq, CertReqInfo, Version},
};

use crate::crypto::{CryptoError, PrivateKey};

const UNSTRUCTURED_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.2");
/// Random bytes that tell two renewals apart.
const UNIQUE: usize = 16;

/// A request for this subject, signed by the key that it is for (DER).
pub(crate) fn certification_request(
    subject: Name,
    key: &PrivateKey,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, CryptoError> {
    request(subject, key, Attributes::default(), rng)
}

/// A request to renew. An unstructured name (RFC 2985, 5.4.2) makes it another one than all before, although RSA signs
/// alike: an authority can then take the same request, asked again, for the same renewal.
pub(super) fn renewal_request(
    subject: Name,
    key: &PrivateKey,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, CryptoError> {
    let mut random = [0; UNIQUE];
    rng.fill_bytes(&mut random);
    let text: Vec<u8> = random.iter().flat_map(|byte| [letter(byte >> 4), letter(byte & 0xF)]).collect();
    let value = Any::new(Tag::PrintableString, text).expect("a short value");
    let values = SetOfVec::from_iter([value]).expect("one value");
    let unique = Attribute { oid: UNSTRUCTURED_NAME, values };
    request(subject, key, Attributes::from_iter([unique]).expect("one attribute"), rng)
}

/// One of sixteen letters.
const fn letter(nibble: u8) -> u8 {
    b'a' + nibble
}

fn request(
    subject: Name,
    key: &PrivateKey,
    attributes: Attributes,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, CryptoError> {
    let public = key.public_key();
    let info = CertReqInfo { version: Version::V1, subject, public_key: public.to_spki(), attributes };
    let signature = key.sign_message(&info.to_der().expect("parsed names encode"), rng)?;
    let request = CertReq {
        info,
        algorithm: public.signature_algorithm(),
        signature: BitString::from_bytes(&signature).expect("whole bytes"),
    };
    Ok(request.to_der().expect("parsed names encode"))
}
