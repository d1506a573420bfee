//! Which bytes of a file a request gets: preconditions and ranges of RFC 9110 (sections 13 and 14).

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::domain::time::Timestamp;

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// All of it (200).
    Whole,
    /// These bytes (206); never empty.
    Part(Range<u64>),
    /// The client's copy is the same (304).
    NotModified,
    /// The client asked for another version (412).
    Failed,
    /// The range begins beyond the end (416).
    Unsatisfiable,
}

/// Decides in the order of RFC 9110, 13.2.2. `tag` is the quoted strong entity tag.
pub(super) fn choose(
    request: &HeaderMap,
    tag: &HeaderValue,
    modified: Timestamp,
    len: u64,
) -> Choice {
    // HTTP dates have whole seconds.
    let modified = modified.0.div_euclid(1000);
    let tag = tag.to_str().unwrap_or_default();
    if request.contains_key(header::IF_MATCH) {
        if !matches_tag(request, header::IF_MATCH, tag, Comparison::Strong) {
            return Choice::Failed;
        }
    } else if date(request, header::IF_UNMODIFIED_SINCE).is_some_and(|since| modified > since) {
        return Choice::Failed;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        if matches_tag(request, header::IF_NONE_MATCH, tag, Comparison::Weak) {
            return Choice::NotModified;
        }
    } else if date(request, header::IF_MODIFIED_SINCE).is_some_and(|since| modified <= since) {
        return Choice::NotModified;
    }
    if let Some(condition) = request.get(header::IF_RANGE) {
        let condition = condition.to_str().unwrap_or_default().trim();
        if condition != tag && parse_date(condition) != Some(modified) {
            return Choice::Whole;
        }
    }
    let mut ranges = request.get_all(header::RANGE).iter();
    match (ranges.next().and_then(|value| value.to_str().ok()), ranges.next()) {
        (Some(text), None) => parse(text, len),
        _ => Choice::Whole,
    }
}

