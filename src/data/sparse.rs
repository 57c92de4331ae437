//! Matrices most of whose elements are zero, by the others.
//!
//! Bags of words come as such from [`graph`](super::graph), and stay so up to the device.

use std::ops::Range;

/// From how many elements for each entry on a matrix is kept by its entries: see [`SparseRows::pays`].
const ELEMENTS_PER_ENTRY: usize = 16;

/// A matrix by its entries, row after row: those of row r are at `starts[r]..starts[r + 1]`, columns ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    /// Rows + 1 places; the last is the number of entries.
    pub starts: Vec<u32>,
    /// Column of each entry.
    pub columns: Vec<u32>,
    /// Value of each entry.
    pub values: Vec<f32>,
}

impl Default for SparseRows {
    /// No rows.
    fn default() -> Self {
        Self { starts: vec![0], columns: Vec::new(), values: Vec::new() }
    }
}

impl SparseRows {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.values.len()
    }

    /// Columns and values of one row's entries.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (u32, f32)> {
        let entries = self.starts[row] as usize..self.starts[row + 1] as usize;
        self.columns[entries.clone()].iter().copied().zip(self.values[entries].iter().copied())
    }

    /// Adds a row at the end. The entries come in ascending order of columns.
    pub fn push(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) {
        for (column, value) in entries {
            self.columns.push(column);
            self.values.push(value);
        }
        self.starts.push(self.columns.len() as u32);
    }

    /// Whether products are cheaper by the entries of a matrix of so many columns than by all of its elements.
    ///
    /// An element of a dense matrix is read once for each tile of a product, and what it meets is shared by the tile's
    /// other rows. An entry is read with its column, and brings a row of the other operand with it, which nobody shares:
    /// about sixteen times the bytes at the widths of hidden layers.
    pub fn pays(&self, columns: usize) -> bool {
        self.entries().saturating_mul(ELEMENTS_PER_ENTRY) <= self.rows().saturating_mul(columns)
    }

    /// Some rows, zeros and all, each in the first of `stride` elements.
    ///
    /// # Panics
    /// If they are not there, or a column is beyond the stride.
    pub fn dense(&self, rows: Range<usize>, stride: usize) -> Vec<f32> {
        let mut values = vec![0.0; rows.len() * stride];
        for (dense, row) in values.chunks_exact_mut(stride.max(1)).zip(rows) {
            self.row(row).for_each(|(column, value)| dense[column as usize] = value);
        }
        values
    }

    /// Some rows, in this order.
    ///
    /// # Panics
    /// If one is not there.
    pub fn pick(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let mut picked = Self::default();
        rows.into_iter().for_each(|row| picked.push(self.row(row)));
        picked
    }

    /// The transpose of this matrix, which has so many columns.
    ///
    /// # Panics
    /// If a column is not below that.
    pub fn transpose(&self, columns: usize) -> Self {
        let mut starts = vec![0u32; columns + 1];
        self.columns.iter().for_each(|column| starts[*column as usize + 1] += 1);
        (0..columns).for_each(|column| starts[column + 1] += starts[column]);
        let mut next = starts.clone();
        let mut turned = Self { starts, columns: vec![0; self.entries()], values: vec![0.0; self.entries()] };
        for row in 0..self.rows() {
            for (column, value) in self.row(row) {
                let place = next[column as usize] as usize;
                (turned.columns[place], turned.values[place]) = (row as u32, value);
                next[column as usize] += 1;
            }
        }
        turned
    }

    /// The first thing that makes this no matrix of `features` columns in which each row is a sample, in words.
    pub(crate) fn fault(&self, features: usize) -> Option<String> {
        let (entries, ends) = (self.values.len(), self.starts.last().copied());
        if self.starts.first() != Some(&0)
            || !self.starts.is_sorted()
            || ends.map(|end| end as usize) != Some(entries)
        {
            return Some(format!(
                "the starts of rows do not ascend from 0 to the number of entries, {entries}"
            ));
        }
        if self.columns.len() != entries {
            return Some(format!("{} columns for {entries} values", self.columns.len()));
        }
        (0..self.rows()).find_map(|sample| self.row_fault(sample, features))
    }

    fn row_fault(&self, sample: usize, features: usize) -> Option<String> {
        let mut least = 0;
        for (feature, value) in self.row(sample) {
            if feature as usize >= features {
                return Some(format!("sample {sample} has feature {feature}, but there are {features}"));
            }
            if feature < least {
                return Some(format!(
                    "the features of sample {sample} do not ascend at {feature}; each may be there once"
                ));
            }
            if !value.is_finite() {
                return Some(format!("sample {sample}, feature {feature} is {value}; remove or repair it"));
            }
            least = feature + 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> SparseRows {
        SparseRows {
            starts: vec![0, 2, 2, 5],
            columns: vec![1, 3, 0, 1, 2],
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0],
        }
    }

    #[test]
    fn rows_are_picked_turned_and_filled() {
        let rows = small();
        assert_eq!(rows.dense(0..3, 5), [0., 1., 0., 2., 0., 0., 0., 0., 0., 0., 3., 4., 5., 0., 0.]);
        assert_eq!(rows.pick([2, 0]).dense(0..2, 4), [3., 4., 5., 0., 0., 1., 0., 2.]);
        let turned = rows.transpose(4);
        assert_eq!(turned.dense(0..4, 3), [0., 0., 3., 1., 0., 4., 0., 0., 5., 2., 0., 0.]);
        assert_eq!(turned.transpose(3), rows);
        assert_eq!(rows.transpose(6).rows(), 6, "columns without entries are there too");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let broken = |change: fn(&mut SparseRows), part: &str| {
            let mut rows = small();
            change(&mut rows);
            let fault = rows.fault(4).unwrap();
            assert!(fault.contains(part), "no `{part}` in: {fault}");
        };
        assert_eq!(small().fault(4), None);
        broken(|rows| rows.starts[0] = 1, "ascend from 0");
        broken(|rows| rows.starts[1] = 6, "ascend from 0");
        broken(|rows| rows.starts.clear(), "ascend from 0");
        broken(|rows| rows.values.truncate(4), "number of entries, 4");
        broken(|rows| rows.columns.truncate(4), "4 columns for 5 values");
        broken(|rows| rows.columns[1] = 4, "sample 0 has feature 4, but there are 4");
        broken(|rows| rows.columns[3] = 0, "sample 2 do not ascend at 0");
        broken(|rows| rows.values[4] = f32::NAN, "sample 2, feature 2 is NaN");
    }

    #[test]
    fn few_entries_pay() {
        assert!(!small().pays(4));
        assert!(small().pays(27), "5 entries among 81 elements");
        assert!(!small().pays(26));
    }
}
