//! Walks a parsed file: takes the known keys, and notes every wrong type and every unknown key on the way.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::document::{self, Entry, Node, Value};
use super::problem::{Problem, Warning};
use crate::domain::words::nearest;

/// A value with its place, so that later rules can point at it.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Collects what is wrong in one file.
#[derive(Debug)]
pub(crate) struct Findings {
    file: PathBuf,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Warning>>,
}

impl Findings {
    pub(crate) fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), problems: RefCell::default(), warnings: RefCell::default() }
    }

    fn problem(&self, key: &str, (line, column): (usize, usize), message: String) -> Problem {
        Problem { file: self.file.clone(), line, column, key: key.to_owned(), message }
    }

    pub(crate) fn wrong(&self, key: &str, place: (usize, usize), message: impl Into<String>) {
        let problem = self.problem(key, place, message.into());
        self.problems.borrow_mut().push(problem);
    }

    pub(crate) fn wrong_at<T>(&self, at: &Located<T>, message: impl Into<String>) {
        self.wrong(&at.key, (at.line, at.column), message);
    }

    pub(crate) fn warn(&self, key: &str, place: (usize, usize), message: impl Into<String>) {
        let warning = self.problem(key, place, message.into());
        self.warnings.borrow_mut().push(warning);
    }

    pub(crate) fn warn_at<T>(&self, at: &Located<T>, message: impl Into<String>) {
        self.warn(&at.key, (at.line, at.column), message);
    }

    /// Takes over what another collector of the same file found.
    pub(crate) fn absorb(&self, other: Self) {
        self.problems.borrow_mut().extend(other.problems.into_inner());
        self.warnings.borrow_mut().extend(other.warnings.into_inner());
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// All problems and warnings in the order of the file.
    pub(crate) fn into_parts(self) -> (Vec<Problem>, Vec<Warning>) {
        let (mut problems, mut warnings) = (self.problems.into_inner(), self.warnings.into_inner());
        problems.sort_by_key(|p| (p.line, p.column));
        warnings.sort_by_key(|p| (p.line, p.column));
        (problems, warnings)
    }
}

/// Parses by file extension: `.yaml` and `.yml` are YAML, everything else is TOML.
pub(crate) fn parse(file: &Path, text: &str, findings: &Findings) -> Option<Node> {
    let yaml = file.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let parsed = if yaml { document::parse_yaml(text) } else { document::parse_toml(text) };
    match parsed {
        Ok(node) => Some(node),
        Err(errors) => {
            let format = if yaml { "YAML" } else { "TOML" };
            for e in errors {
                findings.wrong(
                    "",
                    (e.line, e.column),
                    format!("not valid {format}: {}", e.message),
                );
            }
            None
        }
    }
}

/// One table being read. Every key must be asked for by name; what is left over is unknown.
pub(crate) struct Section<'a> {
    path: String,
    place: (usize, usize),
    entries: &'a [Entry],
    asked: RefCell<Vec<&'static str>>,
    findings: &'a Findings,
}

impl<'a> Section<'a> {
    /// The whole file as a table.
    pub(crate) fn root(node: &'a Node, findings: &'a Findings) -> Option<Self> {
        Self::of(String::new(), node, findings)
    }

    /// Any table, with the dotted path that leads to it.
    pub(crate) fn of(path: String, node: &'a Node, findings: &'a Findings) -> Option<Self> {
        match &node.value {
            Value::Table(entries) => Some(Self {
                path,
                place: (node.line, node.column),
                entries,
                asked: RefCell::default(),
                findings,
            }),
            Value::Null => Some(Self {
                path,
                place: (node.line, node.column),
                entries: &[],
                asked: RefCell::default(),
                findings,
            }),
            other => {
                let message = format!("a table is expected, this is {}", other.kind());
                findings.wrong(&path, (node.line, node.column), message);
                None
            }
        }
    }

