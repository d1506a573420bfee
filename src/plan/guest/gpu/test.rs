//! Tests of GPU choice: the boundary, the preflight and the resolution before a start.

use super::*;
use crate::domain::boundary::GpuRule;

fn gpu(address: &str, vendor: GpuVendor, driver: Option<&str>, render: Option<&str>) -> Gpu {
    let nvidia = vendor == GpuVendor::Nvidia;
    Gpu {
        address: address.parse().unwrap(),
        vendor,
        device: 0x1234,
        name: String::new(),
        driver: driver.map(str::to_owned),
        render_node: render.map(str::to_owned),
        card_node: None,
        nvidia_minor: nvidia.then_some(0),
        driver_version: nvidia.then(|| "550.163.01".to_owned()),
    }
}

const INTEL: &str = "0000:00:02.0";
const AMD: &str = "0000:03:00.0";
const NVIDIA: &str = "0000:01:00.0";

fn report() -> GpuReport {
    GpuReport {
        gpus: vec![
            gpu(INTEL, GpuVendor::Intel, Some("i915"), Some("/dev/dri/renderD128")),
            gpu(NVIDIA, GpuVendor::Nvidia, Some("nvidia"), Some("/dev/dri/renderD129")),
            gpu(AMD, GpuVendor::Amd, Some("amdgpu"), Some("/dev/dri/renderD130")),
        ],
        shared_nodes: ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/kfd"]
            .map(str::to_owned)
            .to_vec(),
        nvidia_problem: String::new(),
    }
}

fn need() -> GpuNeed {
    GpuNeed {
        supported: vec![GpuVendor::Nvidia, GpuVendor::Intel, GpuVendor::Amd],
        required: false,
        profiles: vec![GpuProfile::NvidiaBasic, GpuProfile::DriRender],
        notes: String::new(),
        libraries: Vec::new(),
        user: "root".into(),
        check: Vec::new(),
    }
}

fn app() -> AppId {
    "jellyfin".parse().unwrap()
}

fn node() -> NodeName {
    "pve1".parse().unwrap()
}

fn address(text: &str) -> PciAddress {
    text.parse().unwrap()
}

fn pick(policy: &GpuPolicy, wish: &Wish) -> Result<Vec<String>, GpuRefusal> {
    let chosen = choose(Some(&need()), policy, &app(), &node(), &report(), wish)?;
    Ok(chosen.into_iter().map(|a| a.address.to_string()).collect())
}

#[test]
fn the_best_is_what_the_manifest_prefers() {
    assert_eq!(pick(&GpuPolicy::Everybody, &Wish::Best).unwrap(), [NVIDIA]);
    let need = GpuNeed { profiles: vec![GpuProfile::DriRender], ..need() };
    let best = |need: &GpuNeed| {
        choose(Some(need), &GpuPolicy::Everybody, &app(), &node(), &report(), &Wish::Best)
    };
    assert_eq!(best(&need).unwrap()[0].address, address(INTEL));
    let need = GpuNeed { supported: vec![GpuVendor::Amd, GpuVendor::Intel], ..need };
    let chosen = best(&need).unwrap();
    assert_eq!((chosen.len(), &chosen[0].address), (1, &address(AMD)));
    assert_eq!(chosen[0].driver_version, None);
}

#[test]
fn the_manifest_gates() {
    let try_it = |need: Option<&GpuNeed>, wish| {
        choose(need, &GpuPolicy::Everybody, &app(), &node(), &report(), &wish)
    };
    assert_eq!(try_it(None, Wish::None), Ok(vec![]));
    assert_eq!(try_it(None, Wish::Best), Err(GpuRefusal::NotSupported));
    assert_eq!(try_it(None, Wish::Pick(vec![address(INTEL)])), Err(GpuRefusal::NotSupported));
    let required = GpuNeed { required: true, ..need() };
    assert_eq!(try_it(Some(&required), Wish::None), Err(GpuRefusal::Required));
    let intel = GpuNeed { supported: vec![GpuVendor::Intel], ..need() };
    let error = try_it(Some(&intel), Wish::Pick(vec![address(NVIDIA)])).unwrap_err().to_string();
    assert_eq!(
        error,
        "the NVIDIA at 0000:01:00.0 of pve1 cannot be used: the app works with Intel only"
    );
    let unknown = try_it(Some(&intel), Wish::Pick(vec![address("0000:09:00.0")])).unwrap_err();
    assert!(
        unknown.to_string().starts_with("pve1 has no GPU at 0000:09:00.0; it has 0000:00:02.0")
    );
}

#[test]
fn each_rule_of_the_boundary_keeps_devices_away() {
    let open = GpuRule { apps: vec![], node: None, devices: vec![], vendors: vec![] };
    let only = |rule: GpuRule| GpuPolicy::Only(vec![rule]);
    let denied = [
        GpuPolicy::Nobody,
        GpuPolicy::Only(vec![]),
        only(GpuRule { apps: vec!["other".parse().unwrap()], ..open.clone() }),
        only(GpuRule { node: Some("pve2".parse().unwrap()), ..open.clone() }),
        only(GpuRule { devices: vec![address("0000:09:00.0")], ..open.clone() }),
    ];
    for policy in denied {
        for wish in
            [Wish::Best, Wish::Pick(vec![address(INTEL)]), Wish::Pick(vec![address(NVIDIA)])]
        {
            let refused = pick(&policy, &wish).unwrap_err().to_string();
            assert!(refused.contains("does not let jellyfin have it"), "{policy:?}: {refused}");
        }
    }
    // What is left by a rule is all that is given.
    let intel = only(GpuRule { vendors: vec![GpuVendor::Intel], ..open.clone() });
    assert_eq!(pick(&intel, &Wish::Best).unwrap(), [INTEL]);
    assert!(pick(&intel, &Wish::Pick(vec![address(INTEL), address(NVIDIA)])).is_err());
    let device = only(GpuRule { devices: vec![address(AMD)], ..open });
    assert_eq!(pick(&device, &Wish::Best).unwrap(), [AMD]);
}

