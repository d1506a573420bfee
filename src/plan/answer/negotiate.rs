//! TOML or JSON: by what the client says it accepts, and by its release.

use super::dialect::{Dialect, Feature};

/// The format of an answer's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFormat {
    /// `application/toml`: every release takes it.
    Toml,
    /// `application/json`: since 9.2, and only for clients that name it.
    Json,
}

impl AnswerFormat {
    /// The `Content-Type` to send. The 9.2 installer parses JSON only under this type (reference 2.5).
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Toml => "application/toml",
            Self::Json => "application/json",
        }
    }
}

/// Chooses the format by the `Accept` header (RFC 9110 section 12.5.1).
///
/// JSON goes only to a client that names `application/json` with a weight above zero and not below that of
/// `application/toml`, and whose installer is 9.2 or newer; wildcards are not asking. The 9.2 installer itself sends
/// `application/json, application/toml;q=0.5` and so gets JSON.
#[must_use]
pub fn choose_format(accept: Option<&str>, dialect: Dialect) -> AnswerFormat {
    let accept = accept.unwrap_or_default();
    let json = weight(accept, "application/json");
    let toml = weight(accept, "application/toml");
    match json {
        Some(json) if json > 0 && json >= toml.unwrap_or(0) && dialect.has(Feature::Json) => {
            AnswerFormat::Json
        }
        _ => AnswerFormat::Toml,
    }
}

/// Weight in thousandths of a media type that is named literally.
fn weight(accept: &str, media_type: &str) -> Option<u32> {
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(media_type) {
            return None;
        }
        let quality = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        Some(quality.map_or(1000, thousandths))
    })
}

/// `0`, `0.5`, `1.000`; anything else counts as not acceptable.
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits_ok = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    match whole {
        "1" if fraction.bytes().all(|b| b == b'0') => 1000,
        "0" if digits_ok => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn json_goes_to_clients_that_ask_for_it_and_only_then() {
        use AnswerFormat::{Json, Toml};
        for (accept, dialect, want) in [
            (None, Dialect::V9_2, Toml),
            (Some("*/*"), Dialect::V9_2, Toml),
            (Some("application/*"), Dialect::V9_2, Toml),
            (Some("application/json, application/toml;q=0.5"), Dialect::V9_2, Json),
            (Some("application/json, application/toml;q=0.5"), Dialect::V9_1, Toml),
            (Some("application/toml, application/json;q=0.9"), Dialect::V9_2, Toml),
            (Some("Application/JSON"), Dialect::V9_2, Json),
            (Some("application/json;q=0"), Dialect::V9_2, Toml),
            (Some("application/json; q=0.001"), Dialect::V9_2, Json),
            (Some("application/json;q=two"), Dialect::V9_2, Toml),
            (Some("text/html;q=1,,;;=,"), Dialect::V9_2, Toml),
        ] {
            assert_eq!(choose_format(accept, dialect), want, "{accept:?} {dialect}");
        }
    }
}
