//! HTTP(S) requests for images: redirects, ranges, validators.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use url::Url;

use super::{ImportError, ImportLimits};
use crate::limits::work::REDIRECTS;
use crate::outbound;

/// A client for one import.
pub(super) struct Client {
    http: legacy::Client<outbound::Connector, Empty<Bytes>>,
    limits: ImportLimits,
}

/// An answer whose body is (the rest of) the file.
pub(super) struct Download {
    /// Where it came from in the end.
    pub(super) url: Url,
    /// Position of the body's first byte in the file.
    pub(super) start: u64,
    /// Length of the whole file, if told.
    pub(super) total: Option<u64>,
    /// Strong entity tag or modification time.
    pub(super) validator: Option<String>,
    pub(super) body: Incoming,
}

impl Client {
    pub(super) async fn new(limits: &ImportLimits) -> Result<Self, ImportError> {
        // Both read files: the CA store, and /etc/resolv.conf with /etc/hosts.
        let limits = limits.clone();
        super::blocking(move || {
            let connector = outbound::connector(limits.connect)
                .map_err(|e| ImportError::Answer { url: "https".into(), why: e.to_string() })?;
            let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
            Ok(Self { http, limits })
        })
        .await
    }

    /// Longest silence in the middle of a body.
    pub(super) fn idle(&self) -> Duration {
        self.limits.idle
    }

    /// Length of the file as `HEAD` tells it; `None` when the server does not say.
    pub(super) async fn size(&self, url: &Url) -> Result<Option<u64>, ImportError> {
        let (url, response) = self.send(Method::HEAD, url, &[]).await?;
        match response.status() {
            status if status.is_success() => {
                Ok(number(response.headers(), &header::CONTENT_LENGTH))
            }
            // Servers that hand files out do not always answer HEAD; the download itself will tell.
            StatusCode::FORBIDDEN
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => Ok(None),
            status => Err(ImportError::Status { url: url.into(), status: status.as_u16() }),
        }
    }

    /// Asks for the file; with `from`, for what follows so many bytes, if the file is still the one with that validator.
    pub(super) async fn get(
        &self,
        url: &Url,
        from: Option<(u64, String)>,
    ) -> Result<Download, ImportError> {
        let mut headers = Vec::new();
        if let Some((start, validator)) = &from
            && let Ok(validator) = HeaderValue::from_str(validator)
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={start}-"))
        {
            headers = vec![(header::RANGE, range), (header::IF_RANGE, validator)];
        }
        let (final_url, response) = self.send(Method::GET, url, &headers).await?;
        let status = response.status();
        if status == StatusCode::RANGE_NOT_SATISFIABLE && !headers.is_empty() {
            // What we have is not the beginning of this file.
            return Box::pin(self.get(url, None)).await;
        }
        let answer =
            |why: &str| ImportError::Answer { url: final_url.to_string(), why: why.into() };
        let (head, body) = response.into_parts();
        if head.headers.get(header::CONTENT_ENCODING).is_some_and(|e| e != "identity") {
            return Err(answer("it is compressed, although plain bytes were asked for"));
        }
        let length = number(&head.headers, &header::CONTENT_LENGTH);
        let (start, total) = match status {
            StatusCode::OK => (0, length),
            StatusCode::PARTIAL_CONTENT => {
                let (start, total) = head
                    .headers
                    .get(header::CONTENT_RANGE)
                    .and_then(|value| content_range(value.to_str().ok()?))
                    .ok_or_else(|| answer("it is a part of the file but does not say which"))?;
                if Some(start) != from.as_ref().map(|(start, _)| *start) {
                    return Err(answer("it is another part of the file than was asked for"));
                }
                (start, total)
            }
            _ => {
                let status = status.as_u16();
                return Err(ImportError::Status { url: final_url.into(), status });
            }
        };
        Ok(Download { start, total, validator: validator(&head.headers), url: final_url, body })
    }

