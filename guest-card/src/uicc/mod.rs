//! The UICC/eUICC: its master file and the enabled profile's USIM (ETSI TS 102 221, 3GPP TS 31.102), its ISD-R and
//! ECASD (GSMA SGP.22).
//!
//! ```text
//! MF ── EF ICCID, EF DIR         of the enabled profile; without one there are no files
//!  └─ ADF USIM ── EF IMSI
//! ISD-R ── STORE DATA ─▶ euicc   profiles, notifications, addresses
//! ECASD ── GET DATA ─▶ EID
//! ```
//!
//! The ISD-R demands the same AID for its root as GlobalPlatform does for the issuer security domain. It stands under
//! [`Aid::EUICC_ROOT`], and the shared AID is an alias that the router resolves by protocol.

mod euicc;
mod file;

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    apdu::CommandApdu,
    profiles::Iccid,
    protocols::MF,
    status::Status,
    tlv::{self, TlvReader, object},
};

use crate::{blocks::Blocks, container::Uicc, nvm::Part, services::Services};
pub use euicc::{command, credentials};
use file::{Ef, Parent};

const TERMINAL_PROFILE: u8 = 0x10;
const TERMINAL_CAPABILITY: u8 = 0xAA;
const SELECT: u8 = 0xA4;
const READ_BINARY: u8 = 0xB0;
const READ_RECORD: u8 = 0xB2;
const GET_DATA: u8 = 0xCA;
const STORE_DATA: u8 = 0xE2;
const STATUS: u8 = 0xF2;
/// P2 of SELECT: the file control parameters are wanted, or nothing (ETSI TS 102 221, table 11.2).
const WANT_FCP: u8 = 0x04;
const WANT_NOTHING: u8 = 0x0C;
/// Stands for the selected application's directory (ibid., 8.4.1).
const CURRENT_ADF: u16 = 0x7FFF;
/// The EID among the ECASD's data (SGP.02, 2.2.2).
const EID: u16 = 0x005A;

/// What is selected in the container, and what was begun there.
#[derive(Default)]
pub struct Session {
    selected: Selected,
    file: Option<Ef>,
    blocks: Blocks,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Selected {
    /// The master file, as after a reset.
    #[default]
    Mf,
    /// The USIM of this profile.
    Usim(Iccid),
    /// The ISD-R, selected by this name.
    IsdR(Aid),
    Ecasd,
}

impl Session {
    /// The eUICC's root.
    pub fn root() -> Self {
        Self::of(Selected::IsdR(Aid::EUICC_ROOT))
    }

    /// What this full or partial DF name means here, whatever the protocol. The eUICC's root never answers to a part
    /// of its name, and only the enabled profile has a USIM.
    ///
    /// # Errors
    /// `6581`: the profiles' records are not ours.
    pub fn resolve(name: &[u8], nvm: Part<'_, Uicc>) -> Result<Option<Self>, Status> {
        let selected = if name == Aid::EUICC_ROOT.as_bytes() {
            Some(Selected::IsdR(Aid::EUICC_ROOT))
        } else if Aid::ISD_R.matches(name) {
            Some(Selected::IsdR(Aid::ISD_R))
        } else if Aid::ECASD.matches(name) {
            Some(Selected::Ecasd)
        } else if Aid::USIM.matches(name) {
            euicc::enabled(nvm)?.map(|profile| Selected::Usim(profile.metadata.iccid))
        } else {
            None
        };
        Ok(selected.map(Self::of))
    }

    fn of(selected: Selected) -> Self {
        Self { selected, ..Self::default() }
    }

    /// The same application, with nothing begun.
    pub fn anew(&self) -> Self {
        Self::of(self.selected)
    }

    /// True if a terminal could not tell this session from one after a reset.
    pub fn is_initial(&self) -> bool {
        self.selected == Selected::Mf && self.file.is_none() && self.blocks.is_empty()
    }

    /// File control parameters of a directory, or file control information of a security domain.
    pub fn select_response(&self) -> Vec<u8> {
        match self.selected {
            Selected::Mf => file::mf(),
            Selected::Usim(_) => file::usim(),
            Selected::IsdR(name) => euicc::file_control_information(name),
            Selected::Ecasd => object(0x6F, &object(0x84, Aid::ECASD.as_bytes())),
        }
    }

    /// SELECT by file identifier of a file that the router found to be this container's.
    ///
    /// # Errors
    /// `6A82`: there is no such file; what was selected stays so. `6A86`: another answer is wanted than there is.
    pub fn select_file(&mut self, file: u16, p2: u8, nvm: Part<'_, Uicc>) -> Result<Vec<u8>, Status> {
        let (selected, file) = self.find(file, nvm)?;
        self.enter(selected, file, p2, nvm)
    }

