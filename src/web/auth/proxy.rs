//! Log-in by a reverse proxy: it checked who somebody is and says so in a header. The header counts only when the
//! connection itself comes from a configured address; from anywhere else it is as if it were not there.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;

use super::{Operator, Proof, token_hash};
use crate::domain::account::{AccountName, Scope};
use crate::domain::audit::Who;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::store::{AccountReads as _, StoreError};
use crate::web::{TrustedProxy, WebState};

/// The header in which proxies tell for whom they ask, the nearest one last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// From where a request really comes. Inserted by [`note_client`] only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// The browser's address; that of the proxy in front of it, unless its word about others' addresses counts.
    pub(super) address: IpAddr,
    /// The address is the browser's own, and not one that everybody behind a proxy has.
    pub(super) is_own: bool,
    /// The connection comes from a trusted proxy.
    pub(super) is_proxy: bool,
}

/// Notes the client of each request, before anybody asks for it.
pub(in crate::web) async fn note_client(
    State(web): State<WebState>,
    mut request: Request,
    next: Next,
) -> Response {
    let connected = request.extensions().get::<ConnectInfo<SocketAddr>>().copied();
    // A listener that does not tell addresses (the control socket) has no proxy in front.
    if let Some(ConnectInfo(peer)) = connected {
        let client = client(web.parts.proxy.as_deref(), peer.ip(), request.headers());
        request.extensions_mut().insert(client);
    }
    next.run(request).await
}

fn client(proxy: Option<&TrustedProxy>, peer: IpAddr, headers: &HeaderMap) -> Client {
    let peer = peer.to_canonical();
    let Some(proxy) = proxy.filter(|proxy| proxy.sends_from(peer)) else {
        return Client { address: peer, is_own: true, is_proxy: false };
    };
    if !proxy.forwarded_for {
        // A proxy that does not set the header passes on what browsers send.
        return Client { address: peer, is_own: false, is_proxy: true };
    }
    // What stands further left was sent by whoever is behind, and can be anything.
    let nearest = headers.get_all(FORWARDED_FOR).iter().next_back();
    let nearest = nearest.and_then(|v| v.to_str().ok()).and_then(|v| v.rsplit(',').next());
    let told = nearest.and_then(|text| text.trim().parse::<IpAddr>().ok());
    let address = told.map_or(peer, |address| address.to_canonical());
    Client { address, is_own: told.is_some(), is_proxy: true }
}

/// Whom the proxy names; `None` when this request comes from no trusted proxy, or names nobody.
///
/// # Errors
/// When what it names cannot be an account, or more than one name came: then somebody behind it sent a header, too.
pub(super) fn named(web: &WebState, request: &Request) -> Result<Option<AccountName>, Refusal> {
    let Some(proxy) = &web.parts.proxy else { return Ok(None) };
    if !request.extensions().get::<Client>().is_some_and(|client| client.is_proxy) {
        return Ok(None);
    }
    let mut values = request.headers().get_all(&proxy.header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::new(
            RefusalKind::Malformed,
            format!("The request has the header {} more than once.", proxy.header),
            "Let the proxy remove this header from what browsers send.",
        ));
    }
    let text = value.to_str().unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|e: crate::domain::id::InvalidId| {
        Refusal::new(RefusalKind::Forbidden, e.to_string(), "Let the proxy send a plain name.")
    })
}

/// The operator that a trusted proxy named.
///
/// # Errors
/// When there is no such account, or it is disabled.
pub(super) async fn operator(web: &WebState, name: AccountName) -> Result<Operator, Refusal> {
    if !is_usable(web, name.clone()).await? {
        return Err(Refusal::new(
            RefusalKind::Forbidden,
            format!(
                "The proxy names '{name}', and there is no account of this name that is enabled."
            ),
            "Add it on the page Access, or with `ironhatch account add NAME --no-password` on the appliance.",
        ));
    }
    Ok(Operator {
        // Nothing is kept for such a browser: the token follows from the name and a key of this run.
        csrf: token_hash(&format!("{}/{name}", web.proxy_key)),
        local: false,
        who: Who::Proxy(name.to_string()),
        account: Some(name.clone()),
        scope: Scope::Admin,
        proof: Proof::Proxy(name),
    })
}

/// Whether this account can be used.
pub(super) async fn is_usable(web: &WebState, name: AccountName) -> Result<bool, StoreError> {
    let found = web.store().read(move |read| read.account(&name)).await?;
    Ok(found.is_some_and(|account| !account.disabled))
}

#[cfg(test)]
mod test {
    use super::*;

    fn told(forwarded_for: bool, peer: &str, forwarded: &[&str]) -> (String, bool, bool) {
        let proxy = TrustedProxy {
            header: "x-forwarded-user".parse().unwrap(),
            from: vec!["192.0.2.5/32".parse().unwrap(), "2001:db8::/64".parse().unwrap()],
            forwarded_for,
        };
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let client = client(Some(&proxy), peer.parse().unwrap(), &headers);
        (client.address.to_string(), client.is_own, client.is_proxy)
    }

    fn is(address: &str, is_own: bool, is_proxy: bool) -> (String, bool, bool) {
        (address.to_owned(), is_own, is_proxy)
    }

    #[test]
    fn only_a_trusted_proxy_tells_for_whom_it_asks_and_only_its_own_word_counts() {
        let told = |peer: &str, forwarded: &[&str]| told(true, peer, forwarded);
        assert_eq!(told("192.0.2.6", &["198.51.100.1"]), is("192.0.2.6", true, false));
        assert_eq!(told("192.0.2.5", &[]), is("192.0.2.5", false, true));
        let browser = is("198.51.100.1", true, true);
        assert_eq!(told("192.0.2.5", &["198.51.100.1"]), browser);
        assert_eq!(told("::ffff:192.0.2.5", &["198.51.100.1"]), browser);
        assert_eq!(told("192.0.2.5", &["10.9.9.9, 198.51.100.1"]), browser);
        assert_eq!(told("192.0.2.5", &["10.9.9.9", "198.51.100.1"]), browser);
        assert_eq!(told("192.0.2.5", &["10.9.9.9, nonsense"]), is("192.0.2.5", false, true));
        assert_eq!(told("2001:db8::7", &["2001:db8:1::1"]), is("2001:db8:1::1", true, true));
    }

    #[test]
    fn a_proxy_that_is_trusted_for_names_only_tells_no_address() {
        let told = |peer: &str, forwarded: &[&str]| told(false, peer, forwarded);
        assert_eq!(told("192.0.2.5", &["198.51.100.1"]), is("192.0.2.5", false, true));
        assert_eq!(told("192.0.2.5", &[]), is("192.0.2.5", false, true));
        assert_eq!(told("192.0.2.6", &["198.51.100.1"]), is("192.0.2.6", true, false));
    }
}