#[test]
fn the_preflight_names_what_is_wrong_with_a_device() {
    type Case<'a> = (&'a str, &'a str, &'a dyn Fn(&mut GpuReport));
    let cases: [Case<'_>; 8] = [
        (INTEL, "no driver is bound", &|r| r.gpus[0].driver = None),
        (INTEL, "set aside for virtual machines", &|r| {
            r.gpus[0].driver = Some("vfio-pci".to_owned());
        }),
        (INTEL, "no render node", &|r| r.gpus[0].render_node = None),
        (NVIDIA, "'nouveau' is bound", &|r| r.gpus[1].driver = Some("nouveau".to_owned())),
        (NVIDIA, "nvidia-smi failed on the node: no devices", &|r| {
            r.nvidia_problem = "no devices".to_owned();
        }),
        (NVIDIA, "version of the node's NVIDIA driver is not known", &|r| {
            r.gpus[1].driver_version = None;
        }),
        (NVIDIA, "/dev/nvidia-uvm does not exist", &|r| {
            r.shared_nodes.retain(|n| n != "/dev/nvidia-uvm")
        }),
        (NVIDIA, "/dev/nvidiaN is not known", &|r| r.gpus[1].nvidia_minor = None),
    ];
    for (which, text, break_it) in cases {
        let mut report = report();
        break_it(&mut report);
        let wish = Wish::Pick(vec![address(which)]);
        let need = need();
        let refused = choose(Some(&need), &GpuPolicy::Everybody, &app(), &node(), &report, &wish);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(text), "{text}: {refused}");
        // Attached earlier, it is refused at the next start in the same way.
        let gpu = find(&report, &address(which)).unwrap();
        let fits = profile(&need, gpu).unwrap();
        let attached =
            [GpuAttachment { address: address(which), profile: fits, driver_version: None }];
        let refused = devices(&node(), &report, &attached, Gids { render: Some(104) });
        assert!(refused.unwrap_err().to_string().contains(text), "{text}");
    }
}

fn attach(which: &str, profile: GpuProfile, version: Option<&str>) -> GpuAttachment {
    let driver_version = version.map(str::to_owned);
    GpuAttachment { address: address(which), profile, driver_version }
}

#[test]
fn entries_carry_the_guests_own_group_and_nvidias_open_mode() {
    let show = |attachments: &[GpuAttachment]| -> Vec<String> {
        let entries = devices(&node(), &report(), attachments, Gids { render: Some(992) }).unwrap();
        let line = |e: &DeviceEntry| format!("{} {} {}", e.path, e.gid, String::from(e.mode));
        entries.iter().map(line).collect()
    };
    let render = GpuProfile::DriRender;
    let all = [
        attach(INTEL, render, None),
        attach(AMD, render, None),
        attach(NVIDIA, GpuProfile::NvidiaBasic, Some("550.163.01")),
    ];
    assert_eq!(
        show(&all),
        [
            "/dev/dri/renderD128 992 0660",
            "/dev/dri/renderD130 992 0660",
            "/dev/kfd 992 0660",
            "/dev/nvidia0 0 0666",
            "/dev/nvidiactl 0 0666",
            "/dev/nvidia-uvm 0 0666",
            "/dev/nvidia-uvm-tools 0 0666",
        ]
    );
    assert!(needs_gids(&all) && !needs_gids(&all[2..]));
    let refused = devices(&node(), &report(), &all[..1], Gids::default());
    assert_eq!(refused, Err(GpuRefusal::NoRenderGroup));
}

#[test]
fn a_renumbered_device_is_found_by_its_address_again() {
    let attached = [attach(INTEL, GpuProfile::DriRender, None)];
    let before = devices(&node(), &report(), &attached, Gids { render: Some(104) }).unwrap();
    let mut after = report();
    after.gpus[0].render_node = Some("/dev/dri/renderD129".to_owned());
    let gids = Gids::from_entries(&before);
    let now = devices(&node(), &after, &attached, gids).unwrap();
    assert_eq!(
        changes(&before, &now),
        ["/dev/dri/renderD128 is taken away", "/dev/dri/renderD129 is added (group 104)"]
    );
    assert!(changes(&now, &now).is_empty());
    after.gpus.clear();
    let gone = devices(&node(), &after, &attached, gids).unwrap_err();
    assert_eq!(gone, GpuRefusal::Gone { address: address(INTEL) });
}

#[test]
fn a_guest_is_not_started_with_libraries_of_another_driver() {
    let old = [attach(NVIDIA, GpuProfile::NvidiaBasic, Some("535.1"))];
    let refused = devices(&node(), &report(), &old, Gids::default()).unwrap_err();
    assert!(refused.to_string().contains("is 550.163.01, the software in the guest is for 535.1"));
    let renewed = renewed(&report(), &old);
    assert!(devices(&node(), &report(), &renewed, Gids::default()).is_ok());
}

#[test]
fn the_guests_groups_are_read_from_its_own_file() {
    let text = "root:x:0:\nrenderer:x:7:\nvideo:x:44:\nrender:x:992:jellyfin\n";
    assert_eq!(Gids::from_group_file(text).render, Some(992));
    for none in ["", "render", "render:x", "render:x:many:", "xrender:x:1:"] {
        assert_eq!(Gids::from_group_file(none).render, None, "{none}");
    }
}
