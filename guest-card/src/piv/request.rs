//! Certification requests (RFC 2986).

use alloc::vec::Vec;

use der::{
    Encode,
    asn1::{BitString, SetOfVec},
};
use rand_core::CryptoRng;
use x509_cert::{
    name::Name,
    request::{CertReq, CertReqInfo, Version},
};

use crate::crypto::{CryptoError, PrivateKey};

/// A request for this subject, signed by the key that it is for (DER).
pub(super) fn certification_request(
    subject: Name,
    key: &PrivateKey,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, CryptoError> {
    let public = key.public_key();
    let info = CertReqInfo {
        version: Version::V1,
        subject,
        public_key: public.to_spki(),
        attributes: SetOfVec::default(),
    };
    let signature = key.sign_message(&info.to_der().expect("parsed names encode"), rng)?;
    let request = CertReq {
        info,
        algorithm: public.signature_algorithm(),
        signature: BitString::from_bytes(&signature).expect("whole bytes"),
    };
    Ok(request.to_der().expect("parsed names encode"))
}