/// One range of bytes. Several ranges, other units and nonsense get the whole file, as RFC 9110 14.2 allows.
fn parse(text: &str, len: u64) -> Choice {
    let Some(spec) = text
        .split_once('=')
        .filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"))
        .map(|(_, spec)| spec.trim())
    else {
        return Choice::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else { return Choice::Whole };
    let range = match (number(first), number(last)) {
        (Number::Missing, Number::Value(0)) => return Choice::Unsatisfiable,
        (Number::Missing, Number::Value(suffix)) => len.saturating_sub(suffix)..len,
        (Number::Value(first), Number::Missing) => first..len,
        (Number::Value(first), Number::Value(last)) if first <= last => {
            first..last.saturating_add(1).min(len)
        }
        _ => return Choice::Whole,
    };
    if range.start >= len { Choice::Unsatisfiable } else { Choice::Part(range) }
}

enum Number {
    Missing,
    Value(u64),
    Bad,
}

/// Digits only; more than 64 bits count as "very far".
fn number(text: &str) -> Number {
    let text = text.trim();
    if text.is_empty() {
        Number::Missing
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        Number::Value(text.parse().unwrap_or(u64::MAX))
    } else {
        Number::Bad
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

fn matches_tag(request: &HeaderMap, name: HeaderName, tag: &str, how: Comparison) -> bool {
    request
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|candidate| match candidate.strip_prefix("W/") {
            Some(weak) => how == Comparison::Weak && weak == tag,
            None => candidate == "*" || candidate == tag,
        })
}

fn date(request: &HeaderMap, name: HeaderName) -> Option<i64> {
    parse_date(request.get(name)?.to_str().ok()?)
}

/// Seconds since 1970.
fn parse_date(text: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(text).ok().map(jiff::Timestamp::as_second)
}

/// `Fri, 20 Nov 2026 18:53:00 GMT` (RFC 9110, 5.6.7).
pub(in crate::web) fn http_date(at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1000)).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "\"abc-1\"";
    const MODIFIED: Timestamp = Timestamp(1_795_200_780_500);
    const DATE: &str = "Fri, 20 Nov 2026 18:53:00 GMT";

    fn chosen(headers: &[(HeaderName, &str)]) -> Choice {
        let map = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let mut request = HeaderMap::new();
        map.for_each(|(name, value)| {
            request.append(name, value);
        });
        choose(&request, &HeaderValue::from_static(TAG), MODIFIED, 1000)
    }

    #[test]
    fn dates_are_written_and_read_in_the_form_of_http() {
        assert_eq!(http_date(Timestamp(784_111_777_999)).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date(MODIFIED).as_deref(), Some(DATE));
    }

    #[test]
    fn ranges_follow_the_standard() {
        let table = [
            ("bytes=0-", Choice::Part(0..1000)),
            ("bytes=0-0", Choice::Part(0..1)),
            ("bytes=10-19", Choice::Part(10..20)),
            ("bytes=990-5000", Choice::Part(990..1000)),
            ("bytes=-10", Choice::Part(990..1000)),
            ("bytes=-5000", Choice::Part(0..1000)),
            ("Bytes=999-", Choice::Part(999..1000)),
            ("bytes=0-99999999999999999999999", Choice::Part(0..1000)),
            ("bytes=1000-", Choice::Unsatisfiable),
            ("bytes=99999999999999999999999-", Choice::Unsatisfiable),
            ("bytes=-0", Choice::Unsatisfiable),
            ("bytes=5-4", Choice::Whole),
            ("bytes=0-1,5-6", Choice::Whole),
            ("bytes=", Choice::Whole),
            ("bytes=-", Choice::Whole),
            ("bytes=+1-2", Choice::Whole),
            ("lines=1-2", Choice::Whole),
            ("0-5", Choice::Whole),
        ];
        for (text, expected) in table {
            assert_eq!(chosen(&[(header::RANGE, text)]), expected, "{text}");
        }
        let twice = [(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=5-6")];
        assert_eq!(chosen(&twice), Choice::Whole);
        assert_eq!(parse("bytes=0-", 0), Choice::Unsatisfiable);
    }

    #[test]
    fn preconditions_follow_the_standard() {
        let part = Choice::Part(10..1000);
        let range = (header::RANGE, "bytes=10-");
        let table = [
            (vec![(header::IF_RANGE, TAG), range.clone()], part.clone()),
            (vec![(header::IF_RANGE, DATE), range.clone()], part.clone()),
            (vec![(header::IF_RANGE, "\"other\""), range.clone()], Choice::Whole),
            (vec![(header::IF_RANGE, "W/\"abc-1\""), range.clone()], Choice::Whole),
            (
                vec![(header::IF_RANGE, "Fri, 20 Nov 2026 18:53:01 GMT"), range.clone()],
                Choice::Whole,
            ),
            (vec![(header::IF_MATCH, TAG), range.clone()], part.clone()),
            (vec![(header::IF_MATCH, "*"), range.clone()], part),
            (vec![(header::IF_MATCH, "\"other\""), range.clone()], Choice::Failed),
            (vec![(header::IF_MATCH, "W/\"abc-1\"")], Choice::Failed),
            (vec![(header::IF_NONE_MATCH, "\"x\", W/\"abc-1\"")], Choice::NotModified),
            (vec![(header::IF_NONE_MATCH, "\"x\"")], Choice::Whole),
            (vec![(header::IF_MODIFIED_SINCE, DATE)], Choice::NotModified),
            (vec![(header::IF_MODIFIED_SINCE, "Thu, 19 Nov 2026 18:53:00 GMT")], Choice::Whole),
            (vec![(header::IF_UNMODIFIED_SINCE, "Thu, 19 Nov 2026 18:53:00 GMT")], Choice::Failed),
            (vec![(header::IF_UNMODIFIED_SINCE, DATE)], Choice::Whole),
            (vec![(header::IF_MODIFIED_SINCE, "yesterday")], Choice::Whole),
        ];
        for (headers, expected) in table {
            assert_eq!(chosen(&headers), expected, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn a_part_always_lies_inside_the_file(text in "bytes=[0-9 -]{0,24}", len in 0_u64..5000) {
            if let Choice::Part(range) = parse(&text, len) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }
    }
}
