//! Maps of the kernel as memory of ours.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Bytes that are mapped at once. A map's pages are mapped one by one, which takes longer than what is done with a few of them.
const WINDOW: usize = 1 << 20;

/// A shared mapping of an array map. Programs may write it at any time, hence atomics for what they write. Of a large one, only windows
/// that are used are mapped.
///
/// Whatever reads or writes may panic when the kernel has no memory for a window's page tables, as an allocation would.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    mapped: usize,
    writable: bool,
    /// None: all is mapped.
    windows: Option<Windows>,
}

#[derive(Debug)]
struct Windows {
    fd: OwnedFd,
    mapped: Box<[AtomicBool]>,
}

#[expect(unsafe_code, reason = "a mapping is memory of the process, not of a thread")]
// SAFETY: all access through `&self` is by atomics or to bytes that nobody writes; `&mut self` is exclusive as for any buffer.
unsafe impl Send for Mapping {}
#[expect(unsafe_code, reason = "see Send")]
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a map (or file).
    ///
    /// # Errors
    /// What mmap(2) says; `InvalidInput` for no bytes.
    pub fn new(fd: BorrowedFd<'_>, len: usize, writable: bool) -> io::Result<Self> {
        if len == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing to map"));
        }
        let mapped = len.next_multiple_of(4096);
        let windows = if mapped <= WINDOW {
            None
        } else {
            let count = mapped.div_ceil(WINDOW);
            Some(Windows { fd: fd.try_clone_to_owned()?, mapped: (0..count).map(|_| AtomicBool::new(false)).collect() })
        };
        let (protection, flags, source) = match &windows {
            None => (Self::protection(writable), libc::MAP_SHARED, fd.as_raw_fd()),
            // Addresses alone.
            Some(_) => (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1),
        };
        #[expect(unsafe_code, reason = "mmap(2) has no safe wrapper")]
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), mapped, protection, flags, source, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        let mapping = Self { start, len, mapped, writable, windows };
        // A map that cannot be mapped says so here.
        mapping.window(0)?;
        Ok(mapping)
    }

    const fn protection(writable: bool) -> i32 {
        if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ }
    }

    /// Maps a window, unless it is.
    fn window(&self, index: usize) -> io::Result<()> {
        let Some(windows) = &self.windows else { return Ok(()) };
        if windows.mapped[index].load(Ordering::Acquire) {
            return Ok(());
        }
        let offset = index * WINDOW;
        let len = WINDOW.min(self.mapped - offset);
        let (protection, flags) = (Self::protection(self.writable), libc::MAP_SHARED | libc::MAP_FIXED);
        let at = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        #[expect(unsafe_code, reason = "mmap(2) has no safe wrapper")]
        // SAFETY: the addresses are those of this mapping alone (reserved in `new`), where nothing was mapped yet, or the same by another
        // thread at this moment.
        let start = unsafe {
            let address = self.start.as_ptr().add(offset);
            libc::mmap(address.cast(), len, protection, flags, windows.fd.as_raw_fd(), at)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        windows.mapped[index].store(true, Ordering::Release);
        Ok(())
    }

    /// Has the bytes of a range mapped.
    fn touch(&self, range: Range<usize>) {
        if self.windows.is_none() || range.is_empty() {
            return;
        }
        for index in range.start / WINDOW..=(range.end - 1) / WINDOW {
            let mapped = self.window(index);
            assert!(mapped.is_ok(), "no memory to map bytes {range:?}: {mapped:?}");
        }
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a mapping has bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn check(&self, offset: usize, size: usize) {
        assert!(offset.is_multiple_of(size) && offset.checked_add(size).is_some_and(|end| end <= self.len));
        self.touch(offset..offset + size);
    }

    /// One aligned 64-bit word.
    ///
    /// # Panics
    /// Out of bounds or unaligned: a bug.
    #[must_use]
    pub fn load_u64(&self, offset: usize) -> u64 {
        self.check(offset, 8);
        #[expect(unsafe_code, reason = "shared with the kernel")]
        // SAFETY: in bounds and aligned (checked); the mapping lives as long as `self`; all concurrent access is by words.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }.load(Ordering::Relaxed)
    }

    /// One aligned 32-bit word.
    ///
    /// # Panics
    /// Out of bounds or unaligned: a bug.
    #[must_use]
    pub fn load_u32(&self, offset: usize) -> u32 {
        self.check(offset, 4);
        #[expect(unsafe_code, reason = "shared with the kernel")]
        // SAFETY: as in `load_u64`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }.load(Ordering::Acquire)
    }

    /// Stores one aligned 32-bit word, after everything that was stored before.
    ///
    /// # Panics
    /// Out of bounds, unaligned, or mapped for reading only: a bug.
    pub fn store_u32(&self, offset: usize, value: u32) {
        self.check(offset, 4);
        assert!(self.writable);
        #[expect(unsafe_code, reason = "shared with the kernel")]
        // SAFETY: as in `load_u64`, and the mapping is writable (checked).
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }.store(value, Ordering::SeqCst);
    }

    /// Sets bits of one aligned 32-bit word, atomically.
    ///
    /// # Panics
    /// Out of bounds, unaligned, or mapped for reading only: a bug.
    pub fn or_u32(&self, offset: usize, bits: u32) {
        self.check(offset, 4);
        assert!(self.writable);
        #[expect(unsafe_code, reason = "shared with the kernel")]
        // SAFETY: as in `store_u32`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }.fetch_or(bits, Ordering::SeqCst);
    }

    /// Stores one aligned 64-bit word.
    ///
    /// # Panics
    /// Out of bounds, unaligned, or mapped for reading only: a bug.
    pub fn store_u64(&self, offset: usize, value: u64) {
        self.check(offset, 8);
        assert!(self.writable);
        #[expect(unsafe_code, reason = "shared with the kernel")]
        // SAFETY: as in `store_u32`.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }.store(value, Ordering::SeqCst);
    }

    /// Writes bytes at an offset of whole words, word by word; the last word is filled up with zeros. Others may read meanwhile, and must
    /// know by other means whether what they read is whole.
    ///
    /// # Panics
    /// Out of bounds, unaligned, or mapped for reading only: a bug.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(self.writable && offset.is_multiple_of(8));
        assert!(offset.checked_add(bytes.len().next_multiple_of(8)).is_some_and(|end| end <= self.mapped));
        self.touch(offset..offset + bytes.len());
        let words = bytes.chunks_exact(8);
        let rest = words.remainder();
        let store = |index: usize, word: [u8; 8]| {
            #[expect(unsafe_code, reason = "shared with the kernel and other processes")]
            // SAFETY: in bounds and aligned (checked above); the mapping lives as long as `self`; all concurrent access is by words.
            unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset + index * 8).cast()) }
                .store(u64::from_ne_bytes(word), Ordering::Relaxed);
        };
        let whole = words.len();
        for (index, chunk) in words.enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            store(index, word);
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            store(whole, word);
        }
    }

    /// Copies whole words that others may write meanwhile, word by word, from an offset of whole words.
    ///
    /// # Panics
    /// Out of bounds or unaligned: a bug.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(offset.is_multiple_of(8) && into.len().is_multiple_of(8) && offset + into.len() <= self.len);
        for (index, word) in into.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&self.load_u64(offset + index * 8).to_ne_bytes());
        }
    }

    /// A copy of bytes that others may write meanwhile, taken word by word from an offset of whole words.
    ///
    /// # Panics
    /// Out of bounds or unaligned: a bug.
    #[must_use]
    pub fn copy(&self, range: Range<usize>) -> Vec<u8> {
        assert!(range.start <= range.end && range.end <= self.len && range.start.is_multiple_of(8));
        self.touch(range.clone());
        let words = range.len().div_ceil(8);
        let mut copy = Vec::with_capacity(words * 8);
        for index in 0..words {
            #[expect(unsafe_code, reason = "shared with the kernel and other processes")]
            // SAFETY: the word begins within the mapping, whose length is one of whole pages; aligned; it lives as long as `self`; all
            // concurrent access is by words.
            let word = unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(range.start + index * 8).cast()) }
                .load(Ordering::Relaxed);
            copy.extend_from_slice(&word.to_ne_bytes());
        }
        copy.truncate(range.len());
        copy
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "munmap(2) has no safe wrapper")]
        // SAFETY: ours, as mapped; no borrow outlives `self`.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.mapped);
        }
    }
}
