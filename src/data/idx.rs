//! Reading IDX files, the format of MNIST and its kin: a big-endian header, then unsigned bytes.
//!
//! [`DataSource`](super::DataSource) calls this for every file it loads. Plain and gzip files are told apart by
//! their first bytes, not by their names. A file is either read whole and found consistent with its header, or
//! refused; memory grows with what the file holds, never with what its header claims.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::Error;

/// The images of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images, at least 1.
    pub count: usize,
    /// Pixels from top to bottom, at least 1.
    pub rows: usize,
    /// Pixels from left to right, at least 1.
    pub cols: usize,
    /// Brightness, 0 to 255: image after image, row after row; `count × rows × cols` of them.
    pub pixels: Vec<u8>,
}

/// Reads a file of images (magic number 0x803).
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Data`] when it is truncated, damaged, longer than its header
/// says, without images, or not a file of images.
pub fn read_images(path: &Path) -> Result<Images, Error> {
    parse_images(&bytes_of(path)?, path)
}

/// Reads a file of labels (magic number 0x801); the result has at least one.
///
/// # Errors
/// As [`read_images`], for labels.
pub fn read_labels(path: &Path) -> Result<Vec<u8>, Error> {
    parse_labels(&bytes_of(path)?, path)
}

/// As [`read_images`], from the bytes of a file; errors call it `path`.
pub(super) fn parse_images(bytes: &[u8], path: &Path) -> Result<Images, Error> {
    let ([count, rows, cols], pixels) = parse(bytes, path, &IMAGES)?;
    if rows == 0 || cols == 0 {
        return Err(refuse(
            path,
            format!("its images are {rows} × {cols} pixels; there is nothing to learn from"),
        ));
    }
    Ok(Images { count, rows, cols, pixels })
}

/// As [`read_labels`], from the bytes of a file; errors call it `path`.
pub(super) fn parse_labels(bytes: &[u8], path: &Path) -> Result<Vec<u8>, Error> {
    let ([_], labels) = parse(bytes, path, &LABELS)?;
    Ok(labels)
}

/// A kind of IDX file: what it holds and how it starts.
struct Kind {
    holds: &'static str,
    magic: u32,
}

const IMAGES: Kind = Kind { holds: "images", magic: 0x803 };
const LABELS: Kind = Kind { holds: "labels", magic: 0x801 };

/// Returns the `N` sizes of the header, the first being the count of items, and the bytes after it.
fn parse<const N: usize>(bytes: &[u8], path: &Path, kind: &Kind) -> Result<([usize; N], Vec<u8>), Error> {
    let mut stream = Stream::new(bytes, path);
    let header = stream.read_up_to(4 + 4 * N as u64)?;
    let mut words = header.as_chunks().0.iter().map(|&word| u32::from_be_bytes(word));
    if let Some(magic) = words.next() {
        check_magic(magic, path, kind)?;
    }
    if header.len() < 4 + 4 * N {
        return Err(stream.truncated(&format!("a header of {} bytes", 4 + 4 * N)));
    }
    let sizes = [0; N].map(|_| words.next().unwrap_or(0) as usize); // the header was just found whole
    if sizes[0] == 0 {
        return Err(refuse(path, format!("holds no {}; use a file with at least one", kind.holds)));
    }
    let body = read_body(&mut stream, &sizes)?;
    Ok((sizes, body))
}

fn check_magic(magic: u32, path: &Path, kind: &Kind) -> Result<(), Error> {
    if magic == kind.magic {
        return Ok(());
    }
    let hint = match [&IMAGES, &LABELS].iter().find(|other| other.magic == magic) {
        Some(other) => format!("this is a file of {}; swap the two", other.holds),
        None => "give an IDX file of unsigned bytes, plain or gzip".to_owned(),
    };
    Err(refuse(
        path,
        format!("wrong magic number {magic:#010x}, {} have {:#010x}; {hint}", kind.holds, kind.magic),
    ))
}

/// Reads exactly the bytes that the header promises, and makes sure that the file ends there.
fn read_body(stream: &mut Stream<'_>, sizes: &[usize]) -> Result<Vec<u8>, Error> {
    let promised = sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64));
    let Some(promised) = promised.filter(|&bytes| bytes < u64::MAX / 2) else {
        return Err(refuse(
            stream.path,
            format!("damaged: its header claims {sizes:?} bytes, more than any file holds; fetch it again"),
        ));
    };
    let expected = stream.read + promised;
    // One byte more than promised: it must not be there, and asking for it makes gzip check its trailer.
    let mut body = stream.read_up_to(promised + 1)?;
    if (body.len() as u64) < promised || stream.cut {
        return Err(stream.truncated(&format!("{expected} bytes")));
    }
    if body.len() as u64 > promised {
        return Err(refuse(
            stream.path,
            format!("has bytes after the {expected} that its header promises; fetch or write it again"),
        ));
    }
    body.shrink_to_fit();
    Ok(body)
}

/// The content of a file, unpacked where it is gzip.
struct Stream<'a> {
    path: &'a Path,
    content: Box<dyn Read + 'a>,
    /// Bytes of content so far.
    read: u64,
    /// Whether the gzip stream ended before its own end mark.
    cut: bool,
}

impl<'a> Stream<'a> {
    fn new(bytes: &'a [u8], path: &'a Path) -> Self {
        let content: Box<dyn Read> = match bytes {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(bytes)),
            _ => Box::new(bytes),
        };
        Self { path, content, read: 0, cut: false }
    }

    /// Reads `limit` bytes, or all that are left; a stream cut short is noted in `cut`.
    fn read_up_to(&mut self, limit: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let outcome = self.content.by_ref().take(limit).read_to_end(&mut bytes);
        self.read += bytes.len() as u64;
        match outcome {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                self.cut = true;
                Ok(bytes)
            }
            Err(error) => Err(refuse(self.path, format!("damaged gzip file ({error}); fetch it again"))),
        }
    }

    fn truncated(&self, expected: &str) -> Error {
        let gzip = if self.cut { " and the gzip stream ends early" } else { "" };
        refuse(
            self.path,
            format!("truncated: expected {expected}, found {}{gzip}; fetch it again", self.read),
        )
    }
}

/// All bytes of a file, packed as they are.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })
}

fn refuse(path: &Path, detail: String) -> Error {
    Error::Data { path: path.to_owned(), detail }
}
