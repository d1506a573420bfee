//! `[apps.gpu]`: who may have which GPU.

use super::super::super::read::{Section, show};
use super::super::Context;
use super::{list, parsed};
use crate::domain::boundary::{GpuPolicy, GpuRule};
use crate::domain::gpu::GpuVendor;
use crate::domain::id::NodeName;

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Nobody,
    Everybody,
    Only,
}

/// The policy; `None` when something in it is wrong.
pub(super) fn policy(section: Section<'_>, cx: &Context<'_>) -> Option<GpuPolicy> {
    let words = [("nobody", Word::Nobody), ("everybody", Word::Everybody), ("only", Word::Only)];
    let given = section.filled("policy");
    let word = section.one_of("policy", &words);
    let tables = section.tables("rule");
    let place = given.as_ref().map_or(section.place(), |g| (g.line, g.column));
    let count = tables.len();
    let rules: Vec<Option<GpuRule>> = tables.into_iter().map(|t| rule(t, cx)).collect();
    let path = section.path("policy");
    let word = match (word, &given) {
        (Some(word), _) => word,
        (None, None) if count > 0 => {
            cx.findings.wrong(&path, place, "is missing; rules need policy = \"only\"");
            Word::Nobody
        }
        (None, None) => Word::Nobody,
        (None, Some(_)) => return None,
    };
    if word == Word::Only && count == 0 {
        let message = "\"only\" needs at least one [[apps.gpu.rule]]; \"nobody\" gives none";
        cx.findings.wrong(&path, place, message);
    }
    if word != Word::Only && count > 0 && given.is_some() {
        cx.findings.warn(&path, place, "rules have no effect without policy = \"only\"");
    }
    section.finish();
    Some(match word {
        Word::Nobody => GpuPolicy::Nobody,
        Word::Everybody => GpuPolicy::Everybody,
        Word::Only => GpuPolicy::Only(rules.into_iter().collect::<Option<_>>()?),
    })
}

fn rule(section: Section<'_>, cx: &Context<'_>) -> Option<GpuRule> {
    let apps = list(&section, "apps", cx);
    let node = section.filled("node").map(|at| parsed::<NodeName>(&at, cx));
    let devices = list(&section, "devices", cx);
    let mut vendors = Some(Vec::new());
    for at in section.strings("vendors").unwrap_or_default() {
        let all = [GpuVendor::Intel, GpuVendor::Amd, GpuVendor::Nvidia];
        match all.into_iter().find(|v| v.label().eq_ignore_ascii_case(&at.value)) {
            Some(vendor) => {
                if let Some(vendors) = &mut vendors {
                    vendors.push(vendor);
                }
            }
            None => {
                vendors = None;
                let shown = show(&at.value);
                let message = format!("\"{shown}\" is not known; allowed: intel, amd, nvidia");
                cx.findings.wrong_at(&at, message);
            }
        }
    }
    section.finish();
    let node = match node {
        None => None,
        Some(parsed) => Some(parsed?),
    };
    Some(GpuRule { apps: apps?, node, devices: devices?, vendors: vendors? })
}
