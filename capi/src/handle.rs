//! Handles: what C holds in place of the library's objects.
//!
//! A handle is the number of a row in one table, dressed as a pointer that nobody ever follows. So a handle that was freed,
//! that is of another kind or that the library never gave out is found out, by looking, without reading memory that may be
//! gone; numbers are not used twice. A call takes hold of its objects before it works with them: what another thread frees
//! meanwhile lives until the call returns.
//!
//! Objects that the library lets several threads use at once are so used. Others lie behind a lock, which a call takes by
//! [`exclusive`] or, if another call has it, fails.

use std::any::Any;
use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use crate::error::Fault;
use crate::error::dualstep_status::*;

/// What a handle can stand for.
pub trait Object: Any + Send + Sync {
    /// What C calls it.
    const KIND: &'static str;
}

/// The first handle. They are odd, as no pointer to a structure is.
const FIRST: usize = 0x1001;

/// The next handle.
static NEXT: AtomicUsize = AtomicUsize::new(FIRST);

/// The objects by their handles.
static TABLE: LazyLock<RwLock<HashMap<usize, Row>>> = LazyLock::new(RwLock::default);

struct Row {
    kind: &'static str,
    object: Arc<dyn Any + Send + Sync>,
}

/// A new handle for an object.
pub fn give<T: Object>(object: T) -> *mut T {
    let number = NEXT.fetch_add(2, Ordering::Relaxed);
    let row = Row { kind: T::KIND, object: Arc::new(object) };
    // Insertions are whole, so a poisoned lock still guards a sound table.
    TABLE.write().unwrap_or_else(PoisonError::into_inner).insert(number, row);
    ptr::without_provenance_mut(number)
}

/// The object that a handle stands for.
pub fn get<T: Object>(handle: *const T) -> Result<Arc<T>, Fault> {
    let number = handle.addr();
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let row = table.get(&number).ok_or_else(|| unknown(T::KIND, number))?;
    Arc::clone(&row.object).downcast().map_err(|_| wrong(T::KIND, row.kind))
}

/// Ends a handle; none is allowed. Its object goes once no call works with it and no other object needs it.
pub fn free<T: Object>(handle: *mut T) -> Result<(), Fault> {
    if handle.is_null() {
        return Ok(());
    }
    get(handle.cast_const())?;
    let row = TABLE.write().unwrap_or_else(PoisonError::into_inner).remove(&handle.addr());
    // Dropped here, outside of the lock. Another thread may have been faster.
    row.map(drop).ok_or_else(|| unknown(T::KIND, handle.addr()))
}

/// Takes an object that one call at a time may use.
pub fn exclusive<'a, T: ?Sized>(kind: &str, lock: &'a Mutex<T>) -> Result<MutexGuard<'a, T>, Fault> {
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            Fault::new(DUALSTEP_ERROR_BUSY, format!("{kind}: another call with this handle is under way"))
        }
        TryLockError::Poisoned(_) => {
            let message = format!("{kind}: an earlier call ended by a fault of dualstep's; free this handle");
            Fault::new(DUALSTEP_ERROR_INTERNAL, message)
        }
    })
}

fn unknown(kind: &str, number: usize) -> Fault {
    if number == 0 {
        return Fault::new(DUALSTEP_ERROR_NULL, format!("the handle of a {kind} is NULL"));
    }
    let was_given = number % 2 == 1 && (FIRST..NEXT.load(Ordering::Relaxed)).contains(&number);
    let what = if was_given { "was freed before" } else { "is none that dualstep gave out" };
    Fault::new(DUALSTEP_ERROR_HANDLE, format!("the handle of a {kind} {what}"))
}

fn wrong(wanted: &str, kind: &str) -> Fault {
    Fault::new(DUALSTEP_ERROR_HANDLE, format!("the handle of a {wanted} is one of a {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Counted(#[allow(dead_code)] Arc<()>);

    impl Object for Counted {
        const KIND: &'static str = "counted";
    }

    #[test]
    fn an_object_lives_as_long_as_its_handle_and_calls_with_it() {
        let alive = Arc::new(());
        let handle = give(Counted(Arc::clone(&alive)));
        let held = get(handle.cast_const()).unwrap();
        free(handle).unwrap();
        assert_eq!(Arc::strong_count(&alive), 2, "a call works with it");
        drop(held);
        assert_eq!(Arc::strong_count(&alive), 1);
        assert!(get(handle.cast_const()).is_err() && free(handle).is_err());
    }

    #[test]
    fn a_lock_that_a_fault_left_behind_refuses() {
        let lock = Mutex::new(0);
        let status = crate::error::guarded(|| {
            let _guard = exclusive("test", &lock)?;
            panic!("half done")
        });
        assert_eq!(status, DUALSTEP_ERROR_INTERNAL);
        assert!(matches!(exclusive("test", &lock), Err(fault) if fault.status() == DUALSTEP_ERROR_INTERNAL));
    }
}
