//! Proposals and files of the set-up.

use super::*;

fn nic(name: &str, address: &str) -> Nic {
    let address = address.parse().unwrap();
    Nic { name: name.into(), address, is_default: false, is_physical: true }
}

#[test]
fn the_default_route_is_proposed_unless_another_interface_was_named() {
    let lan = Nic { is_default: true, ..nic("eno1", "192.0.2.10/24") };
    let bridge = Nic { is_physical: false, ..nic("docker0", "198.51.100.1/24") };
    let nics = [bridge.clone(), nic("eno2", "203.0.113.1/24"), lan];
    let named = |name: &str| Answers { interface: Some(name.into()), ..Answers::default() };
    let chosen =
        |nics: &[Nic], answers: &Answers| proposed_nic(nics, answers).map(|n| n.name.clone());
    assert_eq!(chosen(&nics, &Answers::default()).as_deref(), Some("eno1"));
    assert_eq!(chosen(&nics, &named("docker0")).as_deref(), Some("docker0"));
    assert_eq!(chosen(&nics[..2], &Answers::default()).as_deref(), Some("eno2"));
    assert_eq!(chosen(&[bridge], &Answers::default()).as_deref(), Some("docker0"));
    assert_eq!(chosen(&[], &Answers::default()), None);
}

#[test]
fn it_serves_addresses_only_where_nobody_else_does() {
    assert_eq!(proposed_mode(Some(&[])), Mode::Full);
    assert_eq!(proposed_mode(Some(&[Ipv4Addr::new(192, 0, 2, 1)])), Mode::Proxy);
    assert_eq!(proposed_mode(None), Mode::Proxy, "nobody could ask");
}

#[test]
fn the_pool_leaves_the_appliance_and_the_lower_half_out() {
    for (address, pool) in [
        ("192.0.2.10/24", Some("192.0.2.128-192.0.2.227")),
        ("192.0.2.200/24", Some("192.0.2.128-192.0.2.199")),
        ("192.0.2.128/24", Some("192.0.2.129-192.0.2.227")),
        ("192.0.2.9/29", Some("192.0.2.12-192.0.2.14")),
        ("192.0.2.1/30", None),
        ("192.0.2.1/32", None),
    ] {
        assert_eq!(proposed_pool(&nic("eth0", address)).as_deref(), pool, "{address}");
    }
}

#[test]
fn a_first_run_fills_the_template_and_the_result_is_a_valid_configuration() {
    let answers = Answers {
        mode: Some(Mode::Full),
        pool: Some("192.0.2.128-192.0.2.200".into()),
        public_url: Some("http://192.0.2.10:8080".into()),
        tls: Some(true),
        ssh_keys: Some(vec![KEY.into()]),
        existing_node: Some(String::new()),
        cluster_name: Some("home".into()),
        ..Answers::default()
    };
    let text =
        configuration(TEMPLATE, &answers, Some(&nic("eno1", "192.0.2.10/24")), Some("")).unwrap();
    for line in [
        "tls = \"auto\"",
        "interface = \"eno1\"                         # on the same segment as the machines; a list for several",
        "mode = \"full\"                             # \"proxy\" beside the LAN's DHCP server; \"full\" serves leases itself",
        "pool = \"192.0.2.128-192.0.2.200\"",
        "cluster_name = \"home\"                 # for a cluster that is founded: at most 15 letters, digits, hyphens",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(text.contains(KEY) && text.contains("# [apps]"), "{text}");
    assert_eq!(
        configuration(&text, &answers, None, None).unwrap(),
        text,
        "a second run changes nothing"
    );
}

#[test]
fn what_was_not_asked_stays_as_the_operator_wrote_it() {
    let own = "# mine\n[server]\npublic_url = 'http://192.0.2.1:80' # kept\n\n[pxe]\nenabled = true\nmode = \"full\"\n\
               pool = \"192.0.2.3-192.0.2.4\"\n\n[apps]\nenabled = true\n";
    assert_eq!(configuration(own, &Answers::default(), None, None).unwrap(), own);
    let proxy = Answers { mode: Some(Mode::Proxy), ..Answers::default() };
    let changed = own.replace("\"full\"\npool = \"192.0.2.3-192.0.2.4\"", "\"proxy\"");
    assert_eq!(configuration(own, &proxy, None, None).unwrap(), changed);
    let off = Answers { mode: Some(Mode::Off), ..Answers::default() };
    let changed = own.replacen("enabled = true", "enabled = false", 1);
    assert_eq!(configuration(own, &off, None, None).unwrap(), changed);
    assert!(configuration("[server", &off, None, None).is_err());
}

#[test]
fn a_first_type_names_disks_or_leaves_them_to_the_hosts() {
    let first = |disks: &[&str]| FirstType {
        name: "small".into(),
        display_name: String::new(),
        disks: disks.iter().map(|d| (*d).to_owned()).collect(),
    };
    assert!(
        server_type(&first(&[])).contains("display_name = \"small\"\nboot_disk = \"per-host\"\n")
    );
    let named = server_type(&first(&["nvme0n1"]));
    assert!(named.contains("boot_disk = { devices = [\"nvme0n1\"] }"), "{named}");
}

#[test]
fn secrets_are_read_and_never_written_down_again() {
    let answers: Answers = toml::from_str(
        "operator_password = \"one\"\nroot_password = \"two\"\nimage = \"/srv/a.iso\"",
    )
    .unwrap();
    let text = toml::to_string(&answers).unwrap();
    assert!(
        !text.contains("one") && !text.contains("two") && text.contains("/srv/a.iso"),
        "{text}"
    );
    let unknown = toml::from_str::<Answers>("pasword = 'x'").unwrap_err().to_string();
    assert!(unknown.contains("operator_password"), "{unknown}");
}

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE you@desk";
