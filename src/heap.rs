//! The allocator: what it reserves, and what it gives back.

/// How many arenas all threads share. Each further one reserves 64 MiB of address space
/// (glibc's HEAP_MAX_SIZE), and without this there would be one per thread.
pub const ARENAS: u64 = 4;

/// Limits the allocator to [`ARENAS`]. With fewer, the loop was seen to wait for threads
/// that work on files.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn limit_arenas() {
    // SAFETY: mallopt(3) changes a number that malloc reads, and `main` calls this before
    // there is a second thread.
    unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, ARENAS as i32) };
}

/// Other allocators have no arenas.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn limit_arenas() {}

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
