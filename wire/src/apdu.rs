//! Command and response APDUs (ISO/IEC 7816-4, 5.1 and 5.2; short and extended length).

use alloc::vec::Vec;
use core::fmt;

use crate::status::Status;

/// Longest command APDU: header, extended Lc, 65,535 data bytes, extended Le.
pub const MAX_COMMAND: usize = 4 + 3 + 65_535 + 2;
/// Longest response APDU: 65,536 data bytes and SW1-SW2.
pub const MAX_RESPONSE: usize = 65_536 + 2;

/// The bytes are not a command APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedApdu;

impl fmt::Display for MalformedApdu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a command APDU of ISO/IEC 7816-4")
    }
}

impl core::error::Error for MalformedApdu {}

/// A parsed command APDU that borrows its data field.
///
/// No `Debug`: the data field may hold a PIN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommandApdu<'a> {
    /// Class byte as sent: chaining, secure messaging and channel bits included.
    pub cla: u8,
    /// Instruction.
    pub ins: u8,
    /// First parameter.
    pub p1: u8,
    /// Second parameter.
    pub p2: u8,
    /// Data field, empty when absent.
    pub data: &'a [u8],
    /// Expected response length: absent, or 1 to 65,536.
    pub le: Option<u32>,
    /// True if the lengths were sent in extended form.
    pub extended: bool,
}

impl<'a> CommandApdu<'a> {
    /// Parses one command APDU of case 1 to 4, short or extended; trailing bytes are an error.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MalformedApdu> {
        let (&[cla, ins, p1, p2], body) = bytes.split_first_chunk().ok_or(MalformedApdu)?;
        let (data, le, extended) = parse_body(body)?;
        Ok(Self { cla, ins, p1, p2, data, le, extended })
    }

    /// P1-P2 as one number.
    pub const fn p1_p2(&self) -> u16 {
        u16::from_be_bytes([self.p1, self.p2])
    }

    /// The command's bytes, in short form where lengths allow it and `extended` is not set.
    pub fn to_bytes(&self) -> Vec<u8> {
        let extended = self.extended || self.data.len() > 255 || self.le.is_some_and(|le| le > 256);
        let mut bytes = Vec::with_capacity(9 + self.data.len());
        bytes.extend([self.cla, self.ins, self.p1, self.p2]);
        if extended {
            push_extended(&mut bytes, self.data, self.le);
        } else {
            push_short(&mut bytes, self.data, self.le);
        }
        bytes
    }
}

type Body<'a> = (&'a [u8], Option<u32>, bool);

fn parse_body(body: &[u8]) -> Result<Body<'_>, MalformedApdu> {
    match *body {
        [] => Ok((&[], None, false)),
        [le] => Ok((&[], Some(short_le(le)), false)),
        [0, hi, lo] => Ok((&[], Some(extended_le(hi, lo)), true)),
        [0, hi, lo, ref rest @ ..] => parse_extended(usize::from(u16::from_be_bytes([hi, lo])), rest),
        [lc, ref rest @ ..] => parse_short(usize::from(lc), rest),
    }
}

fn parse_short(lc: usize, rest: &[u8]) -> Result<Body<'_>, MalformedApdu> {
    if lc == 0 {
        return Err(MalformedApdu);
    }
    match rest.split_at_checked(lc).ok_or(MalformedApdu)? {
        (data, []) => Ok((data, None, false)),
        (data, &[le]) => Ok((data, Some(short_le(le)), false)),
        _ => Err(MalformedApdu),
    }
}

fn parse_extended(lc: usize, rest: &[u8]) -> Result<Body<'_>, MalformedApdu> {
    if lc == 0 {
        return Err(MalformedApdu);
    }
    match rest.split_at_checked(lc).ok_or(MalformedApdu)? {
        (data, []) => Ok((data, None, true)),
        (data, &[hi, lo]) => Ok((data, Some(extended_le(hi, lo)), true)),
        _ => Err(MalformedApdu),
    }
}

const fn short_le(le: u8) -> u32 {
    if le == 0 { 256 } else { le as u32 }
}

const fn extended_le(hi: u8, lo: u8) -> u32 {
    match u16::from_be_bytes([hi, lo]) {
        0 => 65_536,
        le => le as u32,
    }
}

fn push_short(bytes: &mut Vec<u8>, data: &[u8], le: Option<u32>) {
    if !data.is_empty() {
        bytes.push(data.len() as u8);
        bytes.extend_from_slice(data);
    }
    bytes.extend(le.map(|le| le as u8));
}

fn push_extended(bytes: &mut Vec<u8>, data: &[u8], le: Option<u32>) {
    if !data.is_empty() {
        bytes.push(0);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(data);
    } else if le.is_some() {
        bytes.push(0);
    }
    if let Some(le) = le {
        bytes.extend((le as u16).to_be_bytes());
    }
}

/// A response APDU: data field and status word. No `Debug`: the data may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseApdu {
    /// Response data field.
    pub data: Vec<u8>,
    /// SW1-SW2.
    pub status: Status,
}

impl ResponseApdu {
    /// Parses a response; at least the two status bytes must be there.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedApdu> {
        let (data, sw) = bytes.split_last_chunk().ok_or(MalformedApdu)?;
        Ok(Self { data: data.to_vec(), status: Status(u16::from_be_bytes(*sw)) })
    }

    /// The response's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.data.clone();
        bytes.extend(self.status.to_bytes());
        bytes
    }
}

impl From<Status> for ResponseApdu {
    fn from(status: Status) -> Self {
        Self { data: Vec::new(), status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn all_cases_survive_a_round_trip() {
        let long = vec![7; 300];
        for data in [&[][..], &[1, 2], &long] {
            for le in [None, Some(1), Some(256), Some(65_536)] {
                for extended in [false, true] {
                    let bytes =
                        CommandApdu { cla: 0, ins: 0xA4, p1: 4, p2: 0, data, le, extended }.to_bytes();
                    let back = CommandApdu::parse(&bytes).unwrap();
                    assert!(back.data == data && back.le == le, "{} {le:?} {extended}", data.len());
                }
            }
        }
    }

    #[test]
    fn bad_lengths_are_refused() {
        for text in
            ["", "00A404", "00A4040002A0", "00A4040002A0000000", "00A4040000000001", "00A4040000000201"]
        {
            let bytes: Vec<u8> = (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                .collect();
            assert!(CommandApdu::parse(&bytes).is_err(), "{text}");
        }
    }
}
