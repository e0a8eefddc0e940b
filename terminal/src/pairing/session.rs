//! An open pairing session: each command goes as the data field of one wrapped ENVELOPE, each response comes as the
//! protected data of its answer (`docs/pairing.md`; GlobalPlatform Amendment D 1.2, 6.2.4 to 6.2.7).

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    pairing::ENVELOPE,
    status::Status,
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::crypto::{BLOCK, Block, Key};

/// Bytes of a MAC: S8 mode.
pub const MAC: usize = 8;
/// Longest command that a session carries: with padding and MAC it fills an extended data field.
pub const MAX_COMMAND: usize = (0xFFFF - MAC) / BLOCK * BLOCK - 1;
/// GlobalPlatform's secure messaging, proprietary class.
const SECURED: u8 = 0x84;
/// In the counter block of a response.
const RESPONSE: u8 = 0x80;
const LONGEST: u32 = 65_536;

/// The keys of one session.
pub struct SessionKeys {
    /// S-ENC.
    pub enc: Key,
    /// S-MAC.
    pub mac: Key,
    /// S-RMAC.
    pub rmac: Key,
}

/// Why an answer is not the card's answer to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The command is longer than a session can carry.
    #[error("the command is too long for secure messaging")]
    TooLong,
    /// The card has no session, and did not execute the command.
    #[error("the card has ended the session")]
    Ended,
    /// The card, or whoever answered in its place, refused the message as such.
    #[error("the secure channel failed with {0}")]
    Failed(Status),
    /// The answer's MAC or padding is wrong.
    #[error("the answer is not authentic")]
    NotAuthentic,
}

/// An open session, from its first command on.
pub struct Session {
    keys: SessionKeys,
    chaining: Block,
    commands: u64,
}

impl Session {
    /// A session whose first command is still to come; the chaining value is what its set-up ended with.
    pub const fn new(keys: SessionKeys, chaining: Block) -> Self {
        Self { keys, chaining, commands: 0 }
    }

    /// The ENVELOPE that carries a whole command.
    ///
    /// # Errors
    /// [`SessionError::TooLong`]: nothing has changed.
    pub fn wrap(&mut self, command: &[u8]) -> Result<Vec<u8>, SessionError> {
        if command.len() > MAX_COMMAND {
            return Err(SessionError::TooLong);
        }
        self.commands += 1;
        let mut data = Zeroizing::new(Vec::with_capacity(command.len() + BLOCK + MAC));
        data.extend_from_slice(command);
        self.keys.enc.encrypt(&self.counter_block(0), &mut data);
        let header = [SECURED, ENVELOPE, 0, 0];
        let (mac, chaining) = command_mac(&self.keys.mac, &self.chaining, header, &data, true);
        self.chaining = chaining;
        data.extend_from_slice(&mac);
        let [cla, ins, p1, p2] = header;
        let envelope = CommandApdu { cla, ins, p1, p2, data: &data, le: Some(LONGEST), extended: true };
        Ok(envelope.to_bytes())
    }

    /// The response that an ENVELOPE's answer carries, its status word included.
    ///
    /// # Errors
    /// The session is over: see [`SessionError`].
    pub fn unwrap(&self, answer: &[u8]) -> Result<Zeroizing<Vec<u8>>, SessionError> {
        let answer = ResponseApdu::parse(answer).map_err(|_| SessionError::NotAuthentic)?;
        match answer.status {
            Status::SUCCESS => {}
            Status::SECURITY_STATUS_NOT_SATISFIED => return Err(SessionError::Ended),
            status => return Err(SessionError::Failed(status)),
        }
        let at = answer.data.len().checked_sub(MAC).ok_or(SessionError::NotAuthentic)?;
        let (data, mac) = answer.data.split_at(at);
        let expected = self.keys.rmac.cmac(&[&self.chaining, data, &Status::SUCCESS.to_bytes()]);
        if !bool::from(expected[..MAC].ct_eq(mac)) {
            return Err(SessionError::NotAuthentic);
        }
        let mut data = Zeroizing::new(data.to_vec());
        let decrypted = self.keys.enc.decrypt(&self.counter_block(RESPONSE), &mut data);
        match decrypted {
            Some(()) if data.len() >= 2 => Ok(data),
            _ => Err(SessionError::NotAuthentic),
        }
    }

    /// The initial vector: the number of the command, encrypted.
    fn counter_block(&self, direction: u8) -> Block {
        let mut block = [0; BLOCK];
        block[8..].copy_from_slice(&self.commands.to_be_bytes());
        block[0] = direction;
        self.keys.enc.encrypt_block(block)
    }
}

