use proptest::prelude::*;

use super::*;
use crate::golden::assert_golden;

fn url(text: &str) -> ScriptUrl<'_> {
    ScriptUrl::parse(text).expect("a good URL")
}

fn mac() -> Mac {
    Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1])
}

fn hostname() -> Hostname {
    "pve1".parse().expect("a good name")
}

fn start() -> String {
    BootScript::Start(Start { base: url("http://192.0.2.10:8080/") }).render()
}

fn install(image: &str, arguments: &[KernelArgument]) -> String {
    let base = "http://192.0.2.10:8080/boot/00000000000000000000000000000000";
    let [kernel, initrd, iso] =
        ["linux26", "initrd.img", "proxmox.iso"].map(|file| format!("{base}/{file}"));
    BootScript::Install(Install {
        hostname: &hostname(),
        mac: mac(),
        image,
        kernel: url(&kernel),
        initrd: url(&initrd),
        iso: url(&iso),
        arguments,
    })
    .render()
}

fn local(reason: &str) -> String {
    BootScript::LocalBoot(LocalBoot { reason }).render()
}

fn unknown(dashboard: &str) -> String {
    BootScript::Unknown(Unknown { mac: mac(), dashboard, seconds: 10 }).render()
}

fn refused(reason: &str) -> String {
    BootScript::Refused(Refused { reason }).render()
}

fn first_boot(token: Option<&InstallToken>) -> String {
    let host = "018f0000-0000-7000-8000-000000000001".parse().expect("a good id");
    FirstBoot::new(url("http://192.0.2.10:8080"), host, token, None).render()
}

#[test]
fn the_scripts_are_the_golden_ones() {
    let console = KernelArgument::parse("console=ttyS0,115200").expect("a good argument");
    assert_golden("ipxe/start.ipxe", &start());
    assert_golden("ipxe/install.ipxe", &install("Proxmox VE 9.2-1", &[]));
    assert_golden("ipxe/install-serial-console.ipxe", &install("Proxmox VE 9.2-1", &[console]));
    assert_golden("ipxe/local-boot.ipxe", &local("pve1 is installed; nothing to do"));
    assert_golden("ipxe/unknown.ipxe", &unknown("http://192.0.2.10:8080/"));
    assert_golden(
        "ipxe/refused.ipxe",
        &refused("4 GiB of memory are too little, 6 GiB are needed"),
    );
    let token = InstallToken::from_random([0x5a; 16]);
    assert_golden("firstboot/first-boot.sh", &first_boot(Some(&token)));
    assert_golden("firstboot/first-boot-without-token.sh", &first_boot(None));
}

#[test]
fn scripts_have_unix_lines_and_the_magic_first_line() {
    for script in [start(), install("x", &[]), local("x"), unknown("x"), refused("x")] {
        assert!(script.starts_with("#!ipxe\n") && script.ends_with('\n'), "{script}");
        assert!(!script.contains('\r') && !script.contains("shell"), "{script}");
        assert!(!script.contains("initrd=") || script.contains("No initrd="), "{script}");
    }
    assert!(first_boot(None).starts_with("#!/bin/sh\n"));
    assert!(!install("x", &[]).contains(" initrd=initrd"));
}

