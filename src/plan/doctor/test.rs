//! Facts to findings, as tables.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::facts::{
    Answer, Api, ApiFacts, CertificateFacts, ClockFacts, ClockKeeper, ClusterFacts, Configuration,
    Daemon, Facts, Heard, Holder, ImageFacts, Link, MemberFacts, NetworkBoot, OwnEars, Port,
    PublicUrl, Segment, Storage, TimedOffer,
};
use super::*;
use crate::domain::mac::Mac;
use crate::proto::dhcp::probe::HeardOffer;

const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NOW: Timestamp = Timestamp(1_795_200_780_000);
const DAY_MS: i64 = 86_400_000;

/// An ordinary DHCP server's offer, and ours.
fn offer(server: Ipv4Addr) -> HeardOffer {
    HeardOffer {
        source: server,
        server_id: Some(server),
        address: Ipv4Addr::new(192, 0, 2, 77),
        // dnsmasq names itself always, without meaning it.
        next_server: server,
        relay: Ipv4Addr::UNSPECIFIED,
        vendor_class: Vec::new(),
        boot_file: String::new(),
        tftp_name: String::new(),
        vendor_tags: Vec::new(),
    }
}

fn heard(offer: HeardOffer) -> TimedOffer {
    TimedOffer { after: Duration::from_millis(12), ours: false, offer }
}

fn our_offer() -> TimedOffer {
    let boot = HeardOffer {
        address: Ipv4Addr::UNSPECIFIED,
        vendor_class: b"PXEClient".to_vec(),
        boot_file: "snponly.efi".to_owned(),
        ..offer(US)
    };
    TimedOffer { ours: true, ..heard(boot) }
}

/// An appliance where nothing is wrong.
fn fine() -> Facts {
    let segment = Segment {
        interface: "eth0".to_owned(),
        link: Some(Link { carries: true, addresses: vec![US], mtu: Some(1500) }),
        heard: Heard::Answers {
            listened: Duration::from_millis(3300),
            offers: vec![heard(offer(ROUTER)), our_offer()],
            own: Some(OwnEars { dhcp: true, boot_server: true, tftp: true }),
        },
    };
    let told = ApiFacts {
        release: Some(((9, 2), "9.2.11".to_owned())),
        supported: true,
        quorate: Some(true),
        nodes: 3,
        clocks: vec![("pve1".to_owned(), 900)],
        ..ApiFacts::default()
    };
    Facts {
        now: NOW,
        daemon: Daemon::Runs,
        configuration: Configuration { server_types: 2, ..Configuration::default() },
        ports: vec![Port { name: "UDP 67 (DHCP)", number: 67, holder: Holder::Us }],
        network_boot: Some(NetworkBoot {
            full: false,
            subnet: "192.0.2.0/24".parse().unwrap(),
            segments: vec![segment],
            relayed: Some(0),
        }),
        public_url: Some(PublicUrl {
            url: "http://192.0.2.10:8080".to_owned(),
            address: US.into(),
            is_here: true,
            answer: Some(Answer::Us),
        }),
        storage: Some(Storage { path: "/data".to_owned(), unusable: None, free: Some(50 << 30) }),
        images: Some(vec![image("pve-9.2-1", Some((9, 2)))]),
        clock: ClockFacts {
            newest_record: Some(NOW),
            keeper: ClockKeeper::Service("systemd-timesyncd"),
        },
        certificate: Some(certificate(-DAY_MS, 300 * DAY_MS, "192.0.2.10")),
        cluster: Some(ClusterFacts {
            member: Some(MemberFacts { name: "192.0.2.5".to_owned(), ssh: None, api: None }),
            api: Some(Api::Told(Box::new(told))),
        }),
    }
}

fn image(id: &str, release: Option<(u32, u32)>) -> ImageFacts {
    ImageFacts { id: id.to_owned(), release, unusable: None }
}

fn certificate(from_ms: i64, to_ms: i64, name: &str) -> CertificateFacts {
    CertificateFacts::Seen {
        not_before: Timestamp(NOW.0 + from_ms),
        not_after: Timestamp(NOW.0 + to_ms),
        names: vec![name.to_owned()],
    }
}

fn segment(facts: &mut Facts) -> &mut Segment {
    &mut facts.network_boot.as_mut().unwrap().segments[0]
}

fn link(facts: &mut Facts) -> &mut Link {
    segment(facts).link.as_mut().unwrap()
}

fn offers(facts: &mut Facts) -> &mut Vec<TimedOffer> {
    match &mut segment(facts).heard {
        Heard::Answers { offers, .. } => offers,
        other => panic!("{other:?}"),
    }
}

