//! Makes sure, before any work, that what a run is to leave behind can be written.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::Failure;

/// What a probe writes: enough to meet a full disk.
const PROBE: [u8; 4096] = [0; 4096];

/// Makes sure that the file of `flag` can be written, without leaving a trace.
pub fn check_file(flag: &str, path: &Path) -> Result<(), Failure> {
    let probed = match fs::metadata(path) {
        Ok(existing) if existing.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(existing) if !existing.is_file() => {
            File::options().write(true).open(path).and_then(|file| probe_device(&file))
        }
        _ => probe_folder(folder_of(path)),
    };
    probed.map_err(|error| refuse(flag, path, &error))
}

/// Makes sure that the folder of `flag` can be made and filled, without leaving a trace.
pub fn check_folder(flag: &str, path: &Path) -> Result<(), Failure> {
    let nearest = path.ancestors().find(|ancestor| ancestor.exists());
    let nearest = nearest.filter(|nearest| !nearest.as_os_str().is_empty()).unwrap_or(Path::new("."));
    probe_folder(nearest).map_err(|error| refuse(flag, path, &error))
}

/// A file that stays open while a run adds a line to it now and then.
pub struct LineFile {
    file: File,
    path: PathBuf,
    /// Whether it was not there before and nothing is in it yet.
    unused: bool,
    /// Its length up to the end of the last whole line; `None` for a device or pipe, which has none.
    length: Option<u64>,
}

impl LineFile {
    /// Opens or makes the file of `flag`. What is in it stays until [`LineFile::begin`]; dropped before that, a file
    /// that was made here is removed.
    pub fn open(flag: &str, path: &Path) -> Result<Self, Failure> {
        check_file(flag, path)?;
        let unused = !path.exists();
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        // A pipe, such as standard output, may be open for writing alone.
        let file = file.or_else(|_| File::options().write(true).open(path));
        let file = file.map_err(|error| refuse(flag, path, &error))?;
        let plain = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Ok(Self { file, path: path.to_owned(), unused, length: plain.then_some(0) })
    }

    /// Keeps the leading lines that `keep` accepts and drops the rest.
    pub fn begin(&mut self, keep: impl FnMut(&str) -> bool) -> Result<(), Failure> {
        self.unused = false;
        if self.length.is_none() {
            return Ok(());
        }
        self.cut(keep).map_err(|error| self.failure(&error))
    }

    fn cut(&mut self, mut keep: impl FnMut(&str) -> bool) -> io::Result<()> {
        let content = fs::read_to_string(&self.path).unwrap_or_default(); // not text: none of its lines is ours
        let kept = content.split_inclusive('\n').take_while(|line| line.ends_with('\n') && keep(line));
        let length = kept.map(|line| line.len() as u64).sum();
        self.file.set_len(length)?;
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(length))?;
        self.length = Some(length);
        Ok(())
    }

    /// Adds a line and hands it to the system at once. When the disk is full, what was written of it is taken back.
    pub fn add(&mut self, line: &str) -> Result<(), Failure> {
        let line = format!("{line}\n");
        let written = self.file.write_all(line.as_bytes());
        match (written, &mut self.length) {
            (Ok(()), Some(length)) => *length += line.len() as u64,
            (Ok(()), None) => {}
            (Err(error), length) => {
                if let Some(length) = length {
                    // If even this fails there is nothing more to try.
                    let _ = self.file.set_len(*length);
                }
                return Err(self.failure(&error));
            }
        }
        Ok(())
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure(format!("cannot write {}: {error}; make room or choose another place", self.path.display()))
    }
}

impl Drop for LineFile {
    fn drop(&mut self) {
        if self.unused {
            // Made here and empty; nothing depends on its going.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file without a name, which is gone when it is closed.
fn probe_folder(folder: &Path) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&PROBE)?;
    file.sync_all()
}

/// A device such as `/dev/full` only tells when it is written to. A terminal or a pipe has a reader who would see it.
fn probe_device(mut file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if !file.is_terminal() && file.metadata()?.file_type().is_char_device() {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn refuse(flag: &str, path: &Path, error: &io::Error) -> Failure {
    Failure(format!("{flag} {}: cannot write there: {error}; choose another place", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_file("--checkpoint", &folder.path().join("run.safetensors")).is_ok());
        assert!(check_folder("--report", &folder.path().join("a/b")).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = [
            check_file("--checkpoint", folder.path()),
            check_file("--checkpoint", &file.join("below a file")),
            check_file("--checkpoint", &folder.path().join("no folder/run")),
            check_folder("--report", &file),
            check_folder("--report", &file.join("below a file")),
        ];
        for refused in refused {
            let Failure(message) = refused.unwrap_err();
            assert!(message.contains("cannot write there"), "{message}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_found_out() {
        assert!(check_file("--checkpoint", Path::new("/dev/full")).is_err());
        assert!(check_file("--checkpoint", Path::new("/dev/null")).is_ok());
    }

    #[test]
    fn a_line_file_keeps_what_it_is_told_and_adds_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "1\n2\n3\nhalf a li").unwrap();
        let mut file = LineFile::open("--json", &path).ok().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n3\nhalf a li");
        file.begin(|line| line.trim() < "3").ok().unwrap();
        file.add("new").ok().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\nnew\n");
    }

    #[test]
    fn an_unused_line_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        drop(LineFile::open("--json", &path).ok().unwrap());
        assert!(!path.exists());
    }
}
