//! Application identifiers (ISO/IEC 7816-4, 12.2.3) of the card's applications.

/// An application identifier of 5 to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aid(&'static [u8]);

impl Aid {
    /// PIV (SP 800-73-5, part 1, 2.2), with its version.
    pub const PIV: Self = Self(&[0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00]);
    /// The root that GlobalPlatform and ETSI share: issuer security domain or eUICC root, by protocol.
    pub const SHARED_ROOT: Self = Self(&[0xA0, 0x00, 0x00, 0x01, 0x51, 0x00, 0x00, 0x00]);
    /// Older alias of the secure element's issuer security domain.
    pub const ISD: Self = Self(&[0xA0, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00]);

    /// The eUICC's root (its own name for what the shared root means on its protocols).
    pub const EUICC_ROOT: Self = Self(&[0xA0, 0x00, 0x00, 0x01, 0x52, 0x00, 0x00, 0x00]);
    /// The ISD-R (GSMA SGP.22, annex H).
    pub const ISD_R: Self = Self(&[
        0xA0, 0x00, 0x00, 0x05, 0x59, 0x10, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x89, 0x00, 0x00, 0x01, 0x00,
    ]);

    /// The ECASD (SGP.02, 2.2.3).
    pub const ECASD: Self = Self(&[
        0xA0, 0x00, 0x00, 0x05, 0x59, 0x10, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x89, 0x00, 0x00, 0x02, 0x00,
    ]);
    /// The USIM of the enabled profile (3GPP TS 31.110 and ETSI TS 101 220, annex E).
    pub const USIM: Self = Self(&[
        0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x89, 0x00, 0x00, 0x01, 0x00,
    ]);

    /// The identifier's bytes.
    pub const fn as_bytes(&self) -> &'static [u8] {
        self.0
    }

    /// True if `selected` (full or partial, at least the 5-byte RID) names this application.
    pub fn matches(&self, selected: &[u8]) -> bool {
        selected.len() >= 5 && self.0.starts_with(selected)
    }
}
