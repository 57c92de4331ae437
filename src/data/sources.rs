//! Where a data set is taken from: the program itself, the cache folder, a folder or a file of the user's.
//!
//! The command line parses `--data` into a [`DataSource`] and loads it. This file alone knows which files make a
//! set; `idx` and `graph` know what is in one.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::graph::{Graph, Partition};
use super::{Dataset, Split, Values, cache, idx, label_fault};
use crate::Error;

/// The first 10,000 training and first 2,000 test images of Fashion-MNIST, in the order of [`cache::FILES`].
/// `cargo xtask data subset` writes them.
const EMBEDDED: [&[u8]; 4] = [
    include_bytes!("../../data/fashion-mnist-10k/train-images-idx3-ubyte.gz"),
    include_bytes!("../../data/fashion-mnist-10k/train-labels-idx1-ubyte.gz"),
    include_bytes!("../../data/fashion-mnist-10k/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../../data/fashion-mnist-10k/t10k-labels-idx1-ubyte.gz"),
];

/// Classes of the sets known by name.
const KNOWN_CLASSES: usize = 10;

/// Where training and test data come from.
///
/// Parses from `embedded`, `fashion-mnist`, `mnist`, `cora` or `cora@SEED`, a graph's `FILE.safetensors`, perhaps with
/// `@SEED` or `@public` behind it, or else the path of a folder (`./mnist` for a folder of such a name).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DataSource {
    /// 10,000 training and 2,000 test images of Fashion-MNIST that are part of the program.
    #[default]
    Embedded,
    /// All of Fashion-MNIST, 60,000 and 10,000 images, from the cache folder or Debian's package.
    FashionMnist,
    /// All of MNIST, 60,000 and 10,000 images, from the cache folder.
    Mnist,
    /// The papers of Cora by the words they hold, from the cache folder: half of each of seven classes to learn from.
    Cora {
        /// Draws the halves.
        seed: u64,
    },
    /// A folder with the four IDX files under their usual names (`train-images-idx3-ubyte`, also
    /// `train-images.idx3-ubyte`, each with or without `.gz`). It has as many classes as its training labels need.
    Folder(PathBuf),
    /// The nodes of a graph by their own features, in the format of [`graph`](super::graph).
    Graph {
        /// The file.
        path: PathBuf,
        /// Which nodes are learnt from.
        partition: Partition,
    },
}

/// How the name of a graph's file ends.
const GRAPH_ENDING: &str = ".safetensors";

/// The graph that is known by name.
const CORA: &str = "cora";

/// What `text` says if it names a graph.
fn graph(text: &str) -> Option<DataSource> {
    let (path, partition) = match text.rsplit_once('@') {
        Some((CORA, seed)) => return Some(DataSource::Cora { seed: seed.parse().ok()? }),
        Some((path, "public")) => (path, Partition::Public),
        Some((path, seed)) if path.ends_with(GRAPH_ENDING) => {
            (path, Partition::Half { seed: seed.parse().ok()? })
        }
        _ => (text, Partition::Half { seed: 0 }),
    };
    path.ends_with(GRAPH_ENDING).then(|| DataSource::Graph { path: path.into(), partition })
}

impl FromStr for DataSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "embedded" => Self::Embedded,
            "fashion-mnist" => Self::FashionMnist,
            "mnist" => Self::Mnist,
            CORA => Self::Cora { seed: 0 },
            path => graph(path).unwrap_or_else(|| Self::Folder(path.into())),
        })
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::FashionMnist => f.write_str("fashion-mnist"),
            Self::Mnist => f.write_str("mnist"),
            Self::Cora { seed: 0 } => f.write_str(CORA),
            Self::Cora { seed } => write!(f, "{CORA}@{seed}"),
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Graph { path, partition: Partition::Half { seed: 0 } } => path.display().fmt(f),
            Self::Graph { path, partition: Partition::Half { seed } } => {
                write!(f, "{}@{seed}", path.display())
            }
            Self::Graph { path, partition: Partition::Public } => write!(f, "{}@public", path.display()),
        }
    }
}

