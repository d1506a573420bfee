//! Which server type a machine is of by what it says of itself, and the name it gets.
//!
//! All of it is a claim of the machine: it proposes, and at most registers. It never arms.

use crate::domain::id::Hostname;
use crate::domain::inventory::Inventory;
use crate::domain::mac::Mac;
use crate::domain::server_type::{Matching, ServerType};

/// Whether everything that a rule names fits the machine. What the machine did not tell fits no rule.
#[must_use]
pub fn fits(rule: &Matching, mac: Mac, seen: &Inventory) -> bool {
    let text = |rule: &Option<String>, said: &Option<String>| match (rule, said) {
        (None, _) => true,
        (Some(rule), Some(said)) => glob(rule, said),
        (Some(_), None) => false,
    };
    let [a, b, c, ..] = mac.0;
    let memory = |holds: &dyn Fn(u64) -> bool| seen.memory_mib.is_some_and(holds);
    text(&rule.vendor, &seen.vendor)
        && text(&rule.product, &seen.product)
        && (rule.ouis.is_empty() || rule.ouis.contains(&[a, b, c]))
        && rule.min_memory_mib.is_none_or(|least| memory(&|m| m >= least))
        && rule.max_memory_mib.is_none_or(|most| memory(&|m| m <= most))
        && weight(rule) > 0
}

/// How many properties a rule names.
fn weight(rule: &Matching) -> usize {
    [
        rule.vendor.is_some(),
        rule.product.is_some(),
        !rule.ouis.is_empty(),
        rule.min_memory_mib.is_some(),
        rule.max_memory_mib.is_some(),
    ]
    .into_iter()
    .filter(|named| *named)
    .count()
}

/// The type to propose: of those that fit the one whose rule names most; of equals the first by name.
pub fn proposed<'a>(
    types: impl IntoIterator<Item = &'a ServerType>,
    mac: Mac,
    seen: &Inventory,
) -> Option<&'a ServerType> {
    let mut best: Option<(usize, &ServerType)> = None;
    for server_type in types {
        let Some(rule) = server_type.matching.as_ref().filter(|rule| fits(rule, mac, seen)) else {
            continue;
        };
        let weight = weight(rule);
        let better = best.is_none_or(|(most, first)| {
            weight > most || (weight == most && server_type.name < first.name)
        });
        if better {
            best = Some((weight, server_type));
        }
    }
    best.map(|(_, server_type)| server_type)
}

/// The type by whose rule the machine is registered without anybody: the only one that fits at all, and it wants that.
pub fn registering<'a>(
    types: impl IntoIterator<Item = &'a ServerType>,
    mac: Mac,
    seen: &Inventory,
) -> Option<&'a ServerType> {
    let fits = |t: &&ServerType| t.matching.as_ref().is_some_and(|rule| fits(rule, mac, seen));
    let mut fitting = types.into_iter().filter(fits);
    let only = fitting.next().filter(|t| t.matching.as_ref().is_some_and(|rule| rule.register))?;
    fitting.next().is_none().then_some(only)
}

/// The first free name with this prefix: `pve3` when `pve1` and `pve2` exist.
#[must_use]
pub fn next_name(prefix: &str, taken: &[Hostname]) -> String {
    (1..=taken.len() + 1)
        .map(|n| format!("{prefix}{n}"))
        .find(|name| !taken.iter().any(|t| t.as_str() == name))
        .unwrap_or_default()
}

