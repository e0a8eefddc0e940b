//! Published vectors of the key derivation, and traces of another card.

use alloc::vec::Vec;

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    key::Algorithm,
    status::Status,
};
use hex::decode;
use sha2::Sha256;

use super::{Agreement, FULL_AES_128, open};
use crate::{crypto::PrivateKey, isd::ec_key::Variant, scp::messaging::OffCardEntity};

fn hex(text: &str) -> Vec<u8> {
    decode(text).unwrap()
}

/// SK.OCE.ECKA and eSK.OCE.ECKA.
const OFF_CARD: [&str; 2] = [
    "A5116B848D41BD93737F187ABC03886BF7A80422D150025109C6749F45BB9B6D",
    "B69D2D4A2544B5938ED3C4F6319810837E4DBBEFF115BD9955607E8CDBBBACE5",
];
/// PK.SD.ECKA and ePK.SD.ECKA.
const CARD: [&str; 2] = [
    "044F92A07D168C309959EED99E288381DD192979CD452D8FBE1F163447979207C5\
     E6CD1F4DD11609E2100C033BBD723BE78B71477E64883EB41EC366713E44AF1E",
    "0492CAFD79D7E39EA433611E9AAD9742D85B3BD06F3D6055D7CDE28FC44D0AB556\
     BC0F94D2100D87727FDFA2B49033C78F07A30AA8D5A6A505E59F99FCDFB25266",
];
const PACKAGES: &str = "08A00000015141434C010010A0000002202003010101000000000006010010A0000002202003010101000000000011010005\
                        A0000002480100";

/// A session of SCP11a as a card had it.
struct Trace {
    /// Bytes of each key.
    length: u8,
    receipt: &'static str,
    /// GET STATUS, its answer.
    get_status: [&'static str; 2],
}

/// Traces of a card that Samsung publishes with OpenSCP-Java (Scp11Tests, P-256 in S8 mode).
const TRACES: [Trace; 3] = [
    Trace {
        length: 16,
        receipt: "0B63C42C2D5138936FF5894F10C1234F",
        get_status: [
            "84F2200018E1EE3A92EF45551E8464A252F997230DC4E84F41BA692405",
            "DC8D7D92F77BB20F4AEA2C2EB70A7D93C5F0EA0F27D193679C3D1C970BED8F73C394C63A201C8D367A9F0990146D1FF5CEC2\
             E5F90F6956EF241D2CC899BA25B964FFFB799F4C4246",
        ],
    },
    Trace {
        length: 24,
        receipt: "B0E63B8049C68B76DF9BBCB2CCB52B3E",
        get_status: [
            "84F2200018475AA7DD97A201D9FEB49A4E58DB4FCBF8FC926530EDF1D9",
            "3E0FA453846188151C8DA4916B813220CC408E47FE14622CF7A2F274884139AC48CA59E78DBD86E481F456A107AA3C8D6AE22856\
             5C5D39FB5163756ACA6C8FF2DD7FA5E704539130",
        ],
    },
    Trace {
        length: 32,
        receipt: "EC6FEDA834E69E76D7F5DFF8564DE6CB",
        get_status: [
            "84F2200018C68231841D3CF95F1CB4B9AAB824CD479CC3D4806D163001",
            "6802F8FB3A900FE534BB52D49FBA259286055103E1DC2E78363C61F997A94B667F6F0F83FCA67C0945282D561BD55F8FCC6BE216\
             CE085C2F76D4FFAECC91CC95EC6AA9E8AC404B8D",
        ],
    },
];

/// The traces tell the off-card entity's private keys and not the card's: both sides agree on the same secret.
#[test]
fn sessions_of_another_card_go_on_as_they_did() {
    for Trace { length, receipt, get_status: [command, response] } in TRACES {
        let [fixed, ephemeral] =
            OFF_CARD.map(|key| PrivateKey::from_bytes(Algorithm::P256, &hex(key)).unwrap());
        let [card_fixed, card_ephemeral] = CARD.map(hex);
        let secret =
            [&ephemeral.agree(&card_ephemeral).unwrap()[..], &fixed.agree(&card_fixed).unwrap()].concat();
        let template = [&hex("A60D9002110195013C8001888101")[..], &[length], &hex("5F4941")].concat();
        let data = [&template[..], ephemeral.public_key().as_bytes()].concat();
        let agreement = Agreement::parse(&data).unwrap();
        assert_eq!(agreement.variant(), Variant::A);
        assert_eq!(agreement.shared() == FULL_AES_128, length == 16);
        let (mut channel, answer) =
            open(&agreement, &secret, &card_ephemeral, OffCardEntity::Authenticated(3)).unwrap();
        assert_eq!(answer, [&hex("5F4941")[..], &card_ephemeral, &hex("8610"), &hex(receipt)].concat());
        let command = hex(command);
        assert_eq!(*channel.unwrap(&CommandApdu::parse(&command).unwrap()).unwrap(), hex("4F00"));
        let answer = channel.wrap(ResponseApdu { data: hex(PACKAGES), status: Status::SUCCESS });
        assert_eq!(hex::encode_upper(answer.data), response);
    }
}

/// NIST CAVP, ANS X9.63-2001 with SHA-256: shared secrets of 192 bits, keys of 128 and 1,024 bits.
#[test]
fn the_key_derivation_gives_the_published_answers() {
    for (secret, shared, key) in [
        ("96c05619d56c328ab95fe84b18264b08725b85e33fd34f08", "", "443024c3dae66b95e6f5670601558f71"),
        (
            "22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d",
            "75eef81aa3041e33b80971203d2c0c52",
            "c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e52a13d9c7c6fc878c50c5ea0bc7b00e0\
             da2447cfd874f6cf92f30d0097111485500c90c3af8b487872d04685d14c8d1dc8d7fa08beb0ce0ababc11f0bd496269\
             142d43525a78e5bc79a17f59676a5706dc54d54d4d1f0bd7e386128ec26afc21",
        ),
    ] {
        let mut derived = alloc::vec![0; key.len() / 2];
        ansi_x963_kdf::derive_key_into::<Sha256>(&hex(secret), &hex(shared), &mut derived).unwrap();
        assert_eq!(hex::encode(derived), key);
    }
}