impl DataSource {
    /// Loads the training and the test set.
    ///
    /// Full sets are looked for in the folder that the environment variable `DUALSTEP_DATA` names, else in
    /// `dualstep` within the platform's cache folder.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; [`Error::Data`] when the set is not there, one of its files is
    /// damaged, or its files do not belong together.
    pub fn load(&self) -> Result<Split, Error> {
        self.load_with_cache(cache::folder().as_deref())
    }

    /// As [`load`](Self::load), with full sets in `cache`; `None` says that there is no such folder.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_cache(&self, cache: Option<&Path>) -> Result<Split, Error> {
        match self {
            Self::Embedded => {
                let file = |i: usize| File {
                    path: Path::new("embedded").join(cache::FILES[i]),
                    bytes: Cow::Borrowed(EMBEDDED[i]),
                };
                self.split([0, 1, 2, 3].map(file), Some(KNOWN_CLASSES))
            }
            Self::FashionMnist => self.load_known(cache, Some(Path::new(cache::FASHION_MNIST_PACKAGED))),
            Self::Mnist => self.load_known(cache, None),
            Self::Folder(folder) => {
                let files = find(folder).map_err(|missing| no_folder(folder, &missing))?;
                self.split(read(files)?, None)
            }
            Self::Cora { seed } => {
                Graph::read(&cached_graph(cache)?)?.split(Partition::Half { seed: *seed }, &self.to_string())
            }
            Self::Graph { path, partition } => Graph::read(path)?.split(*partition, &self.to_string()),
        }
    }

    /// The same source, named so that it is found from any folder.
    ///
    /// # Errors
    /// [`Error::Io`] when its path is empty or the folder that it is relative to is gone.
    pub fn absolute(self) -> Result<Self, Error> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).map_err(|source| Error::Io { action: "find", path, source })
        };
        Ok(match self {
            Self::Folder(folder) => Self::Folder(absolute(folder)?),
            Self::Graph { path, partition } => Self::Graph { path: absolute(path)?, partition },
            known => known,
        })
    }

    /// The same graph with the halves that this seed draws; none where nothing is drawn.
    pub fn with_halves(&self, seed: u64) -> Option<Self> {
        match self {
            Self::Cora { .. } => Some(Self::Cora { seed }),
            Self::Graph { path, partition: Partition::Half { .. } } => {
                Some(Self::Graph { path: path.clone(), partition: Partition::Half { seed } })
            }
            _ => None,
        }
    }

    /// Loads all nodes of a graph with its edges, and how they are divided; none where the source is not a graph.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_graph(&self) -> Result<Option<(Graph, Partition)>, Error> {
        Ok(match self {
            Self::Cora { seed } => {
                let path = cached_graph(cache::folder().as_deref())?;
                Some((Graph::read(&path)?, Partition::Half { seed: *seed }))
            }
            Self::Graph { path, partition } => Some((Graph::read(path)?, *partition)),
            _ => None,
        })
    }

    /// Loads a set known by name from the first of its places that has all four files.
    fn load_known(&self, cache: Option<&Path>, packaged: Option<&Path>) -> Result<Split, Error> {
        let cached = cache.map(|folder| folder.join(self.to_string()));
        let places: Vec<&Path> = cached.as_deref().into_iter().chain(packaged).collect();
        match places.iter().find_map(|place| find(place).ok()) {
            Some(files) => self.split(read(files)?, Some(KNOWN_CLASSES)),
            None => Err(not_fetched(&self.to_string(), cached.as_deref(), &places)),
        }
    }

    /// Makes the two halves of the four files, given in the order of [`cache::FILES`].
    ///
    /// Without `classes`, there are as many as the training labels need: a class met only in the test labels could
    /// not be learnt, so such a label is an error.
    fn split(&self, files: [File; 4], classes: Option<usize>) -> Result<Split, Error> {
        let [train_images, train_labels, test_images, test_labels] = files;
        let train = Half::parse(&train_images, &train_labels)?;
        let test = Half::parse(&test_images, &test_labels)?;
        let size = (train.images.rows, train.images.cols);
        if (test.images.rows, test.images.cols) != size {
            return Err(refuse(
                &test_images.path,
                format!(
                    "its images are {} × {} pixels but those for training {} × {}; use files of one set",
                    test.images.rows, test.images.cols, size.0, size.1
                ),
            ));
        }
        let needed = train.labels.iter().max().map_or(0, |&label| label as usize + 1);
        let classes = classes.unwrap_or(needed.max(2));
        Ok(Split {
            train: train.check(format!("{self}/train"), classes, &train_labels.path)?,
            test: test.check(format!("{self}/test"), classes, &test_labels.path)?,
        })
    }
}

