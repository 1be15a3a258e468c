//! The allocator's free memory.

/// Gives the memory that is free back to the system. The allocator of glibc keeps it
/// otherwise, if as much as one small allocation lies behind it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    // SAFETY: malloc_trim(3) may be called at any time and by any thread, and leaves what
    // is allocated where it is.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other allocators give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
