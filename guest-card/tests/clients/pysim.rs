//! pySim-shell: it finds out what kind of card it has, reads files, and manages security domains and the eUICC.

use cardhost_wire::port::{Port, Protocol};

use crate::{
    harness::{Terminal, play, play_on},
    local_assistant::{card_with, enable, profile},
    off_card::{Set, put_key},
    secure::{self, ISSUER, OLDER},
};

/// The reader that is paired with the UICC.
const UICC: Protocol = Protocol::Iso7816T1;

fn started(profiles: usize) -> Terminal {
    let mut terminal = card_with((0..profiles).map(profile));
    if profiles > 0 {
        assert_eq!(enable(&mut terminal, 0), 0);
    }
    terminal.card().reset(Port::Apdu(UICC));
    terminal.protocol = UICC;
    terminal
}

/// A SIM of the class `A0` is not there, a UICC is; each time it begins at the master file.
#[test]
fn it_finds_a_uicc_with_an_euicc() {
    play(
        &mut started(1),
        "> A0A40000023F00
         < 6E00
         > 00A40004022F00
         < 621A82054221001A0183022F008A01058C0303FF008002001A8801F09000
         > 00A40004023F00
         < 62..9000
         > 00A4040410A0000005591010FFFFFFFF890000010000
         < 6F198410A0000005591010FFFFFFFF8900000100E00582030202029000
         > 80E2910006BF3E035C015A
         < BF3E125A10899990..9000
         > 80E2910003BF5600
         < 6A88
         > 00A40004023F00
         < 62..9000
         > 801000001BFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF
         < 9000
         > 80AA000005A903830180
         < 9000",
    );
}

/// `select EF.DIR`, `read_record_decoded`, `select ADF.USIM`, `select EF.IMSI`, `read_binary`, `status`.
#[test]
fn it_reads_files() {
    play(
        &mut started(1),
        "> 00A40004022F00
         < 62..9000
         > 00B201041A
         < 61184F10A0000000871002FFFFFFFF890000010050045553494D9000
         > 00A40004022FE200
         < 62..9000
         > 00B000000A
         < 98..9000
         > 00A4040410A0000000871002FFFFFFFF890000010000
         < 6226820278218410A0000000871002FFFFFFFF8900000100..9000
         > 00A40004026F0700
         < 62..9000
         > 00B0000009
         < 0809..9000
         > 80F2000000
         < 62..9000
         > 00A40004026F3A00
         < 6A82",
    );
}

/// Without an enabled profile there are no files to tell a UICC from; the ISD-R remains.
#[test]
fn it_finds_an_euicc_without_an_enabled_profile() {
    play(
        &mut started(0),
        "> 00A40004022F00
         < 6A82
         > 00A40004023F00
         < 62..9000
         > 00A4040410A0000005591010FFFFFFFF890000010000
         < 6F198410A0000005591010FFFFFFFF8900000100E00582030202029000
         > 80E2910003BF2D00
         < BF2D02A0009000",
    );
}

/// `select ADF.ISD`: on the UICC's reader, with P2 04, by the older name; then what its commands send.
#[test]
fn it_manages_the_issuers_domain_from_the_reader_of_the_uicc() {
    let mut terminal = started(1);
    play(
        &mut terminal,
        "> 00A4040408A00000000300000000
         < 6F4E8408A000000151000000A5..9000
         > 80CA00E000
         < E012C00401308810C00402308810C004033088109000
         > 80CA006600
         < 663E733C..9000
         > 80CA006700
         < 6722..9000",
    );
    let mut off_card = secure::open(&mut terminal, &Set::well_known(), OLDER, 0x33);
    secure::play(
        &mut off_card,
        &mut terminal,
        &[
            ("80F280024F005C054F9F70C5CC", "E3134F08A0000001510000009F700101C5039C5C009000"),
            (
                "80F240024F005C054F9F70C5CC",
                "E3204F0BA0000003080000100001009F700107C503000000CC08A0000001510000009000",
            ),
            ("80F240034F005C054F9F70C5CC", "6985"),
            ("80F240024F005C029F", "6A80"),
            ("80E290004203112233", "9000"),
            ("80F0800F", "9000"),
        ],
    );
    let (data, answer) = put_key(&off_card, &Set::made_up(0x31, 16));
    assert_eq!(off_card.ok(&mut terminal, [0x80, 0xD8, 0, 0x81], &data), answer);
}

/// On a reader of the secure element it has no profile for the card, and its commands for raw APDUs work.
#[test]
fn it_meets_the_secure_element() {
    let mut terminal = Terminal::new();
    play_on(
        &mut terminal,
        Protocol::ApduGate,
        "> A0A40000023F00
         < 6E00
         > 00A40004023F00
         < 6A82
         > 00A4040408A00000015100000000
         < 6A86
         > 00A4040008A00000015100000000
         < 6F..9000",
    );
    secure::open(&mut terminal, &Set::well_known(), ISSUER, 0x33);
}

/// `open_channel` and `close_channel`, in four bytes.
#[test]
fn it_opens_and_closes_channels() {
    play(
        &mut started(1),
        "> 00700001
         < 9000
         > 01A40004023F0000
         < 62..9000
         > 00708001
         < 9000
         > 00708001
         < 6200",
    );
}
