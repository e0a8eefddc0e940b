//! Published vectors, and traces of cards that others made.

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
};
use hex::decode;

use super::{
    SecureChannel,
    scp03::{self, CardChallenge, HostChallenge, Implementation, KeySet, StaticKeys},
};
use crate::crypto::AesKey;

fn hex(text: &str) -> Vec<u8> {
    decode(text).unwrap()
}

fn key(text: &str) -> AesKey {
    AesKey::new(&hex(text)).unwrap()
}

/// A session as a card had it: what INITIALIZE UPDATE said, and what came after.
struct Trace {
    keys: [&'static str; 3],
    implementation: Implementation,
    diversification: &'static str,
    counter: u32,
    /// Where the trace tells of which application it is, its AID; else the card challenge is taken from it.
    aid: Option<&'static str>,
    initialize_update: (&'static str, &'static str),
    external_authenticate: &'static str,
    /// Wrapped command, its data field, plain response, wrapped response.
    commands: &'static [[&'static str; 4]],
}

/// The eUICC application of SGP.22 that the first traces are of.
const ISD_R: &str = "a0000005591010ffffffff8900000100";
const EID: &str = "bf3e125a1089882119900000000000000000000005";
const KEYS_128: [&str; 3] = [
    "000102030405060708090a0b0c0d0e0f",
    "101112131415161718191a1b1c1d1e1f",
    "202122232425262728292a2b2c2d2e2f",
];
const KEYS_192: [&str; 3] = [
    "000102030405060708090a0b0c0d0e0f0001020304050607",
    "101112131415161718191a1b1c1d1e1f1011121314151617",
    "202122232425262728292a2b2c2d2e2f2021222324252627",
];
const KEYS_256: [&str; 3] = [
    "000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f",
    "101112131415161718191a1b1c1d1e1f101112131415161718191a1b1c1d1e1f",
    "202122232425262728292a2b2c2d2e2f202122232425262728292a2b2c2d2e2f",
];
const SAMSUNG_128: [&str; 3] = [
    "1D72CD9283FD55162722C6BEAA4DC187",
    "F4932BA02FFC3098D172790099D28382",
    "B4BDC610C3F6793708FF1132E2C5BF60",
];
const SAMSUNG_192: [&str; 3] = [
    "1D72CD9283FD55162722C6BEAA4DC1877F4C0CD0ECC15E05",
    "F4932BA02FFC3098D172790099D2838236F2E61068D56F44",
    "B4BDC610C3F6793708FF1132E2C5BF60523AEAC06B32F204",
];
const PACKAGES: &str = "08A00000015141434C010010A0000002202003010101000000000006010010A0000002202003010101000000000011010005\
                        A0000002480100";

