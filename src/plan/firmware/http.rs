//! What firmware wants of the answer to a request for a boot file: EDK2's `HttpBootDxe` and `HttpDxe`, iPXE, shim.

use std::ops::Range;

use super::{Dropped, rule};

/// A request as the client sent it.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// `HEAD` instead of `GET`.
    pub head: bool,
    /// The path; its extension says what is wanted.
    pub path: &'a str,
    /// Names and values of headers that ask for a part or make a condition.
    pub headers: &'a [(String, String)],
}

/// An answer as the client sees it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; several are an error of the server.
    ///
    /// # Errors
    /// It is there twice.
    pub fn header(&self, name: &str) -> Result<Option<&str>, Dropped> {
        let mut all = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = all.next();
        rule(all.next().is_none(), &format!("{name} twice"))?;
        Ok(first)
    }
}

/// What firmware looks for when the answer has no better type (UEFI 2.10 section 24.7.2; EDK2 `HttpBootCheckImageType`).
fn content_type(path: &str) -> Option<&'static str> {
    let extension = path.rsplit_once('.')?.1;
    match extension {
        "efi" => Some("application/efi"),
        "iso" => Some("application/vnd.efi-iso"),
        "img" => Some("application/vnd.efi-img"),
        _ => None,
    }
}

/// Judges an answer whose file is released to the client; `file` is the whole file.
///
/// # Errors
/// [`Dropped`] with the rule that is broken, and in the docstrings of the rules who needs it.
pub fn take_file(request: &Request<'_>, answer: &Answer, file: &[u8]) -> Result<(), Dropped> {
    take_any(request, answer)?;
    let asked = |name: &str| request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    match answer.status {
        200 => take_body(request, answer, file, 0..file.len()),
        206 => {
            rule(asked("range"), "a part that was not asked for")?;
            // EDK2 resumes a download with a range and wants 206 with Content-Range (`HttpBootClient.c`).
            let told = answer.header("content-range")?.ok_or("206 without Content-Range")?;
            let range = parse_content_range(told, file.len())?;
            take_body(request, answer, file, range)
        }
        304 => {
            rule(asked("if-none-match") || asked("if-modified-since"), "304 without condition")?;
            rule(answer.body.is_empty(), "304 with a body")
        }
        412 => {
            rule(asked("if-match") || asked("if-unmodified-since"), "412 without condition")?;
            rule(answer.body.is_empty(), "412 with a body")
        }
        416 => {
            rule(asked("range"), "416 without a range")?;
            let told = answer.header("content-range")?.unwrap_or_default();
            rule(told == format!("bytes */{}", file.len()), "416 does not tell the length")
        }
        // EDK2 and shim mishandle redirects (edk2 issue 9714).
        other => Err(Dropped(format!("status {other} for a file that exists"))),
    }
}

/// What holds for every answer that firmware gets, also for a refusal.
///
/// # Errors
/// [`Dropped`].
pub fn take_any(request: &Request<'_>, answer: &Answer) -> Result<(), Dropped> {
    rule(!(300..=303).contains(&answer.status), "a redirect")?;
    rule(!(307..=308).contains(&answer.status), "a redirect")?;
    for (name, value) in &answer.headers {
        // EDK2 hangs on an empty value (edk2 issue 7443).
        rule(!value.trim().is_empty(), &format!("{name} is empty"))?;
        // A length that is not known beforehand, packed bytes, a session: none of it is understood.
        let foreign = ["transfer-encoding", "content-encoding", "set-cookie", "location"];
        rule(!foreign.contains(&name.as_str()), &format!("{name} is not understood"))?;
        // HttpDxe reads the head into a buffer of limited size.
        rule(value.len() <= 512, &format!("{name} is long"))?;
    }
    rule(answer.headers.len() <= 16, "many headers")?;
    // Closing after HEAD races the client's GET (edk2 issue 9920).
    rule(answer.header("connection")?.is_none_or(|v| v == "keep-alive"), "closes")?;
    if answer.status != 304 {
        // Without a length EDK2 fetches the file twice and older shims fail.
        let told = answer.header("content-length")?.ok_or("no Content-Length")?;
        let length: usize = told.parse().map_err(|_| Dropped(format!("length '{told}'")))?;
        rule(request.head || length == answer.body.len(), "Content-Length is not the body's")?;
    }
    rule(!request.head || answer.body.is_empty(), "a body after HEAD")
}

fn take_body(
    request: &Request<'_>,
    answer: &Answer,
    file: &[u8],
    range: Range<usize>,
) -> Result<(), Dropped> {
    let told = answer.header("content-length")?.unwrap_or_default();
    rule(told == range.len().to_string(), "Content-Length is not the file's")?;
    rule(request.head || file.get(range) == Some(&answer.body[..]), "other bytes than the file's")?;
    let kind = answer.header("content-type")?.ok_or("no Content-Type")?;
    if let Some(wanted) = content_type(request.path) {
        rule(kind == wanted, &format!("Content-Type {kind} instead of {wanted}"))?;
    }
    rule(answer.header("accept-ranges")? == Some("bytes"), "no Accept-Ranges")?;
    // A resumed download sends the tag back in If-Match: a weak one never matches (RFC 9110 section 13.1.1).
    let tag = answer.header("etag")?.ok_or("no ETag")?;
    let strong = tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"');
    rule(strong, "the ETag is not a strong one")?;
    rule(answer.header("last-modified")?.is_some(), "no Last-Modified")
}

fn parse_content_range(text: &str, whole: usize) -> Result<Range<usize>, Dropped> {
    let bad = || Dropped(format!("Content-Range '{text}'"));
    let (range, length) =
        text.strip_prefix("bytes ").and_then(|t| t.split_once('/')).ok_or_else(bad)?;
    let (first, last) = range.split_once('-').ok_or_else(bad)?;
    let number = |t: &str| t.parse::<usize>().map_err(|_| bad());
    let (first, last) = (number(first)?, number(last)?);
    if number(length)? != whole || first > last || last >= whole {
        return Err(bad());
    }
    Ok(first..last + 1)
}

/// Whether `HEAD` and `GET` of one file tell the same (RFC 9110 section 9.3.2; EDK2 takes size and type from `HEAD`).
///
/// # Errors
/// With the first header that differs.
pub fn same_head(get: &Answer, head: &Answer) -> Result<(), Dropped> {
    rule(get.status == head.status, "HEAD has another status than GET")?;
    let names = |answer: &Answer| {
        let mut all: Vec<(String, String)> =
            answer.headers.iter().filter(|(n, _)| n != "date").cloned().collect();
        all.sort();
        all
    };
    let (one, other) = (names(get), names(head));
    rule(one == other, &format!("headers of GET {one:?} and of HEAD {other:?} differ"))
}
