//! Articles of Reuters R8 as numbers of their words, in batches.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Topics of the articles.
pub const CLASSES: [&str; 8] = ["acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade"];

/// What words are called that fill up short articles, and those that are not in the vocabulary.
pub const PADDING: i32 = 0;
pub const UNKNOWN: i32 = 1;

/// Articles, and the class of each.
pub struct Batch {
    pub words: Tensor<2, Int>,
    pub labels: Tensor<1, Int>,
}

/// Articles as the numbers of their words, all of one length.
pub struct Articles {
    length: usize,
    words: Vec<i32>,
    labels: Vec<i32>,
}

impl Articles {
    pub fn new(file: &Path, vocabulary: &Vocabulary, length: usize) -> Result<Self, Box<dyn Error>> {
        let (mut words, mut labels) = (Vec::new(), Vec::new());
        for (label, text) in read_articles(file)? {
            let known = text.split_whitespace().map(|word| vocabulary.number(word));
            words.extend(known.chain(std::iter::repeat(PADDING)).take(length));
            labels.push(label);
        }
        Ok(Self { length, words, labels })
    }

    pub fn count(&self) -> usize {
        self.labels.len()
    }

    pub fn batch(&self, articles: &[usize], device: &Device) -> Batch {
        let row = |&article: &usize| &self.words[article * self.length..][..self.length];
        let words: Vec<i32> = articles.iter().flat_map(row).copied().collect();
        let labels: Vec<i32> = articles.iter().map(|&article| self.labels[article]).collect();
        Batch {
            words: Tensor::from_data(TensorData::new(words, [articles.len(), self.length]), device),
            labels: Tensor::from_data(TensorData::new(labels, [articles.len()]), device),
        }
    }
}

/// The class and the text of each article in a file: three lines of header, then a class, a tab and a text in each.
fn read_articles(file: &Path) -> Result<Vec<(i32, String)>, Box<dyn Error>> {
    let content = std::fs::read_to_string(file).map_err(|error| {
        format!("cannot read {}: {error}; `cargo xtask data reuters` puts it there", file.display())
    })?;
    let lines = content.lines().skip(3).filter(|line| !line.is_empty());
    let article = |line: &str| {
        let (class, text) = line.split_once('\t')?;
        let label = CLASSES.iter().position(|&known| known == class)?;
        Some((label as i32, text.to_string()))
    };
    let refuse = |line: &str| format!("{}: no article of R8: {line}", file.display());
    lines.map(|line| article(line).ok_or_else(|| refuse(line).into())).collect()
}

/// Numbers of words, the most frequent first.
pub struct Vocabulary(HashMap<String, i32>);

impl Vocabulary {
    pub fn new(file: &Path, size: usize) -> Result<Self, Box<dyn Error>> {
        let mut counts = HashMap::<String, usize>::new();
        for (_, text) in read_articles(file)? {
            text.split_whitespace().for_each(|word| *counts.entry(word.into()).or_default() += 1);
        }
        let mut words: Vec<_> = counts.into_iter().collect();
        words.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
        let numbered = words.into_iter().map(|(word, _)| word).zip(UNKNOWN + 1..);
        Ok(Self(numbered.take(size).collect()))
    }

    /// How many numbers there are.
    pub fn size(&self) -> usize {
        self.0.len() + 2
    }

    pub fn number(&self, word: &str) -> i32 {
        self.0.get(word).copied().unwrap_or(UNKNOWN)
    }
}

/// Batches without end: all articles in random order, less those left over at its end, then all in another.
pub struct Batches<'a> {
    articles: &'a Articles,
    size: usize,
    order: Vec<usize>,
    generator: ChaCha8Rng,
    next: usize,
}

impl<'a> Batches<'a> {
    pub fn new(articles: &'a Articles, size: usize, seed: u64) -> Self {
        let order = (0..articles.count()).collect();
        Self { articles, size, order, generator: ChaCha8Rng::seed_from_u64(seed), next: usize::MAX }
    }

    pub fn next(&mut self, device: &Device) -> Batch {
        if self.next.saturating_add(self.size) > self.order.len() {
            self.order.shuffle(&mut self.generator);
            self.next = 0;
        }
        let batch = &self.order[self.next..][..self.size];
        self.next += self.size;
        self.articles.batch(batch, device)
    }
}
