//! The commands that cardhost gives a TPM, as bytes, and what it makes of the responses.

use tpm2_protocol::{
    TpmResult, TpmWriter,
    basic::{Tpm2b, TpmHandle, TpmUint16},
    constant::MAX_NV_BUFFER_SIZE,
    data::{
        Tpm2bMaxNvBuffer, Tpm2bNvPublic, TpmAlgId, TpmRc, TpmRcBase, TpmSt, TpmSu, TpmaNv, TpmsAuthCommand,
        TpmsNvPublic,
    },
    frame::{
        TpmFrame, TpmNvDefineSpaceCommand, TpmNvReadCommand, TpmNvUndefineSpaceCommand, TpmNvWriteCommand,
        TpmResponse, TpmStartupCommand, tpm_marshal_command,
    },
};

use super::{NvIndex, TpmError};

/// TPM_RH_OWNER and TPM_RS_PW (Part 2, 7.4).
const OWNER: TpmHandle = TpmHandle::new(0x4000_0001);
const PASSWORD: TpmHandle = TpmHandle::new(0x4000_0009);
/// The size of the parameters, before them in the response to a command with an authorization.
const PARAMETER_SIZE: usize = 4;

/// A command.
pub(super) enum Command<'a> {
    Startup,
    Define { index: NvIndex, size: u16 },
    Undefine { index: NvIndex },
    Write { index: NvIndex, value: &'a [u8] },
    Read { index: NvIndex, size: u16 },
}

/// What kind of answer a response code is.
pub(super) enum Area {
    Success,
    /// The TPM was just switched on.
    NotStarted,
    /// It wants to be asked again.
    Busy,
    Error,
}

impl Command<'_> {
    /// Its name in Part 3, without the prefix that all have.
    const fn name(&self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Define { .. } => "NV_DefineSpace",
            Self::Undefine { .. } => "NV_UndefineSpace",
            Self::Write { .. } => "NV_Write",
            Self::Read { .. } => "NV_Read",
        }
    }

    /// Writes it; tells its length. `None` if it does not fit.
    pub(super) fn encode(&self, into: &mut [u8]) -> Option<usize> {
        self.marshal(into).ok()
    }

    fn marshal(&self, into: &mut [u8]) -> TpmResult<usize> {
        let offset = TpmUint16::new(0);
        match self {
            Self::Startup => {
                let startup = TpmStartupCommand { handles: [], startup_type: TpmSu::Clear };
                let mut writer = TpmWriter::new(into);
                tpm_marshal_command(&startup, TpmSt::NoSessions, &[], &mut writer)?;
                Ok(writer.len())
            }
            Self::Define { index, size } => {
                let public_info = Tpm2bNvPublic { inner: public(*index, *size) };
                let auth = Default::default();
                authorized(&TpmNvDefineSpaceCommand { handles: [OWNER], auth, public_info }, into)
            }
            Self::Undefine { index } => {
                authorized(&TpmNvUndefineSpaceCommand { handles: [OWNER, handle(*index)] }, into)
            }
            Self::Write { index, value } => {
                let (handles, data) = ([handle(*index); 2], Tpm2bMaxNvBuffer::try_from(*value)?);
                authorized(&TpmNvWriteCommand { handles, data, offset }, into)
            }
            Self::Read { index, size } => {
                let (handles, size) = ([handle(*index); 2], TpmUint16::new(*size));
                authorized(&TpmNvReadCommand { handles, size, offset }, into)
            }
        }
    }

    /// The error that this response code to it is.
    pub(super) fn error(&self, code: TpmRc) -> TpmError {
        match (self, code.base()) {
            (Self::Define { index, .. }, TpmRcBase::NvDefined) => TpmError::Defined(*index),
            (Self::Read { index, .. }, TpmRcBase::NvUninitialized) => TpmError::Unwritten(*index),
            (
                Self::Undefine { index } | Self::Write { index, .. } | Self::Read { index, .. },
                TpmRcBase::Handle,
            ) => TpmError::NotDefined(*index),
            _ => TpmError::Refused { command: self.name(), code },
        }
    }
}

