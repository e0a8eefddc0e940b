//! ATTEST: a certificate by key F9 over a key that was made in this card (Yubico).
//!
//! The attestation key and its self-signed certificate (object 5FFF01) are made at the first use. The card has no
//! clock: certificates are valid from 2000 until the value that RFC 5280, 4.1.2.5 has for "no known end".

use alloc::{format, rc::Rc, vec::Vec};
use core::str::FromStr;

use cardhost_wire::{
    control::CardId,
    key::{Algorithm, KeyReference},
    status::Status,
};
use const_oid::ObjectIdentifier;
use der::{
    DateTime, Encode, Sequence,
    asn1::{BitString, GeneralizedTime, OctetString, UtcTime},
};
use rand_core::CryptoRng;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::{
    certificate::Version,
    ext::{Extension, Extensions},
    name::Name,
    serial_number::SerialNumber,
    time::{Time, Validity},
};

use super::{
    identity,
    keys::{self, ATTESTATION, KeyRecord, LoadedKeys, Origin, refused},
    object::{self, DataObject},
    record,
    yubico::{TOUCH_NEVER, VERSION},
};
use crate::{
    crypto::{PrivateKey, PublicKey},
    nvm::Change,
    services::Services,
};

const FIRMWARE_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");
const SUBJECT: &str = "CN=PIV Attestation";

/// RFC 5280, 4.1: x509-cert's own structure cannot be built outside it.
#[derive(Sequence)]
struct TbsCertificate {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

#[derive(Sequence)]
struct Certificate {
    tbs_certificate: TbsCertificate,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// The attestation certificate (DER) of the key in a slot.
pub(super) fn attest(
    loaded: &mut LoadedKeys,
    services: &mut Services<'_>,
    reference: KeyReference,
) -> Result<Vec<u8>, Status> {
    let attested = KeyRecord::load(services.nvm(), reference)?.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    if attested.origin() != Origin::Generated {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    let signer = attestation_key(loaded, services)?;
    let extensions = extensions(&services.card(), &attested);
    let subject = format!("{SUBJECT} {reference}");
    certificate(&subject, &attested.public_key(), Some(extensions), &signer, &mut services.rng())
}

fn attestation_key(loaded: &mut LoadedKeys, services: &mut Services<'_>) -> Result<Rc<PrivateKey>, Status> {
    match KeyRecord::load(services.nvm(), ATTESTATION)? {
        Some(record) => loaded.load(ATTESTATION, &record),
        None => make_attestation_key(loaded, services),
    }
}

fn make_attestation_key(
    loaded: &mut LoadedKeys,
    services: &mut Services<'_>,
) -> Result<Rc<PrivateKey>, Status> {
    let policy = keys::PinPolicy::of_slot(ATTESTATION);
    let (key, record) = keys::generate(Algorithm::P256, policy, &mut services.rng())?;
    let certificate = certificate(SUBJECT, &key.public_key(), None, &key, &mut services.rng())?;
    let object = DataObject::certificate(ATTESTATION).ok_or(Status::UNSPECIFIED)?;
    let change = Change::new().put(record::key(ATTESTATION), record::encode(&record));
    services.commit(object::put(change, object, &object::certificate_content(&certificate))?)?;
    loaded.keep(ATTESTATION, &record, &key);
    Ok(key)
}

fn extensions(card: &CardId, attested: &KeyRecord) -> Extensions {
    let serial = identity::serial(card).to_der().expect("an integer encodes");
    let policies = [attested.pin_policy().value(), TOUCH_NEVER];
    [(FIRMWARE_VERSION, &VERSION[..]), (SERIAL_NUMBER, &serial), (POLICIES, &policies)]
        .into_iter()
        .map(|(extn_id, value)| Extension {
            extn_id,
            critical: false,
            extn_value: OctetString::new(value).expect("a few bytes"),
        })
        .collect()
}

fn certificate(
    subject: &str,
    public: &PublicKey,
    extensions: Option<Extensions>,
    signer: &PrivateKey,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, Status> {
    let signature_algorithm = signer.public_key().signature_algorithm();
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: serial_number(rng),
        signature: signature_algorithm.clone(),
        issuer: name(SUBJECT),
        validity: validity(),
        subject: name(subject),
        subject_public_key_info: public.to_spki(),
        extensions,
    };
    let signature = signer.sign_message(&encoded(&tbs_certificate), rng).map_err(refused)?;
    let signature = BitString::from_bytes(&signature).expect("whole bytes");
    Ok(encoded(&Certificate { tbs_certificate, signature_algorithm, signature }))
}

/// Sixty-four random bits; the first byte keeps the number positive and whole.
fn serial_number(rng: &mut impl CryptoRng) -> SerialNumber {
    let mut bytes = [0; 9];
    rng.fill_bytes(&mut bytes[1..]);
    bytes[0] = 1;
    SerialNumber::new(&bytes).expect("nine bytes are short enough")
}

fn encoded(structure: &impl Encode) -> Vec<u8> {
    structure.to_der().expect("our own structures encode")
}

fn name(text: &str) -> Name {
    Name::from_str(text).expect("a constant name and a slot's number")
}

fn validity() -> Validity {
    let first =
        DateTime::new(2000, 1, 1, 0, 0, 0).and_then(UtcTime::from_date_time).expect("a date before 2050");
    let last = GeneralizedTime::from_date_time(DateTime::INFINITY);
    Validity::new(Time::from(first), Time::from(last))
}
