//! The C library's part: the environment, files, and becoming another program. All of this program's `unsafe` is here.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int};
use core::marker::PhantomData;
use core::ptr;

/// Arguments that a changed command may have. A longer one starts unchanged.
const MAX_ARGUMENTS: usize = 512;

/// The arguments of `main`, as the kernel has laid them out.
pub(crate) struct Arguments {
    first: *const *const c_char,
    count: usize,
}

impl Arguments {
    /// # Safety
    ///
    /// `count` and `first` are what C's `main` was called with.
    pub(crate) unsafe fn new(count: c_int, first: *const *const c_char) -> Self {
        Self { first, count: usize::try_from(count).unwrap_or(0) }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, index: usize) -> Option<&'static CStr> {
        // SAFETY: `first` leads to `count` C strings that live as long as the process.
        (index < self.count).then(|| unsafe { CStr::from_ptr(*self.first.add(index)) })
    }

    /// Those from `index` on, with nothing changed.
    pub(crate) fn become_unchanged(&self, index: usize) -> ! {
        if index >= self.count {
            fail(
                c"otel-instrument",
                c": names no program to start; Lambda calls it with the runtime's command line\n",
                126,
            );
        }
        // SAFETY: `index` is inside of the list, which ends with a null pointer.
        unsafe { become_program(self.first.add(index)) }
    }
}

/// A command line of this program's own making.
pub(crate) struct Command<'a> {
    arguments: [*const c_char; MAX_ARGUMENTS],
    count: usize,
    strings: PhantomData<&'a CStr>,
}

impl<'a> Command<'a> {
    pub(crate) fn new() -> Self {
        Self { arguments: [ptr::null(); MAX_ARGUMENTS], count: 0, strings: PhantomData }
    }

    /// None when it is full.
    pub(crate) fn push(&mut self, argument: &'a CStr) -> Option<()> {
        // One place stays null, and ends the list.
        let place = self.arguments.get_mut(..MAX_ARGUMENTS.saturating_sub(1))?.get_mut(self.count)?;
        *place = argument.as_ptr();
        self.count = self.count.saturating_add(1);
        Some(())
    }

    pub(crate) fn become_it(&self) -> ! {
        // SAFETY: C strings that live as long as `self`, with a null pointer behind them. The first is there: see `push`.
        unsafe { become_program(self.arguments.as_ptr()) }
    }
}

/// # Safety
///
/// `argv` holds C strings, and ends with a null pointer.
unsafe fn become_program(argv: *const *const c_char) -> ! {
    // SAFETY: as above. The first string is there: the callers have looked.
    let (program, status) = unsafe {
        let program = *argv;
        libc::execvp(program, argv);
        (CStr::from_ptr(program), if *libc::__errno_location() == libc::ENOENT { 127 } else { 126 })
    };
    fail(program, c": cannot be started by otel-instrument\n", status)
}

pub(crate) fn fail(subject: &CStr, message: &CStr, status: c_int) -> ! {
    for text in [subject, message] {
        // SAFETY: the pointer and the length are one string's.
        unsafe { libc::write(2, text.as_ptr().cast(), text.count_bytes()) };
    }
    // SAFETY: there is nothing to clean up.
    unsafe { libc::_exit(status) }
}

/// The text in front of the first zero. None without one, which is at the end if nowhere else.
pub(crate) fn c_str(bytes: &[u8]) -> Option<&CStr> {
    // SAFETY: the string ends inside of the slice.
    (bytes.last() == Some(&0)).then(|| unsafe { CStr::from_ptr(bytes.as_ptr().cast()) })
}

/// A variable of the environment; none when it is unset or empty.
pub(crate) fn variable(name: &CStr) -> Option<&'static CStr> {
    held(name).filter(|value| !value.is_empty())
}

/// A variable of the environment; none when it is unset.
pub(crate) fn held(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: nothing else runs in this process, and what `set_variable` replaces is not freed.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}

/// None when there is no memory for it.
pub(crate) fn set_variable(name: &CStr, value: &CStr) -> Option<()> {
    // SAFETY: two C strings, which are copied.
    (unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) } == 0).then_some(())
}

pub(crate) fn remove_variable(name: &CStr) {
    // SAFETY: a C string. What points at the value still may: it is not freed.
    unsafe { libc::unsetenv(name.as_ptr()) };
}

pub(crate) fn is_readable(path: &CStr) -> bool {
    // SAFETY: a C string.
    unsafe { libc::access(path.as_ptr(), libc::R_OK) == 0 }
}

/// Beyond the standard streams, Node.js hides files of these numbers from the processes it starts, as it does with those it opens.
const HIDDEN: core::ops::RangeInclusive<u32> = 3..=15;

/// Connects to the abstract socket of this name. What this process becomes inherits the connection, whose writes do not wait.
/// None where nobody listens.
pub(crate) fn connect(name: &[u8]) -> Option<u32> {
    let family = libc::sa_family_t::try_from(libc::AF_UNIX).ok()?;
    let mut address = libc::sockaddr_un { sun_family: family, sun_path: [0; 108] };
    // The first byte stays zero: no file is named.
    for (place, byte) in address.sun_path.iter_mut().skip(1).zip(name) {
        *place = c_char::from_ne_bytes([*byte]);
    }
    let length =
        core::mem::offset_of!(libc::sockaddr_un, sun_path).checked_add(1)?.checked_add(name.len())?;
    let length = libc::socklen_t::try_from(length.min(size_of::<libc::sockaddr_un>())).ok()?;
    // SAFETY: an address of that length, and a socket that nothing else here knows.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        let number = u32::try_from(socket).ok()?;
        if HIDDEN.contains(&number) && libc::connect(socket, (&raw const address).cast(), length) == 0 {
            return Some(number);
        }
        libc::close(socket);
        None
    }
}

/// Reads as much of a file as there is room for, and gives what was read.
pub(crate) fn read<'b>(path: &CStr, buffer: &'b mut [u8]) -> &'b [u8] {
    let mut length = 0;
    // SAFETY: reads into the rest of the buffer, whose length goes with it.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        while let Some(room) = buffer.get_mut(length..)
            && let Ok(read @ 1..) = usize::try_from(libc::read(file, room.as_mut_ptr().cast(), room.len()))
        {
            length = length.saturating_add(read);
        }
        libc::close(file);
    }
    buffer.get(..length).unwrap_or_default()
}
