//! The wire form: what goes in comes out, and what is hostile is refused with its rule.

use proptest::prelude::*;

use super::*;

fn vmid(number: u32) -> Vmid {
    Vmid::try_from(number).unwrap()
}

fn rule_of(line: &str) -> Option<Rule> {
    decode_request(line.as_bytes()).err().map(|e| e.rule)
}

fn exec(argv: &[&str], env: &[(&str, &str)], user: Option<&str>, timeout_sec: u32) -> Verb {
    Verb::Exec {
        vmid: vmid(101),
        argv: argv.iter().map(|a| (*a).to_owned()).collect(),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        user: user.map(str::to_owned),
        timeout_sec,
    }
}

fn push(path: &str) -> Verb {
    Verb::Push {
        vmid: vmid(101),
        path: path.to_owned(),
        mode: FileMode::PRIVATE,
        uid: 0,
        gid: 0,
        size: 1,
    }
}

fn device(path: &str) -> DeviceEntry {
    DeviceEntry { path: path.to_owned(), uid: 0, gid: 104, mode: FileMode::PRIVATE }
}

fn samples() -> Vec<Verb> {
    vec![
        Verb::Hello,
        exec(&["/bin/echo", "a b", "\n"], &[("APP_ID", "x")], Some("www-data"), 60),
        push("/opt/appstore/provision/install.sh"),
        Verb::Pull { vmid: vmid(101), path: "/etc/os-release".to_owned(), most: 4096 },
        Verb::RemoveStaged { vmid: vmid(101) },
        Verb::SetFeatures { vmid: vmid(101), features: vec![Feature::Nesting, Feature::Keyctl] },
        Verb::SetDevices { vmid: vmid(101), devices: vec![device("/dev/dri/renderD128")] },
        Verb::BindMount {
            vmid: vmid(101),
            slot: 3,
            source: "/tank/media".to_owned(),
            path: "/media".to_owned(),
            read_only: true,
        },
        Verb::Unbind { vmid: vmid(101), slot: 3 },
        Verb::ReleaseVolume { vmid: vmid(101), slot: 0 },
        Verb::Template { vmid: vmid(101) },
        Verb::Unlock { vmid: vmid(101) },
        Verb::Gpus,
        Verb::DriverCheck,
        Verb::ImportablePools,
        Verb::ImportPool { name: "tank".to_owned(), id: u64::MAX, foreign: true },
        Verb::Revoke,
    ]
}

#[test]
fn every_verb_goes_over_the_wire_unchanged() {
    let samples = samples();
    assert_eq!(samples.iter().map(Verb::name).collect::<Vec<_>>(), Verb::NAMES);
    for verb in samples {
        let request = Request::new(verb);
        let line = encode_request(&request).unwrap();
        assert!(line.ends_with(b"}\n") && !line[..line.len() - 1].contains(&b'\n'));
        assert_eq!(decode_request(&line).unwrap(), request);
    }
}

