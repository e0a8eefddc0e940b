//! The answer to reset (ISO/IEC 7816-3, 8.2) as the reader of a protocol has it.
//!
//! Cards offer T=1 alone, by which no application has to take Le away. But some ask PC/SC for T=0 and nothing else, lpac
//! among them: for these is the reader of the protocol that is named after it.

use cardhost_wire::port::Protocol;

/// In T0 and TDi: another TD follows.
const MORE: u8 = 0x80;
/// In T0 and TDi: the TA, TB, TC and TD that follow.
const FOLLOWING: u8 = 0xF0;
const TRANSMISSION: u8 = 0x0F;

/// A card's answer to reset (a whole one) for an application on this protocol.
pub fn on(protocol: Protocol, atr: &[u8]) -> Vec<u8> {
    let mut offered = atr.to_vec();
    if protocol == Protocol::Iso7816T0
        && let Some(at) = first_td(atr)
        && let Some([td, .., check]) = offered.get_mut(at..)
        && *td & TRANSMISSION == 1
        && *td & MORE != 0
    {
        // T=0 first, and T=1 by the TD behind it; the exclusive or of all bytes stays what it is.
        *td ^= 1;
        *check ^= 1;
    }
    offered
}

/// Where TD1 stands.
fn first_td(atr: &[u8]) -> Option<usize> {
    let format = *atr.get(1)?;
    (format & MORE != 0).then(|| 1 + (format & FOLLOWING).count_ones() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the card OS answers.
    const ATR: [u8; 17] = [
        0x3B, 0xD5, 0x18, 0x00, 0x81, 0xB1, 0xFE, 0x45, 0x1F, 0x03, 0x80, 0x73, 0xC0, 0x21, 0xDB, 0x00, 0x93,
    ];

    #[test]
    fn only_the_protocol_of_that_name_offers_t_0() {
        for protocol in Protocol::ALL {
            let offered = on(protocol, &ATR);
            let is_t0 = protocol == Protocol::Iso7816T0;
            assert_eq!(offered[4], if is_t0 { 0x80 } else { 0x81 }, "{protocol}");
            assert_eq!(offered == ATR, !is_t0);
            assert_eq!(
                ATR.iter().fold(0, |check, byte| check ^ byte),
                offered.iter().fold(0, |check, byte| check ^ byte)
            );
        }
    }

    #[test]
    fn an_answer_without_a_second_protocol_stays_as_it_is() {
        for atr in [
            &[0x3B, 0x00][..],
            &[0x3B, 0x80, 0x01, 0x81],
            &[0x3B, 0x80, 0x80, 0x01, 0x01],
            &[0x3B, 0xF0],
            &[0x3B],
        ] {
            assert_eq!(on(Protocol::Iso7816T0, atr), atr);
        }
    }
}
