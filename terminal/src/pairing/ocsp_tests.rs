use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SigningKey as _,
    date_time_ymd,
};
use x509_cert_for_ocsp::{
    Certificate,
    der::asn1::{BitString, GeneralizedTime, OctetString},
    serial_number::SerialNumber,
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{ResponderId, ResponseData, RevokedInfo, Version};

use super::*;

const SERIAL: [u8; 3] = [0x40, 2, 3];
/// When the responses here are made, for an hour.
const MADE: u64 = 1_800_000_000;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

/// A response that is to be made.
struct Wish {
    serial: Vec<u8>,
    status: CertStatus,
    next: Option<u64>,
}

impl Default for Wish {
    fn default() -> Self {
        Self { serial: SERIAL.into(), status: CertStatus::good(), next: Some(MADE + 3_600) }
    }
}

fn time(seconds: u64) -> OcspGeneralizedTime {
    OcspGeneralizedTime(GeneralizedTime::from_unix_duration(Duration::from_secs(seconds)).unwrap())
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let der = parameters.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(parameters, key), der }
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der).unwrap()
    }

    /// A responder's key and certificate.
    fn delegate(&self, change: impl FnOnce(&mut CertificateParams)) -> (KeyPair, Certificate) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (key, Certificate::from_der(certificate.der()).unwrap())
    }

    fn cert_id(&self, serial: &[u8]) -> CertId {
        let issuer = self.certificate().tbs_certificate;
        let hash = |bytes: &[u8]| OctetString::new(Sha256::digest(bytes).as_slice()).unwrap();
        CertId {
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA_256, parameters: None },
            issuer_name_hash: hash(&issuer.subject.to_der().unwrap()),
            issuer_key_hash: hash(issuer.subject_public_key_info.subject_public_key.raw_bytes()),
            serial_number: SerialNumber::new(serial).unwrap(),
        }
    }

    fn response(&self, wish: Wish, by: &KeyPair, certs: Option<Vec<Certificate>>) -> Vec<u8> {
        let single = SingleResponse {
            cert_id: self.cert_id(&wish.serial),
            cert_status: wish.status,
            this_update: time(MADE),
            next_update: wish.next.map(time),
            single_extensions: None,
        };
        let tbs_response_data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByName(self.certificate().tbs_certificate.subject),
            produced_at: time(MADE),
            responses: vec![single],
            response_extensions: None,
        };
        let signature = by.sign(&tbs_response_data.to_der().unwrap()).unwrap();
        let response = BasicOcspResponse {
            tbs_response_data,
            signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None },
            signature: BitString::from_bytes(&signature).unwrap(),
            certs,
        };
        OcspResponse::successful(response).unwrap().to_der().unwrap()
    }

    fn own(&self, wish: Wish) -> Vec<u8> {
        self.response(wish, self.issuer.key(), None)
    }

    fn judge(&self, response: &[u8], now: u64) -> Result<Status, StatusError> {
        status(&self.der, &SERIAL, response, at(now))
    }
}

fn revoked() -> CertStatus {
    CertStatus::revoked(RevokedInfo { revocation_time: time(MADE - 9), revocation_reason: None })
}

#[test]
fn good_is_what_it_is_for_an_hour_and_revoked_for_good() {
    let authority = Authority::new();
    let good = authority.own(Wish::default());
    for (now, expected) in [
        (MADE - 301, Err(StatusError::NotNow)),
        (MADE - 300, Ok(Status::Good)),
        (MADE + 3_900, Ok(Status::Good)),
        (MADE + 3_901, Err(StatusError::NotNow)),
    ] {
        assert_eq!(authority.judge(&good, now), expected, "{now}");
    }
    let endless = authority.own(Wish { next: None, ..Wish::default() });
    assert_eq!(authority.judge(&endless, MADE), Err(StatusError::NotNow));
    let revoked = authority.own(Wish { status: revoked(), ..Wish::default() });
    for now in [MADE - 1_000_000, MADE, MADE + 1_000_000] {
        assert_eq!(authority.judge(&revoked, now), Ok(Status::Revoked));
    }
    let unknown = authority.own(Wish { status: CertStatus::unknown(), ..Wish::default() });
    assert_eq!(authority.judge(&unknown, MADE), Err(StatusError::Unknown));
}

#[test]
fn a_response_is_about_one_certificate_of_one_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let another = authority.own(Wish { serial: vec![0x40, 2, 4], ..Wish::default() });
    assert_eq!(authority.judge(&another, MADE), Err(StatusError::Other));
    // Of the other authority's certificate with this serial number, whoever signs.
    let of_other = other.response(Wish::default(), authority.issuer.key(), None);
    assert_eq!(authority.judge(&of_other, MADE), Err(StatusError::Other));
    let good = authority.own(Wish::default());
    let with_zero = [&[0][..], &SERIAL].concat();
    assert_eq!(status(&authority.der, &with_zero, &good, at(MADE)), Ok(Status::Good));
}

#[test]
fn only_the_authority_and_its_responders_are_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let by = |key: &KeyPair, certificate: Certificate| {
        let wish = Wish { status: revoked(), ..Wish::default() };
        authority.judge(&authority.response(wish, key, Some(vec![certificate])), MADE)
    };
    let (key, certificate) = authority.delegate(|_| {});
    assert_eq!(by(&key, certificate.clone()), Ok(Status::Revoked));
    assert_eq!(by(&KeyPair::generate().unwrap(), certificate), Err(StatusError::NotSigned));
    let refused: [(KeyPair, Certificate); 3] = [
        other.delegate(|_| {}),
        authority.delegate(|wish| wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        authority.delegate(|wish| wish.not_after = date_time_ymd(2020, 1, 1)),
    ];
    for (key, certificate) in refused {
        assert_eq!(by(&key, certificate), Err(StatusError::NotSigned));
    }
    assert_eq!(authority.judge(&other.own(Wish::default()), MADE), Err(StatusError::NotSigned));
}

#[test]
fn what_is_no_whole_response_says_nothing() {
    let authority = Authority::new();
    let good = authority.own(Wish::default());
    let longer = [&good[..], &[0]].concat();
    let refusal = OcspResponse::internal_error().to_der().unwrap();
    for bad in [&b""[..], b"nonsense", &good[..good.len() - 1], &longer, &refusal] {
        assert_eq!(authority.judge(bad, MADE), Err(StatusError::Malformed));
    }
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(authority.judge(&forged, MADE), Err(StatusError::NotSigned));
}
