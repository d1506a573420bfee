//! One heap for all threads.
//!
//! glibc gives threads heaps of their own (its word is arena), up to eight per processor in all. What one thread allocates
//! and another frees stays with the first one's, and the daemon's threads hand most things on: with 1,000 machines
//! installed at once a quarter of the memory at the peak was such space (docs/decisions/0027). The threads' caches serve
//! most small allocations without the one heap's lock.

use nix::libc;

/// Makes all threads of this process allocate from one heap. Call it before the first thread is started: one that has a
/// heap of its own keeps it.
#[expect(
    unsafe_code,
    reason = "mallopt(3) is the only way from inside the program; docs/decisions/0027"
)]
pub fn use_one_heap() {
    // SAFETY: two integers go in, and no pointer. glibc's manual calls mallopt MT-Unsafe (init, const:mallopt): no other
    // thread may allocate meanwhile, and `serve` calls this before it starts one.
    let was_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    // Without it the daemon only needs more memory.
    debug_assert_eq!(was_set, 1, "glibc refuses M_ARENA_MAX");
}
