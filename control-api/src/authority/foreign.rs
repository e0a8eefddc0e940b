//! Verification on behalf of a CA that only issues: chain, validity, CRL (RFC 5280), signature.

use std::time::Duration;

use cardhost_wire::control::authentication_message;
use reqwest::Client;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{DistributionPointName, GeneralName, ParsedExtension},
    parse_x509_certificate, parse_x509_crl,
    public_key::PublicKey,
    time::ASN1Time,
};

use super::{
    Authority, AuthorityConfigError, AuthorityError, Challenge, Verdict,
    transport::{builder, send},
};

/// How long a CRL may take.
const CRL_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of a foreign CA.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where its CRL is, if its certificates do not say.
    pub crl: Option<String>,
}

/// The verifier.
pub(super) struct Foreign {
    config: Config,
    // CRLs are signed: they are fetched by plain HTTP as distribution points have it.
    client: Client,
}

/// A check that failed, as the reason of the verdict.
type Failed = &'static str;

impl Foreign {
    pub(super) fn new(config: Config) -> Result<Self, AuthorityConfigError> {
        let tls = super::transport::tls_without_roots()?;
        Ok(Self { config, client: builder().tls_backend_preconfigured(tls).timeout(CRL_TIMEOUT).build()? })
    }

    pub(super) fn challenge(&self) -> Result<Challenge, AuthorityError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| AuthorityError::Unsupported)?;
        Ok(Challenge { id: String::new(), bytes })
    }

    pub(super) async fn verify(
        &self,
        authority: &Authority,
        challenge: &Challenge,
        certificate: &[u8],
        signature: &[u8],
    ) -> Result<Verdict, AuthorityError> {
        let authorities = authority.ca_certificates().await?;
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| AuthorityError::Malformed)?;
        let crl = match self.config.crl.clone().or_else(|| distribution_point(&parsed)) {
            Some(address) => send(self.client.get(address)).await.ok().map(|answer| answer.body),
            None => None,
        };
        let message = authentication_message(&challenge.bytes, &Sha256::digest(certificate).into());
        let result = check_issued(&parsed, &authorities)
            .and_then(|issuer| check_status(&parsed, issuer, crl.as_deref()))
            .and_then(|()| check_signature(&parsed, &message, signature));
        Ok(match result {
            Ok(()) => Verdict::Success,
            Err(reason) => Verdict::Failure { reason: reason.into() },
        })
    }
}

fn check_issued<'a>(
    certificate: &X509Certificate<'_>,
    authorities: &'a [Vec<u8>],
) -> Result<&'a [u8], Failed> {
    if !certificate.validity().is_valid() {
        return Err("expired");
    }
    let issued = |issuer: &&Vec<u8>| {
        parse_x509_certificate(issuer).is_ok_and(|(_, issuer)| {
            issuer.is_ca()
                && issuer.subject() == certificate.issuer()
                && certificate.verify_signature(Some(issuer.public_key())).is_ok()
        })
    };
    authorities.iter().find(issued).map(Vec::as_slice).ok_or("unknown-issuer")
}

/// Fails closed: a status that cannot be learned is no good status.
fn check_status(certificate: &X509Certificate<'_>, issuer: &[u8], crl: Option<&[u8]>) -> Result<(), Failed> {
    let unknown = "revocation-status-unknown";
    let (_, issuer) = parse_x509_certificate(issuer).map_err(|_| unknown)?;
    let (_, crl) = parse_x509_crl(crl.ok_or(unknown)?).map_err(|_| unknown)?;
    if crl.issuer() != issuer.subject() || crl.verify_signature(issuer.public_key()).is_err() {
        return Err(unknown);
    }
    if crl.next_update().is_some_and(|next| next < ASN1Time::now()) {
        return Err(unknown);
    }
    let serial = certificate.raw_serial();
    let revoked = crl.iter_revoked_certificates().any(|revoked| revoked.raw_serial() == serial);
    if revoked { Err("revoked") } else { Ok(()) }
}

fn check_signature(
    certificate: &X509Certificate<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Failed> {
    let algorithm: &dyn VerificationAlgorithm = match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(_)) => &RSA_PKCS1_2048_8192_SHA256,
        Ok(PublicKey::EC(point)) if point.key_size() == 256 => &ECDSA_P256_SHA256_ASN1,
        Ok(PublicKey::EC(point)) if point.key_size() == 384 => &ECDSA_P384_SHA384_ASN1,
        _ => return Err("unsupported-key"),
    };
    let key = UnparsedPublicKey::new(algorithm, &certificate.public_key().subject_public_key.data);
    key.verify(message, signature).map_err(|_| "bad-signature")
}

fn distribution_point(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else {
            return None;
        };
        points.iter().find_map(|point| match point.distribution_point.as_ref()? {
            DistributionPointName::FullName(names) => names.iter().find_map(address),
            DistributionPointName::NameRelativeToCRLIssuer(_) => None,
        })
    })
}

fn address(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(address) if address.starts_with("http") => Some((*address).into()),
        _ => None,
    }
}
