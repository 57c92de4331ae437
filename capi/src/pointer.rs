//! Pointers from C: turned into references, texts and slices here, and nowhere else.
//!
//! What can be checked is: NULL, alignment, lengths that no memory has, texts that are not UTF-8, sizes of structures. What
//! cannot be checked C promises, in the head of `dualstep.h`: that there is memory behind a pointer, of the length given,
//! and that nobody writes to it during the call.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::slice;

use crate::error::Fault;
use crate::error::dualstep_status::*;

/// The pointers of one call. What they point to is borrowed from this, hence no longer than the call lasts.
#[derive(Debug)]
pub struct Pointers(());

/// Larger sizes of structures are taken for memory that nobody initialised.
const LARGEST: usize = 4096;

/// A structure of C's whose later versions have more fields at the end.
///
/// # Safety
/// It is `repr(C)`, its first field is a `usize`, and any initialised bytes are one.
pub unsafe trait Versioned: Copy {
    /// What C calls it.
    const NAME: &'static str;
    /// Where the last field of its first version ends.
    const LEAST: usize;
    /// Where its last field ends. There must be nothing after it: a later field would come to lie where programs of today
    /// leave what is in their memory.
    const END: usize;

    /// Its values where C says nothing else; `size` is that of this version.
    fn standard() -> Self;
}

/// Where a field of a structure ends.
macro_rules! end {
    ($field:ident: $kind:ty) => {
        std::mem::offset_of!(Self, $field) + size_of::<$kind>()
    };
}
pub(crate) use end;

impl Pointers {
    /// Pointers that C handed over.
    ///
    /// # Safety
    /// What its methods are given is as the head of `dualstep.h` asks.
    pub unsafe fn new() -> Self {
        Self(())
    }

    /// A text.
    pub fn text(&self, name: &str, from: *const c_char) -> Result<&str, Fault> {
        not_null(name, from)?;
        // SAFETY: not NULL, and so a text that ends with a NUL, by C's promise.
        let text = unsafe { CStr::from_ptr(from) };
        text.to_str().map_err(|_| Fault::argument(format!("{name} is not UTF-8")))
    }

    /// A text, or none.
    pub fn optional_text(&self, name: &str, from: *const c_char) -> Result<Option<&str>, Fault> {
        if from.is_null() { Ok(None) } else { self.text(name, from).map(Some) }
    }

    /// So many values. NULL is allowed for none.
    pub fn slice<T: Copy>(&self, name: &str, from: *const T, count: usize) -> Result<&[T], Fault> {
        if count == 0 {
            return Ok(&[]);
        }
        check(name, from, count)?;
        // SAFETY: not NULL, aligned and of a length that memory can have; by C's promise it is there and stays as it is.
        Ok(unsafe { slice::from_raw_parts(from, count) })
    }

    /// Room for so many values. NULL is allowed for none.
    pub fn room<T>(&self, name: &str, to: *mut T, count: usize) -> Result<Room<'_, T>, Fault> {
        if count > 0 {
            check(name, to, count)?;
        }
        Ok(Room { to, count, _call: PhantomData })
    }

    /// Where a result goes. It is `otherwise` until [`Place::put`], whatever goes wrong.
    pub fn result<T: Copy>(&self, name: &str, to: *mut T, otherwise: T) -> Result<Place<'_, T>, Fault> {
        check(name, to, 1)?;
        let place = Place { to, _call: PhantomData };
        place.put(otherwise);
        Ok(place)
    }

    /// A structure as C filled it in, of this version or an older one, or of a newer one that asks for nothing new; NULL is
    /// allowed and means all that is standard.
    pub fn settings<T: Versioned>(&self, from: *const T) -> Result<T, Fault> {
        let mut settings = T::standard();
        if from.is_null() {
            return Ok(settings);
        }
        let size = self.size_of(from)?;
        // SAFETY: `size` bytes of C's are initialised, by its promise; any bytes are a T, which has no fewer than are copied.
        unsafe {
            let known = size.min(size_of::<T>());
            from.cast::<u8>().copy_to_nonoverlapping((&raw mut settings).cast(), known);
        }
        let tail = self.slice(T::NAME, from.cast::<u8>(), size)?.get(size_of::<T>()..).unwrap_or_default();
        if tail.iter().any(|byte| *byte != 0) {
            let message = format!("{}: its last fields are of a later version of dualstep", T::NAME);
            return Err(Fault::new(DUALSTEP_ERROR_VERSION, message));
        }
        Ok(settings)
    }

    /// Fills a structure of C's in, as much of it as C has; what a newer version has more becomes zero.
    pub fn fill<T: Versioned>(&self, to: *mut T, value: &T) -> Result<(), Fault> {
        let size = self.size_of(to.cast_const())?;
        let bytes = to.cast::<u8>();
        let after_size = size_of::<usize>();
        // SAFETY: C has `size` bytes here, by its promise, and so many at most are written. The field `size` stays.
        unsafe {
            let known = size.min(size_of::<T>());
            let from = (&raw const *value).cast::<u8>();
            from.add(after_size).copy_to_nonoverlapping(bytes.add(after_size), known - after_size);
            bytes.add(known).write_bytes(0, size - known);
        }
        Ok(())
    }

    /// Calls a function of C's.
    pub fn call<T>(
        &self,
        function: unsafe extern "C" fn(*const T, *mut c_void) -> c_int,
        argument: &T,
        user: *mut c_void,
    ) -> c_int {
        // SAFETY: a function that takes such arguments and returns, by C's promise.
        unsafe { function(argument, user) }
    }

    /// What the first field of a structure says.
    fn size_of<T: Versioned>(&self, structure: *const T) -> Result<usize, Fault> {
        const { assert!(T::END == size_of::<T>(), "a field more at the end, of four bytes") };
        check(T::NAME, structure, 1)?;
        // SAFETY: aligned, and by C's promise its first field is there and initialised.
        let size = unsafe { structure.cast::<usize>().read() };
        if (T::LEAST..=LARGEST).contains(&size) {
            return Ok(size);
        }
        Err(Fault::argument(format!("{0}: size = {size}; set it to sizeof({0}) first", T::NAME)))
    }
}

