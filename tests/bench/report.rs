//! Writes `docs/benchmarks.json`, `docs/benchmarks.md` and the plot. Rows of parts that did not run are kept from the
//! JSON that is there.

mod machine;
mod plot;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::row::{Row, figure};

/// The JSON file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    rows: Vec<Row>,
}

const INTRODUCTION: &str = include_str!("report/introduction.md");

pub fn write(rows: &[Row], ran: &[&str], failures: &[String]) -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let json = docs.join("benchmarks.json");
    let before = match fs::read_to_string(&json) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) => Report::default(),
    };
    let report = Report { rows: merged(before.rows, rows, ran, failures) };
    fs::write(&json, serde_json::to_string_pretty(&report)? + "\n")?;
    fs::write(docs.join("benchmarks.svg"), plot::svg(&report.rows))?;
    fs::write(docs.join("benchmarks.md"), markdown(&report.rows, &docs)?)?;
    Ok(())
}

fn part_of(row: &Row) -> &str {
    row.name.split_once(':').map_or("", |(part, _)| part)
}

/// The rows of the parts in their order: new where the part ran, else those that were there.
fn merged(before: Vec<Row>, new: &[Row], ran: &[&str], failures: &[String]) -> Vec<Row> {
    let mut all = Vec::new();
    for part in super::PARTS.iter().map(|p| p.name) {
        let source = if ran.contains(&part) { new } else { &before };
        all.extend(source.iter().filter(|r| part_of(r) == part).cloned());
        for failure in failures.iter().filter(|f| f.starts_with(&format!("{part}:"))) {
            all.push(Row {
                name: format!("{part}: the part did not come to its end"),
                ours: None,
                peer: None,
                peer_name: failure.clone(),
                unit: String::new(),
                ratio: None,
                target: "it does".to_owned(),
                met: Some(false),
            });
        }
    }
    all
}

fn markdown(rows: &[Row], docs: &Path) -> anyhow::Result<String> {
    let mut out = INTRODUCTION.to_owned();
    out += "\n## The machine of the last run\n\n";
    out += &machine::describe()?;
    out += "\n![Ratio to the best peer, by row](benchmarks.svg)\n";
    for part in super::PARTS {
        let of_part: Vec<&Row> = rows.iter().filter(|r| part_of(r) == part.name).collect();
        if of_part.is_empty() {
            continue;
        }
        out += &format!("\n## {}\n\n{}\n", part.title, part.notes);
        out += "\n| what | Ironhatch | best peer | | unit | ratio | target | met |\n|---|---|---|---|---|---|---|---|\n";
        for row in of_part {
            let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
            let name = row.name.split_once(": ").map_or(row.name.as_str(), |(_, name)| name);
            let met = row.met.map_or("", |met| if met { "yes" } else { "**no**" });
            out += &format!(
                "| {name} | {} | {} | {} | {} | {} | {} | {met} |\n",
                number(row.ours),
                number(row.peer),
                row.peer_name.replace('|', "/"),
                row.unit,
                number(row.ratio),
                row.target
            );
        }
    }
    let reasons = reasons(docs);
    if reasons.exists() {
        out += &format!("\n{}", fs::read_to_string(reasons)?);
    }
    Ok(out)
}

/// What holds where a target is missed; written by people.
fn reasons(docs: &Path) -> PathBuf {
    docs.join("../tests/bench/report/limits.md")
}
