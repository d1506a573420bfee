//! JSON as Proxmox VE writes it: numbers may be strings, booleans may be 0, 1 or words, absent may be null.

use serde_json::Value;

/// Text of a string, a number or a boolean (as 1 and 0, which is how configurations spell it).
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        _ => None,
    }
}

/// A whole number, also from a string or from a number with a fraction (which is cut off).
#[must_use]
pub fn number(value: &Value) -> Option<u64> {
    let text = text(value)?;
    let whole = text.split('.').next().unwrap_or_default();
    whole.parse().ok()
}

/// A boolean. `None`: it is none.
#[must_use]
pub fn flag(value: &Value) -> Option<bool> {
    flag_text(&text(value)?)
}

/// A boolean in one of the spellings that property strings allow.
#[must_use]
pub fn flag_text(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

/// Member of an object as text; empty when it is absent.
#[must_use]
pub fn text_of(row: &Value, key: &str) -> String {
    row.get(key).and_then(text).unwrap_or_default()
}

/// Member of an object as a whole number; 0 when it is absent.
#[must_use]
pub fn number_of(row: &Value, key: &str) -> u64 {
    row.get(key).and_then(number).unwrap_or(0)
}

/// Member of an object as a boolean; false when it is absent.
#[must_use]
pub fn flag_of(row: &Value, key: &str) -> bool {
    row.get(key).and_then(flag).unwrap_or(false)
}

/// A volume's size (`4G`, `512M`, `1T`) in whole GiB, rounded down; `None`: no size.
#[must_use]
pub fn size_gb(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().ok()?;
    let gib = match text.get(digits.len()..)? {
        "T" => number * 1024.0,
        "G" => number,
        "M" => number / 1024.0,
        "K" => number / (1024.0 * 1024.0),
        "" => number / (1024.0 * 1024.0 * 1024.0),
        _ => return None,
    };
    // Sizes of volumes are far below 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..1e12).contains(&gib).then_some(gib as u64)
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_booleans_are_read_in_every_spelling() {
        for (value, expected) in
            [(json!("100"), Some(100)), (json!(100), Some(100)), (json!(1.9), Some(1))]
        {
            assert_eq!(number(&value), expected);
        }
        assert_eq!(number(&json!(null)), None);
        assert_eq!(number(&json!("-1")), None);
        for yes in [json!(1), json!("1"), json!(true), json!("on"), json!("Yes")] {
            assert_eq!(flag(&yes), Some(true));
        }
        for no in [json!(0), json!("0"), json!(false), json!("off")] {
            assert_eq!(flag(&no), Some(false));
        }
        assert_eq!(flag(&json!("maybe")), None);
        assert_eq!(text_of(&json!({"a": 7}), "a"), "7");
    }
}
