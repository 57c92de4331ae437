//! What a call returns, and what the last one that failed has to say.
//!
//! Every entry of the interface runs its body in [`guarded`] or [`with_pointers`]: nothing unwinds into C, and whatever goes
//! wrong becomes a [`dualstep_status`] and a message for the calling thread.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use dualstep::Error;

use crate::pointer::Pointers;

/// How a call ended. Its number never changes; later versions may add others.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_status {
    /// It did what it is for.
    DUALSTEP_OK = 0,
    /// A pointer is NULL that must not be.
    DUALSTEP_ERROR_NULL = 1,
    /// A handle is none of this library's, of another kind, or freed.
    DUALSTEP_ERROR_HANDLE = 2,
    /// Another call with the same handle is under way, on another thread or around the callback that this one is made from.
    /// Nothing was done; call again later.
    DUALSTEP_ERROR_BUSY = 3,
    /// An argument cannot be what it is: a number of bytes, a text that is not UTF-8, a code that no enum has.
    DUALSTEP_ERROR_ARGUMENT = 4,
    /// A structure says something that only later versions of this library know.
    DUALSTEP_ERROR_VERSION = 5,
    /// A callback asked for an early end.
    DUALSTEP_STOPPED = 6,
    /// No adapter is what was asked for.
    DUALSTEP_ERROR_NO_ADAPTER = 10,
    /// The adapter refused, or lacks something that is needed.
    DUALSTEP_ERROR_DEVICE = 11,
    /// The device was lost. Free what belongs to it, open it again, and go on from a checkpoint.
    DUALSTEP_ERROR_DEVICE_FAULT = 12,
    /// Shapes or storage types of tensors disagree.
    DUALSTEP_ERROR_SHAPE = 13,
    /// A tensor that is written shares its memory with another one.
    DUALSTEP_ERROR_ALIASED = 14,
    /// It exceeds what the device allows.
    DUALSTEP_ERROR_LIMIT = 15,
    /// The device's driver refused a kernel.
    DUALSTEP_ERROR_SHADER = 16,
    /// Tensors are used in a way they cannot be.
    DUALSTEP_ERROR_PLAN = 17,
    /// A value was NaN or infinite. The state before it is kept.
    DUALSTEP_ERROR_NOT_FINITE = 18,
    /// Samples are not usable.
    DUALSTEP_ERROR_SAMPLES = 19,
    /// A setting is out of its range.
    DUALSTEP_ERROR_SETTING = 20,
    /// A data set is not what it should be.
    DUALSTEP_ERROR_DATA = 21,
    /// A checkpoint cannot be used.
    DUALSTEP_ERROR_CHECKPOINT = 22,
    /// A file cannot be read or written.
    DUALSTEP_ERROR_IO = 23,
    /// The library is at fault. The handle that the call was made with refuses all others; free it.
    DUALSTEP_ERROR_INTERNAL = 99,
}

use dualstep_status::*;

/// A call that fails: why, for programs and for people.
#[derive(Debug)]
pub struct Fault {
    status: dualstep_status,
    message: String,
}

impl Fault {
    /// A failure with a message of one line.
    pub fn new(status: dualstep_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// An argument that cannot be what it is.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(DUALSTEP_ERROR_ARGUMENT, message)
    }

    /// Why, for programs.
    pub fn status(&self) -> dualstep_status {
        self.status
    }

    /// A panic that was caught.
    fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let words = payload.downcast_ref::<&str>().copied();
        let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let words = words.unwrap_or("a panic without words");
        Self::new(DUALSTEP_ERROR_INTERNAL, format!("dualstep is at fault, please report it: {words}"))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NoAdapter { .. } => DUALSTEP_ERROR_NO_ADAPTER,
            Error::Device { .. } => DUALSTEP_ERROR_DEVICE,
            Error::DeviceFault { .. } => DUALSTEP_ERROR_DEVICE_FAULT,
            Error::Shape { .. } => DUALSTEP_ERROR_SHAPE,
            Error::Aliased { .. } => DUALSTEP_ERROR_ALIASED,
            Error::Limit { .. } => DUALSTEP_ERROR_LIMIT,
            Error::Shader { .. } => DUALSTEP_ERROR_SHADER,
            Error::Plan { .. } => DUALSTEP_ERROR_PLAN,
            Error::NotFinite { .. } => DUALSTEP_ERROR_NOT_FINITE,
            Error::Samples { .. } => DUALSTEP_ERROR_SAMPLES,
            Error::Setting { .. } => DUALSTEP_ERROR_SETTING,
            Error::Data { .. } => DUALSTEP_ERROR_DATA,
            Error::Checkpoint { .. } => DUALSTEP_ERROR_CHECKPOINT,
            Error::Io { .. } => DUALSTEP_ERROR_IO,
            // A variant that this interface does not know yet; its words say what it is.
            _ => DUALSTEP_ERROR_INTERNAL,
        };
        Self::new(status, error.to_string())
    }
}

