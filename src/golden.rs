//! Golden files for unit tests: `tests/golden/NAME` holds what a renderer produced when somebody last looked at it.
//! Tables that people read are generated the same way into `docs/`.

use std::path::Path;

/// Compares `actual` with `tests/golden/NAME`; with `IRONHATCH_UPDATE_GOLDEN=1` writes the file instead.
///
/// # Panics
/// When the file is missing or differs; the first differing line is named.
pub(crate) fn assert_golden(name: &str, actual: &str) {
    assert_file(&format!("tests/golden/{name}"), actual);
}

/// As [`assert_golden`], for any file of the repository.
///
/// # Panics
/// As [`assert_golden`].
pub(crate) fn assert_file(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("IRONHATCH_UPDATE_GOLDEN").is_some_and(|v| v == "1") {
        std::fs::create_dir_all(path.parent().expect("inside the repository"))
            .expect("folder made");
        std::fs::write(&path, actual).expect("golden file written");
        return;
    }
    let hint = "run the test with IRONHATCH_UPDATE_GOLDEN=1 and review the difference";
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{file} cannot be read ({e}); {hint}"));
    if golden == actual {
        return;
    }
    let line = golden.lines().zip(actual.lines()).take_while(|(a, b)| a == b).count();
    panic!(
        "{file} differs from line {}:\n  golden: {:?}\n  actual: {:?}\n{hint}",
        line + 1,
        golden.lines().nth(line),
        actual.lines().nth(line)
    );
}

#[test]
#[should_panic(expected = "cannot be read")]
fn a_missing_golden_file_fails_the_test() {
    if std::env::var_os("IRONHATCH_UPDATE_GOLDEN").is_some() {
        panic!("cannot be read: not tried while updating");
    }
    assert_golden("no/such/file", "");
}
