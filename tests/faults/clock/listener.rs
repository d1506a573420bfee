//! seccomp_unotify(2): system calls of other programs, reported to us and answered by us. No crate has it without a C library,
//! so this is the one place of the harness where code is unsafe.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// `AUDIT_ARCH_X86_64`, which `libc` does not name.
const X86_64: u32 = 0xC000_003E;
/// Where `struct seccomp_data` has the call's number, the architecture and the lower half of the first argument.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// What was called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    /// `arch_prctl(2)`: what a program's C library sets threads up with at its start.
    First {
        /// Who called.
        thread: u32,
    },
    /// `clock_gettime(CLOCK_REALTIME, to)`.
    Clock {
        /// Where the caller wants the time.
        to: u64,
    },
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The kernel carries it out.
    Continue,
    /// It is carried out: the caller gets 0.
    Done,
}

#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

impl Listener {
    /// Reports both calls of the calling thread from now on, and of what it starts.
    ///
    /// # Errors
    /// The kernel's: no such filters, or no right to set one (root has it).
    pub(super) fn install() -> io::Result<Self> {
        let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
        let equal = |value, yes, no| {
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, yes, no)
        };
        let end = |what| instruction(libc::BPF_RET | libc::BPF_K, what, 0, 0);
        let number = |call: libc::c_long| u32::try_from(call).map_err(io::Error::other);
        let clock = u32::try_from(libc::CLOCK_REALTIME).map_err(io::Error::other)?;
        // Jumps count the instructions in between.
        let mut filter = [
            load(ARCHITECTURE),
            equal(X86_64, 0, 6),
            load(NUMBER),
            equal(number(libc::SYS_arch_prctl)?, 3, 0),
            equal(number(libc::SYS_clock_gettime)?, 0, 3),
            load(FIRST_ARGUMENT),
            equal(clock, 0, 1),
            end(libc::SECCOMP_RET_USER_NOTIF),
            end(libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).map_err(io::Error::other)?,
            filter: filter.as_mut_ptr(),
        };
        let flags =
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        // SAFETY: `program` names `filter`, which outlives the call; the kernel copies it.
        let fd = unsafe {
            let how = libc::SECCOMP_SET_MODE_FILTER;
            libc::syscall(libc::SYS_seccomp, how, flags, &raw const program)
        };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Answers calls until nobody is left who could call. `answer` gets the caller's memory.
    pub(super) fn serve(&self, mut answer: impl FnMut(&Call, &File) -> Verdict) {
        while self.has_call() {
            // Gone when the caller was killed between both lines.
            let Ok(call) = self.receive() else { continue };
            let verdict = self
                .memory(&call)
                .map_or(Verdict::Continue, |memory| answer(&what(&call), &memory));
            self.send(call.id, verdict);
        }
    }

    fn has_call(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return false,
                Ok(_) => break,
            }
        }
        fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
    }

    /// The caller's memory, if it is still the caller: its number may be another's by now.
    fn memory(&self, call: &libc::seccomp_notif) -> io::Result<File> {
        let path = format!("/proc/{}/mem", call.pid);
        let memory = OpenOptions::new().read(true).write(true).open(path)?;
        // SAFETY: the kernel reads one number.
        let valid = unsafe {
            let id = &raw const call.id;
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, id)
        };
        if valid == 0 { Ok(memory) } else { Err(io::Error::last_os_error()) }
    }

    fn receive(&self) -> io::Result<libc::seccomp_notif> {
        // SAFETY: a structure of numbers, for which zero is a value; the kernel wants it empty and fills it.
        let (call, done) = unsafe {
            let mut call: libc::seccomp_notif = std::mem::zeroed();
            let to = &raw mut call;
            let done = libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, to);
            (call, done)
        };
        if done == 0 { Ok(call) } else { Err(io::Error::last_os_error()) }
    }

    fn send(&self, id: u64, verdict: Verdict) {
        let flags = match verdict {
            Verdict::Continue => libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Verdict::Done => 0,
        };
        let answer = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
        // SAFETY: the kernel reads the structure. It fails when the caller was killed in the meantime, which is fine.
        unsafe {
            let from = &raw const answer;
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, from);
        }
    }
}

fn what(call: &libc::seccomp_notif) -> Call {
    if i64::from(call.data.nr) == libc::SYS_clock_gettime {
        Call::Clock { to: call.data.args[1] }
    } else {
        Call::First { thread: call.pid }
    }
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    // The codes of classic BPF have eight bits.
    libc::sock_filter { code: code as u16, jt, jf, k }
}
