use axum::http::HeaderValue;

use super::session::{session_cookie, session_id};
use super::*;

#[test]
fn a_login_leads_back_only_to_our_own_pages() {
    for good in ["/", "/hosts/1", "/jobs?before=2", "/hosts/new?mac=52:54:00:00:00:01"] {
        assert_eq!(local_path(good), good);
    }
    for bad in
        ["", "//evil.example", "https://evil.example/", "/\\evil.example", "/a\r\nb", "hosts"]
    {
        assert_eq!(local_path(bad), "/", "{bad}");
    }
    assert_eq!(login_address("/jobs?a=b&c=%"), "/login?next=/jobs%3Fa%3Db%26c%3D%25");
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_static(value))
        })
        .collect()
}

#[test]
fn requests_that_another_site_caused_are_refused() {
    for good in [
        headers(&[]),
        headers(&[("sec-fetch-site", "same-origin")]),
        headers(&[("sec-fetch-site", "none")]),
        headers(&[("origin", "http://192.0.2.10:8080"), ("host", "192.0.2.10:8080")]),
    ] {
        assert!(check_origin(&good).is_ok(), "{good:?}");
    }
    for bad in [
        headers(&[("sec-fetch-site", "cross-site")]),
        headers(&[("sec-fetch-site", "same-site")]),
        headers(&[("origin", "null"), ("host", "192.0.2.10:8080")]),
        headers(&[("origin", "http://evil.example"), ("host", "192.0.2.10:8080")]),
        headers(&[("origin", "http://192.0.2.10:9090"), ("host", "192.0.2.10:8080")]),
        headers(&[("origin", "http://192.0.2.10:8080")]),
    ] {
        assert!(check_origin(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn cookies_are_closed_to_scripts_and_bound_to_this_host_under_tls() {
    let plain = session_cookie("abc", false);
    assert!(plain.to_str().unwrap().starts_with("ironhatch_session=abc; Path=/; HttpOnly"));
    let tls = session_cookie("abc", true);
    let tls = tls.to_str().unwrap();
    assert!(tls.starts_with("__Host-ironhatch_session=abc;") && tls.ends_with("; Secure"));
    let id = "a".repeat(64);
    let map = [(header::COOKIE, format!("x=1; ironhatch_session={id}").parse().unwrap())];
    assert_eq!(session_id(&map.into_iter().collect()), Some(id.as_str()));
}
