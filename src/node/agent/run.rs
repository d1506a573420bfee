//! Programs of the node: argument lists, an empty environment, a process group of their own, a deadline, and an end that
//! takes everything with it that they started.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Stop, failed};
use crate::limits::channel::COMPLAINT_OF_PROGRAM;
use crate::proto::verb::{PATH, Stream};

/// How often deadline and listener are looked at while a program is silent.
const LOOK: Duration = Duration::from_millis(200);
/// After the program's end its output is read on for this long: a daemon that it started may keep the pipes for ever.
const DRAIN: Duration = Duration::from_millis(500);
/// Rounds of looking for processes that a program started while it is being stopped.
const ROUNDS: usize = 20;

/// What a short command left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    pub(super) status: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// What a program does while it runs.
pub(super) enum Heard<'a> {
    /// It printed something.
    Bytes(Stream, &'a [u8]),
    /// It was silent for a moment.
    Pause,
}

/// Runs a short command to its end and keeps what it said.
pub(super) fn run_short(argv: &[&str], limit: Duration) -> Result<Said, Stop> {
    let mut said = (Vec::new(), Vec::new());
    let status = run(argv, limit, &mut |heard| {
        if let Heard::Bytes(stream, bytes) = heard {
            let kept: &mut Vec<u8> = match stream {
                Stream::Stdout => &mut said.0,
                Stream::Stderr => &mut said.1,
            };
            let room = COMPLAINT_OF_PROGRAM.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
        Ok(())
    })?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { status, stdout: text(said.0), stderr: text(said.1) })
}

/// Runs a program and hands over what it prints; `hear` is also called in pauses, and ends the program by an error.
/// Returns its exit status; 128 and the signal's number when a signal ended it, as shells say it.
pub(super) fn run(
    argv: &[&str],
    limit: Duration,
    hear: &mut dyn FnMut(Heard<'_>) -> Result<(), Stop>,
) -> Result<i32, Stop> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(failed("there is no program to run"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(format!("{program} cannot be started: {e}")))?;
    let (sender, receiver) = sync_channel(4);
    if let Some(pipe) = child.stdout.take() {
        read_on(pipe, Stream::Stdout, sender.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        read_on(pipe, Stream::Stderr, sender);
    }
    let deadline = Instant::now() + limit;
    let ended = watch(&mut child, &receiver, deadline, hear);
    if !matches!(ended, Ok(Some(_))) {
        end_tree(&child);
        let _ = child.wait();
    }
    ended?.ok_or_else(|| {
        failed(format!("{program} did not end within {} s and was killed", limit.as_secs()))
    })
}

/// A thread that ends with its pipe. It is not joined: a daemon may hold the other end.
fn read_on(
    mut pipe: impl Read + Send + 'static,
    stream: Stream,
    sender: SyncSender<(Stream, Vec<u8>)>,
) {
    std::thread::spawn(move || {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = pipe.read(&mut piece) {
            let bytes = piece.get(..read).unwrap_or_default().to_vec();
            if sender.send((stream, bytes)).is_err() {
                break;
            }
        }
    });
}

/// `None`: the deadline passed.
fn watch(
    child: &mut Child,
    receiver: &Receiver<(Stream, Vec<u8>)>,
    deadline: Instant,
    hear: &mut dyn FnMut(Heard<'_>) -> Result<(), Stop>,
) -> Result<Option<i32>, Stop> {
    use std::os::unix::process::ExitStatusExt as _;
    let mut ended: Option<(i32, Instant)> = None;
    let mut open = true;
    loop {
        if open {
            match receiver.recv_timeout(LOOK) {
                Ok((stream, bytes)) => hear(Heard::Bytes(stream, &bytes))?,
                Err(RecvTimeoutError::Timeout) => hear(Heard::Pause)?,
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
        } else if ended.is_none() {
            // Both pipes are closed; the program may go on in silence.
            std::thread::sleep(LOOK / 20);
            hear(Heard::Pause)?;
        }
        if ended.is_none() {
            let status = child
                .try_wait()
                .map_err(|e| failed(format!("the program's end cannot be seen: {e}")))?;
            ended = status.map(|s| {
                (s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0)), Instant::now())
            });
        }
        match ended {
            Some((status, at)) if !open || at.elapsed() >= DRAIN => return Ok(Some(status)),
            None if Instant::now() >= deadline => return Ok(None),
            _ => {}
        }
    }
}

/// Kills a program and everything below it. `pct exec` becomes `lxc-attach`, whose child is the program in the guest: it
/// has a process group of its own choosing, but the kernel shows it here as a descendant. All are stopped first, so that
/// none starts another one unseen.
fn end_tree(child: &Child) {
    let Ok(root) = i32::try_from(child.id()) else { return };
    let mut stopped = vec![root];
    let _ = kill(Pid::from_raw(root), Signal::SIGSTOP);
    for _ in 0..ROUNDS {
        // A signal is only sent here; until the kernel has delivered it, its receiver may still start a child.
        let all_stand = stopped.iter().all(|pid| stands(*pid));
        let fresh = children_of(&stopped);
        if fresh.is_empty() {
            if all_stand {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        for pid in &fresh {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGSTOP);
        }
        stopped.extend(fresh);
    }
    for pid in stopped.iter().rev() {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    let _ = nix::sys::signal::killpg(Pid::from_raw(root), Signal::SIGKILL);
}

/// Whether a process can start no child any more: it is stopped, has ended, or is not there.
fn stands(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .as_deref()
        .and_then(state)
        .is_none_or(|state| matches!(state, "T" | "t" | "Z" | "X"))
}

/// Processes whose parent is one of `known` and that are not known themselves.
fn children_of(known: &[i32]) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| !known.contains(pid))
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .ok()
                .and_then(|stat| parent(&stat))
                .is_some_and(|parent| known.contains(&parent))
        })
        .collect()
}

