//! A wall clock that is wrong for one program and for nobody else, while the program is the one that ships.
//!
//! The program is started under a filter whose listener answers clock_gettime(2) for `CLOCK_REALTIME`. Programs do not make
//! that call, they read the clock in code that the kernel maps into them (vdso(7)). So the first call that the C library makes,
//! before it looks into that code, is reported too, and the name it will look for is taken out of there: it then makes the call.

mod listener;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use listener::{Call, Listener, Verdict};

/// What the C library looks for.
const NAME: &[u8] = b"__vdso_clock_gettime\0";
/// Written over its beginning: what it does not look for.
const OTHER: &[u8] = b"__none";

#[derive(Debug, Default)]
pub(crate) struct Clock {
    error_ms: AtomicI64,
}

impl Clock {
    /// How many milliseconds it is ahead; negative: behind.
    pub(crate) fn error_ms(&self) -> i64 {
        self.error_ms.load(Ordering::Relaxed)
    }

    /// Steps it.
    pub(crate) fn set_error_ms(&self, ms: i64) {
        self.error_ms.store(ms, Ordering::Relaxed);
    }

    /// Starts a program that sees this clock; what the program starts sees it too.
    ///
    /// # Errors
    /// The program cannot be started, or the kernel has no such filters.
    pub(crate) fn spawn(self: &Arc<Self>, command: &mut Command) -> io::Result<Child> {
        // The filter is the thread's and of what it starts, for ever: so it is a thread of its own.
        let (listener, child) = std::thread::scope(|scope| {
            let spawning = scope.spawn(|| {
                let listener = Listener::install()?;
                command.spawn().map(|child| (listener, child))
            });
            spawning.join().expect("a thread that starts a program")
        })?;
        let clock = Arc::clone(self);
        std::thread::spawn(move || listener.serve(|call, memory| clock.answer(call, memory)));
        Ok(child)
    }

    fn answer(&self, call: &Call, memory: &File) -> Verdict {
        let done = match call {
            Call::First { thread } => hide(*thread, memory).map(|()| Verdict::Continue),
            Call::Clock { to } => self.tell(*to, memory).map(|()| Verdict::Done),
        };
        // A program that was killed in the meantime has no memory any more.
        done.unwrap_or(Verdict::Continue)
    }

    /// Writes the time where the caller wants it (`struct timespec`).
    fn tell(&self, to: u64, memory: &File) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let error = i128::from(self.error_ms()) * 1_000_000;
        let now = i128::try_from(now.as_nanos()).map_err(io::Error::other)? + error;
        let (seconds, nanoseconds) = (now.div_euclid(1_000_000_000), now.rem_euclid(1_000_000_000));
        let mut time = [0; 16];
        for (part, number) in time.chunks_exact_mut(8).zip([seconds, nanoseconds]) {
            part.copy_from_slice(&i64::try_from(number).map_err(io::Error::other)?.to_ne_bytes());
        }
        memory.write_all_at(&time, to)
    }
}

/// Takes the kernel's way to read the clock without a call away from a program.
fn hide(thread: u32, memory: &File) -> io::Result<()> {
    let maps = fs::read_to_string(format!("/proc/{thread}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"));
    let line = line.ok_or_else(|| io::Error::other("the program has no vDSO"))?;
    let hex = |text: &str| u64::from_str_radix(text, 16).map_err(io::Error::other);
    let (start, rest) = line.split_once('-').ok_or_else(|| io::Error::other("no range"))?;
    let (end, _) = rest.split_once(' ').ok_or_else(|| io::Error::other("no range"))?;
    let (start, end) = (hex(start)?, hex(end)?);
    let mut code = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
    memory.read_exact_at(&mut code, start)?;
    match code.windows(NAME.len()).position(|window| window == NAME) {
        Some(at) => memory.write_all_at(OTHER, start + at as u64),
        // Done already: the C library makes the first call more than once.
        None => Ok(()),
    }
}
