//! A parsed file whose values still know their line and column, so that every problem can say where it is.
//!
//! TOML and YAML become the same tree; what reads the tree does not know which of them it was. Pure.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use toml::de::{DeTable, DeValue};

/// One value with its place in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Line, from 1; 0 when unknown.
    pub line: usize,
    /// Column in characters, from 1; 0 when unknown.
    pub column: usize,
    /// The value.
    pub value: Value,
}

/// The kinds of values that the formats have in common.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// YAML's null or an empty value.
    Null,
    /// A date or time: nothing of ours is one.
    Datetime(String),
    /// A list.
    Array(Vec<Node>),
    /// Keys with values, in the order in which they are written where the parser keeps it.
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Line of the key, from 1; 0 when unknown.
    pub line: usize,
    /// Column of the key, from 1; 0 when unknown.
    pub column: usize,
    /// Its value.
    pub node: Node,
}

/// The text is not TOML or YAML at this place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line, from 1; 0 when unknown.
    pub line: usize,
    /// Column, from 1; 0 when unknown.
    pub column: usize,
    /// What the parser said, on one line.
    pub message: String,
}

impl Value {
    /// The kind in words, for "a string is expected, this is …".
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number with a fraction",
            Self::Bool(_) => "true or false",
            Self::Null => "empty",
            Self::Datetime(_) => "a date or time",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// Whether nothing is said: null, an empty string, list or table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::String(text) => text.is_empty(),
            Self::Array(items) => items.is_empty(),
            Self::Table(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// The value in JSON form; `None` when JSON has no such value.
    #[must_use]
    pub fn to_json(&self) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match self {
            Self::String(text) => Json::String(text.clone()),
            Self::Integer(number) => Json::from(*number),
            Self::Float(number) => Json::Number(serde_json::Number::from_f64(*number)?),
            Self::Bool(yes) => Json::Bool(*yes),
            Self::Null => Json::Null,
            Self::Datetime(_) => return None,
            Self::Array(items) => {
                Json::Array(items.iter().map(|n| n.value.to_json()).collect::<Option<_>>()?)
            }
            Self::Table(entries) => Json::Object(
                entries
                    .iter()
                    .map(|e| Some((e.key.clone(), e.node.value.to_json()?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }
}

impl Node {
    /// Line and column of the key at a dotted path, or of its deepest ancestor that exists.
    #[must_use]
    pub fn locate(&self, path: &str) -> (usize, usize) {
        let mut node = self;
        let mut place = (self.line, self.column);
        let mut rest = path;
        'deeper: while !rest.is_empty() {
            let Value::Table(entries) = &node.value else { break };
            for entry in entries {
                // A key may itself contain dots when it was quoted, and answer keys may be written with underscores.
                let matches = |part: &str| {
                    part == entry.key || part.replace('-', "_") == entry.key.replace('-', "_")
                };
                if matches(rest) {
                    return (entry.line, entry.column);
                }
                let Some((head, tail)) = rest.split_at_checked(entry.key.len()) else { continue };
                if matches(head) && tail.starts_with('.') {
                    node = &entry.node;
                    place = (entry.line, entry.column);
                    rest = tail.get(1..).unwrap_or_default();
                    continue 'deeper;
                }
            }
            break;
        }
        place
    }
}

/// Parses TOML.
///
/// # Errors
/// Every syntax error that the parser could find in one go.
pub fn parse_toml(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::of(text);
    if errors.is_empty() {
        let value = toml_table(table.get_ref(), &lines);
        return Ok(Node { line: 1, column: 1, value });
    }
    let mut found: Vec<SyntaxError> = errors
        .iter()
        .map(|error| {
            let (line, column) = error.span().map_or((0, 0), |span| lines.place(span.start));
            SyntaxError { line, column, message: one_line(error.message()) }
        })
        .collect();
    found.sort_by_key(|e| (e.line, e.column));
    found.dedup_by_key(|e| e.line);
    Err(found)
}

/// Parses YAML.
///
/// # Errors
/// The first syntax error: the parser stops there.
pub fn parse_yaml(text: &str) -> Result<Node, Vec<SyntaxError>> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Node { line: 1, column: 1, value: Value::Table(Vec::new()) });
    }
    serde_saphyr::from_str::<Spanned<Value>>(text).map(node_of).map_err(|error| {
        let (line, column) =
            error.location().map_or((0, 0), |l| (size(l.line()), size(l.column())));
        let message = one_line(&error.to_string());
        vec![SyntaxError { line, column, message }]
    })
}

fn toml_table(table: &DeTable<'_>, lines: &Lines<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| {
            let (line, column) = lines.place(key.span().start);
            let (value_line, value_column) = lines.place(value.span().start);
            let value = toml_value(value.get_ref(), lines);
            let node = Node { line: value_line, column: value_column, value };
            Entry { key: key.get_ref().to_string(), line, column, node }
        })
        .collect();
    entries.sort_by_key(|e| (e.line, e.column));
    Value::Table(entries)
}