/// The parent's number in `/proc/PID/stat`: after the name, which may hold anything, comes the state, then the parent.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The letter of the state in `/proc/PID/stat`.
fn state(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().next()
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_program_has_no_environment_and_its_status_is_told() {
        let said = run_short(&["sh", "-c", "env; echo complaint >&2; exit 7"], SHORT).unwrap();
        assert_eq!(said.status, 7);
        assert_eq!(said.stderr, "complaint\n");
        let names: Vec<&str> =
            said.stdout.lines().filter_map(|l| Some(l.split_once('=')?.0)).collect();
        for name in names {
            assert!(
                ["PATH", "HOME", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name),
                "{name}"
            );
        }
        assert_eq!(run_short(&["sh", "-c", "kill -9 $$"], SHORT).unwrap().status, 137);
        assert!(matches!(run_short(&["no-such-program"], SHORT), Err(Stop::Failed(_))));
    }

    const SHORT: Duration = Duration::from_secs(20);

    #[test]
    fn a_deadline_takes_the_whole_tree_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids");
        // A child in a session of its own, as a program in a guest would be.
        let script =
            format!("setsid sh -c 'echo $$ >>{0}; sleep 60' & echo $$ >>{0}; wait", file.display());
        let begun = Instant::now();
        let ended = run(&["sh", "-c", &script], Duration::from_secs(1), &mut |_| Ok(()));
        assert!(matches!(&ended, Err(Stop::Failed(text)) if text.contains("killed")), "{ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        let pids = std::fs::read_to_string(&file).unwrap();
        assert_eq!(pids.lines().count(), 2);
        for pid in pids.lines() {
            // The kernel ends a killed process when it next schedules it, which on a busy machine takes a moment.
            let killed = Instant::now();
            while !ended_by_now(pid) {
                assert!(killed.elapsed() < Duration::from_secs(10), "{pid} lives");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn ended_by_now(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.ok().as_deref().and_then(state).is_none_or(|state| matches!(state, "Z" | "X"))
    }

    #[test]
    fn a_daemon_that_keeps_the_pipes_does_not_keep_us() {
        let begun = Instant::now();
        let said = run_short(&["sh", "-c", "echo started; sleep 30 & exit 0"], SHORT).unwrap();
        assert_eq!((said.status, said.stdout.as_str()), (0, "started\n"));
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_listener_that_left_ends_the_program() {
        let ended = run(&["sleep", "60"], SHORT, &mut |heard| match heard {
            Heard::Pause => Err(Stop::Gone),
            Heard::Bytes(..) => Ok(()),
        });
        assert_eq!(ended, Err(Stop::Gone));
    }

    #[test]
    fn names_of_processes_cannot_lie_about_their_parent() {
        assert_eq!(parent("12 (a) R 1) S 7 12 12 0"), Some(7));
        assert_eq!(state("12 (a) R 1) T 7 12 12 0"), Some("T"));
        assert_eq!((parent(""), state("")), (None, None));
    }
}
