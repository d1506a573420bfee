//! The direction of dependencies, the size of files and the words that must not appear, checked on the source itself.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// What the pure core may not name: effects enter it as arguments.
const EFFECTS: [&str; 18] = [
    "tokio",
    "hyper::",
    "axum",
    "russh",
    "redb",
    "std::net::Tcp",
    "std::net::Udp",
    "UdpSocket",
    "TcpStream",
    "std::fs",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant::now",
    "rand::",
    "nix::",
    "socket2",
    "notify::",
];

/// Modules that the core's layers may use, from the bottom up.
const LAYERS: [(&str, &[&str]); 4] = [
    ("limits", &["limits", "golden"]),
    ("domain", &["limits", "domain"]),
    ("proto", &["limits", "domain", "proto", "golden"]),
    ("plan", &["limits", "domain", "proto", "plan", "golden"]),
];

/// Crates that only one module may name.
const OWNERS: [(&str, &[&str]); 4] =
    [("redb", &["store"]), ("russh", &["node"]), ("axum", &["web"]), ("dhcproto", &["proto"])];

/// Longest file without a reason at its top.
const MOST_LINES: usize = 600;

struct Source {
    path: PathBuf,
    /// First folder or file below `src`: `store`, `plan`, `main`.
    module: String,
    /// Code without its tests, comments and strings' documentation lines.
    code: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let below = path.strip_prefix(&root).unwrap();
            let first = below.iter().next().unwrap().to_str().unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            let code = without_tests_and_comments(&text);
            Source { path, module, code, text }
        })
        .collect()
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // Folders named `test` and files `test.rs` are the tests of their module.
            if path.file_name().unwrap() != "test" {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_test = ["test.rs", "golden.rs", "sample.rs", "property.rs", "hostile.rs"];
            if !is_test.contains(&name) {
                found.push(path);
            }
        }
    }
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod test {").next().unwrap();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.split(" // ").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

fn fail_with(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_core_names_no_effect() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for source in sources() {
        if !LAYERS.iter().any(|(layer, _)| *layer == source.module) {
            continue;
        }
        seen += 1;
        for word in EFFECTS {
            if source.code.lines().any(|l| names(l, word)) {
                problems.push(format!("{} names {word}", source.path.display()));
            }
        }
    }
    assert!(seen > 30, "only {seen} files of the core were found");
    fail_with(&problems);
}

/// Whether a line names a path, not a part of a longer word.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn dependencies_inside_the_core_point_downwards() {
    let mut problems = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == source.module) else {
            continue;
        };
        for (n, line) in source.code.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !used.is_empty() && !allowed.contains(&used.as_str()) {
                    let path = source.path.display();
                    problems.push(format!("{path} (code line {n}): {} uses {used}", source.module));
                }
            }
        }
    }
    fail_with(&problems);
}

/// Shells that others call, and what they themselves may use.
const CALLED: [(&str, &[&str]); 1] =
    [("power", &["limits", "domain", "proto", "plan", "outbound", "power"])];

#[test]
fn a_shell_that_others_call_knows_none_of_them() {
    let mut problems = Vec::new();
    for (shell, allowed) in CALLED {
        let mut seen = 0;
        for source in sources().into_iter().filter(|s| s.module == shell) {
            seen += 1;
            for used in source.code.split("crate::").skip(1) {
                let used: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !allowed.contains(&used.as_str()) {
                    problems.push(format!("{} uses {used}", source.path.display()));
                }
            }
        }
        assert!(seen > 0, "the shell {shell} is gone");
    }
    fail_with(&problems);
}

#[test]
fn a_library_that_leaks_is_named_by_its_owner_only() {
    let mut problems = Vec::new();
    for source in sources() {
        for (library, owners) in OWNERS {
            if !owners.contains(&source.module.as_str())
                && source.code.lines().any(|l| names(l, &format!("{library}::")))
                // The composition root wires routers together.
                && source.module != "app"
            {
                problems.push(format!("{} names {library}", source.path.display()));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn what_the_compiler_cannot_prove_is_in_one_place() {
    let named = |source: &Source| source.code.contains("unsafe_code") || names_unsafe(&source.code);
    let places: Vec<PathBuf> = sources().into_iter().filter(named).map(|s| s.path).collect();
    let [heap] = places.as_slice() else { panic!("unsafe code in {places:?}") };
    assert!(heap.ends_with("src/app/heap.rs"), "unsafe code in {}", heap.display());
    let calls = fs::read_to_string(heap).unwrap().matches("unsafe {").count();
    assert_eq!(calls, 1, "more unsafe code in {}", heap.display());
}

fn names_unsafe(code: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| code.contains(word))
}

#[test]
fn doubles_are_used_by_tests_only() {
    let mut problems = Vec::new();
    // The one seam: a wall clock cannot be put in from outside a static program, so the test build's can be stepped.
    let seam = "#[cfg(feature = \"fakes\")]\n    let now = now.saturating_add(crate::fakes::clock::error_ms());";
    for source in sources() {
        let code = if source.module == "app" {
            source.code.replacen(seam, "", 1)
        } else {
            source.code.clone()
        };
        if source.module != "fakes" && code.lines().any(|l| names(l, "fakes::")) {
            problems.push(format!("{} uses a test double", source.path.display()));
        }
        if source.module == "lib" {
            let guarded = "#[cfg(any(test, feature = \"fakes\"))]\npub mod fakes;";
            assert!(source.code.contains(guarded), "the program must not contain the doubles");
        }
    }
    fail_with(&problems);
}

#[test]
fn every_file_answers_one_question() {
    let mut problems = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            problems.push(format!("{} has {lines} lines", source.path.display()));
        }
        let first = source.text.lines().next().unwrap_or_default();
        if !first.starts_with("//!") && !first.starts_with("// @generated") {
            problems.push(format!("{} does not begin with a module doc", source.path.display()));
        }
    }
    fail_with(&problems);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut problems = Vec::new();
    for source in sources() {
        for word in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME", "XXX"] {
            if source.text.contains(word) {
                problems.push(format!("{} contains {word}", source.path.display()));
            }
        }
    }
    fail_with(&problems);
}