    /// Sends a request and follows redirects.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<(Url, Response<Incoming>), ImportError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            url.set_fragment(None);
            let response = self.send_once(method.clone(), &url, headers).await?;
            let location = response
                .status()
                .is_redirection()
                .then(|| response.headers().get(header::LOCATION))
                .flatten();
            let Some(location) = location else { return Ok((url, response)) };
            url = redirected(&url, location)?;
        }
        Err(ImportError::Answer {
            url: url.into(),
            why: format!("more than {REDIRECTS} redirects"),
        })
    }

    async fn send_once(
        &self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Incoming>, ImportError> {
        let unusable = |why: String| ImportError::Answer { url: url.to_string(), why };
        let uri: Uri = url.as_str().parse().map_err(|_| unusable("not a usable URL".into()))?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let plain = [
            (header::USER_AGENT, HeaderValue::from_static("ironhatch")),
            (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        ];
        request.headers_mut().extend(plain.into_iter().chain(headers.iter().cloned()));
        let broken = |why, source| ImportError::Interrupted { url: url.to_string(), why, source };
        match tokio::time::timeout(self.limits.answer, self.http.request(request)).await {
            Err(_) => Err(broken("the server did not answer in time", None)),
            Ok(Err(e)) if e.is_connect() => {
                Err(broken("no connection could be made", Some(e.into())))
            }
            Ok(Err(e)) => Err(broken("the connection broke", Some(e.into()))),
            Ok(Ok(response)) => Ok(response),
        }
    }
}

fn redirected(from: &Url, location: &HeaderValue) -> Result<Url, ImportError> {
    let refused = |why: &str| ImportError::Answer { url: from.to_string(), why: why.into() };
    let to = location
        .to_str()
        .ok()
        .and_then(|text| from.join(text).ok())
        .ok_or_else(|| refused("it redirects to something that is not a URL"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Err(refused(
            "it redirects from https to http, which anybody on the way could change; give the http URL and the expected SHA-256",
        )),
        (_, "http" | "https") => Ok(to),
        _ => Err(refused("it redirects to something that is neither http nor https")),
    }
}

/// A strong entity tag, else the modification time: what `If-Range` may carry (RFC 9110, 13.1.5).
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    text(header::ETAG)
        .filter(|tag| tag.starts_with('"'))
        .or_else(|| text(header::LAST_MODIFIED))
        .map(str::to_owned)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// `bytes 100-199/1000` (RFC 9110, 14.4): first byte and, unless it is `*`, the whole length.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.trim().split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(content_range("bytes 100-199/1000"), Some((100, Some(1000))));
        assert_eq!(content_range("bytes 100-199/*"), Some((100, None)));
        for bad in ["", "bytes */1000", "items 1-2/3", "bytes 1", "bytes x-2/3"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn weak_tags_do_not_validate_ranges() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("W/\"1\""));
        assert_eq!(validator(&headers), None);
        headers.insert(header::LAST_MODIFIED, HeaderValue::from_static("Fri, 20 Nov 2026"));
        assert_eq!(validator(&headers).as_deref(), Some("Fri, 20 Nov 2026"));
        headers.insert(header::ETAG, HeaderValue::from_static("\"1\""));
        assert_eq!(validator(&headers).as_deref(), Some("\"1\""));
    }

    #[test]
    fn redirects_stay_on_the_web_and_do_not_lose_encryption() {
        let go = |from: &str, to: &str| {
            let to = HeaderValue::from_str(to).unwrap();
            redirected(&Url::parse(from).unwrap(), &to).map(|url| url.to_string())
        };
        assert_eq!(go("http://a.example/x/y", "z").unwrap(), "http://a.example/x/z");
        assert_eq!(go("http://a.example/x", "https://b.example/").unwrap(), "https://b.example/");
        assert!(go("https://a.example/x", "http://b.example/").is_err());
        assert!(go("https://a.example/x", "file:///etc/passwd").is_err());
    }
}