/// Traces of sysmocom's sysmoEUICC1, as pySim publishes them (tests/unittests/test_globalplatform.py), and of a card in
/// S16 mode, as Samsung publishes them with OpenSCP-Java.
const TRACES: [Trace; 6] = [
    Trace {
        keys: KEYS_128,
        implementation: Implementation::PseudoRandomS8,
        diversification: "00000000000000000000",
        counter: 2,
        aid: Some(ISD_R),
        initialize_update: (
            "8050300008b13e5f938fc108c400",
            "000000000000000000003003703eb51047495b249f66c484c1d2ef1948000002",
        ),
        external_authenticate: "84821100107d5f5826a993ebc89eea24957fa0b3ce",
        commands: &[
            [
                "84e291000ebf3e035c015a558d036518a2829700",
                "bf3e035c015a",
                EID,
                "bf3e125a1089882119900000000000000000000005971be68992dbbdfa",
            ],
            ["84f220020863a63f8959827fb2", "", "", ""],
            ["84ca006608a0c6a4a74166f7ce00", "", "", ""],
            ["84f22002124f0212345c054f9f70c52249b50272656536", "4f0212345c054f9f70c5", "", ""],
            ["84f280020a4f00e91443f6dce6b8ed00", "4f00", "", ""],
        ],
    },
    Trace {
        keys: KEYS_128,
        implementation: Implementation::PseudoRandomS8,
        diversification: "00000000000000000000",
        counter: 3,
        aid: Some(ISD_R),
        initialize_update: (
            "8050300008fdf38259a1e0de4400",
            "000000000000000000003003703b1aca81e821f219081cdc01c26b372d000003",
        ),
        external_authenticate: "84823300108c36f96bcc00724a4e13ad591d7da3f0",
        commands: &[
            [
                "84e2910018267a85dfe4a98fca6fb0527e0dfecce4914e40401433c87f00",
                "bf3e035c015a",
                EID,
                "f3ba2b1013aa6224f5e1c138d71805c569e5439b47576260b75fc021b25097cb2e68f8a0144975b9",
            ],
            ["84f2200208ac6a59024bed84cc", "", "", ""],
            ["84ca006608409912ad8fb7aed000", "", "", ""],
            ["84f22002185f3dafc3ac14c381536a488bf44e06d056df9d74dbd21e5a", "4f0212345c054f9f70c5", "", ""],
            ["84f280021865165105be3373347d0424d4400af2ac393f569ec779389e00", "4f00", "", ""],
        ],
    },
    Trace {
        keys: KEYS_192,
        implementation: Implementation::PseudoRandomS8,
        diversification: "00000000000000000000",
        counter: 2,
        aid: Some(ISD_R),
        initialize_update: (
            "80503100089b3f2eef0e8c937400",
            "00000000000000000000310370f6bb305a15bae1a68f79fb08212fbed7000002",
        ),
        external_authenticate: "84823300109100bc22d58b45b86a26365ce39ff3cf",
        commands: &[
            [
                "84e29100188f7f946c84f70d17994bc6e8791251bb1bb1bf02cf8de58900",
                "bf3e035c015a",
                EID,
                "c05176c1b6f72aae50c32cbee63b0e95998928fd4dfb2be9f27ffde8c8476f5909b4805cc4039599",
            ],
            ["84f2200208d5d97754b6b3d2ba", "", "", ""],
            ["84ca006608516c82b8e30adbeb00", "", "", ""],
            ["84f2200218cc247f4761e6944277a4e0d6e32e44025b1e31537e2fc668", "4f0212345c054f9f70c5", "", ""],
        ],
    },
    Trace {
        keys: KEYS_256,
        implementation: Implementation::PseudoRandomS8,
        diversification: "00000000000000000000",
        counter: 1,
        aid: Some(ISD_R),
        initialize_update: (
            "8050320008c6066990fc426e1d00",
            "000000000000000000003203708682cd81bbd8919f2de3f2664581f118000001",
        ),
        external_authenticate: "848203001077c493b632edadaf865a1e64acc07ce9",
        commands: &[
            ["84e29100183ddaa60594963befaada3525b492ede23c2ab2c1ce3afe4400", "bf3e035c015a", EID, EID],
            ["84f2200208480ddc8e419da38d", "", "", ""],
            ["84ca0066083e9d6a6c0b2d732000", "", "", ""],
            ["84f22002183ebfef2da8b04af2a85f491f299b76973df76ff08a4031be", "4f0212345c054f9f70c5", "", ""],
        ],
    },
    Trace {
        keys: SAMSUNG_128,
        implementation: Implementation::PseudoRandomS16,
        diversification: "A1A01243058551312085",
        counter: 0x00_082A,
        aid: None,
        initialize_update: (
            "805030001006F85B77251BF79406F85B77251BF79400",
            "A1A012430585513120853003710617A2C34D50B562F7DECFC3DBF58A649EF733B7486D813C92E4CA61E5102F9100082A",
        ),
        external_authenticate: "84823300201C6A43582F842A90D81CA4E970754664D8C0C6C340E007C5C6EBCDF4F7C065BE",
        commands: &[[
            "84F2200020EB30913C363A6C1309D13ADC765D9DF1C44F207C2941B898A290F627B05AE990",
            "4F00",
            PACKAGES,
            "05717C3DED78C6BB7AEE55A68E66E0D7C90473C380A60755DD7B63ECF55FD0B4067612B43A0A05CDA95E9122C91D8527A21681\
             805C1A25AAA38994E15A6379DF66EE234701C673C32DAF5C54B11085C4",
        ]],
    },
    Trace {
        keys: SAMSUNG_192,
        implementation: Implementation::PseudoRandomS16,
        diversification: "A1A01243058551312085",
        counter: 0x00_082A,
        aid: None,
        initialize_update: (
            "805030001006F85B77251BF79406F85B77251BF79400",
            "A1A012430585513120853003710617A2C34D50B562F7DECFC3DBF58A64A378671D41E7F6E3F5254CA9D4C481A400082A",
        ),
        external_authenticate: "848233002099033B5BB5246C859B9748E497EDAE8D9EBB7BD196CE4E3EBFC92343D69478AB",
        commands: &[[
            "84F220002032319E399171DAF20FD8E8ECD1CE462569B7D5645AAD98E537593EF48816DB4B",
            "4F00",
            PACKAGES,
            "B6AB2FDB15B2D1A895B8329736C5AF47D4B6B6AECBB73E327A91D300D4BF0F36AD710F7FF5505481F690EFE3561E1C5335EF51\
             0B018D56D21D5F1CA9557AC9E225D04413BAA39828273DBC4B00B0BF30",
        ]],
    },
];

impl Trace {
    fn set(&self) -> KeySet {
        let [enc, mac, dek] = self.keys.map(key);
        let kvn = hex(self.initialize_update.0)[2];
        let response = hex(self.initialize_update.1);
        let keys = StaticKeys { enc, mac, dek };
        KeySet { kvn: if kvn == 0 { response[10] } else { kvn }, implementation: self.implementation, keys }
    }

