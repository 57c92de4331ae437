//! The f64 CPU twin of every kernel, same family and function names, written to be read.