#[test]
fn what_is_not_exactly_a_request_is_refused() {
    for (line, rule) in [
        ("", Rule::Malformed),
        ("\n", Rule::Malformed),
        ("null", Rule::Malformed),
        ("[]", Rule::Malformed),
        ("{}", Rule::Malformed),
        ("bash -i", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"hello\"}{}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"hello\"}\n{\"version\":1,\"verb\":\"gpus\"}", Rule::Malformed),
        ("{\"version\":1}", Rule::Verb),
        ("{\"version\":1,\"verb\":null}", Rule::Verb),
        ("{\"version\":1,\"verb\":\"shell\"}", Rule::Verb),
        ("{\"version\":1,\"verb\":\"Hello\"}", Rule::Verb),
        ("{\"version\":2,\"verb\":\"shell\"}", Rule::Version),
        ("{\"version\":0,\"verb\":\"hello\"}", Rule::Version),
        ("{\"version\":\"1\",\"verb\":\"hello\"}", Rule::Malformed),
        ("{\"version\":-1,\"verb\":\"hello\"}", Rule::Malformed),
        ("{\"version\":1.0,\"verb\":\"hello\"}", Rule::Malformed),
        // Fields that nobody knows, also where serde itself would let them pass.
        ("{\"version\":1,\"verb\":\"hello\",\"vmid\":101}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"gpus\",\"x\":1}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"unlock\",\"vmid\":101,\"force\":true}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"remove-staged\",\"vmid\":101,\"path\":\"/\"}", Rule::Malformed),
        (
            "{\"version\":1,\"verb\":\"set-devices\",\"vmid\":101,\"devices\":[{\"path\":\"/dev/kfd\",\"uid\":0,\"gid\":0,\"mode\":\"0660\",\"deny\":1}]}",
            Rule::Malformed,
        ),
        // A key that is there twice: which one would count?
        ("{\"version\":1,\"verb\":\"unlock\",\"vmid\":101,\"vmid\":102}", Rule::Malformed),
        ("{\"version\":1,\"version\":1,\"verb\":\"hello\"}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"hello\",\"verb\":\"gpus\"}", Rule::Malformed),
        // Missing and wrong values.
        ("{\"version\":1,\"verb\":\"unlock\"}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"unlock\",\"vmid\":99}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"unlock\",\"vmid\":\"101\"}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"unlock\",\"vmid\":101.5}", Rule::Malformed),
        ("{\"version\":1,\"verb\":\"unbind\",\"vmid\":101,\"slot\":256}", Rule::Malformed),
        (
            "{\"version\":1,\"verb\":\"push\",\"vmid\":101,\"path\":\"/x\",\"mode\":\"4755\",\"uid\":0,\"gid\":0,\"size\":1}",
            Rule::Malformed,
        ),
        (
            "{\"version\":1,\"verb\":\"set-features\",\"vmid\":101,\"features\":[\"mount\"]}",
            Rule::Malformed,
        ),
    ] {
        assert_eq!(rule_of(line), Some(rule), "{line}");
    }
    let deep = "[".repeat(60_000);
    assert_eq!(rule_of(&deep), Some(Rule::Malformed));
    assert_eq!(rule_of(&" ".repeat(MOST_REQUEST + 1)), Some(Rule::Limit));
}

#[test]
fn errors_do_not_repeat_what_a_request_carried() {
    let line = "{\"version\":1,\"verb\":\"exec\",\"vmid\":101,\"argv\":[\"/x\"],\"env\":{\"A\":{\"planted\":1}},\"user\":\"planted\",\"timeout_sec\":\"planted\"}";
    let error = decode_request(line.as_bytes()).unwrap_err();
    assert!(!error.detail.contains("planted"), "{error}");
    let odd = exec(&["/x"], &[("A", "planted\0")], None, 1);
    assert!(!check(&odd).unwrap_err().detail.contains("planted"));
}

#[test]
fn arguments_that_lead_elsewhere_are_refused() {
    let long = format!("/{}", "a/".repeat(2100));
    let long_name = format!("/{}", "a".repeat(256));
    let hostile_paths = [
        "",
        "/",
        "opt",
        "opt/x",
        "../etc/passwd",
        "/..",
        "/opt/../etc/passwd",
        "/opt/./x",
        "/opt//x",
        "/opt/",
        "//opt",
        "/opt/x\0",
        "/opt/x\n",
        "/opt/\u{7f}",
        "~/.ssh",
        "-rf",
        &long,
        &long_name,
    ];
    for path in hostile_paths {
        assert_eq!(check(&push(path)).unwrap_err().rule, Rule::Argument, "{path:?}");
        let pull = Verb::Pull { vmid: vmid(101), path: path.to_owned(), most: 1 };
        assert_eq!(check(&pull).unwrap_err().rule, Rule::Argument, "{path:?}");
        assert!(check(&exec(&[path], &[], None, 1)).is_err(), "{path:?}");
        for (source, inside) in [(path, "/x"), ("/x", path)] {
            let bind = Verb::BindMount {
                vmid: vmid(101),
                slot: 0,
                source: source.to_owned(),
                path: inside.to_owned(),
                read_only: false,
            };
            assert!(check(&bind).is_err(), "{path:?}");
        }
    }
    // A comma would begin the next property of a mount point.
    for path in ["/x,ro=0", "/x=1", "/x\"", "/x\\", "/x "] {
        let bind = Verb::BindMount {
            vmid: vmid(101),
            slot: 0,
            source: path.to_owned(),
            path: "/y".to_owned(),
            read_only: true,
        };
        assert!(check(&bind).is_err(), "{path}");
        assert!(check(&push(path)).is_ok(), "an odd name for a file is a name: {path}");
    }
}

