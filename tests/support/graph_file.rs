//! A small graph in a file, for tests that read one.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use dualstep::data::{DataSource, Split};
use safetensors::tensor::{Dtype, TensorView, serialize};
use tempfile::TempDir;

/// A graph as a file holds it: six nodes, three features, two classes; node 4 has no label.
pub struct File {
    metadata: HashMap<String, String>,
    tensors: Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>,
}

pub fn small() -> File {
    let metadata = [("nodes", "6"), ("features", "3"), ("classes", "2")];
    let signed = |values: &[i32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let short = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    File {
        metadata: metadata.map(|(key, value)| (key.into(), value.into())).into(),
        tensors: vec![
            ("feature_indptr", Dtype::I32, vec![7], signed(&[0, 1, 3, 3, 4, 5, 7])),
            ("feature_indices", Dtype::U16, vec![7], short(&[0, 1, 2, 0, 1, 0, 2])),
            ("edges", Dtype::U16, vec![2, 2], short(&[0, 1, 2, 5])),
            ("labels", Dtype::U8, vec![6], vec![0, 1, 0, 1, 255, 0]),
        ],
    }
}

impl File {
    #[allow(dead_code)] // not every test changes it
    pub fn replace(mut self, name: &str, shape: &[usize], bytes: Vec<u8>) -> Self {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
        (tensor.2, tensor.3) = (shape.to_vec(), bytes);
        self
    }

    #[allow(dead_code)]
    pub fn add(mut self, name: &'static str, dtype: Dtype, bytes: Vec<u8>) -> Self {
        self.tensors.push((name, dtype, vec![bytes.len() * 8 / dtype.bitsize()], bytes));
        self
    }

    #[allow(dead_code)]
    pub fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.0 != name);
        self
    }

    #[allow(dead_code)]
    pub fn say(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// The file, and the folder that it goes with.
    pub fn write(self) -> (TempDir, PathBuf) {
        let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let bytes = serialize(views, Some(self.metadata)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.safetensors");
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    /// The data set that it is, by its path and what follows that.
    #[allow(dead_code)]
    pub fn load(self, suffix: &str) -> Result<Split, dualstep::Error> {
        let (_folder, path) = self.write();
        format!("{}{suffix}", path.display()).parse::<DataSource>().unwrap().load()
    }
}