/// Where the graph that is known by name lies.
fn cached_graph(cache: Option<&Path>) -> Result<PathBuf, Error> {
    let folder = cache.map(|folder| folder.join(CORA));
    match folder.as_ref().map(|folder| folder.join(cache::GRAPH_FILE)).filter(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => Err(not_fetched(CORA, folder.as_deref(), &folder.as_deref().into_iter().collect::<Vec<_>>())),
    }
}

fn not_fetched(set: &str, cached: Option<&Path>, places: &[&Path]) -> Error {
    let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    let remedy = match cached {
        Some(_) => format!("run: cargo xtask data {set}"),
        None => format!("no home folder is known: set {} and run: cargo xtask data {set}", cache::VARIABLE),
    };
    let looked = if looked.is_empty() { "nowhere".to_owned() } else { looked.join(" and ") };
    refuse(Path::new(set), format!("the full set is not here (looked in {looked}); {remedy}"))
}

/// A file as it lies on disk or in the program, perhaps gzip, and what errors call it.
struct File {
    path: PathBuf,
    bytes: Cow<'static, [u8]>,
}

/// The images and labels of a training or test set, as found in their files.
struct Half {
    images: idx::Images,
    labels: Vec<u32>,
}

impl Half {
    fn parse(images_file: &File, labels_file: &File) -> Result<Self, Error> {
        let images = idx::parse_images(&images_file.bytes, &images_file.path)?;
        let labels = idx::parse_labels(&labels_file.bytes, &labels_file.path)?;
        if labels.len() != images.count {
            return Err(refuse(
                &labels_file.path,
                format!(
                    "{} labels for the {} images of {}; use files that belong together",
                    labels.len(),
                    images.count,
                    images_file.path.display()
                ),
            ));
        }
        Ok(Self { images, labels: labels.into_iter().map(u32::from).collect() })
    }

    /// The data set, once every label is known to be below `classes`.
    fn check(self, name: String, classes: usize, labels_path: &Path) -> Result<Dataset, Error> {
        if let Some(detail) = label_fault(&self.labels, classes) {
            return Err(refuse(labels_path, detail));
        }
        let features = self.images.rows * self.images.cols;
        Ok(Dataset {
            name,
            features,
            classes,
            values: Values::Pixels(self.images.pixels),
            labels: self.labels,
        })
    }
}

/// The paths of the four files within `folder`, or the name of the first that is missing.
fn find(folder: &Path) -> Result<[PathBuf; 4], String> {
    let mut found: [PathBuf; 4] = Default::default();
    for (slot, name) in found.iter_mut().zip(cache::FILES) {
        let dotted = name.replace("-idx", ".idx");
        let spellings = [format!("{name}.gz"), name.to_owned(), format!("{dotted}.gz"), dotted];
        let path = spellings.iter().map(|spelling| folder.join(spelling)).find(|path| path.is_file());
        *slot = path.ok_or_else(|| name.to_owned())?;
    }
    Ok(found)
}

fn read(paths: [PathBuf; 4]) -> Result<[File; 4], Error> {
    let [a, b, c, d] = paths.map(|path| {
        let bytes = idx::bytes_of(&path)?.into();
        Ok(File { path, bytes })
    });
    Ok([a?, b?, c?, d?])
}

fn no_folder(folder: &Path, missing: &str) -> Error {
    let detail = if folder.is_dir() {
        format!(
            "{missing}(.gz) is missing; a data folder holds {} (each may end in .gz)",
            cache::FILES.join(", ")
        )
    } else {
        "no such folder; --data takes embedded, fashion-mnist, mnist, a folder of IDX files, or FILE.safetensors, \
         FILE.safetensors@SEED or FILE.safetensors@public for a graph"
            .to_owned()
    };
    refuse(folder, detail)
}

fn refuse(path: &Path, detail: String) -> Error {
    Error::Data { path: path.to_owned(), detail }
}