thread_local! {
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Runs the body of an entry that looks at no pointers but handles.
pub fn guarded(body: impl FnOnce() -> Result<(), Fault>) -> dualstep_status {
    // What a panic left half done is behind a lock, which it poisons: see `handle::exclusive`.
    let outcome = catch_unwind(AssertUnwindSafe(body));
    match outcome.unwrap_or_else(|payload| Err(Fault::from_panic(&*payload))) {
        Ok(()) => DUALSTEP_OK,
        Err(fault) => {
            remember(fault.message);
            fault.status
        }
    }
}

/// Runs the body of an entry that is given pointers, which the body reaches through [`Pointers`] alone.
///
/// # Safety
/// The pointers that the body hands to [`Pointers`] are what the head of `dualstep.h` asks of them.
pub unsafe fn with_pointers(body: impl FnOnce(&Pointers) -> Result<(), Fault>) -> dualstep_status {
    // SAFETY: passed on to the caller.
    let pointers = unsafe { Pointers::new() };
    guarded(|| body(&pointers))
}

fn remember(message: String) {
    // No message of ours holds a NUL; one of a driver's might.
    let text = CString::new(message.replace('\0', " ")).ok();
    // A thread that is ending has nobody left to ask.
    let _ = LAST.try_with(|last| last.replace(text));
}

/// What the last call that failed on this thread has to say, in one line of UTF-8 or, where a driver speaks, several; an
/// empty text if none has failed. Never NULL. It stays valid, and the same, until the next call that fails on this thread:
/// calls that succeed, such as those that free what a failed one leaves behind, do not touch it.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_last_error_message() -> *const c_char {
    let message = LAST.try_with(|last| last.borrow().as_ref().map(|text| text.as_ptr()));
    message.ok().flatten().unwrap_or(c"".as_ptr())
}

/// The name of a status, such as "DUALSTEP_ERROR_NULL"; "unknown" for a number that is none. Static.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_status_name(status: i32) -> *const c_char {
    const ALL: [(dualstep_status, &CStr); 22] = [
        (DUALSTEP_OK, c"DUALSTEP_OK"),
        (DUALSTEP_ERROR_NULL, c"DUALSTEP_ERROR_NULL"),
        (DUALSTEP_ERROR_HANDLE, c"DUALSTEP_ERROR_HANDLE"),
        (DUALSTEP_ERROR_BUSY, c"DUALSTEP_ERROR_BUSY"),
        (DUALSTEP_ERROR_ARGUMENT, c"DUALSTEP_ERROR_ARGUMENT"),
        (DUALSTEP_ERROR_VERSION, c"DUALSTEP_ERROR_VERSION"),
        (DUALSTEP_STOPPED, c"DUALSTEP_STOPPED"),
        (DUALSTEP_ERROR_NO_ADAPTER, c"DUALSTEP_ERROR_NO_ADAPTER"),
        (DUALSTEP_ERROR_DEVICE, c"DUALSTEP_ERROR_DEVICE"),
        (DUALSTEP_ERROR_DEVICE_FAULT, c"DUALSTEP_ERROR_DEVICE_FAULT"),
        (DUALSTEP_ERROR_SHAPE, c"DUALSTEP_ERROR_SHAPE"),
        (DUALSTEP_ERROR_ALIASED, c"DUALSTEP_ERROR_ALIASED"),
        (DUALSTEP_ERROR_LIMIT, c"DUALSTEP_ERROR_LIMIT"),
        (DUALSTEP_ERROR_SHADER, c"DUALSTEP_ERROR_SHADER"),
        (DUALSTEP_ERROR_PLAN, c"DUALSTEP_ERROR_PLAN"),
        (DUALSTEP_ERROR_NOT_FINITE, c"DUALSTEP_ERROR_NOT_FINITE"),
        (DUALSTEP_ERROR_SAMPLES, c"DUALSTEP_ERROR_SAMPLES"),
        (DUALSTEP_ERROR_SETTING, c"DUALSTEP_ERROR_SETTING"),
        (DUALSTEP_ERROR_DATA, c"DUALSTEP_ERROR_DATA"),
        (DUALSTEP_ERROR_CHECKPOINT, c"DUALSTEP_ERROR_CHECKPOINT"),
        (DUALSTEP_ERROR_IO, c"DUALSTEP_ERROR_IO"),
        (DUALSTEP_ERROR_INTERNAL, c"DUALSTEP_ERROR_INTERNAL"),
    ];
    let found = ALL.iter().find(|(known, _)| *known as i32 == status);
    found.map_or(c"unknown", |(_, name)| name).as_ptr()
}

/// The version of the library that is linked, such as "0.1.0". Static.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> String {
        // SAFETY: never NULL, and no call fails meanwhile.
        unsafe { CStr::from_ptr(dualstep_last_error_message()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(guarded(|| panic!("of {}", 2 + 2)), DUALSTEP_ERROR_INTERNAL);
        assert!(said().ends_with("of 4"), "{}", said());
        assert_eq!(guarded(|| std::panic::panic_any(5)), DUALSTEP_ERROR_INTERNAL);
        assert!(said().ends_with("a panic without words"), "{}", said());
    }

    #[test]
    fn a_message_stays_until_the_next() {
        guarded(|| Err(Fault::argument("first\0one")));
        guarded(|| Ok(()));
        assert_eq!(said(), "first one");
        std::thread::spawn(|| assert_eq!(said(), "")).join().unwrap();
    }
}