/// The MAC of a command with this data field, and the next chaining value.
pub fn command_mac(
    key: &Key,
    chaining: &Block,
    header: [u8; 4],
    data: &[u8],
    extended: bool,
) -> ([u8; MAC], Block) {
    let [.., high, low] = (data.len() + MAC).to_be_bytes();
    let lc: &[u8] = if extended { &[0, high, low] } else { &[low] };
    let whole = key.cmac(&[chaining, &header, lc, data]);
    let mut mac = [0; MAC];
    mac.copy_from_slice(&whole[..MAC]);
    (mac, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let key = |byte| Key::new([byte; 16]);
        Session::new(SessionKeys { enc: key(1), mac: key(2), rmac: key(3) }, [4; 16])
    }

    /// The card's answer to the session's last command.
    fn answer(session: &Session, response: &[u8]) -> Vec<u8> {
        let mut data = response.to_vec();
        session.keys.enc.encrypt(&session.counter_block(RESPONSE), &mut data);
        let mac = session.keys.rmac.cmac(&[&session.chaining, &data, &[0x90, 0]]);
        data.extend(&mac[..MAC]);
        data.extend([0x90, 0]);
        data
    }

    /// The first command of the session that [`crate::pairing::scp03::tests::published`] tells of, and its response.
    #[test]
    fn messages_are_as_published() {
        let mut session = crate::pairing::scp03::tests::published();
        let hex = |text| hex::decode(text).unwrap();
        session.commands = 1;
        let mut data = hex("bf3e035c015a");
        session.keys.enc.encrypt(&session.counter_block(0), &mut data);
        let header = [0x84, 0xE2, 0x91, 0x00];
        let (mac, chaining) = command_mac(&session.keys.mac, &session.chaining, header, &data, false);
        assert_eq!([&data[..], &mac].concat(), hex("267a85dfe4a98fca6fb0527e0dfecce4914e40401433c87f"));
        session.chaining = chaining;
        let answer =
            hex("f3ba2b1013aa6224f5e1c138d71805c569e5439b47576260b75fc021b25097cb2e68f8a0144975b99000");
        let eid = hex("bf3e125a1089882119900000000000000000000005");
        assert_eq!(*session.unwrap(&answer).unwrap(), eid);
    }

    #[test]
    fn an_authentic_answer_is_the_cards() {
        let mut session = session();
        for length in [2, 3, 16, 300, 65_000] {
            let envelope = session.wrap(&[0, 0xA4, 4, 0]).unwrap();
            let parsed = CommandApdu::parse(&envelope).unwrap();
            assert_eq!(
                (parsed.cla, parsed.ins, parsed.le, parsed.extended),
                (0x84, 0xC2, Some(65_536), true)
            );
            assert_eq!(parsed.data.len(), 24);
            let response = vec![0x6A; length];
            assert_eq!(*session.unwrap(&answer(&session, &response)).unwrap(), response);
        }
    }

    #[test]
    fn any_changed_bit_any_cut_and_any_older_answer_is_refused() {
        let mut session = session();
        session.wrap(&[0; 4]).unwrap();
        let older = answer(&session, &[0x90, 0]);
        session.wrap(&[0; 4]).unwrap();
        let good = answer(&session, &[1, 2, 3, 0x90, 0]);
        assert_eq!(session.unwrap(&older), Err(SessionError::NotAuthentic));
        for bit in 0..8 * (good.len() - 2) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(session.unwrap(&bad), Err(SessionError::NotAuthentic), "bit {bit}");
        }
        for cut in 0..good.len() - 2 {
            assert_eq!(session.unwrap(&good[cut + 1..]), Err(SessionError::NotAuthentic));
        }
        assert!(session.unwrap(&good).is_ok());
    }

    #[test]
    fn an_error_outside_is_never_the_cards_answer() {
        let session = session();
        assert_eq!(session.unwrap(&[0x69, 0x82]), Err(SessionError::Ended));
        assert_eq!(session.unwrap(&[0x69, 0x88]), Err(SessionError::Failed(Status(0x6988))));
        assert_eq!(session.unwrap(&[0x90, 0x00]), Err(SessionError::NotAuthentic));
        assert_eq!(session.unwrap(&[]), Err(SessionError::NotAuthentic));
    }

    #[test]
    fn a_command_fits_or_is_refused_before_anything_changes() {
        let mut session = session();
        assert_eq!(session.wrap(&[0; MAX_COMMAND + 1]), Err(SessionError::TooLong));
        let envelope = session.wrap(&[0; MAX_COMMAND]).unwrap();
        assert!(CommandApdu::parse(&envelope).unwrap().data.len() <= 0xFFFF);
        assert_eq!(session.commands, 1);
    }
}