/// With the empty password as authorization (Part 1, 19.4).
fn authorized(command: &impl TpmFrame, into: &mut [u8]) -> TpmResult<usize> {
    let password = TpmsAuthCommand { session_handle: PASSWORD, ..Default::default() };
    let mut writer = TpmWriter::new(into);
    tpm_marshal_command(command, TpmSt::Sessions, &[password], &mut writer)?;
    Ok(writer.len())
}

const fn handle(index: NvIndex) -> TpmHandle {
    TpmHandle::new(index.0)
}

fn public(index: NvIndex, size: u16) -> TpmsNvPublic {
    TpmsNvPublic {
        nv_index: handle(index),
        name_alg: TpmAlgId::Sha256,
        // A wrong password, of which there is none, must not lock the TPM's other users out.
        attributes: TpmaNv::AUTHREAD | TpmaNv::AUTHWRITE | TpmaNv::NO_DA,
        auth_policy: Default::default(),
        data_size: TpmUint16::new(size),
    }
}

/// The code of a response, `None` if it is no response.
pub(super) fn code(response: &[u8]) -> Option<TpmRc> {
    TpmResponse::cast(response).and_then(TpmResponse::rc).ok()
}

/// What the code means for going on.
pub(super) fn area(code: TpmRc) -> Area {
    match code.base() {
        TpmRcBase::Success => Area::Success,
        TpmRcBase::Initialize => Area::NotStarted,
        TpmRcBase::NvRate | TpmRcBase::Retry | TpmRcBase::Testing | TpmRcBase::Yielded => Area::Busy,
        _ => Area::Error,
    }
}

/// The value in the successful response to [`Command::Read`], where it stands.
pub(super) fn value_read(response: &[u8]) -> Option<&[u8]> {
    let parameters = TpmResponse::cast(response).ok()?.body().get(PARAMETER_SIZE..)?;
    let (value, _) = Tpm2b::<MAX_NV_BUFFER_SIZE>::cast_prefix(parameters).ok()?;
    Some(value.data())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: NvIndex = NvIndex(0x0180_0002);
    /// TPM_RS_PW without nonce, attributes and password.
    const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];

    fn encoded(command: &Command<'_>) -> Vec<u8> {
        let mut bytes = [0; 200];
        let length = command.encode(&mut bytes).unwrap();
        bytes[..length].to_vec()
    }

    /// Byte for byte after Part 3, 9.3, 31.3, 31.7 and 31.13.
    #[test]
    fn commands_are_as_the_standard_has_them() {
        assert_eq!(encoded(&Command::Startup), [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0]);
        let index = [1, 0x80, 0, 2];
        let write = [
            &[0x80, 2, 0, 0, 0, 37, 0, 0, 1, 0x37][..],
            &index,
            &index,
            &EMPTY_PASSWORD,
            &[0, 2, 0xAA, 0xBB, 0, 0],
        ];
        assert_eq!(encoded(&Command::Write { index: INDEX, value: &[0xAA, 0xBB] }), write.concat());
        let read =
            [&[0x80, 2, 0, 0, 0, 35, 0, 0, 1, 0x4E][..], &index, &index, &EMPTY_PASSWORD, &[0, 32, 0, 0]];
        assert_eq!(encoded(&Command::Read { index: INDEX, size: 32 }), read.concat());
        let define = [
            &[0x80, 2, 0, 0, 0, 45, 0, 0, 1, 0x2A, 0x40, 0, 0, 1][..],
            &EMPTY_PASSWORD,
            &[0, 0, 0, 14],
            &index,
            &[0, 0x0B, 2, 4, 0, 4, 0, 0, 0, 32],
        ];
        assert_eq!(encoded(&Command::Define { index: INDEX, size: 32 }), define.concat());
    }

    #[test]
    fn a_response_that_is_none_is_told() {
        let whole =
            [&[0x80, 2, 0, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 4, 0, 2, 7, 8][..], &[0, 0, 1, 0, 0]].concat();
        assert_eq!(value_read(&whole), Some(&[7, 8][..]));
        for length in 0..whole.len() {
            assert_eq!((value_read(&whole[..length]), code(&whole[..length])), (None, None));
        }
        let mut longer = whole.clone();
        longer[15] = 200;
        assert_eq!(value_read(&longer), None);
    }
}
