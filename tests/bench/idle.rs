//! What the daemon is before anything happens: its size, its memory, its start.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::place::{Place, SERVER};
use super::row::{Better, Row, Side, Target, row};
use super::work::{built, fresh_dir};

pub const NOTES: &str = "Network boot on, an existing database. The start is from the start of the process to the first answer of \
`/api/health` over the network.";

const RUNS: usize = 5;

pub fn run(emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let size = fs::metadata(built()?.join("ironhatch"))?.len() as f64;
    emit(super::row::alone(
        "idle: size of the program",
        "MiB",
        Target::Below(25.0),
        size / 1_048_576.0,
    ));
    let place = Place::new()?;
    let dir = fresh_dir("idle")?;
    drop(Daemon::start(&place.server, &dir, "unknown = \"enroll\"\n", "")?);
    let [mut memory, mut start] = [Side::new("ironhatch"), Side::new("ironhatch")];
    for _ in 0..RUNS {
        let begun = Instant::now();
        let daemon = Daemon::start_unready(&place.server, &dir, "unknown = \"enroll\"\n", "")?;
        start.add(place.client.run(move || first_answer(begun))?);
        std::thread::sleep(Duration::from_secs(1));
        memory.add(daemon.program.memory_mib("VmRSS"));
    }
    emit(row("idle: resident memory", "MiB", Better::Low, Target::Below(20.0), &memory, &[]));
    emit(row("idle: start to first answer", "ms", Better::Low, Target::Below(100.0), &start, &[]));
    Ok(())
}

/// Milliseconds until a whole answer came.
fn first_answer(begun: Instant) -> anyhow::Result<f64> {
    loop {
        if answered() {
            return Ok(begun.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(20), "no answer");
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn answered() -> bool {
    let Ok(mut stream) = TcpStream::connect((SERVER, 8080)) else { return false };
    let request =
        format!("GET /api/health HTTP/1.1\r\nhost: {SERVER}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    let done =
        stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    done.is_ok() && answer.starts_with("HTTP/1.1 200")
}
