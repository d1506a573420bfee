//! The machine that the figures come from.

use std::fs;

use super::super::program::peer_command;

pub fn describe() -> anyhow::Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let of = |name: &str| {
        let line = cpu.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split_once(": ")).map_or("unknown", |(_, v)| v).to_owned()
    };
    let cores = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = memory.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let debian = fs::read_to_string("/etc/debian_version").unwrap_or_default();
    let mut out = format!(
        "| | |\n|---|---|\n| processor | {}, {cores} cores at {:.0} MHz |\n| memory | {:.0} GiB |\n| kernel | {} |\n\
         | system | Debian {} |\n| date | {} |\n",
        of("model name"),
        of("cpu MHz").parse::<f64>().unwrap_or(0.0),
        kib / 1_048_576.0,
        kernel.trim(),
        debian.trim(),
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
    );
    out += &format!("| Ironhatch | {} |\n", env!("CARGO_PKG_VERSION"));
    let peers: &[(&str, &[&str])] = &[
        ("dnsmasq", &["--version"]),
        ("kea-dhcp4", &["-v"]),
        ("in.tftpd", &["-V"]),
        ("atftpd", &["--version"]),
        ("nginx", &["-v"]),
        ("xorriso", &["--version"]),
    ];
    for (name, arguments) in peers {
        out += &format!("| {name} | {} |\n", version(name, arguments));
    }
    Ok(out)
}

/// The first line of what the program says about itself.
fn version(name: &str, arguments: &[&str]) -> String {
    let said = peer_command(name).and_then(|mut c| Ok(c.args(arguments).output()?));
    let Ok(said) = said else { return "not installed".to_owned() };
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let has_number = |l: &&str| l.contains(|c: char| c.is_ascii_digit());
    text.lines().find(has_number).unwrap_or_default().replace('|', "/").trim().to_owned()
}
