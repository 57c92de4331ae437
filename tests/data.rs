//! Data sets as the user meets them: the embedded images, folders of IDX files, and everything that can be wrong
//! with one. Each file of bad input is made here, byte by byte.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use dualstep::Error;
use dualstep::data::idx::{Images, read_images, read_labels};
use dualstep::data::{DataSource, Dataset, Split, Values};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tempfile::TempDir;

/// An IDX file: the magic number, the sizes, the bytes.
fn idx(magic: u32, sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let header = [&[magic], sizes].concat();
    header.into_iter().flat_map(u32::to_be_bytes).chain(body.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder with one file in it.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some-file");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// A sound folder of three training and two test images, 2 × 2 pixels, three classes.
fn small_set() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("train-images-idx3-ubyte", &idx(0x803, &[3, 2, 2], &[0, 51, 102, 255, 1, 2, 3, 4, 5, 6, 7, 8]));
    write("train-labels-idx1-ubyte", &idx(0x801, &[3], &[0, 2, 1]));
    write("t10k-images-idx3-ubyte", &idx(0x803, &[2, 2, 2], &[9, 8, 7, 6, 5, 4, 3, 2]));
    write("t10k-labels-idx1-ubyte", &idx(0x801, &[2], &[1, 1]));
    folder
}

fn load(folder: &Path) -> Result<Split, Error> {
    DataSource::Folder(folder.to_owned()).load()
}

/// Checks that the outcome is an error of one line with all of `parts`.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, Error>, parts: &[&str]) {
    let message = outcome.unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

/// Loads the small set with one of its files replaced.
#[track_caller]
fn assert_set_refused(name: &str, bytes: &[u8], parts: &[&str]) {
    let folder = small_set();
    fs::write(folder.path().join(name), bytes).unwrap();
    assert_refused(load(folder.path()), &[&[name], parts].concat());
}

#[test]
fn the_embedded_set_is_the_start_of_fashion_mnist() {
    let Split { train, test } = DataSource::default().load().unwrap();
    assert_eq!((train.len(), test.len()), (10_000, 2_000));
    assert_eq!((train.features(), test.features()), (784, 784));
    assert_eq!((train.classes(), test.classes()), (10, 10));
    assert_eq!(train.labels()[..10], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
    assert_eq!(test.labels()[..10], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]);
    let image = train.scaled_rows(0..1, 784).unwrap();
    assert!(image.iter().all(|brightness| (0.0..=1.0).contains(brightness)));
    assert!(image.contains(&1.0));
}

#[test]
fn a_folder_is_read_under_every_usual_spelling() {
    let plain = small_set();
    let expected = load(plain.path()).unwrap();
    assert_eq!((expected.train.len(), expected.test.len(), expected.train.classes()), (3, 2, 3));
    assert_eq!(expected.train.labels(), [0, 2, 1]);
    for (dotted, packed) in [(false, true), (true, false), (true, true)] {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(plain.path()).unwrap() {
            let path = entry.unwrap().path();
            let mut name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let mut bytes = fs::read(&path).unwrap();
            if dotted {
                name = name.replace("-idx", ".idx");
            }
            if packed {
                name += ".gz";
                bytes = gzip(&bytes);
            }
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let found = load(folder.path()).unwrap();
        assert_eq!(found.train.labels(), expected.train.labels());
        assert_eq!(found.test.scaled_rows(0..2, 4).unwrap(), expected.test.scaled_rows(0..2, 4).unwrap());
    }
}

#[test]
fn sources_parse_and_print_their_names() {
    let folder = DataSource::Folder("./mnist".into());
    let [cora, other] = [0, 7].map(|seed| DataSource::Cora { seed });
    let named = [DataSource::Embedded, DataSource::FashionMnist, DataSource::Mnist, cora, other, folder];
    let names = ["embedded", "fashion-mnist", "mnist", "cora", "cora@7", "./mnist"];
    for (source, name) in named.iter().zip(names) {
        assert_eq!(name.parse::<DataSource>().unwrap(), *source);
        assert_eq!(source.to_string(), name);
    }
}

#[test]
fn a_set_that_was_not_fetched_says_how_to_fetch_it() {
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("mnist").display().to_string();
    let outcome = DataSource::Mnist.load_with_cache(Some(cache.path()));
    assert_refused(outcome, &["mnist", &place, "run: cargo xtask data mnist"]);
    let outcome = DataSource::Mnist.load_with_cache(None);
    assert_refused(outcome, &["DUALSTEP_DATA", "run: cargo xtask data mnist"]);
}

#[test]
fn cora_is_looked_for_in_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("cora").display().to_string();
    let outcome = DataSource::Cora { seed: 3 }.load_with_cache(Some(cache.path()));
    assert_refused(outcome, &["cora", &place, "run: cargo xtask data cora"]);
    assert_refused(DataSource::Cora { seed: 0 }.load_with_cache(None), &["DUALSTEP_DATA", "data cora"]);
    fs::create_dir(&place).unwrap();
    fs::write(Path::new(&place).join("graph.safetensors"), b"nothing").unwrap();
    assert_refused(
        DataSource::Cora { seed: 0 }.load_with_cache(Some(cache.path())),
        &["graph.safetensors", "cut short"],
    );
    assert!(DataSource::Embedded.load_graph().unwrap().is_none());
}

#[test]
fn a_cached_set_is_found_and_held_to_ten_classes() {
    let cache = small_set();
    let set = cache.path().join("mnist");
    fs::create_dir(&set).unwrap();
    for entry in fs::read_dir(cache.path()).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            fs::rename(entry.path(), set.join(entry.file_name())).unwrap();
        }
    }
    let split = DataSource::Mnist.load_with_cache(Some(cache.path())).unwrap();
    assert_eq!((split.train.classes(), split.test.classes()), (10, 10));
    assert_eq!((split.train.name(), split.test.name()), ("mnist/train", "mnist/test"));

    let labels = set.join("train-labels-idx1-ubyte");
    fs::write(&labels, idx(0x801, &[3], &[0, 10, 1])).unwrap();
    let outcome = DataSource::Mnist.load_with_cache(Some(cache.path()));
    assert_refused(outcome, &[labels.to_str().unwrap(), "label 10 of sample 1", "0 to 9"]);
}