    /// Executes one whole command.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn execute(
        &mut self,
        command: &CommandApdu<'_>,
        services: &mut Services<'_, Uicc>,
    ) -> Result<Vec<u8>, Status> {
        self.leave_disabled(services.nvm())?;
        let in_files = matches!(self.selected, Selected::Mf | Selected::Usim(_));
        match (command.cla, command.ins) {
            (0x00, SELECT) => self.select(command, services.nvm()),
            (0x00, READ_BINARY) if in_files => self.read_binary(command, services.nvm()),
            (0x00, READ_RECORD) if in_files => self.read_record(command, services.nvm()),
            (0x80, STATUS) if in_files => self.status(command),
            (0x80, TERMINAL_PROFILE) if in_files => terminal_profile(command),
            (0x80, TERMINAL_CAPABILITY) if in_files => terminal_capability(command),
            (0x80, STORE_DATA) if matches!(self.selected, Selected::IsdR(_)) => {
                euicc::store_data(&mut self.blocks, command, services)
            }
            (_, GET_DATA) if self.selected == Selected::Ecasd => match command.p1_p2() {
                EID => Ok(object(0x5A, &euicc::eid(&services.card()))),
                _ => Err(Status::REFERENCED_DATA_NOT_FOUND),
            },
            _ => Err(Status::INSTRUCTION_NOT_SUPPORTED),
        }
    }

    /// A profile that was disabled while its USIM was selected leaves what a reset would leave.
    fn leave_disabled(&mut self, nvm: Part<'_, Uicc>) -> Result<(), Status> {
        if let Selected::Usim(iccid) = self.selected
            && euicc::enabled(nvm)?.is_none_or(|profile| profile.metadata.iccid != iccid)
        {
            *self = Self::default();
        }
        Ok(())
    }

    /// SELECT by file identifier, by path and of the parent (ETSI TS 102 221, 11.1.1.2).
    fn select(&mut self, command: &CommandApdu<'_>, nvm: Part<'_, Uicc>) -> Result<Vec<u8>, Status> {
        let (selected, file) = match (command.p1, command.data) {
            (0x00 | 0x09, &[high, low]) => self.find(u16::from_be_bytes([high, low]), nvm)?,
            (0x03, []) => (Selected::Mf, None),
            (0x08, path) => self.find_from_mf(path, nvm)?,
            _ => return Err(Status::NOT_FOUND),
        };
        self.enter(selected, file, command.p2, nvm)
    }

    fn enter(
        &mut self,
        selected: Selected,
        file: Option<Ef>,
        p2: u8,
        nvm: Part<'_, Uicc>,
    ) -> Result<Vec<u8>, Status> {
        let next = Self { selected, file, ..Self::default() };
        let response = match p2 {
            WANT_FCP | 0x00 => match file {
                Some(file) => file.parameters(&content(file, nvm)?),
                None => next.select_response(),
            },
            WANT_NOTHING => Vec::new(),
            _ => return Err(Status::INCORRECT_P1_P2),
        };
        *self = next;
        Ok(response)
    }

    /// What a file identifier means where the session stands.
    fn find(&self, file: u16, nvm: Part<'_, Uicc>) -> Result<(Selected, Option<Ef>), Status> {
        match (self.selected, file) {
            (_, MF) => Ok((Selected::Mf, None)),
            (Selected::Usim(_), CURRENT_ADF) => Ok((self.selected, None)),
            (selected, id) => {
                let parent = selected.parent().ok_or(Status::NOT_FOUND)?;
                let file = Ef::find(parent, id).ok_or(Status::NOT_FOUND)?;
                content(file, nvm).map(|_| (selected, Some(file)))
            }
        }
    }

    fn find_from_mf(&self, path: &[u8], nvm: Part<'_, Uicc>) -> Result<(Selected, Option<Ef>), Status> {
        let usim = matches!(self.selected, Selected::Usim(_)).then(|| self.anew());
        match (path, usim) {
            (&[high, low], _) if [high, low] != MF.to_be_bytes() && [high, low] != [0x7F, 0xFF] => {
                Self::default().find(u16::from_be_bytes([high, low]), nvm)
            }
            ([0x7F, 0xFF], Some(usim)) => Ok((usim.selected, None)),
            (&[0x7F, 0xFF, high, low], Some(usim)) => usim.find(u16::from_be_bytes([high, low]), nvm),
            _ => Err(Status::NOT_FOUND),
        }
    }