fn own(facts: &mut Facts) -> &mut OwnEars {
    match &mut segment(facts).heard {
        Heard::Answers { own: Some(own), .. } => own,
        other => panic!("{other:?}"),
    }
}

fn api(facts: &mut Facts) -> &mut ApiFacts {
    match &mut facts.cluster.as_mut().unwrap().api {
        Some(Api::Told(told)) => told,
        other => panic!("{other:?}"),
    }
}

fn problems(facts: &Facts) -> Vec<&'static str> {
    let report = examine(facts);
    report.findings.iter().filter(|f| f.problem.is_some()).map(Finding::code).collect()
}

#[test]
fn an_appliance_where_nothing_is_wrong_has_only_good_findings() {
    let report = examine(&fine());
    assert_eq!(report.worst(), Severity::Ok, "{report:#?}");
    assert!(report.findings.len() > 10);
    let text: Vec<&str> = report.findings.iter().map(|f| f.sentence.as_str()).collect();
    assert!(text.contains(&"The DHCP server 192.0.2.1 answers on eth0 after 12 ms."), "{text:#?}");
}

type Change = fn(&mut Facts);

/// One change to a good installation, and what it is found to be.
const CASES: &[(&[&str], Change)] = &[
    (&["not-running"], |f| f.daemon = Daemon::Absent("no such file".to_owned())),
    (&["configuration-wrong"], |f| f.configuration.errors.push("types/x.toml: no".to_owned())),
    (&["configuration-doubtful"], |f| f.configuration.warnings.push("x".to_owned())),
    (&["no-server-type"], |f| f.configuration.server_types = 0),
    (&["network-boot-off"], |f| f.network_boot = None),
    (&["port-taken"], |f| {
        f.ports[0].holder = Holder::Other(Some("dnsmasq (process 8)".to_owned()))
    }),
    (&["port-taken"], |f| f.ports[0].holder = Holder::Other(None)),
    (&[], |f| f.ports[0].holder = Holder::Free),
    (&["not-checked"], |f| f.ports[0].holder = Holder::Unknown("it takes root".to_owned())),
    (&["interface-missing"], |f| {
        segment(f).link = None;
        segment(f).heard = Heard::Nothing;
    }),
    (&["link-down"], |f| {
        link(f).carries = false;
        segment(f).heard = Heard::Nothing;
    }),
    (&["no-address"], |f| {
        link(f).addresses.clear();
        segment(f).heard = Heard::Nothing;
    }),
    (&["outside-subnet"], |f| link(f).addresses = vec![Ipv4Addr::new(198, 51, 100, 1)]),
    (&["small-mtu"], |f| link(f).mtu = Some(1400)),
    (&["large-mtu"], |f| link(f).mtu = Some(9000)),
    (&[], |f| link(f).mtu = None),
    (&["foreign-public-url"], |f| f.public_url.as_mut().unwrap().is_here = false),
    (&["public-url-elsewhere"], |f| {
        f.public_url.as_mut().unwrap().address = Ipv4Addr::new(198, 51, 100, 1).into();
        f.certificate = None;
    }),
    (&["public-url-silent"], |f| {
        f.public_url.as_mut().unwrap().answer = Some(Answer::Silence("refused".to_owned()));
    }),
    (&["public-url-other"], |f| f.public_url.as_mut().unwrap().answer = Some(Answer::Other)),
    (&["no-dhcp-server"], |f| {
        offers(f).remove(0);
    }),
    (&[], |f| {
        offers(f).remove(0);
        f.network_boot.as_mut().unwrap().full = true;
    }),
    (&["rival-dhcp-server"], |f| f.network_boot.as_mut().unwrap().full = true),
    (&["slow-dhcp-server"], |f| offers(f)[0].after = Duration::from_millis(3006)),
    (&["several-dhcp-servers"], |f| offers(f).push(heard(offer(Ipv4Addr::new(192, 0, 2, 2))))),
    (&["dhcp-server-claims-pxe"], |f| offers(f)[0].offer.vendor_class = b"PXEClient".to_vec()),
    (&["dhcp-server-names-boot-file"], |f| {
        offers(f)[0].offer.boot_file = "pxelinux.0".to_owned();
    }),
    (&["second-boot-server"], |f| {
        let mut other = our_offer();
        other.offer.server_id = Some(Ipv4Addr::new(192, 0, 2, 3));
        other.ours = false;
        offers(f).push(other);
    }),
    (&["relay-in-front"], |f| offers(f)[0].offer.relay = Ipv4Addr::new(192, 0, 2, 254)),
    (&["relayed-machines"], |f| f.network_boot.as_mut().unwrap().relayed = Some(4)),
    (&["not-checked"], |f| segment(f).heard = Heard::NotAsked("port 68 is held".to_owned())),
    (&["not-heard-dhcp"], |f| own(f).dhcp = false),
    (&["not-heard-boot-server"], |f| own(f).boot_server = false),
    (&["no-tftp"], |f| own(f).tftp = false),
    (&["data-dir-unusable"], |f| {
        f.storage.as_mut().unwrap().unusable = Some("read-only".to_owned());
    }),
    (&["disk-full"], |f| f.storage.as_mut().unwrap().free = Some(200 << 20)),
    (&["disk-low"], |f| f.storage.as_mut().unwrap().free = Some(1 << 30)),
    (&["not-checked"], |f| f.storage.as_mut().unwrap().free = None),
    (&["no-image"], |f| f.images = Some(Vec::new())),
    (&["image-unusable"], |f| {
        f.images.as_mut().unwrap()[0].unusable = Some("the file is gone".to_owned());
    }),
    (&["clock-wrong"], |f| {
        // Nobody knows what a certificate is worth then.
        (f.now, f.certificate, f.clock.newest_record) = (Timestamp(0), None, None);
    }),
    (&["clock-wrong"], |f| f.clock.newest_record = Some(Timestamp(NOW.0 + 600_000))),
    (&[], |f| f.clock.newest_record = Some(Timestamp(NOW.0 + 5_000))),
    (&["clock-unkept"], |f| f.clock.keeper = ClockKeeper::Nobody),
    (&[], |f| f.clock.keeper = ClockKeeper::Host),
    (&["clock-drift"], |f| api(f).clocks[0].1 = -45_000),
    (&["certificate-unreadable"], |f| {
        f.certificate = Some(CertificateFacts::Unreadable("no PEM".to_owned()));
    }),
    (&[], |f| f.certificate = Some(CertificateFacts::Missing)),
    (&["certificate-expired"], |f| f.certificate = Some(certificate(-9, -1, "192.0.2.10"))),
    (&["certificate-expired"], |f| {
        f.certificate = Some(certificate(DAY_MS, 99 * DAY_MS, "192.0.2.10"));
    }),
    (&["certificate-expires-soon"], |f| {
        f.certificate = Some(certificate(-9, 20 * DAY_MS, "192.0.2.10"));
    }),
    (&["certificate-other-name"], |f| {
        f.certificate = Some(certificate(-9, 300 * DAY_MS, "192.0.2.99"));
    }),
    (&["member-unreachable"], |f| {
        let member = f.cluster.as_mut().unwrap().member.as_mut().unwrap();
        member.ssh = Some("refused".to_owned());
    }),
    (&["no-node-enrolled"], |f| f.cluster.as_mut().unwrap().api = Some(Api::NoNode)),
    (&["cluster-unreachable"], |f| {
        f.cluster.as_mut().unwrap().api = Some(Api::Failed("refused".to_owned()));
    }),
    (&["token-refused"], |f| {
        f.cluster.as_mut().unwrap().api = Some(Api::Refused("no such token".to_owned()));
    }),
    (&["token-rights"], |f| api(f).missing_rights.push("SDN.Use on /x".to_owned())),
    (&["not-quorate"], |f| api(f).quorate = Some(false)),
    (&[], |f| api(f).quorate = None),
    (&["node-offline"], |f| api(f).offline.push("pve3".to_owned())),
    (&["node-unusable"], |f| api(f).problems.push("pve3: key refused".to_owned())),
    (&["release-unsupported"], |f| api(f).supported = false),
    (&["image-ahead"], |f| f.images.as_mut().unwrap().push(image("pve-10.0-1", Some((10, 0))))),
    (&["image-behind"], |f| f.images = Some(vec![image("pve-8.4-1", Some((8, 4)))])),
    // A mixture of releases is not judged as long as one fits, nor what cannot be served.
    (&[], |f| f.images.as_mut().unwrap().push(image("pve-8.4-1", Some((8, 4))))),
    (&[], |f| f.cluster = Some(ClusterFacts { member: None, api: None })),
];