#[test]
fn folders_without_a_set_are_refused() {
    assert_refused(load(Path::new("/no/such folder")), &["/no/such folder: no such folder", "embedded"]);
    let folder = small_set();
    fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).unwrap();
    let parts = [folder.path().to_str().unwrap(), "t10k-labels-idx1-ubyte(.gz) is missing"];
    assert_refused(load(folder.path()), &parts);
}

#[test]
fn an_unreadable_file_is_refused() {
    let (folder, path) = file(b"");
    let missing = path.with_file_name("missing");
    assert_refused(read_images(&missing), &["cannot read", missing.to_str().unwrap()]);
    assert_refused(read_labels(folder.path()), &["cannot read", folder.path().to_str().unwrap()]);
}

#[test]
fn truncated_files_say_what_was_expected_and_what_was_there() {
    let whole = idx(0x803, &[3, 2, 2], &[7; 12]);
    let short = &whole[..20];
    assert_set_refused("train-images-idx3-ubyte", short, &["expected 28 bytes, found 20", "fetch it again"]);
    assert_set_refused("train-images-idx3-ubyte", &gzip(short), &["truncated: expected 28 bytes, found 20"]);
    assert_set_refused("train-images-idx3-ubyte", &whole[..9], &["expected a header of 16 bytes, found 9"]);
    assert_set_refused("t10k-labels-idx1-ubyte", b"", &["expected a header of 8 bytes, found 0"]);
    let packed = gzip(&whole);
    let cut = &packed[..packed.len() - 3];
    assert_set_refused("t10k-images-idx3-ubyte", cut, &["truncated", "the gzip stream ends early"]);
}

