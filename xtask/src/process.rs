//! Running other programs: their output goes to the terminal, their failure becomes an error.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use anyhow::{Result, anyhow, bail};

/// Runs `command` to its end.
pub fn run(command: &mut Command) -> Result<()> {
    let line = in_words(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`{line}` failed ({status}); its own message is above"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("cannot run `{line}`: {} is not installed", command.get_program().display())
        }
        Err(error) => Err(anyhow!(error).context(format!("cannot run `{line}`"))),
    }
}

/// Whether `command` is there and succeeds; nothing of it is shown.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn in_words(command: &Command) -> String {
    let mut words = vec![command.get_program().display().to_string()];
    words.extend(command.get_args().map(|argument| argument.display().to_string()));
    words.join(" ")
}