#[test]
fn programs_variables_and_users_have_their_form() {
    assert!(
        check(&exec(&["/bin/sh", "-c", "exit 3\n"], &[("_A1", "é\n$(id)")], Some("n8n"), 1))
            .is_ok()
    );
    let many: Vec<&str> = std::iter::repeat_n("/x", 257).collect();
    for bad in [
        exec(&[], &[], None, 1),
        exec(&["sh"], &[], None, 1),
        exec(&["/bin/A=b"], &[], None, 1),
        exec(&["/bin/sh", "a\0b"], &[], None, 1),
        exec(&many, &[], None, 1),
        exec(&["/x"], &[], None, 0),
        exec(&["/x"], &[], None, MOST_TIMEOUT_SEC + 1),
    ] {
        assert!(check(&bad).is_err(), "{bad:?}");
    }
    for name in ["", "a", "1A", "A-B", "A=B", "A B", "PATH", "LD_PRELOAD", "BASH_ENV", "A\0", "É"]
    {
        assert!(check(&exec(&["/x"], &[(name, "v")], None, 1)).is_err(), "{name:?}");
    }
    for user in ["", "-u", "root;id", "Root", "a b", "0", "a\0", "é", &"x".repeat(33)] {
        assert!(check(&exec(&["/x"], &[], Some(user), 1)).is_err(), "{user:?}");
    }
}

#[test]
fn only_devices_of_a_gpu_can_be_given_away() {
    for good in [
        "/dev/dri/renderD128",
        "/dev/dri/card0",
        "/dev/kfd",
        "/dev/nvidia0",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidia-modeset",
        "/dev/nvidia-caps/nvidia-cap1",
    ] {
        let verb = Verb::SetDevices { vmid: vmid(101), devices: vec![device(good)] };
        assert!(check(&verb).is_ok(), "{good}");
    }
    for bad in [
        "/dev/sda",
        "/dev/mem",
        "/dev/kvm",
        "/dev/net/tun",
        "/dev/dri",
        "/dev/dri/",
        "/dev/dri/../sda",
        "/dev/dri/renderD",
        "/dev/dri/renderD128,mode=0666",
        "/dev/dri/by-path/x",
        "/dev/nvidia",
        "/dev/nvidia0/../sda",
        "/dev/nvidia-caps",
        "/dev/kfd ",
        "/dev/kfd\n",
        "dev/kfd",
        "",
        "/dev/nvidia99999",
    ] {
        let verb = Verb::SetDevices { vmid: vmid(101), devices: vec![device(bad)] };
        assert_eq!(check(&verb).unwrap_err().rule, Rule::Argument, "{bad}");
    }
    let twice = vec![device("/dev/kfd"), device("/dev/kfd")];
    assert!(check(&Verb::SetDevices { vmid: vmid(101), devices: twice }).is_err());
    let outside = DeviceEntry { gid: 100_000, ..device("/dev/kfd") };
    assert!(check(&Verb::SetDevices { vmid: vmid(101), devices: vec![outside] }).is_err());
}

#[test]
fn sizes_and_pools_have_limits() {
    let pull = |most| Verb::Pull { vmid: vmid(101), path: "/x".to_owned(), most };
    assert!(check(&pull(MOST_PAYLOAD)).is_ok());
    assert_eq!(check(&pull(MOST_PAYLOAD + 1)).unwrap_err().rule, Rule::Limit);
    for name in ["", "-f", "1x", "tank/ct", "a b", "a@b", "tank\n"] {
        let import = Verb::ImportPool { name: name.to_owned(), id: 1, foreign: false };
        assert!(check(&import).is_err(), "{name:?}");
    }
    let huge = exec(&["/x", &"a".repeat(MOST_REQUEST)], &[], None, 1);
    assert_eq!(encode_request(&Request::new(huge)).unwrap_err().rule, Rule::Limit);
}

