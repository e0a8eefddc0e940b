//! `cardhost image`.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::launcher;

/// Shows and saves the guest image that this program embeds.
#[derive(Args)]
pub struct Image {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the image's SHA-256, by which listings and the audit log name it.
    Show,
    /// Saves the image, for `cardhost serve --guest-image` of a later version: so an upgrade is rolled back.
    Save {
        /// The file; it must not be there yet.
        file: PathBuf,
    },
}

impl Image {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        let image = launcher::Image::embedded();
        if let Command::Save { file } = self.command {
            save(&file, &image.guest).with_context(|| format!("cannot save {}", file.display()))?;
        }
        println!("{}", hex::encode(image.guest_sha256));
        Ok(())
    }
}

fn save(file: &Path, guest: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(file)?;
    file.write_all(guest)?;
    file.sync_all()
}
