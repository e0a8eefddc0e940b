//! Secrets from the user: a file, standard input or a prompt without echo.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard input or the terminal gave nothing.
    #[error("cannot read from standard input: {0}")]
    Stdin(io::Error),
    /// Nobody is there to be asked.
    #[error("a secret is needed, and standard input is no terminal to ask on")]
    NoTerminal,
}

/// Reads a secret from `file` (`-`: one line of standard input), or asks for it.
pub fn secret(prompt: &str, file: Option<&Path>) -> Result<Zeroizing<String>, InputError> {
    match file {
        Some(path) if path == Path::new("-") => line(),
        Some(path) => from_file(path),
        None => ask(prompt),
    }
}

fn line() -> Result<Zeroizing<String>, InputError> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    io::stdin().lock().read_line(&mut text).map_err(InputError::Stdin)?;
    Ok(without_newline(&text))
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, InputError> {
    let failed = |source| InputError::File { path: path.into(), source };
    Ok(without_newline(&Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?)))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, InputError> {
    if !io::stdin().is_terminal() {
        return Err(InputError::NoTerminal);
    }
    rpassword::prompt_password(format!("{prompt}: ")).map(Zeroizing::new).map_err(InputError::Stdin)
}

fn without_newline(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.trim_end_matches(['\r', '\n']).into())
}
