//! Escapers for the languages of our templates. `askama.toml` names them by file extension.
//!
//! They work character by character, so that a value that is written in pieces is as safe as one in one piece.

use std::fmt::{self, Write};

use askama::filters::Escaper;

/// Text inside an iPXE command that is only shown, such as the words after `echo`.
///
/// iPXE splits a line at blanks, then looks for the words `||`, `&&` and `;` and for words that begin with `#`, then
/// expands `${...}` in each word; a `\` at the end joins lines (`src/core/exec.c` and `src/image/script.c` of iPXE
/// 1.21.1). There is no quoting. So what cannot be shown safely is shown as something that looks alike.
#[derive(Debug, Clone, Copy)]
pub struct IpxeText;

/// One word of an iPXE command: a URL or a kernel argument. Everything outside the characters of RFC 3986 is
/// percent-encoded, as are those that mean something to iPXE.
#[derive(Debug, Clone, Copy)]
pub struct IpxeWord;

/// The inside of a single-quoted word of a POSIX shell. Control characters are dropped: no value of ours has any.
#[derive(Debug, Clone, Copy)]
pub struct ShellQuoted;

impl Escaper for IpxeText {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        for c in text.chars() {
            dest.write_char(match c {
                '$' | '#' => '?',
                '\\' | '|' => '/',
                '&' => '+',
                ';' => ',',
                ' '..='~' => c,
                _ => '?',
            })?;
        }
        Ok(())
    }
}

impl Escaper for IpxeWord {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => dest.write_char(byte.into())?,
                b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b'?' | b'[' | b']' | b'@' | b'!' => {
                    dest.write_char(byte.into())?;
                }
                b'(' | b')' | b'*' | b'+' | b',' | b'=' | b'%' | b'&' => {
                    dest.write_char(byte.into())?;
                }
                _ => write!(dest, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

impl Escaper for ShellQuoted {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\'' => dest.write_str("'\\''")?,
                c if c.is_control() => {}
                c => dest.write_char(c)?,
            }
        }
        Ok(())
    }
}