#[test]
fn each_change_to_a_good_installation_is_found_for_what_it_is() {
    assert!(problems(&fine()).is_empty());
    for (n, (expected, change)) in CASES.iter().enumerate() {
        let mut facts = fine();
        change(&mut facts);
        assert_eq!(problems(&facts), *expected, "case {n}: {:#?}", examine(&facts).findings);
    }
    let found: BTreeSet<&str> = CASES.iter().flat_map(|(codes, _)| codes.iter().copied()).collect();
    let all: BTreeSet<&str> = Problem::ALL.iter().map(|problem| problem.code()).collect();
    assert_eq!(found, all, "a problem that no case finds");
}

#[test]
fn the_worst_comes_first_and_every_sentence_is_one() {
    let mut facts = fine();
    for (_, change) in CASES.iter().take(3) {
        change(&mut facts);
    }
    let report = examine(&facts);
    assert_eq!(report.worst(), Severity::Error);
    assert_eq!((report.count(Severity::Error), report.count(Severity::Warning)), (1, 2));
    assert!(report.findings.is_sorted_by_key(|f| std::cmp::Reverse(f.severity())));
    for finding in &report.findings {
        assert_eq!(finding.fix().is_empty(), finding.severity() == Severity::Ok, "{finding:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_all_that_is_told() {
    let configuration =
        Configuration { errors: vec!["x.toml: wrong".to_owned()], ..Configuration::default() };
    let daemon = Daemon::Absent("no socket".to_owned());
    let facts = Facts { now: NOW, daemon, configuration, ..Facts::default() };
    assert_eq!(problems(&facts), ["configuration-wrong", "not-running", "clock-unkept"]);
}

#[test]
fn names_are_unique_and_texts_are_sentences() {
    let mut codes = BTreeSet::new();
    for problem in Problem::ALL {
        assert!(codes.insert(problem.code()), "{} twice", problem.code());
        assert!(problem.severity() > Severity::Ok);
        assert!(problem.meaning().ends_with('.') && problem.fix().ends_with('.'), "{problem:?}");
    }
}

/// A DHCP server's datagram for this transaction.
fn datagram(yiaddr: Ipv4Addr, options: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 240];
    out[..3].copy_from_slice(&[2, 1, 6]);
    out[4..8].copy_from_slice(&7_u32.to_be_bytes());
    out[16..20].copy_from_slice(&yiaddr.octets());
    out[28..34].copy_from_slice(&[2, 0x49, 0x48, 1, 2, 3]);
    out[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    out.extend(options);
    out
}

#[test]
fn what_servers_send_is_read_tolerantly_and_hostile_bytes_do_no_harm() {
    let mac = Mac([2, 0x49, 0x48, 1, 2, 3]);
    let options =
        b"\x35\x01\x02\x00\x36\x04\xc0\x00\x02\x01\x3c\x09PXEClient\x43\x0bevil\x1b[2J\x00\x00\xff";
    let bytes = datagram(Ipv4Addr::new(192, 0, 2, 77), options);
    let offer = HeardOffer::read(&bytes, ROUTER, 7, mac).expect("an offer");
    assert_eq!((offer.server(), offer.lends(), offer.claims_pxe()), (ROUTER, true, true));
    assert_eq!(offer.boot_file, "evil[2J", "nothing that a terminal obeys");
    assert!(HeardOffer::read(&bytes, ROUTER, 8, mac).is_none(), "another transaction");
    assert!(HeardOffer::read(&bytes, ROUTER, 7, Mac([2; 6])).is_none(), "another machine");
    let request = crate::proto::dhcp::probe::boot_request(
        7,
        mac,
        crate::proto::dhcp::probe::Asker::Uefi,
        None,
    );
    assert!(HeardOffer::read(&request, ROUTER, 7, mac).is_none(), "our own question");
    for length in 0..bytes.len() {
        let _ = HeardOffer::read(&bytes[..length], ROUTER, 7, mac);
    }
}

/// What stands in front of the table.
const INTRODUCTION: &str = include_str!("introduction.md");

#[test]
fn every_problem_is_told_in_the_documents() {
    use std::fmt::Write as _;
    let mut text = INTRODUCTION.to_owned();
    let mut by_severity: Vec<Problem> = Problem::ALL.to_vec();
    by_severity.sort_by_key(|problem| std::cmp::Reverse(problem.severity()));
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        write!(text, "\n## Findings: {}\n", severity.name()).unwrap();
        for problem in by_severity.iter().filter(|problem| problem.severity() == severity) {
            let (code, meaning, fix) = (problem.code(), problem.meaning(), problem.fix());
            write!(text, "\n### {code}\n\n{meaning}\n\n*What to do:* {fix}\n").unwrap();
        }
    }
    crate::golden::assert_file("docs/doctor.md", &text);
}
