//! The answer to reset (ISO/IEC 7816-3, 8.2) that terminals see.

/// T=1 only; historical bytes with a card capabilities object (ISO/IEC 7816-4, 12.1.1).
///
/// | bytes | meaning |
/// |---|---|
/// | `3B` | direct convention |
/// | `D5` | TA1, TC1 and TD1 follow; five historical bytes |
/// | `18` `00` | TA1: Fi/Di 372/12; TC1: no extra guard time |
/// | `81` `B1` | TD1: TD2 follows, T=1; TD2: TA3, TB3 and TD3 follow, T=1 |
/// | `FE` `45` | TA3: IFSC 254; TB3: waiting times |
/// | `1F` `03` | TD3: TA4 follows, T=15; TA4: classes A and B |
/// | `80` | historical bytes are COMPACT-TLV objects |
/// | `73` `C0` | card capabilities: selection by full and by partial DF name |
/// | `21` | data units of one byte |
/// | `DB` | chaining, extended length, channel numbers given by the card or the terminal, four channels |
/// | last | TCK |
pub const ATR: &[u8] = &with_check([
    0x3B, 0xD5, 0x18, 0x00, 0x81, 0xB1, 0xFE, 0x45, 0x1F, 0x03, 0x80, 0x73, 0xC0, 0x21, 0xDB, 0x00,
]);

/// Fills in TCK: the exclusive or of everything after TS is zero.
const fn with_check(mut atr: [u8; 16]) -> [u8; 16] {
    let mut at = 1;
    while at < atr.len() - 1 {
        atr[atr.len() - 1] ^= atr[at];
        at += 1;
    }
    atr
}

#[cfg(test)]
mod tests {
    use super::ATR;

    #[test]
    fn the_check_byte_closes_the_answer() {
        assert_eq!(ATR[1..].iter().fold(0, |sum, byte| sum ^ byte), 0);
    }

    #[test]
    fn as_many_historical_bytes_as_announced() {
        let interface_bytes = 8;
        let announced = usize::from(ATR[1] & 0x0F);
        assert_eq!(ATR.len(), 2 + interface_bytes + announced + 1);
        assert_eq!(ATR[10], 0x80);
    }
}
