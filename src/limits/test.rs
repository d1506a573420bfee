use std::fmt::Write as _;

use super::*;

#[test]
fn limits_are_told_in_the_documents() {
    let mut text = "# Limits\n\nGenerated from the code (`src/limits`) by a test. What bounds the cost of one client, or of all \
                    of them, and why at this number. They are no settings: a number that does not fit is a defect to report.\n"
        .to_owned();
    for part in parts() {
        write!(text, "\n## {}\n\n| limit | value | what, and why |\n|---|---|---|\n", part.title)
            .unwrap();
        for row in part.rows {
            let reason = row.reason.replace('|', "\\|");
            writeln!(text, "| `{}.{}` | {} | {reason} |", part.name, row.name, row.value).unwrap();
        }
    }
    crate::golden::assert_file("docs/limits.md", &text);
}

#[test]
fn amounts_are_written_as_people_read_them() {
    assert_eq!(5_u64.shown("files"), "5 files");
    assert_eq!(1468_u16.shown("bytes"), "1468 bytes");
    assert_eq!((8_usize << 10).shown("bytes"), "8 KiB");
    assert_eq!((3_u32 << 20).shown("bytes"), "3 MiB");
    let table = [(4, "4 ms"), (1500, "1500 ms"), (15_000, "15 s"), (120_000, "2 min")];
    for (millis, shown) in table {
        assert_eq!(Duration::from_millis(millis).shown("time"), shown);
    }
    assert_eq!(Duration::from_hours(12).shown("time"), "12 h");
    assert_eq!(Duration::from_hours(7 * 24).shown("time"), "7 days");
}

#[test]
fn every_limit_has_one_name_and_a_reason() {
    let mut names = std::collections::BTreeSet::new();
    for part in parts() {
        for row in part.rows {
            assert!(names.insert(format!("{}.{}", part.name, row.name)), "{}", row.name);
            assert!(row.reason.len() > 10, "{}", row.name);
        }
    }
    assert!(names.len() > 100);
}
