//! The guest image that cards run: the one that this daemon was built with, or an operator's file.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use cardhost_wire::boot::MEMORY_SIZE;
use sha2::{Digest as _, Sha256};

use super::StartError;
use crate::{card::Cards, launcher::Image};

/// What cards run.
pub(super) fn image(file: Option<&Path>) -> Result<Image, StartError> {
    let Some(path) = file else { return Ok(Image::embedded()) };
    let guest = contents(path).map_err(|source| StartError::GuestImageFile { path: path.into(), source })?;
    let image =
        Image { guest_sha256: Sha256::digest(&guest).into(), guest: guest.into(), ..Image::embedded() };
    let sha256 = hex::encode(image.guest_sha256);
    if image.guest_sha256 == Image::embedded().guest_sha256 {
        tracing::info!(path = %path.display(), sha256, "cards run this guest image, which is the embedded one");
    } else {
        tracing::warn!(path = %path.display(), sha256, "cards run this guest image instead of the embedded one");
    }
    Ok(image)
}

/// The file, no longer than a guest's memory: one that is cut off has another measurement and does not load.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MEMORY_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Has the launcher run an operator's image to where cards begin: what does not get there is no guest.
pub(super) async fn try_out(cards: &Cards, file: Option<&Path>) -> Result<(), StartError> {
    let Some(path) = file else { return Ok(()) };
    let ready = cards.ready().await;
    ready.map(drop).map_err(|source| StartError::GuestImage { path: path.into(), source })
}