#[test]
fn frames_survive_and_strangers_are_no_frames() {
    for frame in [
        Frame::Output { stream: Stream::Stderr, text: "a\u{1b}[0m\n".to_owned() },
        Frame::Data { base64: "AAAA".to_owned() },
        Frame::Answer(Answer::Hello {
            agent: "0.1.0".to_owned(),
            pve: "pve-manager/9.2.11/14a22df35955d97d (running kernel: 7.0.2-1-pve)".to_owned(),
            node: "pve1".to_owned(),
            pool: "ironhatch".to_owned(),
        }),
        Frame::Answer(Answer::Gpu { report: GpuReport::default() }),
        Frame::Answer(Answer::Pools {
            pools: vec![ImportablePool {
                name: "tank".to_owned(),
                id: u64::MAX,
                state: "ONLINE".to_owned(),
                foreign: true,
            }],
        }),
        Frame::Done { status: 255 },
        Frame::Refused { rule: Rule::Pool.as_str().to_owned(), detail: "no".to_owned() },
        Frame::Failed { detail: "no".to_owned() },
    ] {
        let line = frame.encode();
        assert_eq!(Frame::decode(&line).unwrap(), frame);
    }
    for line in ["", "{}", "{\"frame\":\"x\"}", "bash: command not found", "{\"frame\":\"done\"}"] {
        assert!(Frame::decode(line.as_bytes()).is_err(), "{line}");
    }
    assert_eq!(Frame::decode(&vec![b' '; MOST_FRAME + 1]).unwrap_err().rule, Rule::Limit);
    let worst = Frame::Output { stream: Stream::Stdout, text: "\0".repeat(MOST_TEXT) };
    assert_eq!(Frame::decode(&worst.encode()).unwrap(), worst);
    let too_long = Frame::Failed { detail: "x".repeat(MOST_FRAME) };
    assert!(matches!(Frame::decode(&too_long.encode()).unwrap(), Frame::Failed { .. }));
    for rule in [
        "malformed",
        "version",
        "verb",
        "node",
        "guest",
        "pool",
        "tag",
        "argument",
        "state",
        "limit",
    ] {
        assert_eq!(Rule::from_word(rule).unwrap().to_string(), rule);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode_request(&bytes);
        let _ = Frame::decode(&bytes);
    }

    /// Real requests with a few bytes changed: closer to the decoder's branches than noise.
    #[test]
    fn damaged_requests_are_refused_or_pass_every_check(
        sample in 0..17usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut line = encode_request(&Request::new(samples()[sample].clone())).unwrap();
        for (at, byte) in damage {
            let at = at.index(line.len());
            line[at] = byte;
        }
        if let Ok(request) = decode_request(&line) {
            prop_assert!(check(&request.verb).is_ok());
            prop_assert_eq!(decode_request(&encode_request(&request).unwrap()).unwrap(), request);
        }
    }

    #[test]
    fn what_passes_the_check_round_trips(
        argv in prop::collection::vec("[^\0]{0,20}", 0..5),
        env in prop::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", "[^\0]{0,20}", 0..4),
        user in prop::option::of("[a-z_][a-z0-9_-]{0,10}"),
        timeout_sec in 1..=MOST_TIMEOUT_SEC,
    ) {
        let argv: Vec<String> = std::iter::once("/bin/x".to_owned()).chain(argv).collect();
        let verb = Verb::Exec { vmid: vmid(101), argv, env, user, timeout_sec };
        prop_assume!(check(&verb).is_ok());
        let request = Request::new(verb);
        prop_assert_eq!(decode_request(&encode_request(&request).unwrap()).unwrap(), request);
    }

    #[test]
    fn output_is_cut_without_loss_and_at_characters(text in "[a-zé\u{1f980}\n]{0,9000}") {
        let (mut rest, mut whole) = (text.as_bytes(), String::new());
        while !rest.is_empty() {
            let cut = cut_text(rest);
            prop_assert!(cut > 0 && cut <= MOST_TEXT);
            whole.push_str(std::str::from_utf8(&rest[..cut]).unwrap());
            rest = &rest[cut..];
        }
        prop_assert_eq!(whole, text);
    }
}
