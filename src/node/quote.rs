//! The one function that turns an argument list into the command line that SSH transports.
//!
//! SSH's `exec` request carries one string, which sshd gives to the login shell (RFC 4254 section 6.5). Between single
//! quotes a POSIX shell takes every character literally except the single quote itself (XCU 2.2.2).

/// An argument contains a NUL byte, which no argument list can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an argument contains a NUL byte")]
pub struct NulInArgument;

/// Renders an argument list for a POSIX shell, which takes it apart into exactly these arguments.
///
/// # Errors
/// [`NulInArgument`].
pub fn render(argv: &[&str]) -> Result<String, NulInArgument> {
    let mut line = String::new();
    for argument in argv {
        if argument.contains('\0') {
            return Err(NulInArgument);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push('\'');
        line.push_str(&argument.replace('\'', r"'\''"));
        line.push('\'');
    }
    Ok(line)
}

#[cfg(test)]
mod test {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn through_a_shell(argv: &[&str]) -> Vec<u8> {
        let line = render(argv).unwrap();
        let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    #[test]
    fn arguments_that_look_like_shell_stay_text() {
        for text in
            ["", "$HOME", "`id`", "a;b", "'", "''", "\\", "a\nb", "-n", "*", "é\u{1f980}", "!!"]
        {
            assert_eq!(through_a_shell(&["printf", "%s", text]), text.as_bytes(), "{text:?}");
        }
        assert_eq!(render(&["a\0b"]), Err(NulInArgument));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_shell_takes_apart_what_was_rendered(
            arguments in prop::collection::vec("[^\0]{0,24}", 1..5)
        ) {
            let mut argv = vec!["printf", "%s\\037"];
            argv.extend(arguments.iter().map(String::as_str));
            let expected: String = arguments.iter().map(|a| format!("{a}\u{1f}")).collect();
            prop_assert_eq!(through_a_shell(&argv), expected.into_bytes());
        }
    }
}
