//! dualstep from C: what `dualstep.h` declares.
//!
//! ```text
//! gpu, tensor, optimizer, nm, data, settings, training    the entries, and the structures they take
//!    |
//! error                                                   statuses, messages, the guard that every entry runs in
//! handle                                                  what C holds in place of objects
//! pointer                                                 what C's pointers become; all that is unsafe
//! ```
//!
//! An entry turns arguments into the library's own types, calls it, and turns what comes back into C's: algorithms are all
//! the library's. What always holds: nothing unwinds into C; a result is written only when a call succeeds, and its place is
//! NULL or zero otherwise; structures only grow, at their end ([`pointer::Versioned`]); no number that C hands over becomes an
//! enum before it was looked at ([`pointer::Code`]). `tests/header.rs` writes the header from these sources.
#![allow(non_camel_case_types)] // they are C's
#![allow(clippy::missing_safety_doc)] // the head of the header says once what every call asks of its pointers
#![allow(clippy::not_unsafe_ptr_arg_deref)] // handles are not followed

pub mod data;
pub mod error;
pub mod gpu;
pub mod handle;
pub mod nm;
pub mod optimizer;
pub mod pointer;
pub mod settings;
pub mod tensor;
pub mod training;
