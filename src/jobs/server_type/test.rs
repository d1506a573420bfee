use super::*;

const TYPES: &str = "\
server_types:
  good:
    boot_disk: per-host
  broken:
    boot_dsik: per-host
";

#[test]
fn types_of_one_file_have_their_own_problems_and_the_file_has_all() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("types.yaml");
    std::fs::write(&file, TYPES).unwrap();
    let source = ServerTypesSource::File(file.clone());
    let view = ServerTypesView::load(&source, dir.path());
    let mut host = crate::fakes::sample::host(1);
    host.server_type = "broken".parse().unwrap();
    let rows = rows(&source, &view, &[host]);
    let told: Vec<(Option<&str>, bool, usize)> = rows
        .iter()
        .map(|row| {
            let name = row.name.as_ref().map(ServerTypeName::as_str);
            (name, row.server_type.is_some(), row.hosts)
        })
        .collect();
    let expected = [(None, false, 0), (Some("broken"), false, 1), (Some("good"), true, 0)];
    assert_eq!(told, expected, "{rows:#?}");
    let [whole, broken, good] = rows.as_slice() else { panic!("{rows:#?}") };
    assert_eq!(whole.errors.len(), view.errors[&file].len());
    assert!(broken.errors.iter().any(|e| e.contains("boot_dsik")), "{rows:#?}");
    assert!(good.errors.is_empty(), "{rows:#?}");
    assert!(rows.iter().all(|row| row.file == file));

    let dir = ServerTypesSource::Directory(dir.path().join("types"));
    std::fs::create_dir(dir.path()).unwrap();
    std::fs::write(dir.path().join("odd name.toml"), "boot_disk = \"per-host\"\n").unwrap();
    std::fs::write(dir.path().join("lab.toml"), "boot_disk = 7\n").unwrap();
    let view = ServerTypesView::load(&dir, &dir.path().join("templates"));
    let rows = super::rows(&dir, &view, &[]);
    let names: Vec<Option<&str>> =
        rows.iter().map(|row| row.name.as_ref().map(ServerTypeName::as_str)).collect();
    assert_eq!(names, [Some("lab"), None], "{rows:#?}");
    assert!(rows.iter().all(|row| row.errors.len() == 1), "{rows:#?}");
}