fn toml_value(value: &DeValue<'_>, lines: &Lines<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Datetime(number.to_string()), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Value::Float(f64::NAN), Value::Float)
        }
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(when) => Value::Datetime(when.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| {
                    let (line, column) = lines.place(item.span().start);
                    Node { line, column, value: toml_value(item.get_ref(), lines) }
                })
                .collect(),
        ),
        DeValue::Table(table) => toml_table(table, lines),
    }
}

/// Byte offsets to lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(1, |before| before.chars().count() + 1);
        (line, column)
    }
}

/// The first line that says something, cut to a readable length.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("").chars().take(200).collect()
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn node_of(spanned: Spanned<Value>) -> Node {
    let place = spanned.referenced;
    Node { line: size(place.line()), column: size(place.column()), value: spanned.value }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlValue)
    }
}

struct YamlValue;

impl<'de> Visitor<'de> for YamlValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_bool<E>(self, yes: bool) -> Result<Value, E> {
        Ok(Value::Bool(yes))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number)
            .map_or_else(|_| Value::Datetime(number.to_string()), Value::Integer))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(Self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(node_of(item));
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = pairs.next_entry::<Spanned<String>, Spanned<Value>>()? {
            let place = key.referenced;
            entries.push(Entry {
                key: key.value,
                line: size(place.line()),
                column: size(place.column()),
                node: node_of(value),
            });
        }
        Ok(Value::Table(entries))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn toml_values_know_their_place() {
        let root = parse_toml("a = 1\n[b]\n  c = \"é\"\nd = [true, 2.5]\n").unwrap();
        assert_eq!(root.locate("a"), (1, 1));
        assert_eq!(root.locate("b.c"), (3, 3));
        assert_eq!(root.locate("b.d.x"), (4, 1));
        assert_eq!(root.locate("nothing"), (1, 1));
    }

    #[test]
    fn yaml_values_know_their_place() {
        let root =
            parse_yaml("# hi\nserver:\n  public_url: http://192.0.2.1\n  list: [1, a]\n").unwrap();
        assert_eq!(root.locate("server.public_url"), (3, 3));
        assert_eq!(root.locate("server.list"), (4, 3));
        assert_eq!(
            root.value.to_json().unwrap(),
            serde_json::json!({"server": {"public_url": "http://192.0.2.1", "list": [1, "a"]}})
        );
    }

    #[test]
    fn broken_files_say_where() {
        let errors = parse_toml("a = \nb = 1\nc = [\n").unwrap_err();
        assert_eq!(errors.first().map(|e| e.line), Some(1));
        assert!(errors.len() >= 2, "{errors:?}");
        assert_eq!(parse_yaml("a: [1\nb: 2\n").unwrap_err().len(), 1);
        assert!(parse_yaml("").is_ok());
    }
}
