//! The dashboard with a thousand hosts: its first byte, and how fast an event is on each of 200 screens.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::daemon::Daemon;
use super::dhcp::mac_text;
use super::place::{Place, SERVER};
use super::row::{Row, Target, alone, quantile};
use super::work::fresh_dir;

pub const NOTES: &str = "1,000 registered hosts, 200 event streams of a logged-in operator over the network, and a host that is \
registered every 10 ms, each an event. The event's time is from the request that causes it to its line on a stream. Meanwhile the \
page of hosts is fetched.";

const HOSTS: u32 = 1000;
const STREAMS: usize = 200;
const EVENTS: usize = 300;
const PAUSE: Duration = Duration::from_millis(10);

pub fn run(emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let place = Place::new()?;
    let dir = fresh_dir("dashboard")?;
    let daemon = Daemon::start(&place.server, &dir, "unknown = \"enroll\"\n", "")?;
    for n in 0..HOSTS {
        daemon.register(&format!("pve{n}"), &mac_text(n))?;
    }
    let log = std::fs::read_to_string(dir.join("daemon.log"))?;
    let token = log.split("/setup?token=").nth(1).context("no link for the password in the log")?;
    let token = token.split_whitespace().next().unwrap_or_default().to_owned();
    let cookie = place.client.run(move || log_in(&token))??;

    let before = daemon.program.cpu_seconds();
    let screens = Arc::new(Screens::default());
    let watching = {
        let (cookie, screens) = (cookie.clone(), Arc::clone(&screens));
        let client = place.client.clone();
        std::thread::spawn(move || client.run(move || watch(&cookie, &screens)))
    };
    // All streams are open before the first event.
    let begun = Instant::now();
    while screens.open.load(Ordering::Relaxed) < STREAMS {
        let ended = watching.is_finished() || begun.elapsed() > Duration::from_secs(20);
        anyhow::ensure!(!ended, "only {} streams opened", screens.open.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(20));
    }
    for n in 0..EVENTS {
        let due = Instant::now() + PAUSE;
        screens.caused.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        daemon.register(&format!("new{n}"), &mac_text(HOSTS + n as u32))?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let Seen { mut late, mut pages } =
        watching.join().ok().context("the screens' thread panicked")???;
    let missing = EVENTS * STREAMS - late.len();
    let cpu = (daemon.program.cpu_seconds() - before) * 1e3 / EVENTS as f64;
    let (median, slowest) = (quantile(&mut pages, 0.5), quantile(&mut pages, 1.0));
    let every = Target::Below(250.0);
    emit(alone("dashboard: first byte of the page of hosts", "ms", Target::Below(50.0), median));
    emit(alone("dashboard: first byte, the slowest of all visits", "ms", Target::None, slowest));
    emit(alone(
        "dashboard: events that did not come to a screen",
        "events",
        Target::Below(1.0),
        missing as f64,
    ));
    emit(alone(
        "dashboard: an event on a screen, median",
        "ms",
        Target::None,
        quantile(&mut late, 0.5),
    ));
    emit(alone(
        "dashboard: an event on every screen, the latest of 60,000",
        "ms",
        every,
        quantile(&mut late, 1.0),
    ));
    emit(alone("dashboard: processor time for an event on 200 screens", "ms", Target::None, cpu));
    let memory = daemon.program.memory_mib("VmHWM")?;
    emit(alone("dashboard: memory at its peak", "MiB", Target::None, memory));
    Ok(())
}

/// What the thread that causes events and the screens share.
#[derive(Default)]
struct Screens {
    open: AtomicUsize,
    /// When each event was asked for.
    caused: Mutex<Vec<Instant>>,
}

/// Milliseconds.
struct Seen {
    late: Vec<f64>,
    pages: Vec<f64>,
}

/// Looks at all screens until every event is on each of them, and visits the page of hosts meanwhile.
fn watch(cookie: &str, screens: &Arc<Screens>) -> anyhow::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..STREAMS {
            all.spawn(screen(cookie.to_owned(), Arc::clone(screens)));
        }
        let visitor = tokio::spawn(visit(cookie.to_owned(), Arc::clone(screens)));
        let mut late = Vec::new();
        while let Some(one) = all.join_next().await {
            late.extend(one??);
        }
        Ok(Seen { late, pages: visitor.await?? })
    })
}

async fn screen(cookie: String, screens: Arc<Screens>) -> anyhow::Result<Vec<f64>> {
    let mut stream = TcpStream::connect((SERVER, 8080)).await?;
    let request =
        format!("GET /events HTTP/1.1\r\nhost: {SERVER}:8080\r\ncookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next_line().await?.unwrap_or_default();
    anyhow::ensure!(status.contains(" 200 "), "/events: {status}");
    screens.open.fetch_add(1, Ordering::Relaxed);
    let mut late = Vec::new();
    let longest = PAUSE * EVENTS as u32 * 10;
    let ended = tokio::time::timeout(longest, async {
        while let Some(line) = lines.next_line().await? {
            if !line.starts_with("data: ") {
                continue;
            }
            // "… new17 …": the name of the host that was registered.
            let number = line.split("new").skip(1).find_map(|rest| {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                digits.parse::<usize>().ok()
            });
            let caused = screens.caused.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = number.and_then(|n| caused.get(n)) {
                late.push(at.elapsed().as_secs_f64() * 1e3);
            }
            if late.len() == EVENTS {
                break;
            }
        }
        Ok::<_, anyhow::Error>(())
    });
    // Those that came count; the row tells how many did not.
    if let Ok(ended) = ended.await {
        ended?;
    }
    Ok(late)
}

/// Visits until the last event was caused; milliseconds to the first byte of each visit.
async fn visit(cookie: String, screens: Arc<Screens>) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    loop {
        let caused = screens.caused.lock().unwrap_or_else(PoisonError::into_inner).len();
        if caused >= EVENTS {
            return Ok(times);
        }
        tokio::time::sleep(PAUSE * 10).await;
        if caused > 0 {
            times.push(first_byte(&cookie).await?);
        }
    }
}

async fn first_byte(cookie: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect((SERVER, 8080)).await?;
    let request = format!(
        "GET / HTTP/1.1\r\nhost: {SERVER}:8080\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    anyhow::ensure!(head.ends_with(b" 200"), "the page: {}", String::from_utf8_lossy(&head));
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    let page = String::from_utf8_lossy(&page);
    let is_whole = page.contains("1 to 200 of 1") && page.contains("</html>");
    anyhow::ensure!(is_whole, "the page does not show its hosts: {} bytes", page.len());
    Ok(took)
}

/// Sets the operator's password; returns the session's cookie.
fn log_in(token: &str) -> anyhow::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect((SERVER, 8080))?;
    let password = "correct-horse-battery-staple";
    let body = format!("token={token}&password={password}&repeated={password}");
    write!(
        stream,
        "POST /setup HTTP/1.1\r\nhost: {SERVER}:8080\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cookie = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next())?
    });
    Ok(cookie.with_context(|| format!("no session: {answer}"))?.to_owned())
}