#[test]
fn urls_that_are_more_than_one_plain_word_are_refused() {
    for bad in [
        "",
        "ftp://192.0.2.10/",
        "http://",
        "http:///x",
        "http://192.0.2.10/a b",
        "http://192.0.2.10/${uuid}",
        "http://192.0.2.10/a\nshell",
        "http://192.0.2.10/a'b",
        "http://192.0.2.10/#x",
        "http://192.0.2.10/ä",
    ] {
        assert!(ScriptUrl::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(url("https://192.0.2.10:8443/").to_string(), "https://192.0.2.10:8443");
    assert_eq!(url("http://[2001:db8::1]/x?a=1&b=2").to_string(), "http://[2001:db8::1]/x?a=1&b=2");
}

#[test]
fn kernel_arguments_that_would_break_the_install_are_refused_with_the_rule() {
    for good in ["console=ttyS0,115200", "nomodeset", "ip=dhcp", "proxmox-debug"] {
        assert!(KernelArgument::parse(good).is_ok(), "{good}");
    }
    for bad in
        ["", "a b", "root=/dev/sda1", "rdinit=/x", "initrd=a", "||", "x;y", "a&&b", "${x}", "#x"]
    {
        assert!(KernelArgument::parse(bad).is_err(), "{bad}");
    }
    let error = KernelArgument::parse("root=LABEL=x").expect_err("refused").to_string();
    assert!(error.contains("rescue"), "{error}");
}

/// What iPXE makes of a script: per command its words, and what joined it to the one before. A model of iPXE's own
/// parser: lines joined by a trailing backslash, words between blanks, terminators as words, `#` ends the line.
fn commands(script: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for line in script.replace("\\\n", "").lines() {
        let mut command = Vec::new();
        for word in line.split_ascii_whitespace() {
            if word.starts_with('#') {
                break;
            }
            if matches!(word, "||" | "&&" | ";") {
                command.push(word.to_owned());
                all.push(std::mem::take(&mut command));
            } else {
                command.push(word.to_owned());
            }
        }
        all.push(command);
    }
    all
}

/// Everything but the words of `echo`: command names, terminators, expansions.
fn skeleton(script: &str) -> Vec<Vec<String>> {
    commands(script)
        .into_iter()
        .map(|words| match words.first().map(String::as_str) {
            Some("echo") => words
                .into_iter()
                .filter(|w| {
                    w == "echo" || w.contains('$') || matches!(w.as_str(), "||" | "&&" | ";")
                })
                .collect(),
            _ => words,
        })
        .collect()
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~\\n\\r\\t]{0,60}",
        prop::collection::vec(
            prop::sample::select(vec![
                "\n",
                "\r\n",
                "||",
                "&&",
                ";",
                " ",
                "shell",
                "${net0/mac}",
                "$",
                "{",
                "\\",
                "\\\n",
                "#",
                "-",
                "--",
                "'",
                "\"",
                "%0a",
                "\u{85}",
                "\u{2028}",
                "{{ x }}",
                "\0",
            ]),
            0..12,
        )
        .prop_map(|parts| parts.concat()),
    ]
}

proptest! {
    /// Hostile text in any field adds no command, no expansion and no comment to a script.
    #[test]
    fn hostile_text_stays_text(text in hostile()) {
        prop_assert_eq!(skeleton(&install(&text, &[])), skeleton(&install("x", &[])));
        prop_assert_eq!(skeleton(&local(&text)), skeleton(&local("x")));
        prop_assert_eq!(skeleton(&unknown(&text)), skeleton(&unknown("x")));
        prop_assert_eq!(skeleton(&refused(&text)), skeleton(&refused("x")));
        for script in [install(&text, &[]), local(&text), unknown(&text), refused(&text)] {
            prop_assert!(script.bytes().all(|b| b == b'\n' || (0x20..0x7f).contains(&b)));
        }
    }

    /// A URL that is accepted is one word to iPXE and to the shell.
    #[test]
    fn accepted_urls_are_one_word(tail in hostile()) {
        let text = format!("http://192.0.2.10/{tail}");
        if let Ok(base) = ScriptUrl::parse(&text) {
            let script = BootScript::Start(Start { base }).render();
            prop_assert_eq!(commands(&script).len(), commands(&start()).len());
            prop_assert!(!base.to_string().contains(['\'', ' ', '$', '\n']));
        }
    }

    /// The shell's escaper: what a shell reads back from the quotes is the value without its control characters.
    #[test]
    fn shell_words_survive_quoting(text in hostile()) {
        use askama::filters::Escaper;
        let mut quoted = String::new();
        escape::ShellQuoted.write_escaped_str(&mut quoted, &text).expect("a string takes all");
        let want: String = text.chars().filter(|c| !c.is_control()).collect();
        prop_assert_eq!(quoted.replace("'\\''", "\u{1}").contains('\''), false);
        prop_assert_eq!(quoted.replace("'\\''", "'"), want);
    }
}
