//! An installer ISO over HTTP: the view of an armed host beside nginx with sendfile, which serves the image itself.

pub mod client;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::daemon::{self, Daemon};
use super::dhcp::mac_text;
use super::place::{Place, SERVER};
use super::program::{Program, peer_command};
use super::row::{Better, Row, Side, Target, row};
use super::work::fresh_dir;
use client::{Figures, Source};

pub const NOTES: &str = "An image of 1.5 GB in the page cache. Ironhatch serves the view of it that belongs to one rebuild, nginx \
(sendfile, one worker per core) the image itself. Clients keep their connection and discard what they receive in the kernel \
(MSG_TRUNC), so that they cost little, and each stays on one processor; before, both sides' bytes are compared with the image.";

const RUNS: usize = 3;
const LENGTH: Duration = Duration::from_secs(1);
const NGINX_PORT: u16 = 8081;
/// Size of the image's bulk.
pub const IMAGE_BYTES: u64 = 1_500_000_000;
/// Length of one range request.
const RANGE: u64 = 16 << 20;

pub fn run(emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let place = Place::new()?;
    let (daemon, image) = with_image(&place, "http")?;
    daemon.arm("pve", &[mac_text(1)])?;
    let nginx = nginx(&place, image.parent().context("the image's folder")?)?;
    let ours = Source { port: 8080, path: view(&place, &mac_text(1))? };
    let name = image.file_name().context("its name")?.to_string_lossy();
    let peers = Source { port: NGINX_PORT, path: format!("/{name}") };
    check(&place, &image, [&ours, &peers])?;
    for (how, range) in [("whole file", None), ("ranges of 16 MiB", Some(RANGE))] {
        for clients in [1, 8, 64] {
            let mut rates = [Side::new("ironhatch"), Side::new("nginx with sendfile")];
            let mut costs = rates.clone();
            for _ in 0..RUNS {
                for (side, program, source) in [(1, &nginx, &peers), (0, &daemon.program, &ours)] {
                    match measure(&place, program, source, clients, range) {
                        Ok((rate, cost)) => {
                            rates[side].add(Ok(rate));
                            costs[side].add(Ok(cost));
                        }
                        Err(error) => {
                            costs[side].add(Err(anyhow::anyhow!("{error:#}")));
                            rates[side].add(Err(error));
                        }
                    }
                }
            }
            let plural = if clients == 1 { "client" } else { "clients" };
            let name = format!("http: {how}, {clients} {plural}");
            let (fast, cheap) = (Target::RatioAtLeast(0.9), Target::RatioAtMost(1.5));
            let [ours, peer] = rates;
            emit(row(&name, "GB/s", Better::High, fast, &ours, &[peer]));
            let [ours, peer] = costs;
            let name = format!("{name}, processor time");
            emit(row(&name, "s/GB", Better::Low, cheap, &ours, &[peer]));
        }
    }
    Ok(())
}

/// A daemon with a large image; where the image is on its disk.
pub fn with_image(place: &Place, name: &str) -> anyhow::Result<(Daemon, PathBuf)> {
    let dir = fresh_dir(name)?;
    let daemon = Daemon::start(&place.server, &dir, "unknown = \"ignore\"\n", "")?;
    let iso = daemon::iso(&dir, IMAGE_BYTES)?;
    daemon.import(&iso)?;
    fs::remove_file(iso)?;
    let image = find_iso(&dir.join("data"))?.context("the imported image")?;
    Ok((daemon, image))
}

fn find_iso(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_iso(&path)? {
                return Ok(Some(found));
            }
        } else if fs::metadata(&path)?.len() > IMAGE_BYTES {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The path of the ISO in the boot script of an armed host.
pub fn view(place: &Place, mac: &str) -> anyhow::Result<String> {
    let path = format!("/ipxe/{}?platform=efi&memory=16384", mac.replace(':', "-"));
    let script = place.client.run(move || client::get(&Source { port: 8080, path }, None))??;
    let script = String::from_utf8_lossy(&script).into_owned();
    let url = script.split_whitespace().find(|word| word.ends_with("/proxmox.iso"));
    let url = url.with_context(|| format!("no ISO in the script: {script}"))?;
    let path = url.strip_prefix(&format!("http://{SERVER}:8080"));
    Ok(path.context("an address of ours")?.to_owned())
}

/// The first bytes of the ISO, fetched once.
pub fn first_bytes(place: &Place, path: &str) -> anyhow::Result<()> {
    let source = Source { port: 8080, path: path.to_owned() };
    let bytes = place.client.run(move || client::get(&source, Some((0, 65_536))))??;
    anyhow::ensure!(bytes.len() == 65_536, "{} bytes came", bytes.len());
    Ok(())
}

fn check(place: &Place, image: &Path, sources: [&Source; 2]) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::open(image)?;
    // Behind the volume descriptors and the directory that a view changes.
    for at in [3 << 20, 700_000_123, IMAGE_BYTES - 5_000_000] {
        let mut expected = vec![0; 1 << 20];
        file.read_exact_at(&mut expected, at)?;
        for source in sources {
            let source = source.clone();
            let got = place.client.run(move || client::get(&source, Some((at, 1 << 20))))??;
            anyhow::ensure!(got == expected, "other bytes than the image's at {at}");
        }
    }
    Ok(())
}

/// Gigabytes per second, and processor seconds per gigabyte.
fn measure(
    place: &Place,
    server: &Program,
    source: &Source,
    clients: usize,
    range: Option<u64>,
) -> anyhow::Result<(f64, f64)> {
    let before = server.cpu_seconds();
    let source = source.clone();
    let deadline = Instant::now() + LENGTH;
    let Figures { bytes, seconds } =
        place.client.run(move || client::drive(&source, clients, range, deadline))??;
    let gigabytes = bytes as f64 / 1e9;
    Ok((gigabytes / seconds, (server.cpu_seconds() - before) / gigabytes))
}

fn nginx(place: &Place, root: &Path) -> anyhow::Result<Program> {
    let dir = fresh_dir("nginx")?;
    let here = dir.display();
    let config = format!(
        "user root;\nworker_processes auto;\npid {here}/pid;\nerror_log stderr;\nevents {{ worker_connections 1024; }}\n\
         http {{ sendfile on; tcp_nopush on; access_log off; keepalive_requests 1000000;\n\
         client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c; uwsgi_temp_path {here}/d;\n\
         scgi_temp_path {here}/e;\nserver {{ listen {SERVER}:{NGINX_PORT}; root {}; }} }}\n",
        root.display()
    );
    fs::write(dir.join("nginx.conf"), config)?;
    let mut command = peer_command("nginx")?;
    command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf"));
    command.args(["-g", "daemon off;"]);
    let mut program = Program::start(&place.server, command, &dir.join("log"))?;
    let client = place.client.clone();
    program.wait_until(|| {
        let connect = || std::net::TcpStream::connect((SERVER, NGINX_PORT)).is_ok();
        client.run(connect).unwrap_or(false)
    })?;
    Ok(program)
}