    /// INITIALIZE UPDATE and EXTERNAL AUTHENTICATE; the card says what the trace says.
    fn open(&self) -> SecureChannel {
        let (command, expected) = (hex(self.initialize_update.0), hex(self.initialize_update.1));
        let host_challenge = &command[5..command.len() - 1];
        let host_challenge = HostChallenge::parse(self.implementation, host_challenge).unwrap();
        let diversification = hex(self.diversification).try_into().unwrap();
        let aid = hex(self.aid.unwrap_or_default());
        let challenge = match self.aid {
            Some(_) => CardChallenge::PseudoRandom { counter: self.counter, aid: &aid },
            None => CardChallenge::Random(expected[13..29].try_into().unwrap()),
        };
        let (initiated, mut response) =
            scp03::initialize_update(self.set(), &diversification, host_challenge, &challenge);
        if self.aid.is_none() {
            response.extend_from_slice(&self.counter.to_be_bytes()[1..]);
        }
        assert_eq!(hex::encode(response), hex::encode(expected));
        let mut channel = SecureChannel::Initiated(initiated.into());
        let command = hex(self.external_authenticate);
        channel.external_authenticate(&CommandApdu::parse(&command).unwrap()).unwrap();
        channel
    }
}

#[test]
fn sessions_of_other_cards_go_on_as_they_did() {
    for trace in &TRACES {
        let mut channel = trace.open();
        for [wrapped, plain, response, wrapped_response] in trace.commands {
            let command = hex(wrapped);
            let data = channel.unwrap(&CommandApdu::parse(&command).unwrap()).unwrap();
            assert_eq!(*data, hex(plain));
            if !response.is_empty() {
                let answer = channel.wrap(ResponseApdu { data: hex(response), status: Status::SUCCESS });
                assert_eq!(answer.data, hex(wrapped_response));
                assert_eq!(answer.status, Status::SUCCESS);
            }
        }
    }
}

#[test]
fn any_other_bit_in_a_command_is_refused() {
    let trace = &TRACES[1];
    let command = hex(trace.commands[0][0]);
    let header_and_data = (0..4).chain(5..command.len() - 1);
    for (at, bit) in header_and_data.flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut channel = trace.open();
        let mut disturbed = command.clone();
        disturbed[at] ^= 1 << bit;
        let refused = channel.unwrap(&CommandApdu::parse(&disturbed).unwrap());
        assert_eq!(refused.unwrap_err(), Status::INCORRECT_SECURE_MESSAGING);
    }
}

#[test]
fn a_command_serves_once() {
    let mut channel = TRACES[0].open();
    let command = hex(TRACES[0].commands[0][0]);
    let command = CommandApdu::parse(&command).unwrap();
    assert!(channel.unwrap(&command).is_ok());
    assert_eq!(channel.unwrap(&command).unwrap_err(), Status::INCORRECT_SECURE_MESSAGING);
}

#[test]
fn any_other_bit_in_external_authenticate_is_refused() {
    let trace = &TRACES[0];
    let command = hex(trace.external_authenticate);
    for (at, bit) in (5..command.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut disturbed = command.clone();
        disturbed[at] ^= 1 << bit;
        let challenge = hex("b13e5f938fc108c4");
        let aid = hex(ISD_R);
        let (initiated, _) = scp03::initialize_update(
            trace.set(),
            &[0; scp03::DIVERSIFICATION],
            HostChallenge::parse(trace.implementation, &challenge).unwrap(),
            &CardChallenge::PseudoRandom { counter: 2, aid: &aid },
        );
        let mut channel = SecureChannel::Initiated(initiated.into());
        let refused = channel.external_authenticate(&CommandApdu::parse(&disturbed).unwrap());
        assert_eq!(refused.unwrap_err(), Status::VERIFICATION_FAILED);
        assert!(channel.is_closed());
    }
}

/// SP 800-38B, appendix D (in its update of 2005): AES-128, AES-192 and AES-256, messages of 0, 16 and 40 bytes.
#[test]
fn cmac_gives_the_published_answers() {
    let message = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411");
    for (text, macs) in [
        (
            "2b7e151628aed2a6abf7158809cf4f3c",
            [
                "bb1d6929e95937287fa37d129b756746",
                "070a16b46b4d4144f79bdd9dd04a287c",
                "dfa66747de9ae63030ca32611497c827",
            ],
        ),
        (
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            [
                "d17ddf46adaacde531cac483de7a9367",
                "9e99a7bf31e710900662f65e617c5184",
                "8a1de5be2eb31aad089a82e6ee908b0e",
            ],
        ),
        (
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            [
                "028962f61b7bf89efc6b551f4667d983",
                "28a7023f452e8f82bd4bf28d8c37c35c",
                "aaf3d8f1de5640c232f5b169b9c911e6",
            ],
        ),
    ] {
        for (length, mac) in [0, 16, 40].into_iter().zip(macs) {
            let (first, second) = message[..length].split_at(length / 3);
            assert_eq!(hex::encode(key(text).cmac(&[first, second])), mac);
        }
    }
}
