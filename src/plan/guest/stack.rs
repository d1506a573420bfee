//! The form of an app that comes with a host.

use std::collections::BTreeMap;

use crate::domain::id::Hostname;

/// Fields of a form for a host: `{{ host }}` in a value is the host's name, and the host is the node unless another one
/// is named.
#[must_use]
pub fn fields(given: &BTreeMap<String, String>, host: &Hostname) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = given
        .iter()
        .map(|(field, value)| {
            let value =
                value.replace("{{ host }}", host.as_str()).replace("{{host}}", host.as_str());
            (field.clone(), value)
        })
        .collect();
    fields.entry("node".to_owned()).or_insert_with(|| host.to_string());
    fields
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_host_names_its_guests_and_holds_them() {
        let given = [("name", "web-{{ host }}"), ("input.title", "on {{host}}")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let fields = fields(&given.into(), &"pve7".parse().unwrap());
        assert_eq!(fields["name"], "web-pve7");
        assert_eq!(fields["input.title"], "on pve7");
        assert_eq!(fields["node"], "pve7");
    }

    #[test]
    fn another_node_may_be_named() {
        let given = [("node".to_owned(), "pve1".to_owned())].into();
        assert_eq!(fields(&given, &"pve7".parse().unwrap())["node"], "pve1");
    }
}