    /// The same table with another collector.
    pub(crate) fn reporting_to(self, findings: &'a Findings) -> Self {
        Self { findings, ..self }
    }

    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn place(&self) -> (usize, usize) {
        self.place
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key with its place, unread.
    pub(crate) fn node(&self, key: &'static str) -> Option<Located<&'a Node>> {
        self.asked.borrow_mut().push(key);
        let entry = self.entries.iter().find(|e| e.key == key)?;
        Some(Located {
            value: &entry.node,
            key: self.path(key),
            line: entry.line,
            column: entry.column,
        })
    }

    /// A table below this one.
    pub(crate) fn section(&self, key: &'static str) -> Option<Self> {
        let node = self.node(key)?;
        Section::of(node.key, node.value, self.findings)
    }

    /// All entries of a table whose keys are free.
    pub(crate) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    fn take<T>(
        &self,
        key: &'static str,
        expected: &str,
        pick: impl Fn(&Value) -> Option<T>,
    ) -> Option<Located<T>> {
        let node = self.node(key)?;
        if node.value.value == Value::Null {
            return None;
        }
        let Some(value) = pick(&node.value.value) else {
            let message = format!("{expected} is expected, this is {}", node.value.value.kind());
            self.findings.wrong_at(&node, message);
            return None;
        };
        Some(Located { value, key: node.key, line: node.line, column: node.column })
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<Located<String>> {
        self.take(key, "a string", |v| match v {
            Value::String(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// A string that is given and not empty.
    pub(crate) fn filled(&self, key: &'static str) -> Option<Located<String>> {
        self.string(key).filter(|text| !text.value.trim().is_empty())
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<Located<bool>> {
        self.take(key, "true or false", |v| match v {
            Value::Bool(yes) => Some(*yes),
            _ => None,
        })
    }

    pub(crate) fn integer(&self, key: &'static str) -> Option<Located<i64>> {
        self.take(key, "an integer", |v| match v {
            Value::Integer(number) => Some(*number),
            _ => None,
        })
    }

    /// A number, whole or not.
    pub(crate) fn number(&self, key: &'static str) -> Option<Located<f64>> {
        self.take(key, "a number", |v| match v {
            // Whole numbers beyond 2^53 have no use in a file of ours.
            Value::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            Value::Float(number) if number.is_finite() => Some(*number),
            _ => None,
        })
    }

    /// A whole number within limits; anything else is reported.
    pub(crate) fn within(
        &self,
        key: &'static str,
        limits: RangeInclusive<u32>,
    ) -> Option<Located<u32>> {
        let given = self.integer(key)?;
        match u32::try_from(given.value).ok().filter(|n| limits.contains(n)) {
            Some(value) => {
                Some(Located { value, key: given.key, line: given.line, column: given.column })
            }
            None => {
                let (least, most) = limits.into_inner();
                let message = format!("{} is not from {least} to {most}", given.value);
                self.findings.wrong_at(&given, message);
                None
            }
        }
    }

    /// The tables of a list, as in `[[webhook]]`.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Self> {
        let Some(list) = self.node(key) else { return Vec::new() };
        let items = match &list.value.value {
            Value::Array(items) => items.as_slice(),
            Value::Null => &[],
            _ => {
                let message = format!("a list is expected: one [[{key}]] table each");
                self.findings.wrong_at(&list, message);
                &[]
            }
        };
        let path = |index: usize| format!("{}[{index}]", list.key);
        let sections = items.iter().enumerate();
        sections.filter_map(|(i, item)| Section::of(path(i), item, self.findings)).collect()
    }

    /// One string, or a list of strings.
    pub(crate) fn strings(&self, key: &'static str) -> Option<Vec<Located<String>>> {
        let node = self.node(key)?;
        let text = |item: &Node, place: (usize, usize)| match &item.value {
            Value::String(text) => Some(Located {
                value: text.clone(),
                key: node.key.clone(),
                line: place.0,
                column: place.1,
            }),
            other => {
                let message = format!("strings are expected, this is {}", other.kind());
                self.findings.wrong(&node.key, place, message);
                None
            }
        };
        match &node.value.value {
            Value::Array(items) => {
                Some(items.iter().filter_map(|i| text(i, (i.line, i.column))).collect())
            }
            Value::Null => None,
            _ => text(node.value, (node.line, node.column)).map(|one| vec![one]),
        }
    }

    /// A word out of a list.
    pub(crate) fn one_of<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let given = self.string(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == given.value) {
            return Some(*value);
        }
        let allowed: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let message =
            format!("\"{}\" is not known; allowed: {}", show(&given.value), allowed.join(", "));
        self.findings.wrong_at(&given, message);
        None
    }

    /// Reports a key that must be given. A value of the wrong type was already reported where it was read.
    pub(crate) fn missing(&self, key: &str, message: &str) {
        let present = self.entries.iter().find(|e| e.key == key).map(|e| &e.node.value);
        if matches!(present, None | Some(Value::Null | Value::String(_))) {
            self.findings.wrong(&self.path(key), self.place, format!("is missing; {message}"));
        }
    }

    /// Reports every key that nobody asked for, with the known key that it resembles.
    pub(crate) fn finish(self) {
        let known = self.asked.borrow();
        for entry in self.entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let hint = match nearest(&entry.key, known.iter().copied()) {
                Some(word) => format!("unknown key; did you mean \"{}\"?", self.path(word)),
                None if known.is_empty() => "unknown key; nothing is known here".to_owned(),
                None => {
                    let mut words: Vec<&str> = known.clone();
                    words.sort_unstable();
                    words.dedup();
                    format!("unknown key; known here: {}", words.join(", "))
                }
            };
            let key = self.path(&show(&entry.key));
            self.findings.wrong(&key, (entry.line, entry.column), hint);
        }
    }
}

/// Text for a message: printable and of bounded length.
pub(crate) fn show(text: &str) -> String {
    let mut shown: String =
        text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

/// The `.toml` files of a directory in the order of their names; a directory that does not exist has none.
pub(crate) fn toml_files(dir: &Path, problems: &mut Vec<Problem>) -> Vec<(PathBuf, String)> {
    let mut unreadable = |file: &Path, error: &std::io::Error| {
        problems.push(Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: format!("cannot be read: {error}"),
        });
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            unreadable(dir, &error);
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        // Editors leave lock files such as `.#name.toml` beside what they edit.
        .filter(|path| !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')))
        .collect();
    files.sort();
    files
        .into_iter()
        .filter_map(|file| match std::fs::read_to_string(&file) {
            Ok(text) => Some((file, text)),
            Err(error) => {
                unreadable(&file, &error);
                None
            }
        })
        .collect()
}
