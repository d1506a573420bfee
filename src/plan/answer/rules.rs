//! Rules for single values (reference 3.2 to 3.4): each returns what is allowed.

use std::collections::BTreeSet;

/// ISO 3166-1 alpha-2, the codes that the installer knows.
const COUNTRIES: &str = "ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt \
bv bw by bz ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo \
fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke \
kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw \
mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se \
sg sh si sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um us uy uz va vc ve \
vg vi vn vu wf ws ye yt za zm zw";

/// The installer's keyboard layouts.
pub(super) const KEYBOARDS: [&str; 25] = [
    "de", "de-ch", "dk", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is",
    "it", "jp", "lt", "mk", "nl", "no", "pl", "pt", "pt-br", "se", "si", "tr",
];

pub(super) fn country(text: &str) -> Result<(), String> {
    if text.len() == 2 && COUNTRIES.split_ascii_whitespace().any(|c| c == text) {
        return Ok(());
    }
    let hint = match text.to_ascii_lowercase().as_str() {
        "uk" => "; the United Kingdom is \"gb\"".to_owned(),
        "en" => "; \"en\" is a language, take \"us\" or \"gb\"".to_owned(),
        lower if lower != text && country(lower).is_ok() => format!("; write \"{lower}\""),
        _ => String::new(),
    };
    Err(format!("'{text}' is not a lower-case two-letter country code (ISO 3166-1){hint}"))
}

pub(super) fn keyboard(text: &str) -> Result<(), String> {
    one_of(text, &KEYBOARDS)
}

pub(super) fn one_of(text: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&text) {
        return Ok(());
    }
    Err(format!("'{text}' is not allowed; allowed: {}", allowed.join(", ")))
}

/// The installer takes the zones of zone.tab and exactly `UTC`. `zones` is that list when the caller has one.
pub(super) fn timezone(text: &str, zones: Option<&BTreeSet<String>>) -> Result<(), String> {
    const AREAS: [&str; 10] = [
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    ];
    if text == "UTC" {
        return Ok(());
    }
    let area = text.split_once('/').map(|(area, _)| area);
    let part_ok = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_uppercase())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    let parts = text.split('/').count();
    let shaped = area.is_some_and(|a| AREAS.contains(&a))
        && (2..=3).contains(&parts)
        && text.split('/').all(part_ok);
    if !shaped {
        let hint = if matches!(
            text,
            "Etc/UTC" | "Etc/GMT" | "GMT" | "utc" | "Utc" | "Z" | "Etc/Universal" | "Zulu"
        ) {
            "; write UTC"
        } else {
            ""
        };
        return Err(format!(
            "'{text}' is not a zone that the installer takes: Area/City of zone.tab, as in Europe/Vienna, or UTC{hint}"
        ));
    }
    match zones {
        Some(known) if !known.contains(text) => Err(format!(
            "'{text}' is not in this machine's zone.tab; 'timedatectl list-timezones' shows the zones"
        )),
        _ => Ok(()),
    }
}

/// The HTML5 pattern that the installer uses, and the one address that it refuses by name.
pub(super) fn mailto(text: &str) -> Result<(), String> {
    if text == "mail@example.invalid" {
        return Err(
            "mail@example.invalid is refused by the installer; a real address is needed".to_owned()
        );
    }
    let ok = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && local
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b))
            && domain.split('.').all(label)
    });
    if ok && text.len() <= 254 {
        Ok(())
    } else {
        Err(format!("'{text}' is not an e-mail address, as in ops@example.net"))
    }
}

fn label(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

pub(super) fn fqdn(text: &str) -> Result<(), String> {
    let mut labels = text.split('.');
    let first = labels.next().unwrap_or_default();
    let ok = text.len() <= 253
        && text.contains('.')
        && text.split('.').all(label)
        && !first.bytes().all(|b| b.is_ascii_digit());
    if ok {
        Ok(())
    } else {
        Err(format!(
            "'{text}' is not a full host name: at least two labels of 1 to 63 letters, digits and '-', at most 253 characters, the first not only digits; is the server type's domain set?"
        ))
    }
}

/// Product letters, level and ten lower-case hex digits; checked by the installed system only on its first boot.
pub(super) fn subscription_key(text: &str) -> Result<(), String> {
    let ok = text.split_once('-').is_some_and(|(product, digits)| {
        let level = product.strip_prefix("pve").and_then(|rest| {
            let (sockets, level) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
            let counted =
                (1..=3).contains(&sockets.len()) && sockets.bytes().all(|b| b.is_ascii_digit());
            (counted && "cbsp".contains(level)).then_some(())
        });
        level.is_some()
            && digits.len() == 10
            && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    if ok {
        Ok(())
    } else {
        Err("not a Proxmox VE subscription key: pve, number of sockets, one of c b s p, '-', ten lower-case hex digits".to_owned())
    }
}

pub(super) fn nic_name(text: &str) -> Result<(), String> {
    let ok = (2..=15).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if ok {
        Ok(())
    } else {
        Err(format!(
            "'{text}' is not a NIC name: 2 to 15 letters, digits and '_', beginning with a letter"
        ))
    }
}

/// Address with a prefix; without one the installer silently takes /32.
pub(super) fn cidr(text: &str, gateway: std::net::Ipv4Addr) -> Result<(), String> {
    let Ok(net) = text.parse::<ipnet::Ipv4Net>() else {
        return Err(format!("'{text}' is not an IPv4 address with a prefix, as in 192.0.2.21/24"));
    };
    let address = net.addr();
    if !(1..=30).contains(&net.prefix_len()) {
        return Err(format!("the prefix of {text} must be 1 to 30"));
    }
    if address == net.network() || address == net.broadcast() {
        return Err(format!("{address} is the network or broadcast address of {}", net.trunc()));
    }
    if !net.contains(&gateway) || gateway == address {
        return Err(format!(
            "the gateway {gateway} must be another address inside {}",
            net.trunc()
        ));
    }
    Ok(())
}

/// An http(s) URL that the installer's client can use.
pub(super) fn callback_url(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let ok = rest.is_some_and(|r| !r.is_empty() && !r.starts_with('/'))
        && text.len() <= 2048
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    if ok {
        Ok(())
    } else {
        Err("an http:// or https:// URL without blanks is expected".to_owned())
    }
}

/// Least number of disks of a RAID level, and whether it must be even.
pub(super) fn raid_disks(level: &str) -> (usize, bool) {
    match level {
        "raid1" => (2, false),
        "raid10" => (4, true),
        "raidz-1" => (3, false),
        "raidz-2" => (4, false),
        "raidz-3" => (5, false),
        _ => (1, false),
    }
}
