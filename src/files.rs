//! Writing files so that nobody ever sees half of one.
//!
//! Checkpoints, reports and anything else the program leaves behind go through [`write_atomically`]. The old file,
//! if any, stays untouched until the new one is complete and on disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// Writes the file `path` by `fill`, whole or not at all.
///
/// `fill` writes to a temporary file in the same folder, which takes the place of `path` once it is safely on disk;
/// when anything fails it is removed. A link is followed. A device or pipe, such as `/dev/stdout`, cannot be
/// replaced and is written in place.
///
/// # Errors
/// [`Error::Io`] naming `path`, with what the system or `fill` said; an [`Error`] that `fill` wrapped in its own, as it was.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    // Resolved first, since renaming onto a link would replace the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let outcome = match fs::metadata(&target) {
        Ok(existing) if !existing.is_file() => write_in_place(&target, fill),
        _ => replace(&target, fill),
    };
    outcome.map_err(|source| match source.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Io { action: "write", path: path.to_owned(), source },
    })
}

fn write_in_place(target: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(File::options().write(true).open(target)?);
    fill(&mut writer)?;
    writer.flush()
}

fn replace(target: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(target);
    let mut writer = BufWriter::new(temporary_in(&folder)?);
    fill(&mut writer)?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(target).map_err(|failed| failed.error)?;
    sync_folder(&folder);
    Ok(())
}

/// A temporary file that removes itself unless it is persisted, and ends up with the permissions of any new file.
fn temporary_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dualstep-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666)); // less the user's mask; the default is 0600
    }
    builder.tempfile_in(folder)
}

fn folder_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes the rename itself survive a power cut. Not every system can; the file is complete either way.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_and_its_replacement_are_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.txt");
        for text in ["first", "second, longer"] {
            write_atomically(&path, |out| out.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names_in(folder.path()), ["report.txt"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        fs::write(&path, "old").unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let message = failed.unwrap_err().to_string();
        assert!(message.starts_with("cannot write ") && message.contains("checkpoint"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names_in(folder.path()), ["checkpoint"]);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere/file");
        let message = write_atomically(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("nowhere/file"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn new_files_are_as_readable_as_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomically(&ours, |_| Ok(())).unwrap();
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let message =
            write_atomically(Path::new("/dev/full"), |out| out.write_all(b"x")).unwrap_err().to_string();
        assert!(message.starts_with("cannot write /dev/full: No space left"), "{message}");
    }
}
