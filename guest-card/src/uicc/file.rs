//! File control parameters (ETSI TS 102 221, 11.1.1.3).

use alloc::vec::Vec;

use cardhost_wire::{protocols::MF, tlv::object};

/// Those of the master file. It has no files yet.
pub fn mf() -> Vec<u8> {
    let parameters = [
        // A DF, shareable (11.1.1.4.3).
        object(0x82, &[0x78, 0x21]),
        object(0x83, &MF.to_be_bytes()),
        // UICC characteristics: the clock may stop, no supply voltage class is demanded (11.1.1.4.6.1).
        object(0xA5, &object(0x80, &[0x71])),
        // Operational, activated (11.1.1.4.9).
        object(0x8A, &[0x05]),
        // No PIN is in force, the application PIN 01 exists in name only (11.1.1.4.10).
        object(0xC6, &[object(0x90, &[0x00]), object(0x83, &[0x01])].concat()),
    ];
    object(0x62, &parameters.concat())
}
