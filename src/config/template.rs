//! Answer templates: the built-in ones, and the operator's files, which replace a built-in of the same name.

use std::collections::BTreeMap;
use std::path::Path;

use super::problem::Problem;
use super::read::{Findings, parse as parse_document};
use crate::domain::id::ServerTypeName;
use crate::plan::answer::Template;

/// Templates by name.
pub type Templates = BTreeMap<String, Template>;

/// The templates in the binary.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("btrfs-single", include_str!("../../answer-templates/btrfs-single.toml")),
    ("ext4-lvm", include_str!("../../answer-templates/ext4-lvm.toml")),
    ("zfs-mirror", include_str!("../../answer-templates/zfs-mirror.toml")),
    ("zfs-single", include_str!("../../answer-templates/zfs-single.toml")),
];

/// Reads all templates. A directory that does not exist is an empty one; a broken file is reported and hides a built-in
/// of its name, so that nothing else is installed than what the operator meant.
#[must_use]
pub fn load(dir: &Path) -> (Templates, Vec<Problem>) {
    let mut templates = Templates::new();
    let mut problems = Vec::new();
    for (name, text) in BUILT_IN {
        match Template::parse(name, text) {
            Ok(template) => {
                templates.insert(name.to_owned(), template);
            }
            Err(broken) => problems.extend(broken.into_iter().map(|p| Problem {
                file: format!("built-in/{name}.toml").into(),
                line: 0,
                column: 0,
                key: p.key,
                message: p.rule,
            })),
        }
    }
    for (file, text) in super::read::toml_files(dir, &mut problems) {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        templates.remove(&stem);
        match parse(&file, &stem, &text) {
            Ok(template) => {
                templates.insert(stem, template);
            }
            Err(broken) => problems.extend(broken),
        }
    }
    (templates, problems)
}

/// Reads one template.
///
/// # Errors
/// Everything that is wrong with it, with lines.
pub fn parse(file: &Path, stem: &str, text: &str) -> Result<Template, Vec<Problem>> {
    let findings = Findings::of(file);
    if let Err(error) = stem.parse::<ServerTypeName>() {
        findings.wrong("", (0, 0), format!("the file name is no template name: {}", error.rule));
    }
    let node = parse_document(file, text, &findings);
    if let Some(node) = node {
        match Template::parse(stem, text) {
            Ok(template) if findings.is_clean() => return Ok(template),
            Ok(_) => {}
            Err(problems) => {
                for problem in problems {
                    findings.wrong(&problem.key, node.locate(&problem.key), problem.rule);
                }
            }
        }
    }
    Err(findings.into_parts().0)
}