    /// READ BINARY (ibid., 11.1.3).
    fn read_binary(&mut self, command: &CommandApdu<'_>, nvm: Part<'_, Uicc>) -> Result<Vec<u8>, Status> {
        let (sfi, offset) = match command.p1 {
            0x00..=0x7F => (None, usize::from(command.p1_p2())),
            _ => (Some(command.p1 & 0x1F), usize::from(command.p2)),
        };
        let file = self.file(sfi, nvm)?;
        if file.is_linear_fixed() {
            return Err(Status::INCOMPATIBLE_STRUCTURE);
        }
        let content = content(file, nvm)?;
        let rest = content.get(offset..).filter(|rest| !rest.is_empty()).ok_or(Status::WRONG_PARAMETERS)?;
        self.file = Some(file);
        file::piece(rest, command.le)
    }

    /// READ RECORD (ibid., 11.1.5), by number only.
    fn read_record(&mut self, command: &CommandApdu<'_>, nvm: Part<'_, Uicc>) -> Result<Vec<u8>, Status> {
        let (sfi, number) = (command.p2 >> 3, command.p1);
        if command.p2 & 0x07 != 0x04 {
            return Err(Status::INCORRECT_P1_P2);
        }
        let file = self.file((sfi != 0).then_some(sfi), nvm)?;
        if !file.is_linear_fixed() {
            return Err(Status::INCOMPATIBLE_STRUCTURE);
        }
        if number != 1 {
            return Err(Status::RECORD_NOT_FOUND);
        }
        self.file = Some(file);
        file::piece(&content(file, nvm)?, command.le)
    }

    /// The selected file, or the one with this short identifier in the selected directory.
    fn file(&self, sfi: Option<u8>, nvm: Part<'_, Uicc>) -> Result<Ef, Status> {
        let Some(sfi) = sfi else { return self.file.ok_or(Status::COMMAND_NOT_ALLOWED) };
        let parent = self.selected.parent().ok_or(Status::NOT_FOUND)?;
        let file = Ef::find_short(parent, sfi).ok_or(Status::NOT_FOUND)?;
        content(file, nvm).map(|_| file)
    }

    /// STATUS (ibid., 11.1.2) of the selected directory.
    fn status(&self, command: &CommandApdu<'_>) -> Result<Vec<u8>, Status> {
        match (command.p1, command.p2, self.selected) {
            (0x03.., ..) => Err(Status::INCORRECT_P1_P2),
            (_, 0x00, _) => Ok(self.select_response()),
            (_, 0x01, Selected::Usim(_)) => Ok(object(0x84, Aid::USIM.as_bytes())),
            (_, 0x01 | 0x0C, _) => Ok(Vec::new()),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }
}

impl Selected {
    /// The directory, if a directory is selected.
    const fn parent(self) -> Option<Parent> {
        match self {
            Self::Mf => Some(Parent::Mf),
            Self::Usim(_) => Some(Parent::Usim),
            Self::IsdR(_) | Self::Ecasd => None,
        }
    }
}

/// The content of a file of the enabled profile; without one there are no files.
fn content(file: Ef, nvm: Part<'_, Uicc>) -> Result<Vec<u8>, Status> {
    let profile = euicc::enabled(nvm)?.ok_or(Status::NOT_FOUND)?;
    Ok(file.content(&profile))
}

/// TERMINAL PROFILE (ibid., 11.2.1). Whatever the terminal can do for the card, the card has no proactive commands.
const fn terminal_profile(command: &CommandApdu<'_>) -> Result<Vec<u8>, Status> {
    match (command.p1_p2(), command.data) {
        (0, []) => Err(Status::WRONG_LENGTH),
        (0, _) => Ok(Vec::new()),
        _ => Err(Status::INCORRECT_P1_P2),
    }
}

/// TERMINAL CAPABILITY (ibid., 11.1.19). What the terminal can is taken note of and changes nothing.
fn terminal_capability(command: &CommandApdu<'_>) -> Result<Vec<u8>, Status> {
    if command.p1_p2() != 0 {
        return Err(Status::INCORRECT_P1_P2);
    }
    let template = tlv::only(command.data, 0xA9).map_err(malformed)?;
    let mut reader = TlvReader::new(template);
    while let Some((tag, _)) = reader.next_object().map_err(malformed)? {
        if !matches!(tag, 0x80..=0x8F) {
            return Err(Status::WRONG_DATA);
        }
    }
    Ok(Vec::new())
}

/// A malformed template in the data field.
fn malformed(_: tlv::MalformedTlv) -> Status {
    Status::WRONG_DATA
}