#[test]
fn a_damaged_gzip_file_is_refused() {
    let mut packed = gzip(&idx(0x803, &[3, 2, 2], &[7; 12]));
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    assert_set_refused("train-images-idx3-ubyte", &packed, &["damaged gzip file"]);
}

#[test]
fn wrong_magic_numbers_are_refused() {
    let labels = idx(0x801, &[3], &[0, 1, 2]);
    let parts = ["wrong magic number 0x00000801, images have 0x00000803", "this is a file of labels"];
    assert_set_refused("train-images-idx3-ubyte", &labels, &parts);
    let parts = ["wrong magic number 0x50455247", "give an IDX file"];
    assert_set_refused("train-labels-idx1-ubyte", b"PERG and so on", &parts);
}

#[test]
fn trailing_bytes_are_refused() {
    let long = idx(0x801, &[3], &[0, 1, 2, 0]);
    assert_set_refused("train-labels-idx1-ubyte", &long, &["bytes after the 11 that its header promises"]);
    assert_set_refused("train-labels-idx1-ubyte", &gzip(&long), &["has bytes after the 11"]);
    let junk = [gzip(&long[..11]), b"junk after the end".to_vec()].concat();
    assert_set_refused("train-labels-idx1-ubyte", &junk, &["damaged gzip file"]);
}

#[test]
fn headers_that_lie_cost_no_memory() {
    let parts = ["truncated: expected 4294967303 bytes, found 10"];
    assert_set_refused("train-labels-idx1-ubyte", &idx(0x801, &[u32::MAX], &[1, 2]), &parts);
    let vast = idx(0x803, &[u32::MAX; 3], &[1, 2]);
    assert_set_refused("train-images-idx3-ubyte", &vast, &["damaged: its header claims"]);
    assert_set_refused("train-images-idx3-ubyte", &gzip(&vast), &["damaged: its header claims"]);
}

#[test]
fn counts_that_differ_are_refused() {
    let labels = idx(0x801, &[2], &[0, 1]);
    assert_set_refused("train-labels-idx1-ubyte", &labels, &["2 labels for the 3 images of", "train-images"]);
}

#[test]
fn empty_sets_are_refused() {
    assert_set_refused("train-images-idx3-ubyte", &idx(0x803, &[0, 28, 28], &[]), &["holds no images"]);
    assert_set_refused("train-labels-idx1-ubyte", &idx(0x801, &[0], &[]), &["holds no labels"]);
    assert_set_refused("train-images-idx3-ubyte", &idx(0x803, &[3, 0, 28], &[]), &["0 × 28 pixels"]);
}

#[test]
fn test_images_of_another_size_are_refused() {
    let wide = idx(0x803, &[2, 1, 3], &[0; 6]);
    assert_set_refused("t10k-images-idx3-ubyte", &wide, &["1 × 3 pixels but those for training 2 × 2"]);
}

#[test]
fn a_class_met_only_in_testing_is_refused() {
    let labels = idx(0x801, &[2], &[1, 3]);
    assert_set_refused("t10k-labels-idx1-ubyte", &labels, &["label 3 of sample 1 is out of range", "0 to 2"]);
}

#[test]
fn one_label_alone_still_makes_two_classes() {
    let folder = small_set();
    fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(0x801, &[3], &[0; 3])).unwrap();
    assert_eq!(load(folder.path()).unwrap().train.classes(), 2);
}

#[test]
fn rows_are_scaled_and_padded_with_zeros() {
    let train = load(small_set().path()).unwrap().train;
    let rows = train.scaled_rows(0..2, 6).unwrap();
    assert_eq!(rows[..6], [0.0, 0.2, 0.4, 1.0, 0.0, 0.0]);
    assert_eq!(rows[6..], [1.0 / 255.0, 2.0 / 255.0, 3.0 / 255.0, 4.0 / 255.0, 0.0, 0.0]);
    assert_eq!(train.scaled_rows(1..2, 4).unwrap(), rows[6..10]);
    assert!(train.scaled_rows(3..3, 4).unwrap().is_empty());

    assert_refused(train.scaled_rows(2..4, 4), &["/train", "samples 2..4", "there are 3"]);
    assert_refused(train.scaled_rows(0..1, 3), &["rows of 3 floats", "4 features"]);
}

