//! Running other programs: their output goes to the terminal, their failure becomes an error.

use std::io::ErrorKind;
use std::path::Path;
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

/// Runs `command` to its end, saying so first.
pub fn announce_and_run(command: &mut Command) -> Result<()> {
    println!("$ {}", in_words(command));
    run(command)
}

/// Whether `command` is there and succeeds; nothing of it is shown.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// As one would type it, with the variables that are set for it alone.
fn in_words(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut words: Vec<_> =
        variables.map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
    let program = Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(command.get_program()).display().to_string());
    words.extend(command.get_args().map(|argument| argument.display().to_string()));
    words.join(" ")
}