/// Whether text fits a pattern in which `*` stands for any text, capitals aside. Linear in both but for the stars.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.trim().to_lowercase(), text.trim().to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::server_type::DiskSelection;

    fn server_type(name: &str, matching: Option<Matching>) -> ServerType {
        ServerType {
            name: name.parse().unwrap(),
            display_name: name.into(),
            boot_disk: DiskSelection::PerHost,
            management_nic: None,
            gpu: false,
            pools: vec![],
            hostname_prefix: "pve".into(),
            domain: "lab.example".into(),
            answer_template: "ext4-lvm".into(),
            answer: Default::default(),
            min_memory_mib: None,
            matching,
            boot_on_rebuild: false,
            labels: Default::default(),
        }
    }

    fn mac() -> Mac {
        "52:54:00:aa:bb:01".parse().unwrap()
    }

    fn seen() -> Inventory {
        Inventory {
            vendor: Some("Dell Inc.".into()),
            product: Some("PowerEdge R740".into()),
            memory_mib: Some(65_000),
            ..Inventory::default()
        }
    }

    fn vendor(text: &str) -> Matching {
        Matching { vendor: Some(text.into()), ..Matching::default() }
    }

    #[test]
    fn patterns_fit_whole_texts_and_stars_stand_for_any() {
        let table = [
            ("dell inc.", "Dell Inc.", true),
            ("dell*", "Dell Inc.", true),
            ("*inc.", "Dell Inc.", true),
            ("*ell*c*", "Dell Inc.", true),
            ("dell", "Dell Inc.", false),
            ("d*d", "d", false),
            ("*a*a*", "a", false),
            ("", "x", false),
            ("*", "", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn all_that_is_named_must_fit_and_what_is_unknown_does_not() {
        let all = Matching {
            vendor: Some("dell*".into()),
            product: Some("*R740*".into()),
            ouis: vec![[0, 1, 2], [0x52, 0x54, 0]],
            min_memory_mib: Some(60_000),
            max_memory_mib: Some(70_000),
            register: false,
        };
        assert!(fits(&all, mac(), &seen()));
        let spoiled: [fn(&mut Inventory); 4] = [
            |i| i.vendor = None,
            |i| i.product = Some("R640".into()),
            |i| i.memory_mib = Some(59_999),
            |i| i.memory_mib = None,
        ];
        for spoil in spoiled {
            let mut other = seen();
            spoil(&mut other);
            assert!(!fits(&all, mac(), &other), "{other:?}");
        }
        assert!(!fits(&all, "00:00:5e:00:00:01".parse().unwrap(), &seen()));
        assert!(
            !fits(&Matching::default(), mac(), &seen()),
            "a rule that names nothing fits nothing"
        );
    }

    #[test]
    fn the_rule_that_names_most_is_proposed() {
        let both = Matching { product: Some("*r740*".into()), ..vendor("dell*") };
        let types = [
            server_type("a", None),
            server_type("c", Some(vendor("dell*"))),
            server_type("b", Some(both)),
        ];
        assert_eq!(proposed(&types, mac(), &seen()).unwrap().name.as_str(), "b");
        let equals =
            [server_type("z", Some(vendor("dell*"))), server_type("y", Some(vendor("*inc.")))];
        assert_eq!(proposed(&equals, mac(), &seen()).unwrap().name.as_str(), "y");
        assert!(proposed(&types, mac(), &Inventory::default()).is_none());
    }

    #[test]
    fn only_a_machine_that_fits_one_type_alone_is_registered_by_itself() {
        let wants = |text| Some(Matching { register: true, ..vendor(text) });
        let alone = [server_type("a", wants("dell*")), server_type("b", wants("hp*"))];
        assert_eq!(registering(&alone, mac(), &seen()).unwrap().name.as_str(), "a");
        let two = [server_type("a", wants("dell*")), server_type("b", Some(vendor("*inc.")))];
        assert!(registering(&two, mac(), &seen()).is_none());
        let nobody = [server_type("a", Some(vendor("dell*")))];
        assert!(registering(&nobody, mac(), &seen()).is_none());
    }

    #[test]
    fn proposed_names_fill_gaps() {
        let taken: Vec<Hostname> =
            ["pve1", "pve3", "other"].iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(next_name("pve", &taken), "pve2");
        assert_eq!(next_name("gpu", &taken), "gpu1");
    }

    proptest! {
        #[test]
        fn nothing_that_a_machine_says_makes_a_rule_panic(pattern in ".{0,20}", text in ".{0,60}") {
            glob(&pattern, &text);
            prop_assert!(glob("*", &text));
        }
    }
}
