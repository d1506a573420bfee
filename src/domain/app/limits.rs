//! Whether a value fits an input. The form, the API and the linter of manifests ask the same question here, so all of
//! them answer with the same words.

use regex::{Regex, RegexBuilder};

use super::{InputKind, InputValue};

/// Most bytes of a compiled expression: hostile manifests are compiled too.
const MOST_COMPILED: usize = 256 * 1024;

/// Compiles an input's expression so that it must match the whole value.
///
/// # Errors
/// What is wrong with the expression, on one line.
pub fn whole_value(expression: &str) -> Result<Regex, String> {
    // The expression is compiled alone first: `a)|(b` would otherwise be valid only inside our brackets.
    RegexBuilder::new(expression)
        .size_limit(MOST_COMPILED)
        .build()
        .and_then(|_| {
            RegexBuilder::new(&format!(r"\A(?:{expression})\z")).size_limit(MOST_COMPILED).build()
        })
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the expression is too big".to_owned(),
            // The message draws the expression with a marker below it; the reason is its last line.
            other => {
                let text = other.to_string();
                let reason = text.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or("");
                reason.trim_start_matches("error: ").to_owned()
            }
        })
}

impl InputKind {
    /// Whether a value is of this kind and within its limits. Secrets are text here; the message never repeats one.
    ///
    /// # Errors
    /// What is wrong and what would be allowed, in one sentence.
    pub fn check(&self, value: &InputValue) -> Result<(), String> {
        match (self, value) {
            (
                Self::String { regex, regex_hint, min_length, max_length },
                InputValue::Text(text),
            ) => {
                length(text, *min_length, *max_length)?;
                if text.chars().any(char::is_control) {
                    return Err("must be one line of text without control characters".to_owned());
                }
                match regex {
                    Some(expression) if !whole_value(expression)?.is_match(text) => {
                        Err(match regex_hint {
                            Some(hint) => format!("must match: {hint}"),
                            None => format!("must match {expression}"),
                        })
                    }
                    _ => Ok(()),
                }
            }
            (Self::Number { min, max, integer }, InputValue::Number(number)) => {
                number_fits(*number, *min, *max, *integer)
            }
            (Self::Boolean, InputValue::Boolean(_)) => Ok(()),
            (Self::Secret { min_length, max_length, .. }, InputValue::Text(text)) => {
                length(text, *min_length, *max_length)?;
                if text.chars().any(char::is_control) {
                    return Err("must not contain line breaks or control characters".to_owned());
                }
                Ok(())
            }
            (Self::Select { options }, InputValue::Text(text)) => {
                if options.iter().any(|o| o.value == *text) {
                    Ok(())
                } else {
                    let values: Vec<&str> = options.iter().map(|o| o.value.as_str()).collect();
                    Err(format!("must be one of: {}", values.join(", ")))
                }
            }
            (kind, _) => Err(format!("must be {}", kind.noun())),
        }
    }

    /// The kind in words: `a number`.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::String { .. } => "text",
            Self::Number { integer: true, .. } => "a whole number",
            Self::Number { .. } => "a number",
            Self::Boolean => "true or false",
            Self::Secret { .. } => "a secret",
            Self::Select { .. } => "one of the options",
        }
    }

    /// Whether values of this kind are secrets.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret { .. })
    }
}

fn length(text: &str, least: u32, most: u32) -> Result<(), String> {
    let count = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    if count < least {
        return Err(format!("must have at least {least} characters"));
    }
    if count > most {
        return Err(format!("must have at most {most} characters"));
    }
    Ok(())
}

fn number_fits(
    number: f64,
    min: Option<f64>,
    max: Option<f64>,
    integer: bool,
) -> Result<(), String> {
    let what = if integer { "a whole number" } else { "a number" };
    let wrong = !number.is_finite()
        || (integer && number.fract() != 0.0)
        || min.is_some_and(|m| number < m)
        || max.is_some_and(|m| number > m);
    if !wrong {
        return Ok(());
    }
    Err(match (min, max) {
        (Some(min), Some(max)) => format!("must be {what} from {min} to {max}"),
        (Some(min), None) => format!("must be {what}, at least {min}"),
        (None, Some(max)) => format!("must be {what}, at most {max}"),
        (None, None) => format!("must be {what}"),
    })
}

#[cfg(test)]
mod test {
    use super::*;

    fn text(regex: Option<&str>) -> InputKind {
        InputKind::String {
            regex: regex.map(str::to_owned),
            regex_hint: None,
            min_length: 0,
            max_length: 5,
        }
    }

    #[test]
    fn an_expression_is_about_the_whole_value() {
        let kind = text(Some("[a-z]+|[0-9]"));
        let fits = |value: &str| kind.check(&InputValue::Text(value.to_owned()));
        assert_eq!(fits("abc"), Ok(()));
        assert_eq!(fits("7"), Ok(()));
        assert_eq!(fits("abc1"), Err("must match [a-z]+|[0-9]".to_owned()));
        assert_eq!(fits("77"), Err("must match [a-z]+|[0-9]".to_owned()));
        assert_eq!(fits("abcdef"), Err("must have at most 5 characters".to_owned()));
        assert!(fits("a\n").is_err());
    }

    #[test]
    fn expressions_that_do_not_stand_alone_are_refused() {
        assert_eq!(whole_value("a)|(b").unwrap_err(), "unopened group");
        assert!(whole_value("(").unwrap_err().contains("unclosed group"));
        assert_eq!(whole_value(r"\w{1000}{1000}").unwrap_err(), "the expression is too big");
        assert!(whole_value("(?=x)").unwrap_err().contains("look-around"));
    }

    #[test]
    fn limits_of_the_other_kinds() {
        let number = InputKind::Number { min: Some(1.0), max: Some(10.0), integer: true };
        let fits = |value: f64| number.check(&InputValue::Number(value));
        assert_eq!(fits(10.0), Ok(()));
        for bad in [0.0, 10.5, 1.5, f64::NAN, f64::INFINITY] {
            assert_eq!(fits(bad), Err("must be a whole number from 1 to 10".to_owned()), "{bad}");
        }
        assert!(number.check(&InputValue::Text("5".to_owned())).is_err());
        let secret = InputKind::Secret { min_length: 8, max_length: 64, generate: false };
        let error = secret.check(&InputValue::Text("hunter2".to_owned())).unwrap_err();
        assert_eq!(error, "must have at least 8 characters");
        let choice = |v: &str| super::super::Choice { value: v.to_owned(), label: v.to_owned() };
        let select = InputKind::Select { options: vec![choice("a"), choice("b")] };
        assert_eq!(select.check(&InputValue::Text("b".to_owned())), Ok(()));
        assert_eq!(
            select.check(&InputValue::Text("c".to_owned())),
            Err("must be one of: a, b".to_owned())
        );
    }
}
