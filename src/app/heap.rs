//! One heap for all threads.
//!
//! glibc gives threads heaps of their own, up to eight for each processor. What one thread allocates and another frees
//! stays with the first one's heap, and the daemon's threads hand most things on: of a fleet of 1,000 machines a quarter of
//! the memory at its peak was such space (docs/decisions/0027). The threads' own caches keep the lock of the one heap free.

use nix::libc;

/// Makes this process allocate from one heap. For the start of `main`, before there are other threads: those that have a
/// heap keep it.
#[expect(unsafe_code, reason = "glibc has no safe call and no file for it; docs/decisions/0027")]
pub fn use_one_heap() {
    // SAFETY: `mallopt` takes two numbers and locks the heap while it changes its setting (mallopt(3): MT-Unsafe only
    // "init", which the allocations before `main` have done).
    let was_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    // Without it the daemon only needs more memory.
    debug_assert_eq!(was_set, 1, "glibc refuses M_ARENA_MAX");
}