/// Room of C's for values.
#[derive(Debug)]
pub struct Room<'a, T> {
    to: *mut T,
    count: usize,
    _call: PhantomData<&'a mut [T]>,
}

impl<T: Copy> Room<'_, T> {
    /// How many values it has room for.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Fills it.
    ///
    /// # Panics
    /// If there are not as many values.
    pub fn put(&self, values: &[T]) {
        assert_eq!(values.len(), self.count, "values and the room for them");
        // SAFETY: checked when this was made; by C's promise the memory is there and nobody else's.
        unsafe { values.as_ptr().copy_to(self.to, self.count) }
    }
}

/// A place of C's for a result.
#[derive(Debug)]
pub struct Place<'a, T> {
    to: *mut T,
    _call: PhantomData<&'a mut T>,
}

impl<T: Copy> Place<'_, T> {
    /// Puts the result there.
    pub fn put(&self, value: T) {
        // SAFETY: checked when this was made; by C's promise the memory is there and nobody else's.
        unsafe { self.to.write(value) }
    }
}

/// An enum of C's, whose codes C hands over as numbers.
pub trait Codes: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The number.
    fn number(self) -> u32;
}

/// Says what the codes of an enum are. One that is forgotten does not compile.
macro_rules! codes {
    ($name:ident: $($code:ident),+ $(,)?) => {
        impl $crate::pointer::Codes for $name {
            const ALL: &'static [Self] = &[$(Self::$code),+];

            fn number(self) -> u32 {
                match self {
                    $(Self::$code => Self::$code as u32),+
                }
            }
        }
    };
}
pub(crate) use codes;

/// A number from C that should be one of an enum's codes. It looks to C like the enum.
#[repr(transparent)]
#[derive(Debug)]
pub struct Code<E>(u32, PhantomData<E>);

impl<E> Clone for Code<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Code<E> {}

impl<E: Codes> Code<E> {
    /// What it stands for; `name` is that of the setting.
    pub fn get(self, name: &str) -> Result<E, Fault> {
        let found = E::ALL.iter().find(|code| code.number() == self.0);
        found
            .copied()
            .ok_or_else(|| Fault::argument(format!("{name} = {}, which is no code of its enum", self.0)))
    }
}

impl<E: Codes> From<E> for Code<E> {
    fn from(value: E) -> Self {
        Self(value.number(), PhantomData)
    }
}

fn not_null<T>(name: &str, pointer: *const T) -> Result<(), Fault> {
    match pointer.is_null() {
        true => Err(Fault::new(DUALSTEP_ERROR_NULL, format!("{name} is NULL"))),
        false => Ok(()),
    }
}

fn check<T>(name: &str, pointer: *const T, count: usize) -> Result<(), Fault> {
    not_null(name, pointer)?;
    if !pointer.is_aligned() {
        return Err(Fault::argument(format!("{name} is not aligned to {} bytes", align_of::<T>())));
    }
    match count.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes <= isize::MAX as usize) {
        true => Ok(()),
        false => Err(Fault::argument(format!("{name}: no memory holds {count} values"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure that has grown by its last field.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Grown {
        size: usize,
        old: u64,
        new: u64,
    }

    // SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
    unsafe impl Versioned for Grown {
        const NAME: &'static str = "grown";
        const LEAST: usize = end!(old: u64);
        const END: usize = end!(new: u64);

        fn standard() -> Self {
            Self { size: size_of::<Self>(), old: 1, new: 2 }
        }
    }

    fn pointers() -> Pointers {
        // SAFETY: tests hand over what C would.
        unsafe { Pointers::new() }
    }

    #[test]
    fn an_older_program_knows_nothing_of_new_fields() {
        // What lies behind its structure is not the library's to read or write.
        let mut older = Grown { size: Grown::LEAST, old: 7, new: 99 };
        assert_eq!(
            pointers().settings(&raw const older).unwrap(),
            Grown { size: Grown::LEAST, old: 7, new: 2 }
        );
        pointers().fill(&raw mut older, &Grown { size: 0, old: 5, new: 6 }).unwrap();
        assert_eq!(older, Grown { size: Grown::LEAST, old: 5, new: 99 });
    }

    #[test]
    fn a_newer_program_may_not_use_what_this_library_does_not_know() {
        #[repr(C)]
        struct Newer {
            known: Grown,
            unknown: u64,
        }
        let size = size_of::<Newer>();
        let mut newer = Newer { known: Grown { size, old: 7, new: 8 }, unknown: 9 };
        let known = (&raw mut newer).cast::<Grown>();
        let refused = pointers().settings(known.cast_const()).unwrap_err();
        assert_eq!(refused.status(), DUALSTEP_ERROR_VERSION);
        pointers().fill(known, &Grown::standard()).unwrap();
        assert_eq!((newer.known, newer.unknown), (Grown { size, old: 1, new: 2 }, 0));
        assert!(pointers().settings(known.cast_const()).is_ok());
    }

    #[test]
    fn sizes_that_nobody_set_are_refused() {
        for size in [0, Grown::LEAST - 1, LARGEST + 1, usize::MAX] {
            let strange = Grown { size, ..Grown::standard() };
            let refused = pointers().settings(&raw const strange).unwrap_err();
            assert_eq!(refused.status(), DUALSTEP_ERROR_ARGUMENT, "{size}");
        }
    }
}
