//! Tests of service definitions.

use super::*;

fn service() -> Service {
    Service {
        name: "wiki".to_owned(),
        domain: "Wiki.Example.net.".to_owned(),
        address: "192.0.2.7".parse().unwrap(),
        port: 8080,
        headers: true,
        auth: false,
        public: false,
        health_path: None,
    }
}

fn with(change: impl FnOnce(&mut Service)) -> Service {
    let mut service = service();
    change(&mut service);
    service
}

#[test]
fn the_default_definition_has_the_generators_fields() {
    let made = definition(DEFAULT_TEMPLATE, "services", DEFAULT_FILE_NAME, &service()).unwrap();
    assert_eq!(made.file, "services/wiki.yaml");
    assert_eq!(made.domain, "wiki.example.net");
    assert_eq!(
        made.text,
        "# Written by Ironhatch for guest wiki; changes are overwritten.\n\
         name: \"wiki\"\ntype: proxy\ndomain: \"wiki.example.net\"\nheaders: true\nauth: false\n\
         backend: \"192.0.2.7:8080\"\n"
    );
    assert!(is_ours(&made.text, "wiki"));
    assert!(!is_ours(&made.text, "wik"));
    assert_eq!(domains(&made.text).into_iter().collect::<Vec<_>>(), ["wiki.example.net"]);
}

#[test]
fn an_ipv6_backend_is_written_in_brackets() {
    let service = with(|s| s.address = "2001:db8::7".parse().unwrap());
    let made = definition(DEFAULT_TEMPLATE, "", DEFAULT_FILE_NAME, &service).unwrap();
    assert!(made.text.contains("backend: \"[2001:db8::7]:8080\"\n"), "{}", made.text);
    assert_eq!(made.file, "wiki.yaml");
}

#[test]
fn a_value_cannot_become_structure() {
    let template = "name: {{ name }}\ndomain: {{ domain }}\nbackend: {{ backend }}\n";
    for name in [
        "x\nadmin: true",
        "7",
        "true",
        "a: b",
        "[a]",
        "~x\n---\na: b",
        "{a: b}",
        "\"",
        "&a",
        "!x y",
    ] {
        let service = with(|s| s.name = name.to_owned());
        let made = definition(template, "services", "fixed.yaml", &service);
        assert!(matches!(made, Err(ServiceError::Template { .. })), "{name}: {made:?}");
    }
    let quoted = with(|s| s.name = "x\nadmin: true".to_owned());
    let made = definition(DEFAULT_TEMPLATE, "services", "fixed.yaml", &quoted).unwrap();
    assert!(made.text.contains("name: \"x\\nadmin: true\"\n"));
}

#[test]
fn a_file_stays_below_its_folder() {
    for (path, name) in [
        ("services", "../x.yaml"),
        ("services", "/etc/x.yaml"),
        ("../services", "x.yaml"),
        ("a/../../b", "x.yaml"),
        (".git", "x.yaml"),
        ("services", ".x.yaml"),
        ("services", "-x.yaml"),
        ("services", "x.sh"),
        ("services", "a b.yaml"),
        ("a//b", "x.yaml"),
    ] {
        let made = definition(DEFAULT_TEMPLATE, path, name, &service());
        assert!(matches!(made, Err(ServiceError::File { .. })), "{path} {name}: {made:?}");
    }
    let escaping = with(|s| s.name = "../../x".to_owned());
    assert!(definition(DEFAULT_TEMPLATE, "services", DEFAULT_FILE_NAME, &escaping).is_err());
}

#[test]
fn templates_are_checked_with_the_configuration() {
    assert_eq!(check(DEFAULT_TEMPLATE, "services", DEFAULT_FILE_NAME), Ok(()));
    for template in
        ["", "just text", "domain: {{ domian }}", "name: {{ name }}", "domain: [", "{{ domain"]
    {
        let checked = check(template, "services", DEFAULT_FILE_NAME);
        assert!(matches!(checked, Err(ServiceError::Template { .. })), "{template}: {checked:?}");
    }
}

#[test]
fn domains_of_existing_definitions_are_found() {
    let of = |text: &str| domains(text).into_iter().collect::<Vec<_>>();
    assert_eq!(of("domain: A.example.net\n"), ["a.example.net"]);
    assert_eq!(
        of("domains: [a.example.net, 'https://b.example.net:8443/x']\n"),
        ["a.example.net", "b.example.net"]
    );
    assert_eq!(
        of("sites:\n  - hosts: a.example.net, b.example.net\n---\ndomain: c.example.net\n"),
        ["a.example.net", "b.example.net", "c.example.net"]
    );
    assert_eq!(of("name: x\nbackend: 192.0.2.1:80\n"), Vec::<String>::new());
    assert!(of("domain: [a.example.net\n  broken: {").contains(&"a.example.net".to_owned()));
}

#[test]
fn domains_have_one_spelling() {
    assert_eq!(normal_domain("A.B.").as_deref(), Some("a.b"));
    for bad in
        ["", "localhost", "192.0.2.1", "a..b", "-a.b", "a_b.c", "a b.c", "*.example.net", "ü.de"]
    {
        assert_eq!(normal_domain(bad), None, "{bad}");
    }
}
