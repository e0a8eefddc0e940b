//! As much of PIV (SP 800-73-5, part 2) as it takes to sign.

use anyhow::{Context as _, ensure};
use cardhost_wire::{
    aid::Aid,
    apdu::{CommandApdu, ResponseApdu},
    key::KeyReference,
    status::Status,
    tlv,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::channel::Channel;

/// Algorithm identifier of ECC P-256 (SP 800-78-5, table 9).
const P256: u8 = 0x11;
/// Reference of the PIV Card Application PIN.
const PIN: u8 = 0x80;

/// Selects PIV, verifies the PIN and signs the message's SHA-256 with this P-256 key.
pub(super) async fn sign(
    channel: &mut Channel,
    key: KeyReference,
    pin: &str,
    message: &[u8],
) -> anyhow::Result<Vec<u8>> {
    exchange(channel, [0xA4, 0x04, 0x00], Aid::PIV.as_bytes(), Some(256)).await.context("SELECT")?;
    exchange(channel, [0x20, 0x00, PIN], &*padded(pin)?, None).await.context("VERIFY")?;
    let template = tlv::object(0x7C, &request(message));
    let response =
        exchange(channel, [0x87, P256, key.0], &template, Some(256)).await.context("GENERAL AUTHENTICATE")?;
    let template = tlv::only(&response.data, 0x7C)?;
    Ok(tlv::only(template, 0x82)?.to_vec())
}

/// Dynamic authentication template: an empty response object, and the digest as the challenge.
fn request(message: &[u8]) -> Vec<u8> {
    let mut objects = tlv::object(0x82, &[]);
    tlv::push(&mut objects, 0x81, &Sha256::digest(message));
    objects
}

/// The PIN as VERIFY sends it: 8 bytes, filled up with FF.
fn padded(pin: &str) -> anyhow::Result<Zeroizing<[u8; 8]>> {
    ensure!(pin.len() <= 8, "a PIN has at most 8 digits");
    let mut padded = Zeroizing::new([0xFF; 8]);
    padded[..pin.len()].copy_from_slice(pin.as_bytes());
    Ok(padded)
}

async fn exchange(
    channel: &mut Channel,
    [ins, p1, p2]: [u8; 3],
    data: &[u8],
    le: Option<u32>,
) -> anyhow::Result<ResponseApdu> {
    let command = CommandApdu { cla: 0, ins, p1, p2, data, le, extended: false };
    let response = channel.transmit(&command).await?;
    ensure!(response.status == Status::SUCCESS, "the card answered {}", response.status);
    Ok(response)
}
