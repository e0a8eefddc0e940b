//! BER-TLV data objects (ISO/IEC 7816-4, 5.2.2; ISO/IEC 8825-1): definite lengths, tags of up to three bytes.

use alloc::vec::Vec;
use core::fmt;

/// The bytes are not well-formed BER-TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedTlv;

impl fmt::Display for MalformedTlv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed BER-TLV")
    }
}

impl core::error::Error for MalformedTlv {}

/// A tag, its bytes read as one big-endian number: `0x5C`, `0x7F49`, `0x5FC105`.
pub type Tag = u32;

/// Reads data objects one after the other; ends with an error on the first malformed one.
#[derive(Clone)]
pub struct TlvReader<'a> {
    rest: &'a [u8],
}

impl<'a> TlvReader<'a> {
    /// A reader over the concatenated objects in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next object as (tag, value); `None` at the end.
    pub fn next_object(&mut self) -> Result<Option<(Tag, &'a [u8])>, MalformedTlv> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.tag()?;
        let length = self.length()?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(MalformedTlv)?;
        self.rest = rest;
        Ok(Some((tag, value)))
    }

    /// What has not been read yet.
    pub const fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    fn byte(&mut self) -> Result<u8, MalformedTlv> {
        let (&first, rest) = self.rest.split_first().ok_or(MalformedTlv)?;
        self.rest = rest;
        Ok(first)
    }

    fn tag(&mut self) -> Result<Tag, MalformedTlv> {
        let mut tag = Tag::from(self.byte()?);
        if tag & 0x1F != 0x1F {
            return Ok(tag);
        }
        for _ in 0..2 {
            let next = self.byte()?;
            tag = tag << 8 | Tag::from(next);
            if next & 0x80 == 0 {
                return Ok(tag);
            }
        }
        Err(MalformedTlv)
    }

    fn length(&mut self) -> Result<usize, MalformedTlv> {
        match self.byte()? {
            short @ 0..=0x7F => Ok(usize::from(short)),
            count @ 0x81..=0x83 => {
                (0x80..count).try_fold(0, |length, _| Ok(length << 8 | usize::from(self.byte()?)))
            }
            _ => Err(MalformedTlv),
        }
    }
}

/// The value of the one object in `bytes`, which must have `tag` and end where `bytes` ends.
pub fn only(bytes: &[u8], tag: Tag) -> Result<&[u8], MalformedTlv> {
    let mut reader = TlvReader::new(bytes);
    match reader.next_object()? {
        Some((found, value)) if found == tag && reader.remaining().is_empty() => Ok(value),
        _ => Err(MalformedTlv),
    }
}

/// The first object with `tag` among the objects in `bytes`, all of which must be well-formed.
pub fn find(bytes: &[u8], tag: Tag) -> Result<Option<&[u8]>, MalformedTlv> {
    let mut reader = TlvReader::new(bytes);
    let mut found = None;
    while let Some((next, value)) = reader.next_object()? {
        if next == tag && found.is_none() {
            found = Some(value);
        }
    }
    Ok(found)
}

/// The tags in a list of them, as the value of a tag list `5C` is (ISO/IEC 7816-4, 12.1.2).
pub fn tags(list: &[u8]) -> Result<Vec<Tag>, MalformedTlv> {
    let mut reader = TlvReader::new(list);
    let mut tags = Vec::new();
    while !reader.remaining().is_empty() {
        tags.push(reader.tag()?);
    }
    Ok(tags)
}

/// Appends one object with the shortest length form.
pub fn push(out: &mut Vec<u8>, tag: Tag, value: &[u8]) {
    push_tag(out, tag);
    push_length(out, value.len());
    out.extend_from_slice(value);
}

/// One object as bytes.
pub fn object(tag: Tag, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 7);
    push(&mut out, tag, value);
    out
}

fn push_tag(out: &mut Vec<u8>, tag: Tag) {
    let bytes = tag.to_be_bytes();
    let skip = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    out.extend_from_slice(&bytes[skip..]);
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    let bytes = (length as u32).to_be_bytes();
    match length {
        0..=0x7F => out.push(length as u8),
        0x80..=0xFF => out.extend([0x81, bytes[3]]),
        0x100..=0xFFFF => out.extend([0x82, bytes[2], bytes[3]]),
        _ => out.extend([0x83, bytes[1], bytes[2], bytes[3]]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn objects_survive_a_round_trip() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            for tag in [0x53, 0x7F49, 0x5FC105] {
                let value = vec![0xAB; length];
                assert_eq!(only(&object(tag, &value), tag).unwrap(), value);
            }
        }
    }

    #[test]
    fn truncated_and_indefinite_objects_are_refused() {
        for bytes in [
            &[0x53][..],
            &[0x53, 0x02, 0x01],
            &[0x53, 0x80],
            &[0x5F],
            &[0x5F, 0xC1],
            &[0x53, 0x84, 0, 0, 0, 0],
        ] {
            assert_eq!(TlvReader::new(bytes).next_object(), Err(MalformedTlv));
        }
    }

    #[test]
    fn a_list_of_tags_is_whole() {
        assert_eq!(tags(&[0x4F, 0x9F, 0x70, 0x5F, 0xC1, 0x05]), Ok(vec![0x4F, 0x9F70, 0x5FC105]));
        assert_eq!(tags(&[]), Ok(vec![]));
        assert_eq!(tags(&[0x4F, 0x9F]), Err(MalformedTlv));
        assert_eq!(tags(&[0x5F, 0x81, 0x82, 0x03]), Err(MalformedTlv));
    }
}