#[test]
fn the_first_samples_keep_their_order_and_classes() {
    let train = load(small_set().path()).unwrap().train;
    let two = train.clone().first(2).unwrap();
    assert_eq!((two.len(), two.classes(), two.labels()), (2, 3, &[0, 2][..]));
    assert_eq!(two.scaled_rows(0..2, 4).unwrap(), train.scaled_rows(0..2, 4).unwrap());
    assert_eq!(train.clone().first(3).unwrap().len(), 3);
    assert_refused(train.clone().first(0), &["first 0 of 3 samples", "ask for 1 to 3"]);
    assert_refused(train.first(4), &["first 4 of 3 samples", "ask for 1 to 3"]);
}

#[test]
fn data_of_the_host_app_is_checked() {
    let reals = |values: &[f32], labels: &[u32]| {
        Dataset::new("graph", 2, 2, Values::Reals(values.to_vec()), labels.to_vec())
    };
    let sound = reals(&[-1.5, 0.0, 2.0, 7.0], &[0, 1]).unwrap();
    assert_eq!(sound.scaled_rows(0..2, 3).unwrap(), [-1.5, 0.0, 0.0, 2.0, 7.0, 0.0]);

    assert_refused(reals(&[0.0, 1.0, 2.0, f32::NAN], &[0, 1]), &["graph", "feature 1 of sample 1 is NaN"]);
    assert_refused(reals(&[0.0, f32::INFINITY, 2.0, 3.0], &[0, 1]), &["feature 1 of sample 0 is inf"]);
    assert_refused(reals(&[0.0, 1.0, 2.0], &[0, 1]), &["3 values for 2 labels", "2 samples × 2 features"]);
    assert_refused(reals(&[0.0, 1.0], &[2]), &["label 2 of sample 0 is out of range"]);
    assert_refused(reals(&[], &[]), &["0 samples"]);
    assert_refused(Dataset::new("one", 1, 1, Values::Pixels(vec![0]), vec![0]), &["1 classes", "at least 2"]);
}

/// Any image file with at most a few hundred pixels.
fn images() -> impl Strategy<Value = Images> {
    (1_usize..6, 1_usize..8, 1_usize..8).prop_flat_map(|(count, rows, cols)| {
        let pixels = prop::collection::vec(any::<u8>(), count * rows * cols);
        pixels.prop_map(move |pixels| Images { count, rows, cols, pixels })
    })
}

fn image_bytes(images: &Images) -> Vec<u8> {
    idx(0x803, &[images.count as u32, images.rows as u32, images.cols as u32], &images.pixels)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn images_survive_a_round_trip(images in images(), packed: bool) {
        let bytes = image_bytes(&images);
        let (_folder, path) = file(&if packed { gzip(&bytes) } else { bytes });
        prop_assert_eq!(read_images(&path).unwrap(), images);
    }

    #[test]
    fn labels_survive_a_round_trip(labels in prop::collection::vec(any::<u8>(), 1..200), packed: bool) {
        let bytes = idx(0x801, &[labels.len() as u32], &labels);
        let (_folder, path) = file(&if packed { gzip(&bytes) } else { bytes });
        prop_assert_eq!(read_labels(&path).unwrap(), labels);
    }

    #[test]
    fn a_cut_anywhere_is_an_error(images in images(), packed: bool) {
        let bytes = image_bytes(&images);
        let whole = if packed { gzip(&bytes) } else { bytes };
        let (_folder, path) = file(&whole);
        for length in (0..whole.len()).rev() {
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
            let message = read_images(&path).unwrap_err().to_string();
            prop_assert!(message.contains("truncated"), "{length} of {} bytes: {message}", whole.len());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), packed: bool) {
        let (_folder, path) = file(&if packed { gzip(&bytes) } else { bytes });
        let _ = read_images(&path);
        let _ = read_labels(&path);
    }
}
